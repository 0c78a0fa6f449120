"""A service: the processes of one kind and one generation, and what the master does when they speak or end."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol

import dovecotpy
from dovecotpy.ipc import control
from dovecotpy.ipc.control import Verb
from dovecotpy.log.client import Log
from dovecotpy.master import reasons
from dovecotpy.master.backoff import Backoff
from dovecotpy.master.channel import Channel, discard
from dovecotpy.master.children import Child, Process, Worker
from dovecotpy.master.reports import Reports
from dovecotpy.master.slots import Slots
from dovecotpy.master.spawn import Program

EARLY = 5.0
"""Seconds after its start in which the end of an exec'ed child counts as a failed start."""


class Host(Protocol):
    """What the master offers its services."""

    log: Log
    slots: Slots
    reports: Reports
    ignore_versions: bool

    @property
    def stopping(self) -> bool:
        """Whether the server ends."""

    def now(self) -> float:
        """Monotonic seconds."""

    def launch(self, service: Service, kind: str, program: Program) -> Process:
        """Exec a child. Raises OSError."""

    def adopt(self, worker: Worker) -> None:
        """Listen to a worker that a fork server made."""

    def part(self, child: Child) -> None:
        """Close its control socket: it sees the end."""

    def exited(self, server: Process, pid: int, status: int) -> None:
        """A fork server reaped a worker."""

    def kill_login(self, pid: int) -> None:
        """End the login worker with that pid, if there is one."""


class Service(ABC):
    """The common part. A service is started, becomes ready, begins, is retired, and is over when its last child has ended."""

    name = ""
    """for log lines"""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.begun = False
        self.retired = False
        self.failure = ""
        """why it could not be started"""

    @abstractmethod
    def start(self) -> None:
        """Exec the long-lived children. Raises OSError."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether all long-lived children are."""

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether nothing is left of it."""

    @property
    def trouble(self) -> str:
        """Why it could not be started; empty as long as it may be."""
        return self.failure

    def begin(self) -> None:
        """Serve: the generation is the current one from now on."""
        self.begun = True

    def retire(self) -> None:
        """Take nothing new, finish what is held."""
        self.retired = True

    @abstractmethod
    def tick(self) -> None:
        """A second has passed."""

    @abstractmethod
    def settle(self) -> None:
        """After a round of events: replace at once what is missing."""

    def said(self, child: Child, message: control.Message) -> None:
        """A child sent a message. Raises ControlError."""
        discard(message)

    @abstractmethod
    def hung_up(self, child: Child) -> None:
        """A child's control socket has ended."""

    @abstractmethod
    def ended(self, child: Child, status: int) -> None:
        """A child was reaped."""

    def fail(self, text: str) -> None:
        """It cannot be started; the first reason is the one that is said."""
        self.failure = self.failure or text

    def process_said(self, process: Process, message: control.Message) -> None:
        """READY or FAILED of an exec'ed child."""
        if message.verb is Verb.FAILED:
            process.said_why = True
            self._refused(process, message.text(0))
        elif message.verb is Verb.READY:
            version = message.text(0)
            if version != dovecotpy.__version__ and not self.host.ignore_versions:
                what = f"Master is v{dovecotpy.__version__}, {process.kind} is v{version}"
                self._refused(process, f"Dovecot version mismatch: {what}")
                process.expected = True
                self.host.part(process)
            else:
                process.ready = True

    def _refused(self, process: Process, text: str) -> None:
        process.failure = text
        if self.begun:
            self.host.log.error(f"{process.kind}: {text}")
        else:
            self.fail(text)

    def process_ended(self, process: Process, status: int, backoff: Backoff) -> None:
        """An exec'ed child ended: count it as a failed start when it came early."""
        how = reasons.describe(process.pid, process.kind, status, process.said_why)
        if not self.begun:
            self.fail(f"{how or f'{process.kind} process ended at its start'}, see the log")
            return
        if process.expected or self.host.stopping:
            return
        now = self.host.now()
        early = now - process.started < EARLY
        if early and backoff.failed(now):
            self.host.log.error(
                f"Temporary failure in creating {process.kind} processes, slowing down for now"
            )

    def process_lasts(self, process: Process | None, backoff: Backoff) -> None:
        """Once a second: an exec'ed child that has been at work for a while ends the delays."""
        if process is None or not process.ready or self.host.now() - process.started < EARLY:
            return
        if backoff.succeeded():
            self.host.log.info(f"Created {process.kind} processes successfully, unstalling")


