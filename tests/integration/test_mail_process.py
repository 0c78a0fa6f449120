"""The real process: `python -I -m dovecotpy.mail`, its workers, and whole sessions on a real Maildir."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping

import pytest

import dovecotpy
from dovecotpy import config
from dovecotpy.child import bootstrap
from dovecotpy.config.values import Settings, Value
from dovecotpy.ipc import fdpass, handover
from dovecotpy.ipc.control import Verb
from dovecotpy.mail import __main__ as program
from tests.integration.mail_world import AS_ROOT, MAIL_GID, MAIL_UID, SETTINGS, Client, Master, World

as_root = pytest.mark.skipif(not AS_ROOT, reason="other users' processes need root")

FORK_SERVER_MEGABYTES = 15
FORBIDDEN = frozenset(
    ("dataclasses", "inspect", "json", "logging", "hashlib", "email", "asyncio", "subprocess", "tempfile", "random", "ssl")
)  # fmt: skip
MESSAGE = (
    "From: Jörg <joerg@example.com>\r\nTo: joe@example.com\r\nSubject: =?iso-2022-jp?B?GyRCRnxLXBsoQg==?=\r\n"
    'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain; charset=koi8-r\r\n\r\n'
    "one\r\n--b\r\nContent-Type: text/html; charset=windows-1252\r\n\r\n<p>two</p>\r\n--b--\r\n"
).encode()


class Server(World):
    """A world with the real fork server."""

    def __init__(self) -> None:
        super().__init__()
        plain = config.load(os.devnull).servers[0]
        own = {**SETTINGS, "base_dir": self.base, "mail_location": "maildir:~/Maildir"}
        self.settings = config.for_process(plain, "mail", "imap").changed(own)
        self.process: subprocess.Popen[bytes] | None = None
        self.master_end: Master | None = None

    def launch(self, settings: Settings | None = None, version: str = dovecotpy.__version__) -> Master:
        ours, theirs = fdpass.pair()
        reading, writing = os.pipe()
        numbers = {
            "control": theirs.fileno(),
            "log": self.log_writer.fileno(),
            "queue": self.queue.fileno(),
            "settings": reading,
        }
        environment = bootstrap.environment(numbers, {}) | {"DOVECOTPY_VERSION": version}
        command = [sys.executable, "-I", "-m", "dovecotpy.mail"]
        self.process = subprocess.Popen(command, env=environment, pass_fds=tuple(numbers.values()))
        theirs.close()
        os.close(reading)
        os.write(
            writing,
            bootstrap.encode_settings({"settings": settings or self.settings, "plugin": Settings({})}),
        )
        os.close(writing)
        self.master_end = Master(self.process.pid, ours)
        return self.master_end

    def ready(self) -> Master:
        server = self.launch()
        assert server.expect(Verb.READY).fields == (dovecotpy.__version__,)
        return server

    def worker(self, server: Master) -> Master:
        """A worker that the fork server forks; not a child of this process."""
        server.say(Verb.FORK, 1)
        born = server.expect(Verb.FORKED)
        worker = Master(born.number(0), socket.socket(fileno=born.descriptors[0]))
        self.masters.append(worker)
        worker.say(Verb.GO)
        return worker

    def session(self, server: Master, **changes: object) -> tuple[Master, Client]:
        worker = self.worker(server)
        fields = changes.pop("fields", {"home": self.home()})
        assert isinstance(fields, Mapping)
        client = self.hand_over(self.account(**fields), **changes)
        worker.expect(Verb.TAKEN)
        worker.expect(Verb.SLOT)
        worker.say(Verb.YES)
        assert client.answer() == handover.Accepted(worker.pid)
        assert client.line().startswith("a1 OK [CAPABILITY ")
        return worker, client

    def home(self, name: str = "joe") -> str:
        path = f"{self.base}/{name}"
        if not os.path.isdir(path):
            os.mkdir(path)
            os.mkdir(path + "/Maildir")
            for folder in ("new", "cur", "tmp"):
                os.mkdir(f"{path}/Maildir/{folder}")
            with open(path + "/Maildir/new/1000000000.1.host", "wb") as file:
                file.write(MESSAGE)
            subprocess.run(["chown", "-R", f"{MAIL_UID}:{MAIL_GID}", path], check=True)
        return path

    def close(self) -> None:
        if self.master_end is not None and self.process is not None:
            self.master_end.sock.close()
            for master in self.masters:
                master.sock.close()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.masters.clear()
        super().close()


@pytest.fixture
def world() -> Iterator[Server]:
    made = Server()
    try:
        yield made
    finally:
        made.close()


def imap(client: Client, line: str) -> list[str]:
    """The answer to one command; literals come as lines."""
    client.say(line + "\r")
    tag = line.split(" ", 1)[0]
    lines: list[str] = []
    while not lines or not lines[-1].startswith(tag + " "):
        received = client.line()
        assert received, f"the session ended: {lines}"
        lines.append(received.rstrip("\r"))
    return lines


def test_a_session_on_a_real_maildir(world: Server) -> None:
    server = world.ready()
    worker, client = world.session(server)
    assert "* 1 EXISTS" in imap(client, "b SELECT INBOX")
    assert imap(client, "c FETCH 1 (FLAGS RFC822.SIZE)")[-1] == "c OK Fetch completed."
    assert any("BODYSTRUCTURE" in line for line in imap(client, "d FETCH 1 BODYSTRUCTURE"))
    assert imap(client, "e LOGOUT")[0] == "* BYE Logging out"
    assert worker.hear() is None
    assert server.expect(Verb.EXITED).fields == (str(worker.pid), "0")
    line = world.logged("Disconnected: Logged out")
    assert line.text.startswith("Disconnected: Logged out bytes=")
    assert line.user == "joe"


@as_root
def test_a_whole_session_in_an_empty_chroot_needs_no_file_of_the_interpreter(world: Server) -> None:
    """What was not imported before could not be now: every command, charsets and SEARCH included."""
    home = world.home()
    world.set(valid_chroot_dirs=(world.base,))
    server = world.ready()
    fields = {"chroot": home, "home": "/", "mail": "maildir:/Maildir"}
    worker, client = world.session(server, fields=fields)
    for number, command in enumerate(
        (
            "CAPABILITY",
            'LIST "" "*"',
            "NAMESPACE",
            "CREATE Entw&APw-rfe",
            "SUBSCRIBE Entw&APw-rfe",
            'LSUB "" "*"',
            "STATUS INBOX (MESSAGES UIDNEXT UNSEEN)",
            "SELECT INBOX",
            "FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])",
            "SEARCH CHARSET KOI8-R TEXT one",
            "SEARCH CHARSET ISO-2022-JP SUBJECT x",
            "SEARCH BODY two SINCE 1-Jan-2000",
            "STORE 1 +FLAGS (\\Seen Keyword)",
            "COPY 1 Entw&APw-rfe",
            "UID FETCH 1:* FLAGS",
            "STORE 1 +FLAGS (\\Deleted)",
            "EXPUNGE",
            "RENAME Entw&APw-rfe Other",
            "DELETE Other",
            "ID NIL",
            "LOGOUT",
        )
    ):
        answer = imap(client, f"x{number} {command}")
        assert answer[-1].startswith(f"x{number} OK"), (command, answer)
    assert worker.hear() is None
    assert world.logged("").text.startswith("Disconnected: Logged out"), "something went wrong on the way"


@as_root
def test_the_fork_server_is_small_and_has_few_rights(world: Server) -> None:
    server = world.ready()
    with open(f"/proc/{server.pid}/smaps_rollup") as lines:
        own = sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty:"))
    assert own < FORK_SERVER_MEGABYTES * 1024, f"each fork copies the tables of {own} KiB"
    with open(f"/proc/{server.pid}/status") as lines:
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    allowed = sum(1 << number for number in (2, 5, 6, 7, 18, 23))
    assert int(status["CapEff"], 16) & ~allowed == 0
    assert int(status["CapBnd"], 16) & ~allowed == 0
    assert status["Uid"].split() == ["0"] * 4
    with open(f"/proc/{server.pid}/cmdline", "rb") as title:
        assert title.read().rstrip(b"\0") == b"imap"


def test_it_imports_nothing_that_is_heavy() -> None:
    script = "import sys, dovecotpy.mail.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not FORBIDDEN & loaded
    assert not {name for name in loaded if name.split(".")[0] in FORBIDDEN}
    assert "dovecotpy.config.grammar" not in loaded
    foreign = {name for name in loaded if name.startswith("dovecotpy.")}
    assert not {name for name in foreign if name.split(".")[1] in ("master", "login", "auth", "cli")}


def test_another_version_is_refused(world: Server) -> None:
    server = world.launch(version="0.0.1")
    text = server.expect(Verb.FAILED).text(0)
    assert text.startswith(f"Dovecot version mismatch: Master is v0.0.1, imap is v{dovecotpy.__version__}")
    assert world.process is not None
    assert world.process.wait(20) == program.EXIT_FATAL


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mail_uid": "nosuchuser"}, "Non-existing mail_uid: nosuchuser"),
        ({"mail_access_groups": ("nosuch",)}, "unknown group name in extra_groups: nosuch"),
    ],
)
def test_what_cannot_work_is_said_before_ready(world: Server, changes: dict[str, Value], text: str) -> None:
    server = world.launch(world.settings.changed(changes))
    assert server.expect(Verb.FAILED).text(0) == text


def test_a_setting_that_was_not_passed_is_named(world: Server) -> None:
    without = world.settings.only([name for name in world.settings if name != "umask"])
    assert "'umask'" in world.launch(without).expect(Verb.FAILED).text(0)


def test_the_fork_server_ends_a_worker_when_told(world: Server) -> None:
    server = world.ready()
    worker = world.worker(server)
    server.say(Verb.KILL, worker.pid)
    exited = server.expect(Verb.EXITED)
    assert exited.number(0) == worker.pid
    assert os.WTERMSIG(exited.number(1)) == signal.SIGKILL


def test_the_fork_server_ends_with_its_master_and_its_spares_do_too(world: Server) -> None:
    server = world.ready()
    worker = world.worker(server)
    server.sock.close()
    assert world.process is not None
    assert world.process.wait(20) == 0
    assert worker.silent(), "the worker's lifeline is its own"
    worker.sock.close()
    for _ in range(200):
        if not os.path.exists(f"/proc/{worker.pid}"):
            return
        threading.Event().wait(0.05)
    raise AssertionError("a spare outlived its master")


@as_root
def test_a_kill_of_the_session_leaves_the_mail_and_frees_the_slot(world: Server) -> None:
    server = world.ready()
    worker, client = world.session(server)
    imap(client, "b SELECT INBOX")
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.hear() is None
    assert client.line() == ""
    server.expect(Verb.EXITED)
    _, again = world.session(server)
    assert "* 1 EXISTS" in imap(again, "b SELECT INBOX")


def test_input_behind_the_login_is_served(world: Server) -> None:
    server = world.ready()
    _, client = world.session(server, client_input=b"b SELECT INBOX\r\nc LOG")
    assert "* 1 EXISTS" in [client.line().rstrip("\r") for _ in range(8)]
    client.sock.sendall(b"OUT\r\n")
    while (line := client.line()) and not line.startswith("c OK"):
        pass
    assert line == "c OK Logout completed.\r"
    assert "bytes=26/" in world.logged("Logged out").text


def settled(pid: int) -> list[str]:
    """The descriptors of a process at rest, but for the one inotify instance that it may have."""
    own: list[str] = []
    for _ in range(100):
        held: list[str] = []
        for name in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                held.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        own = [link for link in held if link != "anon_inode:inotify"]
        if len(own) <= 6 and len(held) - len(own) <= 1:
            break
        threading.Event().wait(0.02)
    return own


@as_root
def test_reuse_with_real_sessions(world: Server) -> None:
    world.set(mail_process_reuse=True)
    server = world.ready()
    worker = world.worker(server)
    client = world.hand_over(world.account(home=world.home()))
    first = worker.hear()
    worker.say(Verb.YES)
    second = worker.hear()
    assert first is not None and second is not None
    assert {first.verb, second.verb} == {Verb.SLOT, Verb.TAKEN}  # on a busy machine the other way round
    pids = set()
    spare = world.worker(server)
    for _ in range(5):
        answer = client.answer()
        assert isinstance(answer, handover.Accepted)
        pids.add(answer.pid)
        client.line()
        assert "* 1 EXISTS" in imap(client, "b SELECT INBOX")
        imap(client, "c LOGOUT")
        idle = worker.expect(Verb.IDLE)
        own = settled(worker.pid)
        assert len(own) == 6, f"0-2, control, log and inbox, nothing of the session: {own}"
        client = world.hand_over(world.account("jim", home=world.home("jim")))
        asked = spare.hear()
        slow = asked is not None and asked.verb is Verb.TAKEN  # a busy machine: the spare is replaced
        asked = spare.expect(Verb.SLOT) if slow else asked
        assert asked is not None and asked.verb is Verb.SLOT and asked.fields[3] == idle.fields[0]
        spare.say(Verb.YES, descriptors=idle.descriptors)
        os.close(idle.descriptors[0])
        spare = world.worker(server) if slow else spare
    assert pids == {worker.pid}
