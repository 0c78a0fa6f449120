"""Asking an auth process: who answers is checked, what it says is bounded, and every failure has its words."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy.ipc import authmaster
from dovecotpy.mail.asking import Asker, AskError

OWN = frozenset((os.geteuid(),))
HELLO = authmaster.MasterServerConnection.hello(os.getpid())


class Script:
    """An auth process that sends for each line that it reads the next of its answers, None: hangs up."""

    def __init__(self, path: str) -> None:
        self.answers: list[bytes | None] = []
        self.heard: list[bytes] = []
        self.connections = 0
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            self._serve(sock)

    def _serve(self, sock: socket.socket) -> None:
        with sock, sock.makefile("rb") as lines, contextlib.suppress(ConnectionError):
            sock.sendall(HELLO)
            for line in lines:
                self.heard.append(line)
                if not line.startswith(b"REQUEST"):
                    continue
                answer = self.answers.pop(0)
                if answer is None:
                    return
                sock.sendall(answer)


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.chdir(tmp_path)
    made = Script(f"auth-master.{os.getpid()}")
    yield made
    made.listener.shutdown(socket.SHUT_RDWR)
    made.listener.close()


@pytest.fixture
def asker(script: Script) -> Iterator[Asker]:
    made = Asker(".", OWN)
    yield made
    made.close()


def test_a_user(script: Script, asker: Asker) -> None:
    script.answers = [b"USER\t1\tjoe\tuid=1000\thome=/home/joe\tmail=a\x01tb\n"]
    user = asker.ask(os.getpid(), 77, 5, 10)
    assert user == authmaster.User(1, "joe", {"uid": "1000", "home": "/home/joe", "mail": "a\tb"})
    assert script.heard[-1] == b"REQUEST\t1\t77\t5\n"


def test_the_connection_is_kept_and_answers_to_other_requests_are_not_taken(
    script: Script, asker: Asker
) -> None:
    script.answers = [b"USER\t1\tjoe\n", b"USER\t1\teve\nUSER\t2\tjim\n"]
    assert asker.ask(os.getpid(), 77, 5, 10) is not None
    second = asker.ask(os.getpid(), 77, 6, 10)
    assert second is not None
    assert second.user == "jim"
    assert script.connections == 1


def test_a_kept_connection_that_was_closed_meanwhile_is_replaced(script: Script, asker: Asker) -> None:
    script.answers = [b"USER\t1\tjoe\n", None, b"USER\t3\tjim\n"]
    asker.ask(os.getpid(), 77, 5, 10)
    user = asker.ask(os.getpid(), 77, 6, 10)
    assert user is not None
    assert user.user == "jim"
    assert script.connections == 2


def test_patience(script: Script, asker: Asker) -> None:
    script.answers = [b""]
    assert asker.ask(os.getpid(), 77, 5, 0.1) is None
    assert asker.answer(0.1) is None


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"NOTFOUND\t1\n", "Authentication request not found"),
        (b"FAIL\t1\n", "Authentication process failed"),
        (b"FAIL\t1\treason=database is down\n", "Authentication process failed: database is down"),
        (None, "died"),
        (b"USER\tx\ty\n", "without a valid id"),
        (b"CUID\t7\n", "It should be a master socket"),
        (b"x" * 300_000, "too long line"),
    ],
)
def test_failures(script: Script, asker: Asker, answer: bytes | None, text: str) -> None:
    script.answers = [answer, answer]
    with pytest.raises(AskError, match=text):
        asker.ask(os.getpid(), 77, 5, 10)


def test_nobody_there(tmp_path: Path) -> None:
    with pytest.raises(AskError, match="Authentication process 5 doesn't exist"):
        Asker(str(tmp_path), OWN).ask(5, 77, 5, 1)


def test_a_socket_that_nobody_listens_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("auth-master.5")
    with pytest.raises(AskError, match="doesn't exist"):
        Asker(".", OWN).ask(5, 77, 5, 1)


def test_somebody_else_there(script: Script) -> None:
    with pytest.raises(AskError, match=r"served by pid \d+ \(uid \d+\)"):
        Asker(".", frozenset((4242,))).ask(os.getpid(), 77, 5, 1)
    os.rename(f"auth-master.{os.getpid()}", "auth-master.1")
    with pytest.raises(AskError, match="served by pid"):
        Asker(".", OWN).ask(1, 77, 5, 1)


def test_a_name_that_is_too_long_is_an_error_and_no_fault() -> None:
    with pytest.raises(AskError, match="AF_UNIX path too long"):
        Asker("/" + "x" * 200, OWN).ask(5, 77, 5, 1)
