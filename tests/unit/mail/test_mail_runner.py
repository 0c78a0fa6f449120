"""The loop of a session: what it writes when, what it waits for, and how it ends."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import NamedTuple

import pytest

from dovecotpy import clock
from dovecotpy.ipc import control, fdpass
from dovecotpy.ipc.control import Verb
from dovecotpy.mail import runner as runner_module
from dovecotpy.mail.runner import BATCH, LARGE_READ, Outcome, Runner, Signals
from dovecotpy.storage.driver import Wait


class End(NamedTuple):
    text: str


class Script:
    """A session of lines: `echo`, `flood N`, `work N` (slices without output), `quit`, `crash`."""

    def __init__(self) -> None:
        self.ended: End | None = None
        self.within_literal = False
        self.buffer = b""
        self.chunks: list[bytes] = []
        self.slices = 0
        self.pulled = 0
        self.ticks = 0
        self.gone = False
        self.interval = 1000.0
        self.bell: int | None = None
        self.compressing = False

    @property
    def working(self) -> bool:
        return self.slices > 0

    def feed(self, data: bytes) -> None:
        self.buffer += data

    def wants_input(self) -> bool:
        return not self.working and self.ended is None and b"\n" not in self.buffer

    def pull(self) -> bytes:
        if self.slices:
            self.slices -= 1
            if not self.slices:
                self.chunks.append(b"worked\n")
            return b""
        while not (self.chunks or self.slices or self.ended or self.compressing) and b"\n" in self.buffer:
            line, _, self.buffer = self.buffer.partition(b"\n")
            self.obey(line)
        if not self.chunks:
            return b""
        self.pulled += 1
        return self.chunks.pop(0)

    def obey(self, line: bytes) -> None:
        word, _, number = line.partition(b" ")
        if word == b"echo":
            self.chunks.append(line + b"\n")
        elif word == b"flood":
            self.chunks += [b"x" * 65536] * int(number)
        elif word == b"work":
            self.slices = int(number)
        elif word == b"compress":
            self.chunks.append(b"compressed from here\n")
            self.compressing = True
        elif word == b"crash":
            raise ValueError("crashed as told")
        elif word == b"quit":
            self.chunks.append(b"bye\n")
            self.ended = End("Disconnected: Logged out")

    def compressed_from_here(self) -> bytes | None:
        if not self.compressing or self.chunks:
            return None
        self.compressing = False
        early, self.buffer = self.buffer, b""
        return early

    def wait(self) -> Wait:
        return Wait(self.bell, self.interval)

    def tick(self) -> None:
        self.ticks += 1
        if self.bell is not None:
            os.read(self.bell, 100)
        self.chunks.append(b"tick\n")

    def disconnected(self) -> None:
        self.gone = True

    def shut_down(self) -> None:
        self.chunks.append(b"shutdown\n")
        self.ended = End("Server shutting down")


class Stage:
    """A runner in a thread, with the test as client and as master."""

    def __init__(self, *, shutdown_clients: bool = True) -> None:
        self.session = Script()
        self.inner, self.client = socket.socketpair()
        self.master, self.lifeline = fdpass.pair()
        self.client.settimeout(10)
        self.shutdown_clients = shutdown_clients
        self.outcome: Outcome | None = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run)

    def start(self) -> Stage:
        self.thread.start()
        return self

    def _run(self) -> None:
        runner = Runner(
            self.session, self.inner, self.lifeline, shutdown_clients=self.shutdown_clients, received=3
        )
        try:
            self.outcome = runner.run()
        except ValueError as error:
            self.error = error
        self.inner.close()

    def end(self) -> Outcome:
        self.thread.join(20)
        assert not self.thread.is_alive(), "the session did not end"
        assert self.outcome is not None
        return self.outcome

    def close(self) -> None:
        self.client.close()
        if self.thread.ident is not None:
            self.thread.join(20)
        for sock in (self.inner, self.master, self.lifeline):
            sock.close()

    def say(self, data: bytes) -> None:
        self.client.sendall(data)

    def hear(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.client.recv(size - len(data))
            if not piece:
                break
            data += piece
        return data


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    deadline = clock.monotonic() + 10
    while not condition():
        assert clock.monotonic() < deadline, "it did not come to that"
        threading.Event().wait(0.005)


def test_a_session_and_its_octets(stage: Stage) -> None:
    stage.start().say(b"echo one\necho two\nquit\n")
    assert stage.hear(100) == b"echo one\necho two\nbye\n"
    assert stage.end() == Outcome("Disconnected: Logged out", 3 + 23, 22, False)


def test_the_client_goes(stage: Stage) -> None:
    stage.start().say(b"echo one\n")
    stage.hear(9)
    stage.client.close()
    assert stage.end().text == "Connection closed"
    assert stage.session.gone


def test_half_a_connection_still_gets_its_answers(stage: Stage) -> None:
    stage.start().say(b"work 5\necho one\n")
    stage.client.shutdown(socket.SHUT_WR)
    assert stage.hear(100) == b"worked\necho one\n"
    assert stage.end().text == "Connection closed"


def test_a_reset_says_why() -> None:
    stage = Stage()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        stage.client.close()
        stage.inner.close()
        stage.client = socket.create_connection(listener.getsockname())
        stage.inner = listener.accept()[0]
    stage.start()
    stage.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    stage.client.close()
    assert stage.end().text == "Connection closed: Connection reset by peer"
    stage.close()


def test_a_client_that_does_not_read_stops_its_own_session_only(stage: Stage) -> None:
    stage.start().say(b"flood 200\nquit\n")
    until(lambda: stage.session.pulled > 0)
    threading.Event().wait(0.2)
    assert stage.session.pulled < 20, "chunks are made although nobody reads"
    assert len(stage.hear(200 * 65536)) == 200 * 65536
    assert stage.hear(100) == b"bye\n"
    assert stage.end().sent == 200 * 65536 + 4


def test_without_progress_in_writing_the_client_is_given_up(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "WRITE_STALL", 0.3)
    stage.start().say(b"flood 1000\n")
    assert stage.end().text == "Disconnected for inactivity in reading our output"
    assert stage.session.gone


def test_slow_progress_is_progress(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "WRITE_STALL", 0.5)
    stage.start().say(b"flood 30\nquit\n")
    for _ in range(8):
        threading.Event().wait(0.1)
        stage.hear(200000)
    stage.hear(30 * 65536 - 8 * 200000 + 4)
    assert stage.end().text == "Disconnected: Logged out"


def test_small_chunks_travel_together(stage: Stage) -> None:
    sends: list[int] = []

    class Counting:
        def send(self, data: bytes | memoryview, flags: int) -> int:
            sends.append(len(data))
            return stage.inner.send(data, flags)

        def __getattr__(self, name: str) -> object:
            return getattr(stage.inner, name)

    stage.session.chunks = [b"a" * 100] * 500
    stage.session.ended = End("over")
    output = Counting()
    runner = Runner(
        stage.session,
        stage.inner,
        stage.lifeline,
        shutdown_clients=True,
        output=output,  # type: ignore[arg-type]
    )
    runner.run()
    assert sum(sends) == 50000
    assert len(sends) < 20
    assert max(sends) <= BATCH


def test_the_mailbox_rings(stage: Stage) -> None:
    reading, writing = os.pipe()
    stage.session.bell = reading
    stage.start()
    os.write(writing, b"x")
    assert stage.hear(5) == b"tick\n"
    assert stage.session.ticks == 1
    stage.say(b"quit\n")
    stage.end()
    os.close(reading)
    os.close(writing)


def test_time_passes(stage: Stage) -> None:
    stage.session.interval = 0.05
    stage.start()
    assert stage.hear(10) == b"tick\ntick\n"


def test_no_tick_while_a_command_works(stage: Stage) -> None:
    stage.start().say(b"work 200\n")
    assert stage.hear(7) == b"worked\n"
    assert stage.session.ticks == 0


def test_the_end_of_the_master_ends_the_session(stage: Stage) -> None:
    stage.start().say(b"echo x\n")
    stage.hear(7)
    stage.master.close()
    assert stage.hear(100) == b"shutdown\n"
    assert stage.end() == Outcome("Server shutting down", 3 + 7, 16, True)


def test_the_end_of_the_master_reaches_a_session_whose_client_does_not_read(stage: Stage) -> None:
    stage.start().say(b"flood 1000\n")
    until(lambda: stage.session.pulled > 1)
    stage.master.close()
    assert stage.end().text == "Server shutting down"


def test_without_shutdown_clients_a_session_outlives_the_master() -> None:
    stage = Stage(shutdown_clients=False).start()
    stage.master.close()
    stage.say(b"echo still\nquit\n")
    assert stage.hear(100) == b"echo still\nbye\n"
    assert stage.end().server_ends, "a process without a master waits for no other session"
    stage.close()


def test_retire_lets_the_session_go_on_and_no_other_follow(stage: Stage) -> None:
    stage.start()
    control.send(stage.master, Verb.RETIRE)
    stage.say(b"echo still\nquit\n")
    assert stage.hear(100) == b"echo still\nbye\n"
    assert stage.end().server_ends


@pytest.mark.parametrize("shutdown_clients", [True, False])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_session_with_its_last_word(number: int, shutdown_clients: bool) -> None:
    stage = Stage(shutdown_clients=shutdown_clients)
    runner = Runner(stage.session, stage.inner, stage.lifeline, shutdown_clients=shutdown_clients)
    if not shutdown_clients:
        stage.master.close()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), number))
    timer.start()
    with Signals(runner) as signals:
        outcome = runner.run()
    timer.join()
    stage.inner.close()
    assert outcome.text == "Server shutting down"
    assert outcome.server_ends
    assert signals.received == number
    assert stage.hear(100) == b"shutdown\n"
    stage.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_a_fault_of_the_session_comes_through(stage: Stage) -> None:
    stage.start().say(b"crash\n")
    stage.thread.join(10)
    assert str(stage.error) == "crashed as told"


def test_last_words_survive_input_that_came_too_late() -> None:
    """A close() with unread input resets the connection, and the reset may overtake what was written."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        inner = listener.accept()[0]
    session = Script()
    session.buffer = b"quit\n"
    client.sendall(b"y" * 100_000)
    master, lifeline = fdpass.pair()
    timer = threading.Timer(0.2, client.shutdown, (socket.SHUT_WR,))
    timer.start()
    Runner(session, inner, lifeline, shutdown_clients=True).run()
    inner.close()
    timer.join()
    assert client.recv(100) == b"bye\n"
    assert client.recv(100) == b""
    for sock in (client, master, lifeline):
        sock.close()


def test_reads_grow_with_the_input(stage: Stage) -> None:
    sizes: list[int] = []
    real = stage.session.feed
    stage.session.feed = lambda data: (sizes.append(len(data)), real(data))[1]  # type: ignore[method-assign]
    writer = threading.Thread(target=stage.say, args=(b"z" * 1_000_000 + b"\nquit\n",))
    writer.start()
    stage.start()
    assert stage.hear(4) == b"bye\n"
    writer.join()
    assert max(sizes) <= LARGE_READ
    assert len(sizes) < 100
