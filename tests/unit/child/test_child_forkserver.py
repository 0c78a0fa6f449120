"""The fork server's loop, seen from the master's end of its control socket."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import socket
from collections.abc import Callable, Iterator

import pytest

import dovecotpy
from dovecotpy.child import forkserver, worker
from dovecotpy.child.forkserver import Birth, ForkServer
from dovecotpy.ipc import control, fdpass
from dovecotpy.ipc.control import Message, Verb


class Running:
    """A fork server in a process of its own; `run` is what its workers do."""

    def __init__(self, run: Callable[[Birth], int]) -> None:
        self.channel, theirs = fdpass.pair()
        self.pid = os.fork()
        if self.pid == 0:
            self.channel.close()
            try:
                ForkServer(theirs, run).serve()
            finally:
                os._exit(0)
        theirs.close()
        self.channel.settimeout(10)

    def next(self) -> Message:
        message = control.receive(self.channel)
        assert message is not None
        return message

    def fork(self, count: int = 1, descriptors: tuple[int, ...] = ()) -> list[tuple[int, socket.socket]]:
        """pid and control socket of each new worker."""
        control.send(self.channel, Verb.FORK, count, descriptors=descriptors)
        born = []
        while len(born) < count:
            message = self.next()
            if message.verb is Verb.FORKED:
                sock = socket.socket(fileno=message.descriptors[0])
                sock.settimeout(10)
                born.append((message.number(0), sock))
        return born

    def ended(self) -> bool:
        self.channel.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1]) == 0


def answer_and_wait(birth: Birth) -> int:
    control.send(birth.control, Verb.TAKEN)
    message = control.receive(birth.control)
    return 7 if message is None else 0


@pytest.fixture
def server() -> Iterator[Running]:
    running = Running(answer_and_wait)
    ready = running.next()
    assert (ready.verb, ready.text(0)) == (Verb.READY, dovecotpy.__version__)
    yield running
    try:
        os.kill(running.pid, signal.SIGKILL)
        os.waitpid(running.pid, 0)
    except (ProcessLookupError, ChildProcessError):
        return


def test_each_worker_has_a_control_socket_of_its_own(server: Running) -> None:
    (first, one), (second, two) = server.fork(2)
    assert first != second
    for sock in (one, two):
        message = control.receive(sock)
        assert message is not None and message.verb is Verb.TAKEN


def test_the_end_of_a_worker_is_reported_with_its_status(server: Running) -> None:
    ((pid, sock),) = server.fork()
    assert control.receive(sock) is not None
    sock.close()
    message = server.next()
    assert (message.verb, message.number(0)) == (Verb.EXITED, pid)
    assert os.waitstatus_to_exitcode(message.number(1)) == 7


def test_ends_that_come_together_are_told_together(server: Running) -> None:
    born = server.fork(3)
    for _, sock in born:
        assert control.receive(sock) is not None
        sock.close()
    ends: dict[int, int] = {}
    packets = 0
    while len(ends) < 3:
        message = server.next()
        packets += 1
        assert message.verb is Verb.EXITED
        numbers = [message.number(index) for index in range(len(message.fields))]
        ends.update(zip(numbers[::2], numbers[1::2], strict=True))
    assert set(ends) == {pid for pid, _ in born}
    assert {os.waitstatus_to_exitcode(status) for status in ends.values()} == {7}
    assert packets <= 3


def test_more_ends_than_a_packet_holds_are_all_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "MAX_ENDS", 2)
    monkeypatch.setattr(forkserver, "GATHER_SECONDS", 0.5)
    running = Running(lambda birth: 0)
    running.next()
    born = {pid for pid, _ in running.fork(5)}
    packets: list[tuple[str, ...]] = []
    while sum(map(len, packets)) < 10:
        packets.append(running.next().fields)
    assert max(map(len, packets)) <= 4
    assert {int(pid) for fields in packets for pid in fields[::2]} == born
    assert running.ended()


def test_an_order_that_comes_with_nothing_and_one_with_a_descriptor_are_both_obeyed(server: Running) -> None:
    read, write = os.pipe()
    assert len(server.fork(2)) == 2
    assert len(server.fork(1, (write,))) == 1
    os.close(write)
    os.close(read)


def test_a_killed_worker_is_reported_with_its_signal(server: Running) -> None:
    ((pid, _),) = server.fork()
    control.send(server.channel, Verb.KILL, pid)
    message = server.next()
    assert os.waitstatus_to_exitcode(message.number(1)) == -signal.SIGKILL


def test_it_kills_nobody_but_its_own_workers(server: Running) -> None:
    bystander = os.fork()
    if bystander == 0:
        signal.pause()
    control.send(server.channel, Verb.KILL, bystander)
    server.fork()
    assert os.waitpid(bystander, os.WNOHANG) == (0, 0)
    os.kill(bystander, signal.SIGKILL)
    os.waitpid(bystander, 0)


def test_it_retires(server: Running) -> None:
    control.send(server.channel, Verb.RETIRE)
    assert server.ended()


def test_it_ends_with_the_master(server: Running) -> None:
    assert server.ended()


def test_workers_outlive_a_retired_fork_server(server: Running) -> None:
    ((_, sock),) = server.fork()
    assert control.receive(sock) is not None
    control.send(server.channel, Verb.RETIRE)
    assert server.ended()
    assert not select.select([sock], [], [], 0.2)[0]


def test_what_comes_with_fork_goes_to_the_worker() -> None:
    def write_there(birth: Birth) -> int:
        os.write(birth.descriptors[0], b"from the worker")
        return 0

    running = Running(write_there)
    running.next()
    read, write = os.pipe()
    running.fork(1, (write,))
    assert os.read(read, 100) == b"from the worker"
    assert running.ended()


def test_a_worker_that_raises_never_comes_back_into_the_loop() -> None:
    def fail(birth: Birth) -> int:
        raise RuntimeError("expected by this test")

    running = Running(fail)
    running.next()
    running.fork()
    message = running.next()
    assert message.verb is Verb.EXITED
    assert os.waitstatus_to_exitcode(message.number(1)) == 1
    assert running.ended()


def test_a_worker_holds_what_it_was_told_to_keep_and_no_more() -> None:
    def list_descriptors(birth: Birth) -> int:
        listing = os.open("/proc/self/fd", os.O_RDONLY)
        names = sorted(int(name) for name in os.listdir(listing))
        os.close(listing)
        control.send(birth.control, Verb.STATE, *[name for name in names if name not in (listing, 0, 1, 2)])
        birth.control.recv(1)
        return 0

    extra = os.open("/dev/null", os.O_RDONLY)
    running = Running(list_descriptors)
    running.next()
    ((_, sock),) = running.fork()
    message = control.receive(sock)
    assert message is not None
    held = [int(word) for word in message.fields]
    assert len(held) <= 2, held  # its control socket, and the directory that it lists
    sock.close()
    os.close(extra)
    running.next()
    assert running.ended()


def test_close_all_but_keeps_what_is_named() -> None:
    pid = os.fork()
    if pid == 0:
        keep = os.dup2(1, 50)
        os.dup2(1, 51)
        worker.close_all_but([50])
        try:
            os.fstat(keep)
            os.fstat(51)
        except OSError:
            os._exit(0)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_nobody_may_attach_to_a_worker_from_its_birth_on() -> None:
    def tell(birth: Birth) -> int:
        control.send(birth.control, Verb.SLOT, ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))  # PR_GET_DUMPABLE
        return 0

    running = Running(tell)
    running.next()
    ((_, sock),) = running.fork()
    message = control.receive(sock)
    assert message is not None
    assert message.number(0) == 0
    assert running.ended()
