"""The pool of workers over real socket pairs: fairness, limits, deadlines, workers that die."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import pytest

from dovecotpy import clock
from dovecotpy.auth import workers
from dovecotpy.auth.jobs import HashVerify, Job, PassVerify, UserLookup
from dovecotpy.auth.loop import MAX_OUTPUT, Loop, Stream
from dovecotpy.auth.report import Report
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result
from dovecotpy.auth.workers import WorkerPool
from dovecotpy.ipc import authworker
from dovecotpy.ipc.authworker import Answer, WorkerReader
from dovecotpy.log.client import Log


class Lines(Log):
    def __init__(self) -> None:
        super().__init__(None)
        self.lines: list[str] = []

    def say(self, level: object, text: str, user: str = "", session: str = "", address: str = "") -> None:
        self.lines.append(f"{level} {text}")


class Bench:
    """A pool whose workers are the test's ends of the pairs."""

    def __init__(self, most: int = 2) -> None:
        self.loop = Loop()
        self.log = Lines()
        self.workers: list[socket.socket] = []
        self.refuse: OSError | None = None
        self.found: list[tuple[str, Found]] = []
        self.pool = WorkerPool(self.loop, Report(self.log), self._spawn, most)

    def _spawn(self, sock: socket.socket) -> None:
        if self.refuse is not None:
            raise self.refuse
        mine = sock.dup()
        mine.settimeout(1.0)
        self.workers.append(mine)

    def submit(
        self, user: str, address: str = "192.0.2.1", job: Callable[[int, Request], Job] = PassVerify
    ) -> None:
        self.pool.submit(
            job(0, Request("imap", user)), address, lambda found: self.found.append((user, found))
        )

    def greet(self, number: int) -> None:
        self.workers[number].sendall(authworker.encode_version())
        self.turn()

    def read(self, number: int) -> list[authworker.Job]:
        return WorkerReader().jobs(self.workers[number].recv(65536))

    def answer(self, number: int, code: int = 1) -> str:
        job = self.read(number)[0]
        self.workers[number].sendall(authworker.encode_answer(Answer(job.id, code, {"user": "x"}, text="t")))
        self.turn()
        return job.request["user"]

    def turn(self, seconds: float = 0.02) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.loop.once(0.005)


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.pool.close()
    for sock in made.workers:
        sock.close()


def test_one_job(bench: Bench) -> None:
    bench.submit("joe")
    assert len(bench.workers) == 1 and bench.found == []
    bench.greet(0)
    assert bench.answer(0) == "joe"
    assert bench.found == [("joe", Found(Result.OK, "", {"user": "x"}, ""))]
    bench.submit("ann")
    assert len(bench.workers) == 1
    bench.answer(0, 0)
    assert bench.found[1] == ("ann", Found(Result.MISMATCH, "", {"user": "x"}, "", "t"))


def test_workers_are_bounded_and_jobs_wait(bench: Bench) -> None:
    for number in range(5):
        bench.submit(f"u{number}")
    assert len(bench.workers) == 2
    bench.greet(0)
    bench.greet(1)
    users = {bench.answer(0), bench.answer(1), bench.answer(0), bench.answer(1), bench.answer(0)}
    assert users == {f"u{number}" for number in range(5)}
    assert len(bench.found) == 5 and bench.pool.count == 2


def test_addresses_take_turns(bench: Bench) -> None:
    for number in range(50):
        bench.submit(f"attacker{number}", "192.0.2.66")
    bench.submit("joe", "192.0.2.1")
    bench.submit("ann", "192.0.2.2")
    bench.greet(0)
    order = [bench.answer(0) for _ in range(6)]
    assert order == ["attacker0", "joe", "ann", "attacker1", "attacker2", "attacker3"]


def test_a_worker_that_dies_fails_its_job_alone(bench: Bench) -> None:
    bench.submit("joe")
    bench.submit("ann")
    bench.greet(0)
    bench.greet(1)
    bench.workers[0].close()
    bench.turn()
    assert len(bench.found) == 1 and bench.found[0][1].result is Result.INTERNAL
    assert bench.log.lines == ["e Auth worker ended in the middle of a request"]
    bench.answer(1)
    assert bench.found[1][1].result is Result.OK
    bench.submit("eve")
    bench.answer(1)
    assert bench.found[2] == ("eve", Found(Result.OK, "", {"user": "x"}, ""))


def test_a_worker_that_speaks_nonsense(bench: Bench) -> None:
    bench.submit("joe")
    bench.greet(0)
    bench.read(0)
    bench.workers[0].sendall(b"NONSENSE\n")
    bench.turn()
    assert bench.found[0][1].result is Result.INTERNAL and bench.pool.count == 0


