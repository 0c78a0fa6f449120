"""The login processes of one protocol: what `logins` decides, done with real processes."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.ipc import control
from dovecotpy.ipc.control import LoginState, Verb
from dovecotpy.master import reaping, reasons
from dovecotpy.master.channel import discard
from dovecotpy.master.children import Child, LoginWorker, Worker
from dovecotpy.master.logins import LoginCounts, LoginLimits, LoginOrders, LoginRule
from dovecotpy.master.service import ForkService, Host
from dovecotpy.master.spawn import Program


class LoginService(ForkService):
    """One protocol of one generation. kind in log lines: `login`, as ever."""

    worker_class = LoginWorker
    worker_role = "login worker"

    def __init__(
        self, host: Host, protocol: str, limits: LoginLimits, program: Callable[[], Program]
    ) -> None:
        super().__init__(host, "login", program)
        self.protocol = protocol
        self.rule = LoginRule(limits)
        self.listening: set[Worker] = set()
        """workers that accept, or will when they have come to it"""

    def begin(self) -> None:
        """Fork the first ones at once."""
        super().begin()
        self._order(self.rule.tick(self.counts()))

    def counts(self) -> LoginCounts:
        """What there is now; one that is asked for counts as listening."""
        return LoginCounts(len(self.workers) + self.asked, len(self.listening) + self.asked)

    def worker_born(self, worker: Worker) -> None:
        """It will accept in a moment."""
        self.listening.add(worker)

    def retire_worker(self, worker: Worker) -> None:
        """It accepts no more."""
        super().retire_worker(worker)
        self.listening.discard(worker)

    def hung_up(self, child: Child) -> None:
        """A worker has gone."""
        super().hung_up(child)
        if isinstance(child, Worker):
            self.listening.discard(child)

    def tick(self) -> None:
        """Once a second: the rule."""
        super().tick()
        if not self.may_fork:
            return
        counts = self.counts()
        limits = self.rule.limits
        if counts.processes >= limits.maximum and counts.listening == 0:
            self._report_full(limits)
        self._order(self.rule.tick(counts))

    def settle(self) -> None:
        """Between two ticks: what is missing."""
        self.revive()
        if self.may_fork:
            self._order(self.rule.refill(self.counts()))

    def _order(self, orders: LoginOrders) -> None:
        self.fork(orders.fork)
        if orders.drop_oldest:
            busy = [worker for worker in self._mine() if worker.state is LoginState.FULL_PRELOGINS]
            if busy:
                min(busy, key=lambda worker: worker.since).channel.send(Verb.DROP)
        if orders.listen_again:
            for worker in self._mine():
                worker.channel.send(Verb.LISTEN)

    def _report_full(self, limits: LoginLimits) -> None:
        if not self.host.reports.due("login_max_processes_count", self.host.now()):
            return
        raised = "login_max_processes_count" if limits.per_connection else "login_max_connections or it"
        text = f"All {limits.maximum} {self.protocol}-login processes are full (login_max_processes_count={limits.maximum})"
        self.host.log.warning(f"{text}, raise {raised} if these are not too many")

    def worker_said(self, worker: Worker, message: control.Message) -> None:
        """STATE. Raises ControlError for a state that cannot be."""
        discard(message)
        if not isinstance(worker, LoginWorker):
            return
        try:
            state = LoginState(message.number(0))
        except ValueError as error:
            raise control.ControlError(f"STATE {message.number(0)}") from error
        if self.rule.limits.per_connection and state < worker.state:
            hint = "if you can't login at all, see the control protocol"
            raise control.ControlError(f"tried to change state {int(worker.state)} -> {int(state)} ({hint})")
        if not worker.known:
            worker.known = True
            self.birth_succeeded()
        if state is not worker.state:
            worker.state = state
            worker.since = self.host.now()
            self._recount(worker)

    def _recount(self, worker: LoginWorker) -> None:
        if worker.state is LoginState.LISTENING and not worker.retired:
            self.listening.add(worker)
            return
        self.listening.discard(worker)
        if not self.listening:
            self.rule.ran_out()

    def worker_ended(self, worker: Worker, status: int) -> None:
        """An end that none should have slows down what follows."""
        if not reasons.abnormal(status) or worker.expected or self.host.stopping:
            return
        self.rule.abnormal_end()
        if isinstance(worker, LoginWorker) and not worker.known:
            self.birth_failed()

    def kill(self, pid: int) -> bool:
        """End the worker with that pid; False when it is none of ours."""
        for worker in self.workers:
            if worker.pid != pid:
                continue
            if worker.parent.channel.ended:
                reaping.kill(pid)
            else:
                worker.parent.channel.send(Verb.KILL, pid)
            return True
        return False

    def _mine(self) -> list[LoginWorker]:
        return [worker for worker in self.workers if isinstance(worker, LoginWorker) and not worker.retired]
