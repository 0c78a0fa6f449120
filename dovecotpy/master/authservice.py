"""The auth processes of one auth section, and the fork server of their workers."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import NamedTuple

from dovecotpy.ipc import control
from dovecotpy.ipc.control import Verb
from dovecotpy.master.backoff import Backoff
from dovecotpy.master.channel import discard
from dovecotpy.master.children import Child, Process
from dovecotpy.master.service import ForkService, Host, Service
from dovecotpy.master.spawn import Program

GRACE = 240.0
"""Seconds that a retired auth process may live: a successful request waits 210 for a mail process to claim it."""


class AuthPlan(NamedTuple):
    """What an auth section needs."""

    name: str
    processes: int
    """auth_count"""
    worker_maximum: int
    """auth_worker_max_count, for each auth process"""
    program: Callable[[], Program]
    worker_program: Callable[[], Program]
    master_socket: Callable[[int], str]
    """the path that an auth process of that pid binds"""


class AuthService(Service):
    """`count` processes that share one socket; their workers are forked by one fork server."""

    def __init__(self, host: Host, plan: AuthPlan) -> None:
        super().__init__(host)
        self.name = f"auth({plan.name})"
        self._plan = plan
        self.processes: set[Process] = set()
        self.pool = ForkService(host, "auth-worker", plan.worker_program)
        self._starts = Backoff()
        self._retired_at = 0.0

    def start(self) -> None:
        """The fork server first: workers must inherit nothing of a client. Raises OSError."""
        self.pool.start()
        for _ in range(self._plan.processes):
            self._start_one()

    def _start_one(self) -> None:
        self.processes.add(self.host.launch(self, "auth", self._plan.program()))

    @property
    def ready(self) -> bool:
        """Whether all of them are."""
        all_there = len(self.processes) >= self._plan.processes
        return all_there and self.pool.ready and all(process.ready for process in self.processes)

    @property
    def over(self) -> bool:
        """Whether nothing is left of it."""
        return not self.processes and self.pool.over

    @property
    def trouble(self) -> str:
        """Why it could not be started, its workers' fork server included."""
        return self.failure or self.pool.failure

    def settle(self) -> None:
        """Auth processes that ended are replaced, unless they fail."""
        self.pool.settle()
        self._replace_missing()

    def begin(self) -> None:
        """Serve; the auth processes do already."""
        super().begin()
        self.pool.begin()

    def retire(self) -> None:
        """The auth processes take no new connections; their workers stay until they have ended."""
        super().retire()
        self._retired_at = self.host.now()
        for process in self.processes:
            process.expected = True
            process.channel.send(Verb.RETIRE)
        if not self.processes:
            self.pool.retire()

    def tick(self) -> None:
        """Replace what has ended; end what was retired too long ago."""
        self.pool.tick()
        now = self.host.now()
        if len(self.processes) == self._plan.processes:
            self.process_lasts(max(self.processes, key=lambda process: process.started), self._starts)
        if self.retired and now - self._retired_at > GRACE:
            for process in list(self.processes):
                self.host.part(process)
        self._replace_missing()

    def _replace_missing(self) -> None:
        missing = self._plan.processes - len(self.processes)
        wanted = missing > 0 and self.begun and not self.retired and not self.host.stopping
        if wanted and self._starts.may_try(self.host.now()):
            self._replace(missing)

    def _replace(self, missing: int) -> None:
        try:
            for _ in range(missing):
                self._start_one()
        except OSError as error:
            self._starts.failed(self.host.now())
            self.host.log.error(f"Can't start auth process: {error.strerror}")

    def said(self, child: Child, message: control.Message) -> None:
        """READY, FAILED, or a worker wanted. Raises ControlError."""
        if not isinstance(child, Process):
            return
        if message.verb is Verb.WORKER:
            self._fork_worker(message.descriptors)
        else:
            self.process_said(child, message)
        discard(message)

    def _fork_worker(self, descriptors: tuple[int, ...]) -> None:
        """The connection without a worker is closed: auth sees that there is none."""
        maximum = self._plan.worker_maximum * self._plan.processes
        if len(self.pool.workers) + self.pool.asked >= maximum:
            if self.host.reports.due("auth_worker_max_count", self.host.now()):
                self.host.log.warning(f"auth_worker_max_count={self._plan.worker_maximum} reached")
            return
        free = self.pool.server is not None and not self.pool.retired and not self.host.stopping
        if free and len(descriptors) == 1 and self.pool.births.may_try(self.host.now()):
            self.pool.fork(1, descriptors)

    def hung_up(self, child: Child) -> None:
        """An auth process ends."""
        if isinstance(child, Process):
            self.processes.discard(child)
            if self.retired and not self.processes:
                self.pool.retire()

    def ended(self, child: Child, status: int) -> None:
        """An auth process was reaped."""
        if isinstance(child, Process):
            self.process_ended(child, status, self._starts)
            with contextlib.suppress(OSError):
                os.unlink(self._plan.master_socket(child.pid))