def test_no_worker_can_be_had(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.refuse = OSError(11, "Resource temporarily unavailable")
    bench.submit("joe")
    assert bench.found == [] and bench.pool.count == 0
    assert bench.log.lines == [
        "e Auth worker: Couldn't create new auth worker: Resource temporarily unavailable"
    ]
    bench.refuse = None
    bench.turn(1.2)
    bench.greet(0)
    assert bench.answer(0) == "joe"


def test_a_worker_that_never_comes_is_tried_again(bench: Bench) -> None:
    bench.submit("joe")
    bench.workers[0].close()
    bench.turn(0.1)
    assert "Couldn't create new auth worker: it ended before it was ready" in bench.log.lines[0]
    assert len(bench.workers) == 1
    bench.turn(1.2)
    assert len(bench.workers) == 2
    bench.greet(1)
    assert bench.answer(1) == "joe"


def test_a_job_that_takes_too_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "JOB_SECONDS", 0.1)
    bench.submit("joe")
    bench.greet(0)
    assert bench.read(0)[0].request["user"] == "joe"
    bench.turn(0.2)
    assert bench.found == [("joe", Found(Result.INTERNAL, error=True))]
    assert bench.workers[0].recv(10) == b""
    assert bench.pool.count == 0


def test_a_job_that_waits_too_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "JOB_SECONDS", 0.1)
    bench.submit("joe")
    bench.turn(0.2)
    assert bench.found == [("joe", Found(Result.INTERNAL, error=True))]
    bench.greet(0)
    bench.workers[0].settimeout(0.05)
    with pytest.raises(TimeoutError):
        bench.workers[0].recv(10)


def test_waiting_jobs_are_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MAX_WAITING", 3)
    for number in range(5):
        bench.submit(f"u{number}")
    assert [user for user, _ in bench.found] == ["u3", "u4"]
    assert bench.log.lines == ["e Auth workers are all busy (see auth_worker_max_count)"]


def test_idle_workers_go(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.submit("joe")
    bench.greet(0)
    bench.answer(0)
    later = clock.monotonic() + workers.IDLE_SECONDS + 1
    monkeypatch.setattr(clock, "monotonic", lambda: later)
    bench.loop.once(0)
    assert bench.pool.count == 0 and bench.workers[0].recv(10) == b""


def test_every_kind_of_job(bench: Bench) -> None:
    bench.submit("joe", job=UserLookup)
    bench.greet(0)
    assert bench.answer(0) == "joe"
    done: list[Found] = []
    bench.pool.submit(HashVerify("{X}y", "PLAIN", Request("imap", "ann", password="p")), "", done.append)
    job = bench.read(0)[0]
    assert (job.verb, job.default_scheme, job.stored, job.request["pass"]) == ("HASH", "PLAIN", "{X}y", "p")


def test_a_job_too_long_for_a_line_fails(bench: Bench) -> None:
    bench.submit("joe")
    bench.greet(0)
    bench.answer(0)
    bench.submit("x" * authworker.MAX_LINE)
    assert bench.found[1][1].result is Result.INTERNAL
    bench.submit("ann")
    assert bench.answer(0) == "ann"


def test_a_reader_that_does_not_read_is_not_read_from() -> None:
    loop = Loop()
    ours, theirs = socket.socketpair()
    got: list[bytes] = []
    stream = Stream(loop, ours, got.append, lambda: None)
    stream.send(b"x" * (4 << 20))
    theirs.sendall(b"more")
    for _ in range(5):
        loop.once(0.01)
    assert got == []
    received = 0
    theirs.setblocking(False)
    while received < 4 << 20:
        try:
            received += len(theirs.recv(1 << 20))
        except BlockingIOError:
            loop.once(0.01)
    for _ in range(5):
        loop.once(0.01)
    assert got == [b"more"] and MAX_OUTPUT < 4 << 20
    stream.close()
    theirs.close()


def test_timers_in_order_and_cancelled() -> None:
    loop = Loop()
    done: list[int] = []
    loop.later(0.02, lambda: done.append(2))
    loop.later(0.01, lambda: done.append(1))
    loop.later(0.015, lambda: done.append(9)).cancel()
    deadline = time.monotonic() + 0.1
    while time.monotonic() < deadline:
        loop.once(0.01)
    assert done == [1, 2]


def test_a_worker_is_replaced_after_its_jobs() -> None:
    bench = Bench(most=1)
    bench.pool._requests = 2
    bench.submit("joe")
    bench.submit("ann")
    bench.greet(0)
    assert [bench.answer(0), bench.answer(0)] == ["joe", "ann"]
    assert bench.pool.count == 0 and bench.workers[0].recv(10) == b""
    bench.submit("eve")
    bench.greet(1)
    assert bench.answer(1) == "eve"
    assert [found.result for _, found in bench.found] == [Result.OK] * 3
    bench.pool.close()
