"""The master at work: one loop over signals and control sockets, and a look around once a second.

What the services decide stands in their modules; here is what happens to the server as a whole: start, reload, rotation of the
logs, certificates, lost listeners, the clock, the end.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Callable, Mapping
from typing import NamedTuple

import dovecotpy
from dovecotpy import clock
from dovecotpy.ipc import control
from dovecotpy.log.client import Log, traceback
from dovecotpy.master import reaping, reasons, spawn
from dovecotpy.master.build import Builder
from dovecotpy.master.certificates import Certificates
from dovecotpy.master.channel import MAX_BATCH
from dovecotpy.master.children import Child, Children, Process, Worker
from dovecotpy.master.clockwatch import ClockWatch
from dovecotpy.master.ending import Ending
from dovecotpy.master.generations import Change, Generations, Outcome
from dovecotpy.master.loginservice import LoginService
from dovecotpy.master.logservice import LogService
from dovecotpy.master.plan import Plan
from dovecotpy.master.reports import Reports
from dovecotpy.master.service import Service
from dovecotpy.master.signals import Signals
from dovecotpy.master.slots import Slots
from dovecotpy.master.sockets import Sockets
from dovecotpy.master.spawn import Program

TICK = 1.0
"""Seconds between two looks around."""


class StartError(Exception):
    """The server cannot be started. The text is what the administrator reads."""


class Means(NamedTuple):
    """What a master works with."""

    sockets: Sockets
    signals: Signals
    environment: Mapping[str, str]
    """what children keep of the environment"""
    standard_error: int
    """where /dev/stderr was at the start"""
    load: Callable[[], Plan]
    """reads the configuration anew; raises ReloadError"""


class ReloadError(Exception):
    """The configuration that is read at SIGHUP cannot be used. Log: each of `lines`, then that the old one is kept."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Master:
    """Everything that the master knows. It is the `Host` of all services."""

    def __init__(self, plan: Plan, means: Means) -> None:
        self.plan = plan
        self._log_plan = plan
        self.slots = Slots()
        self.reports = Reports()
        self.children = Children()
        self.ignore_versions = plan.ignore_versions
        self._means = means
        self._crowded: set[int] = set()
        self._epoll = select.epoll()
        self._epoll.register(means.signals.fileno(), select.EPOLLIN)
        self.log_service = LogService(self, self._log_program)
        self.log_service.provide(plan.log_kinds())
        self.log = Log(self.log_service.writer("master"))
        self.generations = Generations(self)
        self._builder = Builder(self, means.sockets, self.log_service)
        self._certificates = Certificates(plan.certificate_files())
        self._clock = ClockWatch(clock.now(), clock.monotonic())
        self._renew_logins = False
        """new login processes are wanted when the generation that is just being started has come or failed"""
        self._reload_again = False
        """the same of the configuration"""
        self._ending: Ending | None = None

    @property
    def stopping(self) -> bool:
        """Whether the server ends."""
        return self._ending is not None

    def now(self) -> float:
        """Monotonic seconds."""
        return clock.monotonic()

    def start(self) -> None:
        """Start everything and wait until all of it is ready. Raises StartError, after ending what it started."""
        self.log_service.start()
        problem: list[str] = []
        self._turn_until(lambda: self.log_service.ready or bool(self.log_service.trouble))
        if self.log_service.trouble:
            raise StartError(self.log_service.trouble)
        self.log_service.begin()
        self.generations.start(Change(self._builder.everything(self.plan), (), _nothing, problem.append))
        self._turn_until(lambda: not self.generations.changing)
        if problem:
            raise StartError(problem[0])

    def run(self) -> int:
        """Serve until the end; returns the exit status."""
        tick = self.now() + TICK
        while self._ending is None or not self._ending.over(self.now()):
            self._turn(tick - self.now())
            if self.now() >= tick:
                tick = self.now() + TICK
                self._tick()
        self._finish()
        return 0

    def end(self) -> None:
        """Begin to end everything; `run` returns when it has ended. The second time: wait for nobody."""
        if self._ending is None:
            self._means.sockets.close()
            self._ending = Ending(self, self.plan.shutdown_clients)
        else:
            self._ending.hurry()

    def abort(self) -> None:
        """After a failed start: end what was started, at once."""
        self.end()
        self.end()
        self._turn_until(lambda: self._ending is not None and self._ending.over(self.now()))
        self._finish()

    def launch(self, service: Service, kind: str, program: Program) -> Process:
        """Exec a child. Raises OSError."""
        pid, channel = spawn.start(program, self._means.environment)
        process = Process(pid, kind, channel, service, self.now())
        self._listen_to(process)
        return process

    def adopt(self, worker: Worker) -> None:
        """Listen to a worker that a fork server made."""
        self._listen_to(worker)

    def _listen_to(self, child: Child) -> None:
        self.children.add(child)
        child.channel.crowded = self._crowded
        self._epoll.register(child.channel.fileno(), select.EPOLLIN)

    def part(self, child: Child) -> None:
        """Close a child's control socket: it sees the end."""
        if self.children.speaking(child.channel.fileno()) is not child:
            return
        self._epoll.unregister(child.channel.fileno())
        self.children.hung_up(child)
        child.channel.close()
        child.service.hung_up(child)

    def exited(self, server: Process, pid: int, status: int) -> None:
        """A fork server reaped a worker."""
        self._gone(self.children.reaped_by(server, pid), pid, status)

    def kill_login(self, pid: int) -> None:
        """End the login worker with that pid: it forged a hand-over."""
        for service in self.generations.everything():
            if isinstance(service, LoginService) and service.kill(pid):
                return

    def _log_program(self, readers: Mapping[str, int], stderr: int) -> Program:
        return self._log_plan.log_program(readers, stderr, self._means.standard_error)

    def _turn_until(self, done: Callable[[], bool]) -> None:
        tick = self.now() + TICK
        while not done():
            self._turn(tick - self.now())
            if self.now() >= tick:
                tick = self.now() + TICK
                self._look()
                self.generations.tick()

    def _turn(self, timeout: float) -> None:
        """Wait for events, act on them, then replace what is missing."""
        signalled = False
        for descriptor, event in self._epoll.poll(max(0.0, timeout)):
            child = self.children.speaking(descriptor)
            if child is not None:
                self._serve(child, event)
            elif descriptor == self._means.signals.fileno():
                signalled = True
        if signalled:
            self._signalled()
        self._look()
        if not self.stopping:
            self.log_service.settle()
            self.generations.settle()
        self._watch_room()

    def _look(self) -> None:
        if self.generations.look() is Outcome.PENDING or self.stopping:
            return
        if self._reload_again:
            self._reload()
        elif self._renew_logins:
            self._renew_login_services()

    def _serve(self, child: Child, event: int) -> None:
        if event & select.EPOLLOUT:
            child.channel.flush()
        if event & ~select.EPOLLOUT:
            # a worker says little at a time: what more there is, the next poll tells, and no call finds that there is nothing
            for message in child.channel.receive(1 if isinstance(child, Worker) else MAX_BATCH):
                self._hear(child, message)
        if child.channel.ended:
            if child.channel.breach and not self.stopping:
                self.log.error(f"{child.kind} process {child.pid} {child.channel.breach}")
            self.part(child)

    def _hear(self, child: Child, message: control.Message) -> None:
        try:
            child.service.said(child, message)
        except control.ControlError as error:
            self._give_up(child, str(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours costs this child, not the server
            traceback(self.log, error)
            self._give_up(child, "is given up")

    def _give_up(self, child: Child, why: str) -> None:
        child.channel.breach = child.channel.breach or why
        child.channel.ended = True

    def _watch_room(self) -> None:
        """Ask for writability of those for whom something waits, and only of them."""
        for descriptor in list(self._crowded):
            child = self.children.speaking(descriptor)
            if child is None:
                self._crowded.discard(descriptor)
                continue
            waiting = child.channel.waiting
            self._epoll.modify(descriptor, select.EPOLLIN | (select.EPOLLOUT if waiting else 0))
            if not waiting:
                self._crowded.discard(descriptor)
            if child.channel.ended:
                self.part(child)

    def _signalled(self) -> None:
        for number in self._means.signals.take():
            if number == signal.SIGCHLD:
                for pid, status in reaping.ended():
                    self._gone(self.children.reaped(pid), pid, status)
            elif number == signal.SIGHUP and not self.stopping:
                self._reload()
            elif number == signal.SIGUSR1:
                self.log_service.reopen()
            elif number in (signal.SIGTERM, signal.SIGINT):
                if number == signal.SIGTERM and not self.stopping:
                    self.log.warning(f"Killed with signal {number}")
                self.end()

    def _gone(self, child: Child | None, pid: int, status: int) -> None:
        if child is None:
            if not self.stopping:
                self.log.error(reasons.describe(pid, "unknown", status))
            return
        child.status = status
        if isinstance(child, Process):
            for message in child.channel.receive():
                self._hear(child, message)
            self.part(child)
            self.children.forget(child, reaping.own)
        text = reasons.describe(pid, child.kind, status, child.said_why)
        if text and not child.expected:
            self.log.error(text)
        child.service.ended(child, status)

    def _tick(self) -> None:
        jump = self._clock.look(clock.now(), self.now())
        if jump:
            self.log.warning(jump)
        if self.stopping:
            return
        self.log_service.tick()
        self._look_after_sockets()
        if self._certificates.changed(self.now()):
            self.log.info("Certificate or key changed, starting new login processes")
            self._renew_login_services()
        self.generations.tick()

    def _look_after_sockets(self) -> None:
        listeners = self._means.sockets.listeners
        lost, errors = listeners.reopen_lost()
        for address in lost:
            self.log.error(f"Listener {address} was shut down by a child, opened again")
        opened, given_up = listeners.retry()
        for line in (*errors, *given_up):
            self.log.error(line)
        if lost or opened:
            self._renew_login_services()
        broken = self.log_service.broken_kinds()
        if broken:
            self.log = Log(self.log_service.writer("master"))
            self.log.error(f"Log socket of {', '.join(broken)} was shut down by a child, replaced")
            self.log_service.renew()
            self._renew(self.plan)

    def _renew_login_services(self) -> None:
        """A new generation of login processes alone; later, when a new generation is just being started."""
        self._renew_logins = self.generations.changing
        if self._renew_logins:
            return
        old = [service for service in self.generations.current if isinstance(service, LoginService)]
        fresh = self._builder.logins(self.plan)
        self.generations.start(Change(fresh, old, _nothing, self._kept("New login processes")))

    def _kept(self, what: str) -> Callable[[str], None]:
        def failed(reason: str) -> None:
            self.log.error(f"{what} could not be started, keeping the old ones: {reason}")

        return failed

    def _reload(self) -> None:
        self._reload_again = self.generations.changing
        if self._reload_again:
            return
        self.log.warning("SIGHUP received - reloading configuration")
        try:
            plan = self._means.load()
            errors = self._means.sockets.stage(plan)
        except ReloadError as error:
            for line in error.lines:
                self.log.error(line)
            self.log.warning("Invalid configuration, keeping old one")
            return
        except Exception as error:  # noqa: BLE001 - whatever a new configuration leads to, the old one goes on
            traceback(self.log, error)
            self.log.warning("Invalid configuration, keeping old one")
            return
        for line in errors:
            self.log.error(line)
        self._renew_log(plan)
        self._renew(plan)

    def _renew_log(self, plan: Plan) -> None:
        """The log files are opened anew; another log process is needed for other settings or other kinds."""
        known = self._log_plan
        same = plan.log_settings() == known.log_settings() and plan.auth_names() == known.auth_names()
        self._log_plan = plan
        if self.log_service.provide(plan.log_kinds()) or not same:
            self.log_service.renew()
        else:
            self.log_service.reopen()

    def _renew(self, plan: Plan) -> None:
        """A whole new generation."""

        def done() -> None:
            self.plan = plan
            self.ignore_versions = plan.ignore_versions
            self._certificates = Certificates(plan.certificate_files())
            self._means.sockets.commit()

        def failed(reason: str) -> None:
            self._means.sockets.rollback()
            self._kept("The processes of the new configuration")(reason)

        old = tuple(self.generations.current)
        self.generations.start(Change(self._builder.everything(plan), old, done, failed))

    def _finish(self) -> None:
        """The last thing: the log process sees that nobody writes any more."""
        if self._ending is not None:
            self._ending.finish()
        self._epoll.close()


def _nothing() -> None:
    """A change that changes nothing else."""


def starting_up() -> str:
    """The first line of a server."""
    return f"Dovecot v{dovecotpy.__version__} (dovecotpy) starting up"


def fatal_path(base_dir: str) -> str:
    """Where the reason of a sudden end waits for the next start."""
    return os.path.join(base_dir, "master-fatal.lastlog")
