"""mail_executable: the administrator's program gets the client, as the reference says; and our own at the end of a wrapper."""

from __future__ import annotations

import base64
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy.ipc.control import Verb
from dovecotpy.ipc.handover import Accepted, Denied
from dovecotpy.ipc.record import Level
from tests.integration.mail_world import AS_ROOT, MAIL_GID, MAIL_UID, Client, Master, World, worlds
from tests.server import usable_by

as_root = pytest.mark.skipif(not AS_ROOT, reason="other users' processes need root")

TELL = r"""
import os, sys
print(sorted(n for n in os.environ if n.isupper()))
print((os.getresuid(), os.getresgid(), os.getgroups()))
print(os.getcwd())
print(sys.argv)
print({k: v for k, v in os.environ.items()})
print([os.readlink(f"/proc/self/fd/{n}") for n in (0, 1, 2)])
"""


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds()


def program(world: World, text: str, name: str = "imap") -> str:
    path = f"{world.base}/{name}"
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)
    return path


def teller(world: World) -> str:
    return program(world, f'#!/bin/sh\nexec {sys.executable} -I -c \'{TELL}\' "$0" "$@"\n')


def run(world: World, **fields: str) -> tuple[Master, Client]:
    master = world.spare()
    client = world.hand_over(world.account(**fields), client_input=b"b NOOP\r\n")
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    master.say(Verb.YES)
    return master, client


def told(client: Client) -> list[object]:
    return [eval(client.line()) if index != 2 else client.line() for index in range(6)]


@as_root
def test_a_wrapper_is_run_as_root_with_the_environment_and_the_client(world: World) -> None:
    home = world.base + "/joe"
    os.mkdir(home)
    os.chown(home, MAIL_UID, MAIL_GID)
    os.chmod(home, 0o700)
    world.set(mail_executable=teller(world) + " -x", mail_access_groups=("61240",))
    master, client = run(world, home=home, mail="maildir:~/M", quota="1")
    assert client.answer() == Accepted(master.pid)
    names, ids, cwd, argv, environment, links = told(client)
    assert isinstance(names, list)
    assert {"USER", "HOME", "MAIL", "IP", "LOGGED_IN", "QUOTA", "RESTRICT_SETUID"} <= set(names)
    assert ids == ((0, 0, 0), (0, 0, 0), os.getgroups())
    assert cwd == home
    assert isinstance(argv, list)
    assert argv[2:] == ["-x", "[joe", "192.0.2.7]"]
    assert isinstance(environment, dict)
    assert environment["MAIL"] == "maildir:~/M"
    assert environment["RESTRICT_SETUID"] == str(MAIL_UID)
    assert environment["RESTRICT_SETEXTRAGROUPS"] == f"{MAIL_GID},61240"
    assert base64.b64decode(environment["CLIENT_INPUT"]) == b"b NOOP\r\n"
    assert isinstance(links, list)
    assert links[0] == links[1] != links[2]
    assert os.readlink(f"/proc/self/fd/{world.log_writer.fileno()}") == links[2]
    assert client.line() == ""
    assert master.hear() is None, "the slot must last as long as the program"
    assert world.reap(master.pid) == 0


@as_root
def test_the_slot_stays_with_the_program(world: World) -> None:
    world.set(mail_executable=program(world, "#!/bin/sh\necho ready\nread line\n"))
    master, client = run(world)
    assert client.answer() == Accepted(master.pid)
    assert client.line() == "ready"
    assert master.silent()
    client.say("")
    assert master.hear() is None
    assert world.reap(master.pid) in (0, 1)


@pytest.mark.skipif(
    AS_ROOT and not usable_by(MAIL_UID), reason="the interpreter is in a directory closed to other users"
)
def test_mail_drop_priv_before_exec(world: World) -> None:
    world.set(mail_executable=teller(world), mail_drop_priv_before_exec=True)
    master, client = run(world)
    assert client.answer() == Accepted(master.pid)
    names, ids, *_ = told(client)
    assert isinstance(names, list)
    assert not [name for name in names if name.startswith("RESTRICT_")]
    assert isinstance(ids, tuple)
    assert ids[0] == (MAIL_UID,) * 3
    assert world.reap(master.pid) == 0


def test_a_program_that_is_not_there_is_no_login(world: World) -> None:
    world.set(mail_executable="/nonexistent/wrapper")
    master, client = run(world)
    answer = client.answer()
    assert isinstance(answer, Denied)
    assert answer.text == "execv(/nonexistent/wrapper) failed: it cannot be executed"
    assert world.logged("execv").level is Level.FATAL
    assert client.line() == ""
    assert world.reap(master.pid) == 84


def test_a_program_that_cannot_be_run_after_all_is_told_to_the_client(world: World) -> None:
    world.set(mail_executable=program(world, "no program at all"))
    master, client = run(world)
    assert client.answer() == Accepted(master.pid)
    assert client.line() == "* BYE refused"
    assert "Exec format error" in world.logged("execv").text
    assert world.reap(master.pid) == 84


