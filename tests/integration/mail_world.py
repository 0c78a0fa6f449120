"""Everything around a mail process, played by the test: login, auth, master and log. The mail process itself is real.

As root login processes are children of the uid LOGIN_UID and mail belongs to MAIL_UID; as an ordinary user all are his.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.child import worker
from dovecotpy.child.forkserver import Birth
from dovecotpy.config.values import Settings, Value
from dovecotpy.ipc import authmaster, control, fdpass, handover, record
from dovecotpy.ipc.control import Verb
from dovecotpy.log.client import Log
from dovecotpy.mail import spare
from dovecotpy.mail.preload import preload
from dovecotpy.mail.prepared import Prepared
from dovecotpy.mail.rules import rules
from dovecotpy.mail.service import Opened, Service, Visit
from dovecotpy.storage.driver import Wait
from dovecotpy.storage.errors import StoreError

AS_ROOT = os.geteuid() == 0
LOGIN_UID = 61231 if AS_ROOT else os.geteuid()
MAIL_UID = 61232 if AS_ROOT else os.geteuid()
MAIL_GID = 61233 if AS_ROOT else os.getegid()
SECONDS = 20.0

SETTINGS: Mapping[str, Value] = {
    "login_user": str(LOGIN_UID),
    "mail_uid": "",
    "mail_gid": "",
    "first_valid_uid": 500 if AS_ROOT else 0,
    "last_valid_uid": 0,
    "first_valid_gid": 1 if AS_ROOT else 0,
    "last_valid_gid": 0,
    "valid_chroot_dirs": (),
    "mail_chroot": "",
    "mail_access_groups": (),
    "mail_privileged_group": "",
    "mail_drop_priv_before_exec": False,
    "mail_executable": "libexec/dovecot/imap",
    "mail_process_size": 256,
    "mail_process_reuse": False,
    "mail_debug": False,
    "mail_location": "",
    "verbose_proctitle": True,
    "shutdown_clients": True,
    "umask": 0o077,
}


class End(NamedTuple):
    text: str


def held() -> dict[int, str]:
    """The descriptors of this process above 2."""
    found = {}
    for number in range(3, 4096):
        with contextlib.suppress(OSError):
            found[number] = os.readlink(f"/proc/self/fd/{number}")
    return found


class Talk:
    """A session that tells of its process: each line is a Python expression, answered with its value; `quit`."""

    def __init__(self, visit: Visit) -> None:
        self.visit = visit
        self.ended: End | None = None
        self.within_literal = False
        self.working = False
        self.buffer = visit.client_input
        self.chunks = [visit.tag.encode() + b" OK\n"]

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def wants_input(self) -> bool:
        return True

    def pull(self) -> bytes:
        while not self.chunks and self.ended is None and b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            if line == b"quit":
                self.ended = End("Disconnected: Logged out")
                self.chunks.append(b"bye\n")
            else:
                names = {"os": os, "sys": sys, "visit": self.visit, "socket": socket, "held": held}
                self.chunks.append(repr(eval(line, names)).encode() + b"\n")
        return self.chunks.pop(0) if self.chunks else b""

    def compressed_from_here(self) -> bytes | None:
        return None

    def wait(self) -> Wait:
        return Wait(None, 1000.0)

    def tick(self) -> None:
        pass

    def disconnected(self) -> None:
        pass

    def shut_down(self) -> None:
        self.chunks.append(b"shutdown\n")
        self.ended = End("Server shutting down")


def _open_talk(visit: Visit) -> Opened:
    if visit.who.mail == "broken":
        raise StoreError("Internal error", log="mail_location is broken")
    if visit.who.mail == "fault":
        raise ValueError("a fault of ours")
    return Opened(Talk(visit), lambda: None)


TALK = Service(
    name="imap",
    open=_open_talk,
    internal_error=lambda time: b"* BYE Internal error occurred.\n",
    refusal=b"* BYE refused\n",
    inetd=b"* BAD inetd\n",
    summary=lambda settings, session, received, sent: f"bytes={received}/{sent}",
)


class Auth:
    """`auth-master.PID` with this test's pid. claims: what it answers to each client id; `delay`: seconds before it does."""

    def __init__(self, base_dir: str, name: str = "") -> None:
        self.path = f"{base_dir}/auth-master.{name or os.getpid()}"
        self.claims: dict[int, tuple[str, Mapping[str, str]]] = {}
        self.senders: dict[int, int] = {}
        """client id to the pid that may claim it; absent: any"""
        self.delay = 0.0
        self.silent = False
        self.connections = 0
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        os.chmod(self.path, 0o600)
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        connection = authmaster.MasterServerConnection()
        with sock, contextlib.suppress(OSError):
            sock.sendall(connection.hello(os.getpid()))
            while data := sock.recv(4096):
                for event in connection.feed(data):
                    if isinstance(event, authmaster.Claim) and not self.silent:
                        threading.Event().wait(self.delay)
                        sock.sendall(self._answer(event))

    def _answer(self, claim: authmaster.Claim) -> bytes:
        allowed = self.senders.get(claim.client_id, claim.client_pid) == claim.client_pid
        if not allowed or claim.client_id not in self.claims:
            return authmaster.MasterServerConnection.not_found(claim.id)
        user, fields = self.claims.pop(claim.client_id)
        return authmaster.MasterServerConnection.user(claim.id, user, fields)


