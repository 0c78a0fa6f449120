"""The workers as the auth process sees them: jobs wait by address and are given out fairly, each has a deadline."""

from __future__ import annotations

import socket
from collections import OrderedDict, deque
from collections.abc import Callable

from dovecotpy import clock
from dovecotpy.auth.jobs import HashVerify, Job, PassLookup, PassVerify
from dovecotpy.auth.loop import Loop, Stream, Timer
from dovecotpy.auth.report import Report
from dovecotpy.auth.results import Found, Result, failed
from dovecotpy.ipc import authworker

JOB_SECONDS = 15.0
"""From the request to its answer, the wait for a free worker included: a login says a temporary failure rather than wait longer."""
IDLE_SECONDS = 600.0
"""A worker with nothing to do for so long ends."""
MAX_WAITING = 2000
"""Jobs without a worker; beyond it they fail."""
MAX_RETRY_SECONDS = 30.0

Done = Callable[[Found], None]


class _Task:
    __slots__ = ("address", "done", "job", "timer")

    def __init__(self, job: Job, address: str, done: Done) -> None:
        self.job = job
        self.address = address
        self.done: Done | None = done
        self.timer: Timer | None = None

    def finish(self, found: Found) -> None:
        """Tell who asked, once."""
        done, self.done = self.done, None
        if self.timer is not None:
            self.timer.cancel()
        if done is not None:
            done(found)


class _Worker:
    """One connection."""

    def __init__(self, pool: WorkerPool, loop: Loop, sock: socket.socket) -> None:
        self._pool = pool
        self._reader = authworker.WorkerReader()
        self.task: _Task | None = None
        self.next_id = 1
        self.missing = "it ended before it was ready"
        self.idle_since = clock.monotonic()
        self.stream = Stream(loop, sock, self._feed, self._closed)

    @property
    def greeted(self) -> bool:
        """Whether there is a process at the other end."""
        return self._reader.greeted

    def give(self, task: _Task) -> None:
        """Send a job. Raises WorkerProtocolError when it is too long."""
        line = _line(self.next_id, task.job)
        self.task = task
        self.stream.send(line)

    def _feed(self, data: bytes) -> None:
        greeted = self.greeted
        try:
            answers = self._reader.answers(data)
        except authworker.WorkerProtocolError as error:
            self._pool.report.plain(str(error))
            self.stream.close()
            return
        if self.greeted and not greeted:
            self._pool.came(self)
        for answer in answers:
            self._answer(answer)

    def _answer(self, answer: authworker.Answer) -> None:
        if self.task is None or answer.id != self.next_id:
            return
        task, self.task = self.task, None
        self.next_id += 1
        self.idle_since = clock.monotonic()
        self._pool.answered(self, task, _found(answer))

    def _closed(self) -> None:
        self._pool.lost(self)


