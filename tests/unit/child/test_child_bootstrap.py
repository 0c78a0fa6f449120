"""What the master leaves for an exec'ed child arrives as it was left."""

from __future__ import annotations

import os
import subprocess
import sys

from dovecotpy.child import bootstrap
from dovecotpy.config.values import Settings

CHILD = """
import os, sys
from dovecotpy.child import bootstrap
start = bootstrap.receive()
print(start.version, sorted(start.descriptors), sorted(start.settings))
print(start.settings["auth"].text("name"), start.settings["auth"].number("count"), start.settings["auth"].words("mechanisms"))
print([settings.text("name") for settings in start.blocks("passdb.")])
print(start.matching("listen."), len(os.environ["DOVECOTPY_PADDING"]))
"""


def blocks() -> dict[str, Settings]:
    auth = Settings.load(b"name\ts\tdefault\ncount\tn\t2\nmechanisms\tw\tplain\tlogin\n")
    return {
        "auth": auth,
        "passdb.0": Settings.load(b"name\ts\t[odd]\\011value\n"),
        "passdb.1": Settings.load(b"name\ts\tsecond\n"),
    }


def test_blocks_come_back() -> None:
    before = blocks()
    after = bootstrap.decode_settings(bootstrap.encode_settings(before))
    assert list(after) == list(before)
    for name, settings in before.items():
        assert after[name].dump() == settings.dump()


def test_an_exec_ed_child_finds_descriptors_and_settings() -> None:
    read, write = os.pipe()
    os.write(write, bootstrap.encode_settings(blocks()))
    os.close(write)
    listeners = [os.open("/dev/null", os.O_RDONLY) for _ in range(12)]
    named = {"settings": read, **{f"listen.plain.{index}": number for index, number in enumerate(listeners)}}
    environment = bootstrap.environment(named, {"TZ": "UTC"})
    done = subprocess.run(
        [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {os.getcwd()!r})\n{CHILD}"],
        env=environment,
        pass_fds=[read, *listeners],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    lines = done.stdout.splitlines()
    assert "'listen.plain.11'" in lines[0] and "'passdb.1'" in lines[0] and "'settings'" not in lines[0]
    assert lines[1] == "default 2 ('plain', 'login')"
    assert lines[2].endswith("'second']")
    assert lines[3] == f"{listeners} 256"
    for descriptor in (read, *listeners):
        os.close(descriptor)