class ForkService(Service):
    """A fork server and its workers.

    kind: of the workers, as log lines name them; program: how the fork server is started.
    """

    worker_class: type[Worker] = Worker
    worker_role = "auth worker"

    def __init__(self, host: Host, kind: str, program: Callable[[], Program]) -> None:
        super().__init__(host)
        self.name = kind
        self.kind = kind
        self._program = program
        self.server: Process | None = None
        self.workers: set[Worker] = set()
        self.asked = 0
        """workers that the fork server was asked for and has not announced"""
        self.starts = Backoff()
        self.births = Backoff()

    def start(self) -> None:
        """Exec the fork server. Raises OSError."""
        self.server = self.host.launch(self, f"{self.kind} fork server", self._program())
        self.asked = 0

    @property
    def ready(self) -> bool:
        """Whether the fork server is."""
        return self.server is not None and self.server.ready

    @property
    def over(self) -> bool:
        """Whether fork server and workers have ended."""
        return self.server is None and not self.workers

    @property
    def may_fork(self) -> bool:
        """Whether workers are to be made now."""
        free = self.ready and not self.retired and not self.host.stopping
        return self.begun and free and self.births.may_try(self.host.now())

    def fork(self, count: int, descriptors: tuple[int, ...] = ()) -> None:
        """Ask for workers."""
        if self.server is not None and count > 0:
            self.asked += count
            self.server.channel.send(Verb.FORK, count, descriptors=descriptors)

    def retire(self) -> None:
        """End the fork server, tell the workers to finish."""
        super().retire()
        for worker in list(self.workers):
            self.retire_worker(worker)
        self.retire_server()

    def retire_server(self) -> None:
        """No worker is made any more."""
        if self.server is not None:
            self.server.expected = True
            self.server.channel.send(Verb.RETIRE)

    def retire_worker(self, worker: Worker) -> None:
        """It takes nothing new and ends when what it holds has ended."""
        worker.retired = True
        worker.channel.send(Verb.RETIRE)

    def tick(self) -> None:
        """A second has passed."""
        self.process_lasts(self.server, self.starts)
        self.revive()

    def revive(self) -> None:
        """Start a fork server that has ended again, at once or when its delay has passed."""
        gone = self.server is None and self.begun and not self.retired and not self.host.stopping
        if gone and self.starts.may_try(self.host.now()):
            try:
                self.start()
            except OSError as error:
                self.starts.failed(self.host.now())
                self.host.log.error(f"Can't start {self.kind} fork server: {error.strerror}")

    def settle(self) -> None:
        """Workers are made when somebody asks for one."""
        self.revive()

    def said(self, child: Child, message: control.Message) -> None:
        """From the fork server or from a worker. Raises ControlError."""
        if isinstance(child, Worker):
            self.worker_said(child, message)
        elif isinstance(child, Process):
            self._server_said(child, message)

    def _server_said(self, server: Process, message: control.Message) -> None:
        if message.verb is Verb.FORKED:
            self._born(server, message)
        elif message.verb is Verb.EXITED:
            for index in range(0, len(message.fields), 2):
                self.host.exited(server, message.number(index), message.number(index + 1))
        elif message.verb is Verb.FAILED and server.ready:
            self._could_not_fork(message.text(0))
        else:
            self.process_said(server, message)
        if message.verb is not Verb.FORKED:
            discard(message)

    def early(self, worker: Worker) -> bool:
        """Whether it ended so soon that the next one would too."""
        return self.host.now() - worker.born < EARLY

    def _could_not_fork(self, text: str) -> None:
        self.asked = max(0, self.asked - 1)
        self.host.log.error(f"{self.kind}: {text}")
        self.birth_failed()

    def birth_failed(self) -> None:
        """A worker could not be made, or ended before it did anything."""
        if self.births.failed(self.host.now()):
            self.host.log.error(f"Temporary failure in creating {self.kind} processes, slowing down for now")

    def birth_succeeded(self) -> None:
        """A worker is at work."""
        if self.births.succeeded():
            self.host.log.info(f"Created {self.kind} processes successfully, unstalling")

    def _born(self, server: Process, message: control.Message) -> None:
        if len(message.descriptors) != 1:
            discard(message)
            raise control.ControlError("FORKED without a control socket")
        self.asked = max(0, self.asked - 1)
        channel = Channel(_packets(message.descriptors[0]), self.worker_role)
        worker = self.worker_class(message.number(0), self.kind, channel, self, server)
        worker.born = self.host.now()
        self.workers.add(worker)
        self.host.adopt(worker)
        if self.retired or self.host.stopping:
            self.retire_worker(worker)
        else:
            channel.send(Verb.GO)
            self.worker_born(worker)

    def worker_born(self, worker: Worker) -> None:
        """A worker has been told to go."""

    def worker_said(self, worker: Worker, message: control.Message) -> None:
        """A worker sent a message. Raises ControlError."""
        discard(message)

    def hung_up(self, child: Child) -> None:
        """A worker's session is over, or the fork server ends."""
        if isinstance(child, Worker):
            self.workers.discard(child)
        elif child is self.server:
            self.server = None
            self.asked = 0

    def ended(self, child: Child, status: int) -> None:
        """The fork server or a worker was reaped."""
        if isinstance(child, Process):
            self.process_ended(child, status, self.starts)
        elif isinstance(child, Worker):
            self.worker_ended(child, status)

    def worker_ended(self, worker: Worker, status: int) -> None:
        """A worker was reaped; its reason has been said."""


def _packets(descriptor: int) -> socket.socket:
    """The socket of a pair; saying what it is saves asking the kernel."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, descriptor)