class WorkerPool:
    """Gives jobs to workers. `spawn` gets the other end of a fresh stream pair and sees to it that a worker serves it."""

    def __init__(
        self, loop: Loop, report: Report, spawn: Callable[[socket.socket], None], most: int, requests: int = 0
    ) -> None:
        """most: workers at a time (auth_worker_max_count). requests: jobs of one worker, 0 for any number. spawn may raise OSError."""
        self.report = report
        self._loop = loop
        self._spawn = spawn
        self._most = max(most, 1)
        self._requests = requests
        self._workers: list[_Worker] = []
        self._idle: list[_Worker] = []
        self._waiting: OrderedDict[str, deque[_Task]] = OrderedDict()
        self._waiting_count = 0
        self._failures = 0
        self._blocked = False
        loop.later(IDLE_SECONDS / 10, self._dismiss)

    def submit(self, job: Job, address: str, done: Done) -> None:
        """Have a job done. done: is called later, or at once when there is no room for it."""
        task = _Task(job, address, done)
        if self._waiting_count >= MAX_WAITING:
            self.report.lasting("Auth workers are all busy (see auth_worker_max_count)")
            task.finish(failed(""))
            return
        task.timer = self._loop.later(JOB_SECONDS, lambda: self._late(task))
        self._waiting.setdefault(address, deque()).append(task)
        self._waiting_count += 1
        self._give_out()

    def close(self) -> None:
        """Let all workers go."""
        for worker in list(self._workers):
            worker.stream.close()

    @property
    def count(self) -> int:
        """Workers there are or are on their way."""
        return len(self._workers)

    def came(self, worker: _Worker) -> None:
        """A worker said that it is there."""
        self._failures = 0
        self._idle.append(worker)
        self._give_out()

    def answered(self, worker: _Worker, task: _Task, found: Found) -> None:
        """A worker has done its job, its last one perhaps."""
        if self._requests and worker.next_id > self._requests:
            worker.stream.close()
        else:
            self._idle.append(worker)
        task.finish(found)
        self._give_out()

    def lost(self, worker: _Worker) -> None:
        """A worker's connection has ended: its job fails, and one that never came is tried again later."""
        self._workers.remove(worker)
        if worker in self._idle:
            self._idle.remove(worker)
        if worker.task is not None:
            self.report.lasting("Auth worker ended in the middle of a request")
            worker.task.finish(failed(""))
        if not worker.greeted:
            self._no_worker(worker.missing)
        self._give_out()

    def _give_out(self) -> None:
        while self._waiting_count and self._idle:
            task = self._take()
            if task.done is None:
                continue
            worker = self._idle.pop()
            try:
                worker.give(task)
            except authworker.WorkerProtocolError as error:
                self._idle.append(worker)
                task.finish(failed(str(error)))
        starting = sum(not worker.greeted for worker in self._workers)
        while starting < self._waiting_count and len(self._workers) < self._most and not self._blocked:
            starting += 1
            self._start()

    def _take(self) -> _Task:
        """The next job: one of each address in turn."""
        address, tasks = next(iter(self._waiting.items()))
        task = tasks.popleft()
        self._waiting_count -= 1
        if tasks:
            self._waiting.move_to_end(address)
        else:
            del self._waiting[address]
        return task

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        self._workers.append(_Worker(self, self._loop, ours))
        try:
            self._spawn(theirs)
        except OSError as error:
            self._workers[-1].missing = error.strerror or str(error)
            self._workers[-1].stream.close()
        finally:
            theirs.close()

    def _no_worker(self, why: str) -> None:
        self.report.lasting(f"Auth worker: Couldn't create new auth worker: {why}")
        wait = min(2.0**self._failures, MAX_RETRY_SECONDS)
        self._failures += 1
        if not self._blocked:
            self._blocked = True
            self._loop.later(wait, self._unblock)

    def _unblock(self) -> None:
        self._blocked = False
        self._give_out()

    def _late(self, task: _Task) -> None:
        """A job took too long: who asked is told, and a worker that is stuck in it is given up."""
        task.timer = None
        self.report.lasting(f"Auth worker didn't answer in {JOB_SECONDS:.0f} seconds")
        task.finish(failed(""))
        for worker in self._workers:
            if worker.task is task:
                worker.stream.close()
                return

    def _dismiss(self) -> None:
        now = clock.monotonic()
        for worker in list(self._idle):
            if now - worker.idle_since > IDLE_SECONDS:
                worker.stream.close()
        self._loop.later(IDLE_SECONDS / 10, self._dismiss)


def _line(id: int, job: Job) -> bytes:
    request = job.request.encode()
    if isinstance(job, HashVerify):
        line = authworker.Job(id, authworker.Verb.HASH, 0, {}, job.default_scheme, job.stored)
        return authworker.encode_job(line, request)
    verb = authworker.Verb.USER
    if isinstance(job, PassVerify):
        verb = authworker.Verb.PASSV
    elif isinstance(job, PassLookup):
        verb = authworker.Verb.PASSL
    return authworker.encode_job(authworker.Job(id, verb, job.number, {}), request)


def _found(answer: authworker.Answer) -> Found:
    try:
        result = Result(answer.code)
    except ValueError:
        return failed("Auth worker gave an unknown answer")
    fields = dict(answer.fields)
    return Found(result, answer.password, fields, answer.default_scheme, answer.text, answer.error)