class Client:
    """One client after its login: the far end of its socket and of the reply pair."""

    def __init__(self) -> None:
        self.near, self.sock = socket.socketpair()
        self.near_reply, self.reply = fdpass.pair()
        self.sock.settimeout(SECONDS)
        self.reply.settimeout(SECONDS)
        self._buffer = b""
        self.sender = 0

    def let_go(self) -> None:
        """The near ends are the mail process's now."""
        self.near.close()
        self.near_reply.close()

    def answer(self) -> handover.Accepted | handover.Denied:
        return handover.decode_answer(self.reply.recv(4096))

    def raw_answer(self) -> bytes:
        return self.reply.recv(4096)

    def say(self, line: str) -> None:
        self.sock.sendall(line.encode() + b"\n")

    def line(self) -> str:
        while b"\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                rest, self._buffer = self._buffer, b""
                return rest.decode()
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line.decode()

    def ask(self, expression: str) -> object:
        self.say(expression)
        return eval(self.line(), {"posix": os})

    def close(self) -> None:
        for sock in (self.near, self.near_reply, self.sock, self.reply):
            sock.close()


class Master:
    """The master's end of one worker's control socket."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self.sock = sock
        sock.settimeout(SECONDS)

    def hear(self) -> control.Message | None:
        return control.receive(self.sock)

    def expect(self, verb: Verb) -> control.Message:
        message = self.hear()
        assert message is not None, f"the worker went away instead of saying {verb}"
        assert message.verb is verb, f"{message.verb} {message.fields} instead of {verb}"
        return message

    def say(self, verb: Verb, *values: str | int, descriptors: tuple[int, ...] = ()) -> None:
        control.send(self.sock, verb, *values, descriptors=descriptors)

    def silent(self, seconds: float = 0.3) -> bool:
        """Whether the worker says nothing for so long."""
        return not select.select([self.sock], [], [], seconds)[0]


class World:
    """A directory, a queue, an auth process and a log; workers are forked from the test."""

    def __init__(self, service: Service = TALK) -> None:
        self.base = tempfile.mkdtemp(prefix="dm", dir="/tmp")
        os.chmod(self.base, 0o755)
        self.service = service
        self.settings = Settings({**SETTINGS, "base_dir": self.base})
        os.mkdir(self.base + "/mail")
        self.queue_path = self.base + "/mail/imap"
        self.queue = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.queue.bind(self.queue_path)
        os.chmod(self.queue_path, 0o666)
        self.queue.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.auth = Auth(self.base)
        self.log, self.log_writer = fdpass.pair()
        self.log.settimeout(SECONDS)
        self.clients: list[Client] = []
        self.masters: list[Master] = []
        self._ids = 0
        preload()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for master in self.masters:
            master.sock.close()
        for master in self.masters:
            self.reap(master.pid, quiet=True)
        self.auth.close()
        self.queue.close()
        self.log.close()
        self.log_writer.close()
        shutil.rmtree(self.base, ignore_errors=True)

    def set(self, **changes: Value) -> None:
        self.settings = self.settings.changed(changes)

    def prepared(self) -> Prepared:
        return Prepared(
            service=self.service,
            settings=self.settings,
            namespaces=(),
            plugin=Settings({}),
            rules=rules(self.settings),
            log=Log(self.log_writer),
            queue=self.queue,
            generation="1",
            auth_uids=frozenset((0, os.geteuid())),
        )

    def spare(self, *, go: bool = True, before: Callable[[], None] = lambda: None) -> Master:
        """A worker, waiting."""
        prepared = self.prepared()
        ours, theirs = fdpass.pair()
        pid = os.fork()
        if pid == 0:
            status = 99
            try:
                worker.born((theirs.fileno(), self.log_writer.fileno(), self.queue.fileno()))
                before()
                status = spare.work(prepared, Birth(theirs, ()))
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
            finally:
                os._exit(status)
        theirs.close()
        master = Master(pid, ours)
        self.masters.append(master)
        if go:
            master.say(Verb.GO)
        return master

    def reap(self, pid: int, *, quiet: bool = False) -> int:
        """The exit status of a worker, or minus the signal."""
        deadline = clock.monotonic() + SECONDS
        while clock.monotonic() < deadline:
            try:
                done, status = os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                return 0
            if done:
                return os.waitstatus_to_exitcode(status)
            threading.Event().wait(0.01)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        assert quiet, "the worker did not end"
        return -9

    def account(self, user: str = "joe", **fields: str) -> int:
        """An authenticated user; the id of his request."""
        self._ids += 1
        given = {"uid": str(MAIL_UID), "gid": str(MAIL_GID), **fields}
        self.auth.claims[self._ids] = (user, {name: value for name, value in given.items() if value})
        return self._ids

    def message(self, auth_id: int, **changes: object) -> handover.HandOver:
        message = handover.HandOver(
            "imap",
            "default",
            os.getpid(),
            auth_id,
            "127.0.0.1",
            "192.0.2.7",
            143,
            4711,
            "",
            False,
            "sess",
            "a1",
            b"",
        )
        return message._replace(**changes)

    def hand_over(self, auth_id: int, **changes: object) -> Client:
        """What an honest login process does."""
        client = Client()
        self.clients.append(client)
        data = handover.encode(self.message(auth_id, **changes))
        client.sender = self.send(data, (client.near.fileno(), client.near_reply.fileno()))
        client.let_go()
        return client

    def send(self, data: bytes, descriptors: tuple[int, ...], uid: int = LOGIN_UID) -> int:
        """One datagram by a process of that uid; its pid."""
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                if AS_ROOT:
                    os.setgroups([])
                    os.setresgid(uid, uid, uid)
                    os.setresuid(uid, uid, uid)
                with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                    sender.connect(self.queue_path)
                    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
                    fdpass.send(sender, data, descriptors)
                status = 0
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        return pid

    def logged(self, text: str) -> record.Record:
        """The next line that has `text` in it."""
        seen: list[str] = []
        while True:
            try:
                lines = record.decode(self.log.recv(record.MAX_PACKET))
            except TimeoutError:
                raise AssertionError(f"no line with {text!r}, only {seen}") from None
            for line in lines:
                seen.append(line.text)
                if text in line.text:
                    return line

    def no_line(self) -> bool:
        return not select.select([self.log], [], [], 0.2)[0]

    def login(self, user: str = "joe", **fields: str) -> tuple[Master, Client]:
        """A session by the short way: spare, hand-over, slot, ok."""
        master = self.spare()
        client = self.hand_over(self.account(user, **fields))
        master.expect(Verb.TAKEN)
        master.expect(Verb.SLOT)
        master.say(Verb.YES)
        answer = client.answer()
        assert answer == handover.Accepted(master.pid), answer
        assert client.line() == "a1 OK"
        return master, client


def worlds() -> Iterator[World]:
    """The body of a fixture."""
    made = World()
    try:
        yield made
    finally:
        made.close()
