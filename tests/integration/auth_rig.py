"""A tiny master for tests of the auth process: it execs auth and its worker fork server and carries WORKER over as FORK."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dovecotpy.child import bootstrap
from dovecotpy.config.values import Passdb, Settings, Userdb
from dovecotpy.ipc import control, record
from dovecotpy.ipc.authclient import AuthClient, Event, Handshake
from dovecotpy.ipc.authmaster import Answer, MasterClient
from dovecotpy.ipc.control import Verb

DEFAULTS: Mapping[str, Any] = {
    "name": "default",
    "mechanisms": ("plain", "login"),
    "realms": (),
    "default_realm": "",
    "user": "",
    "chroot": "",
    "count": 1,
    "username_chars": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@",
    "username_translation": "",
    "username_format": "",
    "master_user_separator": "",
    "failure_delay": 0,
    "verbose": True,
    "debug": False,
    "debug_passwords": False,
    "ssl_require_client_cert": False,
    "ssl_username_from_cert": False,
    "worker_max_count": 4,
    "worker_max_request_count": 0,
    "process_size": 256,
}
SECONDS = 25.0


class Child:
    """One exec'ed child with its control socket."""

    def __init__(
        self, module: str, blocks: Mapping[str, Settings], extra: Mapping[str, int], log: int
    ) -> None:
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read, write = os.pipe()
        descriptors = {"control": theirs.fileno(), "log": log, "settings": read, **extra}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", module],
            env=bootstrap.environment(descriptors, {}),
            pass_fds=tuple(descriptors.values()),
            cwd="/",
        )
        theirs.close()
        os.close(read)
        os.write(write, bootstrap.encode_settings(blocks))
        os.close(write)

    def expect(self) -> control.Message | None:
        """The next packet."""
        self.control.settimeout(SECONDS)
        message = control.receive(self.control)
        self.control.settimeout(None)
        return message

    def end(self) -> int:
        """Close its control socket and wait for its end."""
        self.control.close()
        return self.process.wait(SECONDS)


class Rig:
    """An auth process, its worker fork server, the sockets, and what they logged."""

    def __init__(
        self,
        directory: Path,
        passdbs: Sequence[Passdb],
        userdbs: Sequence[Userdb],
        sockets: Sequence[Mapping[str, Any]] = (),
        **settings: Any,
    ) -> None:
        self.directory = directory
        self.path = str(directory / "login-default")
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.listener.bind(self.path)
        self.listener.listen(64)
        self._log, log = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        blocks = {"auth": Settings({**DEFAULTS, "base_dir": str(directory), **settings})}
        blocks |= {f"passdb.{number}": each.settings() for number, each in enumerate(passdbs)}
        blocks |= {f"userdb.{number}": each.settings() for number, each in enumerate(userdbs)}
        blocks |= {f"socket.{number}": Settings(each) for number, each in enumerate(sockets)}
        self._lines: list[str] = []
        self.workers: set[int] = set()
        self.auth = Child("dovecotpy.auth", blocks, {"auth.listen": self.listener.fileno()}, log.fileno())
        self.server = Child("dovecotpy.auth.worker", blocks, {}, log.fileno())
        log.close()
        self.first = [self.server.expect(), self.auth.expect()]
        self.pid = self.auth.process.pid
        self._carrier = threading.Thread(target=self._carry, daemon=True)
        self._carrier.start()

    def _carry(self) -> None:
        poll = select.poll()
        names = {self.auth.control.fileno(): self.auth, self.server.control.fileno(): self.server}
        for number in names:
            poll.register(number, select.POLLIN)
        while names:
            for number, _ in poll.poll():
                try:
                    message = control.receive(names[number].control)
                except OSError:
                    message = None
                if message is None:
                    poll.unregister(number)
                    del names[number]
                    continue
                self._one(message)

    def _one(self, message: control.Message) -> None:
        if message.verb is Verb.WORKER:
            with contextlib.suppress(OSError):
                control.send(self.server.control, Verb.FORK, 1, descriptors=message.descriptors)
        elif message.verb is Verb.FORKED:
            self.workers.add(message.number(0))
        elif message.verb is Verb.EXITED:
            self.workers -= {message.number(index) for index in range(0, len(message.fields), 2)}
        if message.verb is not Verb.FORKED:
            for descriptor in message.descriptors:
                os.close(descriptor)

    def log(self) -> list[str]:
        """Every line logged up to now, level first."""
        while select.select([self._log], [], [], 0.05)[0]:
            data = self._log.recv(record.MAX_PACKET)
            if not data:
                break
            self._lines += [f"{each.level.value} {each.text}" for each in record.decode(data)]
        return self._lines

    def logged(self, text: str, seconds: float = 5.0) -> bool:
        """Whether a line with this text comes in time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if any(text in line for line in self.log()):
                return True
        return False

    def client(self) -> Client:
        """A login process's connection after its handshake."""
        return Client(self.path)

    def master(self) -> Master:
        """A mail process's connection."""
        return Master(str(self.directory / f"auth-master.{self.pid}"))

    def close(self) -> None:
        """End everything."""
        for child in (self.auth, self.server):
            child.control.shutdown(socket.SHUT_RDWR)
            try:
                child.process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                child.process.send_signal(signal.SIGKILL)
                raise
        self.listener.close()
        self._log.close()


class Client:
    """The asking end of the client protocol, blocking."""

    def __init__(self, path: str, pid: int | None = None) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(path)
        self.protocol = AuthClient()
        self._events: list[Event] = []
        self._next = 1
        self.sock.sendall(self.protocol.hello(os.getpid() if pid is None else pid))
        if pid is None:
            handshake = self.next()
            assert isinstance(handshake, Handshake)
            self.handshake = handshake

    def next(self) -> Event:
        """The next event."""
        while not self._events:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self._events += self.protocol.feed(data)
        return self._events.pop(0)

    def ask(self, mechanism: str, resp: bytes | None, **parameters: Any) -> int:
        """Send a request; its id."""
        number, self._next = self._next, self._next + 1
        given = {"service": "imap", "lip": "192.0.2.9", "rip": "192.0.2.1", **parameters}
        self.sock.sendall(self.protocol.request(number, mechanism, resp=resp, **given))
        return number

    def login(self, user: str, password: str, **parameters: Any) -> Event:
        """PLAIN with an initial response, and its answer."""
        resp = (
            b"\0"
            + user.encode("utf-8", "surrogateescape")
            + b"\0"
            + password.encode("utf-8", "surrogateescape")
        )
        self.ask("PLAIN", resp, **parameters)
        return self.next()

    def close(self) -> None:
        """End the connection."""
        self.sock.close()


class Master:
    """The asking end of the master protocol, blocking."""

    def __init__(self, path: str) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(SECONDS)
        self.sock.connect(path)
        self.protocol = MasterClient()
        self.sock.sendall(self.protocol.hello())

    def _next(self) -> Answer:
        while True:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            answers = self.protocol.feed(data)
            if answers:
                return answers[0]

    def claim(self, client_pid: int, client_id: int) -> Answer:
        """REQUEST and its answer."""
        self.sock.sendall(self.protocol.request(1, client_pid, client_id))
        return self._next()

    def user(self, name: str, service: str = "deliver") -> Answer:
        """USER and its answer."""
        self.sock.sendall(self.protocol.user(2, name, service))
        return self._next()
