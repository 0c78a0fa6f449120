"""The mail processes of one protocol: spares, sessions and idle workers."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import NamedTuple

from dovecotpy.ipc import control
from dovecotpy.ipc.control import Refusal, Verb
from dovecotpy.master import reasons
from dovecotpy.master.channel import discard
from dovecotpy.master.children import Child, MailWorker, Worker
from dovecotpy.master.service import ForkService, Host
from dovecotpy.master.slots import Limits, Session
from dovecotpy.master.spares import SpareRule
from dovecotpy.master.spawn import Program

IDLE_SECONDS = 60.0
"""How long a worker waits for another session of the same credentials."""


class MailPlan(NamedTuple):
    """What the mail processes of a protocol may be."""

    protocol: str
    limits: Limits
    spares: int
    """mail_spare_processes"""


class MailService(ForkService):
    """One protocol of one generation."""

    worker_class = MailWorker
    worker_role = "mail worker"

    def __init__(self, host: Host, plan: MailPlan, program: Callable[[], Program]) -> None:
        super().__init__(host, plan.protocol, program)
        self._plan = plan
        self.rule = SpareRule(plan.spares, plan.limits.processes)
        self.spares: set[Worker] = set()
        """workers that wait for a hand-over"""
        self._idle: dict[str, list[MailWorker]] = {}

    def begin(self) -> None:
        """Fork the first spares at once."""
        super().begin()
        self.settle()

    def retire(self) -> None:
        """Spares and idle workers end, sessions go on."""
        for key in list(self._idle):
            for worker in self._idle.pop(key):
                worker.forget_inbox()
        super().retire()

    def tick(self) -> None:
        """Once a second: the target, and idle workers that waited long enough."""
        super().tick()
        self.rule.tick()
        old = self.host.now() - IDLE_SECONDS
        for worker in [worker for group in self._idle.values() for worker in group]:
            if worker.idle_since < old:
                self._end_idle(worker)

    def settle(self) -> None:
        """Spares up to the target, at once."""
        self.revive()
        if not self.may_fork:
            return
        spares = len(self.spares)
        if not spares and self.workers:
            self.rule.ran_out()
        sessions = len(self.workers) - spares
        if sessions <= 2 * self._plan.limits.processes:
            self.fork(self.rule.wanted(spares + self.asked, sessions))

    def worker_born(self, worker: Worker) -> None:
        """One more spare."""
        self.spares.add(worker)

    def retire_worker(self, worker: Worker) -> None:
        """It is no spare any more."""
        super().retire_worker(worker)
        self.spares.discard(worker)

    def worker_said(self, worker: Worker, message: control.Message) -> None:
        """What a spare, a session or an idle worker wants. Raises ControlError."""
        if not isinstance(worker, MailWorker):
            discard(message)
            return
        if worker.granted is not None and message.verb in (Verb.SLOT, Verb.FORGED):
            discard(message)
            raise control.ControlError(f"said {message.verb} although it is a user's")
        if message.verb is Verb.TAKEN:
            worker.taken = True
            self.spares.discard(worker)
            self.birth_succeeded()
        elif message.verb is Verb.SLOT:
            self._slot(worker, message)
        elif message.verb is Verb.FORGED:
            self.host.kill_login(message.number(0))
        elif message.verb is Verb.IDLE:
            self._rest(worker, message)
            return
        discard(message)

    def _slot(self, worker: MailWorker, message: control.Message) -> None:
        protocol, user, address, key = (message.text(index) for index in range(4))
        session = Session(protocol, user, address)
        refusal = self._refusal(session)
        if refusal is not None:
            worker.channel.send(Verb.NO, refusal.value)
            return
        idle = self._idle_with(key) if message.number(4) else None
        if idle is None or idle.inbox is None:
            worker.granted = key
            self.host.slots.take(worker, session)
            worker.channel.send(Verb.YES)
            return
        self.host.slots.take(idle, session)
        worker.channel.send(Verb.YES, descriptors=(idle.inbox.fileno(),))
        idle.forget_inbox()

    def _refusal(self, session: Session) -> Refusal | None:
        if self.host.stopping:
            return Refusal.SHUTTING_DOWN
        limits = self._plan.limits
        refusal = self.host.slots.refusal(session, limits)
        if refusal is Refusal.TOO_MANY_PROCESSES and self.host.reports.due(refusal, self.host.now()):
            text = f"Maximum number of mail processes exceeded (max_mail_processes={limits.processes})"
            self.host.log.error(text)
        elif refusal is Refusal.TOO_MANY_CONNECTIONS and self.host.reports.due(refusal, self.host.now()):
            reached = f"mail_max_userip_connections={limits.connections}"
            self.host.log.warning(f"{reached} reached: user={session.user}, rip={session.address}")
        if refusal is None and len(self.host.slots) + self._idle_count() >= limits.processes:
            self._end_oldest_idle()
        return refusal

    def _rest(self, worker: MailWorker, message: control.Message) -> None:
        """The session of a worker ended and it waits for another. Raises ControlError."""
        if len(message.descriptors) != 1:
            discard(message)
            raise control.ControlError("said IDLE without an inbox")
        if not worker.granted or message.text(0) != worker.granted:
            discard(message)
            raise control.ControlError("said IDLE with credentials that are not its own")
        self.host.slots.free(worker)
        worker.taken = True
        self.spares.discard(worker)
        worker.forget_inbox()
        # said, not asked of the kernel, which would be three calls: whatever it is, it is only passed on
        inbox = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, message.descriptors[0])
        if worker.retired or self.retired or self.host.stopping:
            inbox.close()
            self.retire_worker(worker)
            return
        worker.inbox = inbox
        worker.key = message.text(0)
        worker.idle_since = self.host.now()
        self._idle.setdefault(worker.key, []).append(worker)

    def _idle_with(self, key: str) -> MailWorker | None:
        """The idle worker with these credentials that rested last; it is idle no more."""
        group = self._idle.get(key)
        if not group:
            return None
        worker = group.pop()
        if not group:
            del self._idle[key]
        return worker

    def _idle_count(self) -> int:
        return sum(map(len, self._idle.values()))

    def _end_oldest_idle(self) -> None:
        """Make room: an idle worker counts as a mail process, but gives way."""
        idle = [worker for group in self._idle.values() for worker in group]
        if idle:
            self._end_idle(min(idle, key=lambda worker: worker.idle_since))

    def _end_idle(self, worker: MailWorker) -> None:
        self._forget_idle(worker)
        self.retire_worker(worker)

    def _forget_idle(self, worker: MailWorker) -> None:
        group = self._idle.get(worker.key, [])
        if worker in group:
            group.remove(worker)
            if not group:
                del self._idle[worker.key]
        worker.forget_inbox()

    def hung_up(self, child: Child) -> None:
        """The claim of a worker ends with its control socket."""
        super().hung_up(child)
        if isinstance(child, MailWorker):
            self.spares.discard(child)
            self._forget_idle(child)
            self.host.slots.free(child)

    def worker_ended(self, worker: Worker, status: int) -> None:
        """A spare that ends as none should slows down what follows."""
        unused = isinstance(worker, MailWorker) and not worker.taken and self.early(worker)
        if unused and reasons.abnormal(status) and not worker.expected and not self.host.stopping:
            self.birth_failed()
