"""The children of the master: exec'ed processes and the workers that fork servers made, by control socket and by pid."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING

from dovecotpy.ipc.control import LoginState
from dovecotpy.master.channel import Channel

if TYPE_CHECKING:
    from dovecotpy.master.service import Service


class Child:
    """One process with a control socket."""

    def __init__(self, pid: int, kind: str, channel: Channel, service: Service) -> None:
        self.pid = pid
        self.kind = kind
        """as log lines name it: auth, auth-worker, login, imap, log, …"""
        self.channel = channel
        self.service = service
        self.status: int | None = None
        """its wait status, once it is known"""
        self.expected = False
        """we ended it, so its end is no news"""
        self.said_why = False
        """it sent FAILED before it ended"""


class Process(Child):
    """An exec'ed one."""

    def __init__(self, pid: int, kind: str, channel: Channel, service: Service, started: float) -> None:
        super().__init__(pid, kind, channel, service)
        self.started = started
        self.ready = False
        self.failure = ""
        """what it said in FAILED, or how it ended, before it was ready"""


class Worker(Child):
    """One that a fork server made."""

    def __init__(self, pid: int, kind: str, channel: Channel, service: Service, parent: Process) -> None:
        super().__init__(pid, kind, channel, service)
        self.parent = parent
        self.born = 0.0
        """monotonic seconds at which it was announced"""
        self.retired = False
        """it was told to take nothing new"""


class LoginWorker(Worker):
    """A login process, with what it said of itself."""

    state = LoginState.LISTENING
    known = False
    """it has said at least once how it is"""
    since = 0.0
    """monotonic seconds at which it entered the state"""


class MailWorker(Worker):
    """A spare, a session, or an idle worker that waits for another session."""

    taken = False
    """it took a hand-over: no spare any more"""
    granted: str | None = None
    """the key of the slot that it got for itself: from then on it is a user's process and is believed nothing else; None: a spare"""
    key = ""
    """of the credentials that it waits for while idle"""
    inbox: socket.socket | None = None
    idle_since = 0.0

    def forget_inbox(self) -> None:
        """It is not idle any more."""
        if self.inbox is not None:
            self.inbox.close()
        self.inbox = None
        self.key = ""


class Children:
    """The table. A control socket is looked up by descriptor, an end by pid and by who reaps it.

    A fork server's message that it reaped a worker may come after the pid was given to a child of another fork server, so a pid
    alone names nobody.
    """

    def __init__(self) -> None:
        self._by_descriptor: dict[int, Child] = {}
        self._by_pid: dict[tuple[int, int], Child] = {}

    def add(self, child: Child) -> None:
        """A child was born."""
        self._by_descriptor[child.channel.fileno()] = child
        self._by_pid[_parent(child), child.pid] = child

    def speaking(self, descriptor: int) -> Child | None:
        """Whose control socket that is."""
        return self._by_descriptor.get(descriptor)

    def hung_up(self, child: Child) -> None:
        """Its control socket is closed."""
        self._by_descriptor.pop(child.channel.fileno(), None)

    def reaped_by(self, parent: Process, pid: int) -> Child | None:
        """The worker that its fork server reaped."""
        return self._by_pid.pop((parent.pid, pid), None)

    def reaped(self, pid: int) -> Child | None:
        """The child that the master itself reaped: an exec'ed one, or a worker whose fork server has ended."""
        found = self._by_pid.pop((0, pid), None)
        if found is not None:
            return found
        keys = [key for key, child in self._by_pid.items() if child.pid == pid]
        return self._by_pid.pop(keys[-1]) if keys else None

    def forget(self, parent: Process, keep: Callable[[int], bool]) -> None:
        """A fork server has ended: its workers that are not ours now were reaped by it, and nobody will tell."""
        for key, child in list(self._by_pid.items()):
            if key[0] == parent.pid and not keep(child.pid):
                del self._by_pid[key]

    def living(self) -> list[Child]:
        """Those whose end is not known yet."""
        return list(self._by_pid.values())


def _parent(child: Child) -> int:
    return child.parent.pid if isinstance(child, Worker) else 0