@pytest.mark.parametrize("name", ["libexec/dovecot/imap", "/usr/libexec/dovecot/imap", ""])
def test_the_usual_names_are_the_built_in_program(world: World, name: str) -> None:
    world.set(mail_executable=name)
    _, client = world.login()
    assert client.ask("visit.who.user") == "joe"


def standalone(*words: str, **environment: str) -> list[str]:
    return [sys.executable, "-I", "-m", "dovecotpy.mail.standalone", *words]


def test_a_tunnel_greets_with_preauth(tmp_path: Path) -> None:
    done = subprocess.run(
        standalone("imap"),
        input=b"a CAPABILITY\r\nb SELECT INBOX\r\nc LOGOUT\r\n",
        capture_output=True,
        env={"USER": "joe", "HOME": str(tmp_path), "MAIL": f"maildir:{tmp_path}/Maildir"},
        timeout=60,
        check=False,
    )
    lines = done.stdout.split(b"\r\n")
    assert lines[0].startswith(b"* PREAUTH [CAPABILITY "), done
    assert lines[0].endswith(b"Logged in as joe")
    assert b"b OK [READ-WRITE] Select completed." in lines
    assert b"c OK Logout completed." in lines
    assert done.returncode == 0
    assert b"Disconnected: Logged out bytes=" in done.stderr


def test_a_tunnel_whose_client_goes_away(tmp_path: Path) -> None:
    environment = {
        "USER": "joe",
        "HOME": str(tmp_path),
        "MAIL": f"maildir:{tmp_path}/Maildir",
        "LOGFILE": str(tmp_path / "log"),
        "LOG_PREFIX": "IMAP(joe): ",
    }
    done = subprocess.run(
        standalone("imap"), input=b"", capture_output=True, env=environment, timeout=60, check=False
    )
    assert done.returncode == 0, done
    assert "Info: IMAP(joe): Connection closed bytes=0/" in (tmp_path / "log").read_text()


def test_the_tag_of_a_login_is_answered(tmp_path: Path) -> None:
    environment = {
        "USER": "joe",
        "HOME": str(tmp_path),
        "MAIL": f"maildir:{tmp_path}/Maildir",
        "IMAPLOGINTAG": "x7",
        "LOGGED_IN": "1",
        "CLIENT_INPUT": base64.b64encode(b"y NOOP\r\n").decode(),
    }
    done = subprocess.run(
        standalone(), input=b"z LOGOUT\r\n", capture_output=True, env=environment, timeout=60, check=False
    )
    assert done.stdout.startswith(b"x7 OK [CAPABILITY "), done
    assert b"y OK NOOP completed." in done.stdout


def test_without_a_user_there_is_no_session(tmp_path: Path) -> None:
    done = subprocess.run(standalone(), input=b"", capture_output=True, env={}, timeout=60, check=False)
    assert done.returncode == 89
    assert b"Fatal: USER environment missing" in done.stderr


def test_an_unknown_protocol() -> None:
    done = subprocess.run(
        standalone("gopher"), capture_output=True, env={"USER": "x"}, timeout=60, check=False
    )
    assert done.returncode == 89
    assert b"Fatal: Unknown protocol: 'gopher'" in done.stderr


@as_root
def test_inetd_would_let_everybody_in(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server = listener.accept()[0]
    client.settimeout(10)
    with server, client:
        done = subprocess.run(
            standalone(), stdin=server, stdout=server, env={"USER": "root"}, timeout=60, check=False
        )
        assert done.returncode == 1
        text = b"* BAD [ALERT] imap binary must not be started from inetd, use imap-login instead.\r\n"
        assert client.recv(1000) == text


@as_root
def test_our_own_program_at_the_end_of_a_wrapper(world: World) -> None:
    home = world.base + "/joe"
    os.mkdir(home)
    os.chown(home, MAIL_UID, MAIL_GID)
    words = " ".join(standalone("imap"))
    script = program(world, f"#!/bin/sh\nMAIL=maildir:$HOME/elsewhere\nexport MAIL\nexec {words}\n")
    from dovecotpy import config

    server = config.load(os.devnull).servers[0]
    defaults = config.for_process(server, "mail", "imap")
    world.settings = defaults.changed({name: world.settings.value(name) for name in world.settings})
    world.set(mail_executable=script)
    master, client = run(world, home=home)
    assert client.answer() == Accepted(master.pid)
    assert client.line().startswith("a1 OK [CAPABILITY ")
    assert client.line() == "b OK NOOP completed.\r"
    with open(f"/proc/{master.pid}/status") as lines:
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["Uid"].split() == [str(MAIL_UID)] * 4
    assert status["Groups"].split() == [str(MAIL_GID)]
    client.say("c SELECT INBOX\r")
    while not client.line().startswith("c OK"):
        pass
    assert os.path.isdir(home + "/elsewhere/cur")
    assert master.silent()
    os.kill(master.pid, signal.SIGTERM)
    assert client.line() == "* BYE Server shutting down.\r"
    assert world.logged("Server shutting down").level is Level.INFO
    assert world.reap(master.pid) == 0
