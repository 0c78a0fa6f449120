"""The real fork server of login and its real workers, with the scripted auth and mail processes of the unit tests around them."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dovecotpy.child import bootstrap
from dovecotpy.config.values import Settings
from dovecotpy.ipc import control, fdpass, record
from dovecotpy.ipc.control import Verb
from tests.unit.login.login_stage import Caller, FakeAuth, FakeMail, settings

AS_ROOT = os.geteuid() == 0
USER = "nobody" if AS_ROOT else pwd.getpwuid(os.geteuid()).pw_name


class LoginProcess:
    """A fork server and the workers that the test had it fork."""

    def __init__(self, directory: Path, **changes: Any) -> None:
        self.directory = directory
        self.auth = FakeAuth()
        self.mail = FakeMail()
        self._open()
        self.listener = _listener()
        self.tls_listener = _listener()
        self.control, theirs = fdpass.pair()
        self._records, log_end = fdpass.pair()
        self.lines: list[str] = []
        self.messages: list[control.Message] = []
        self.workers: dict[int, socket.socket] = {}
        self.states: dict[int, list[tuple[int, ...]]] = {}
        self.exits: dict[int, int] = {}
        self._callers: list[Caller] = []
        self._records.setblocking(False)
        self.control.setblocking(False)
        given = settings(
            **{"login_dir": str(directory), "login_user": USER, "login_chroot": AS_ROOT, **changes}
        )
        self.process = self._start(given, theirs, log_end)
        theirs.close()
        log_end.close()

    def _open(self) -> None:
        """What the login user must reach, as the master makes it."""
        os.chmod(self.directory, 0o755)
        for name in ("default", "mail/imap"):
            os.chmod(name, 0o666)
        os.chmod("mail", 0o755)

    def _start(
        self, given: Settings, theirs: socket.socket, log_end: socket.socket
    ) -> subprocess.Popen[bytes]:
        reading, writing = os.pipe()
        descriptors = {
            "control": theirs.fileno(),
            "log": log_end.fileno(),
            "settings": reading,
            "listen.plain.0": self.listener.fileno(),
            "listen.ssl.0": self.tls_listener.fileno(),
        }
        process = subprocess.Popen(
            [sys.executable, "-I", "-m", "dovecotpy.login"],
            pass_fds=list(descriptors.values()),
            env=bootstrap.environment(descriptors, {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
        os.close(reading)
        blocks = {"settings": given, "auths": Settings({"0": "default"})}
        with open(writing, "wb") as pipe:
            pipe.write(bootstrap.encode_settings(blocks))
        return process

    def heard(self, verb: Verb) -> control.Message | None:
        """A message of the fork server's with this verb."""
        return next((message for message in self.messages if message.verb is verb), None)

    def ready(self) -> LoginProcess:
        """Wait until it serves."""
        self.until(lambda: self.heard(Verb.READY) is not None or self.heard(Verb.FAILED) is not None)
        assert self.heard(Verb.READY) is not None, self.messages
        return self

    def fork(self, count: int = 1) -> list[int]:
        """Have workers forked, and let them go; their pids."""
        before = set(self.workers)
        control.send(self.control, Verb.FORK, count)
        self.until(lambda: len(self.workers) == len(before) + count)
        new = [pid for pid in self.workers if pid not in before]
        for pid in new:
            control.send(self.workers[pid], Verb.GO)
        self.until(lambda: all(self.states[pid] for pid in new))
        return new

    def call(self, *, tls: bool = False) -> Caller:
        listener = self.tls_listener if tls else self.listener
        sock = socket.create_connection(listener.getsockname(), source_address=("127.0.0.2", 0))
        caller = Caller(self, sock)  # type: ignore[arg-type]
        self._callers.append(caller)
        return caller

    def step(self) -> None:
        self.auth.pump()
        self.mail.pump()
        self._hear()
        for pid, sock in list(self.workers.items()):
            self._hear_worker(pid, sock)
        with contextlib.suppress(BlockingIOError):
            while data := self._records.recv(record.MAX_PACKET):
                self.lines += [each.text for each in record.decode(data)]
        time.sleep(0.001)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while (message := control.receive(self.control)) is not None:
                self.messages.append(message)
                if message.verb is Verb.FORKED:
                    sock = socket.socket(fileno=message.descriptors[0])
                    sock.setblocking(False)
                    self.workers[message.number(0)] = sock
                    self.states[message.number(0)] = []
                elif message.verb is Verb.EXITED:
                    for index in range(0, len(message.fields), 2):
                        self.exits[message.number(index)] = message.number(index + 1)

    def _hear_worker(self, pid: int, sock: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            while (message := control.receive(sock)) is not None:
                if message.verb is Verb.STATE:
                    self.states[pid].append(tuple(message.number(index) for index in range(3)))

    def until(self, done: Callable[[], bool], seconds: float = 20.0) -> None:
        """Play until something is so."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, ("nothing happened", self.lines, self.messages, self.states)
            self.step()

    def rounds(self, count: int = 20) -> None:
        for _ in range(count):
            self.step()

    def close(self) -> None:
        for caller in self._callers:
            caller.close()
        for sock in self.workers.values():
            sock.close()
        self.control.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self.auth.close()
            self.mail.close()
            for sock in (self._records, self.listener, self.tls_listener):
                sock.close()


@contextlib.contextmanager
def login_process(directory: Path, **changes: Any) -> Iterator[LoginProcess]:
    """A fork server of login in a directory that is the working directory too."""
    made = LoginProcess(directory, **changes)
    try:
        yield made
    finally:
        made.close()


def _listener() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen(511)
    return sock
