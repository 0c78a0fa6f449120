"""What the tests with real mail programs share: a server with real mail, a look at it that is not the program's, programs on a terminal."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.corpus import CORPUS, corpus_messages
from tests.server import RawClient, Server, messages

SAMPLE = 40


def sample(count: int = SAMPLE) -> list[bytes]:
    """Real messages from all over the corpus where it is, small ones of our own otherwise; no two alike, none with NUL."""
    found: dict[bytes, None] = {}
    if (CORPUS / "eml").is_dir():
        every = list(corpus_messages())
        for _, message in every[:: max(1, len(every) // count)]:
            if b"\0" not in message and b"\n\n" in plain(message) and len(message) < 200_000:
                found[message] = None
    else:
        found = dict.fromkeys(messages(count))
    return list(found)[:count]


def plain(message: bytes) -> bytes:
    """A message with lines ended by LF, without the fields that mail programs add, to compare."""
    message = message.replace(b"\r\n", b"\n")
    head, gap, body = message.partition(b"\n\n")
    return re.sub(rb"(?m)^X-(?:TUID|OfflineIMAP): .*\n?", b"", head + b"\n").rstrip(b"\n") + gap + body


def fill(server: Server, user: str, folder: str, mail: list[bytes]) -> None:
    """Deliver messages into a folder (".Name", or "" for INBOX)."""
    for number, message in enumerate(mail):
        server.deliver(user, message, name=f"{1700000000 + number}.M{number}P1.sample", folder=folder)


def contents(client: RawClient, mailbox: str) -> dict[bytes, set[bytes]]:
    """Each message of a mailbox (as plain() makes it) with its flags but for \\Recent. Raises AssertionError."""
    assert b" OK " in client.command(f'SELECT "{mailbox}"')[-1]
    found: dict[bytes, set[bytes]] = {}
    for line in client.command("UID FETCH 1:* (FLAGS BODY.PEEK[])")[:-1]:
        flags = re.search(rb"FLAGS \(([^)]*)\)", line)
        literal = re.search(rb"BODY\[\] \{(\d+)\}\r\n", line)
        if flags is not None and literal is not None:
            message = line[literal.end() : literal.end() + int(literal.group(1))]
            found[plain(message)] = set(flags.group(1).split()) - {b"\\Recent"}
    return found


def maildir(path: Path) -> dict[bytes, str]:
    """Each message of a Maildir (as plain() makes it) with the letters of its flags."""
    found = {}
    for part in ("cur", "new"):
        for file in (path / part).iterdir():
            found[plain(file.read_bytes())] = file.name.partition(":2,")[2]
    return found


def file_of(path: Path, message: bytes, form: Callable[[bytes], bytes] = plain) -> Path:
    """The file of a message in a Maildir, compared in a form. Raises StopIteration."""
    files = (file for part in ("cur", "new") for file in (path / part).iterdir())
    return next(file for file in files if form(file.read_bytes()) == form(message))


def flagged(file: Path, letters: str) -> None:
    """Set the flags of a message in a Maildir, as a mail program does."""
    file.rename(file.parent.parent / "cur" / f"{file.name.partition(':2,')[0]}:2,{letters}")


def run(command: list[str], home: Path, seconds: float = 60.0) -> str:
    """What a program said. Raises AssertionError unless it ends well in time."""
    environment = {**os.environ, "HOME": str(home), "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        command,
        env=environment,
        cwd=home,
        capture_output=True,
        timeout=seconds,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    said = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, said
    return said


def on_a_terminal(command: list[str], home: Path, seconds: float = 30.0, owner: int | None = None) -> str:
    """The same for a program that wants a terminal; as another user where `owner` says so."""
    environment = {**os.environ, "HOME": str(home), "USER": "joe", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command,
        env=environment,
        cwd=home,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        start_new_session=True,
        user=owner,
        group=owner,
        extra_groups=None if owner is None else [],
    )
    os.close(slave)
    said = b""
    deadline = time.monotonic() + seconds
    try:
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([master], [], [], 0.1)[0]:
                try:
                    said += os.read(master, 65536)
                except OSError:
                    break
        status = process.wait(max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        status = -1
    finally:
        os.close(master)
    assert status == 0, said.decode(errors="replace")[-3000:]
    return said.decode(errors="replace")
