"""The end of the server, in order: nobody new; login and mail processes, then auth, see the end of their control sockets; the log last."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from dovecotpy.log.client import Log
from dovecotpy.master import reaping
from dovecotpy.master.children import Child, Children, LoginWorker, MailWorker
from dovecotpy.master.logservice import LogService

PATIENCE = 10.0
"""Seconds that children have to end by themselves."""
AUTH_PATIENCE = 3.0
"""Seconds after which auth ends although somebody may still ask it."""
LOG_PATIENCE = 2.0
"""Seconds that the log process has, when nobody writes any more."""


class Ended(Protocol):
    """What the end needs of the master."""

    children: Children
    log: Log
    log_service: LogService

    def now(self) -> float:
        """Monotonic seconds."""

    def part(self, child: Child) -> None:
        """Close a child's control socket."""


class Ending:
    """From the signal to the last child.

    shutdown_clients: whether sessions end too; else they, and the login processes that proxy their TLS, go on unsupervised.
    """

    def __init__(self, host: Ended, shutdown_clients: bool) -> None:
        self._host = host
        self._shutdown_clients = shutdown_clients
        self._deadline = host.now() + PATIENCE
        self._auth_deadline = host.now() + AUTH_PATIENCE
        for child in host.children.living():
            child.expected = True
            if not self._is_log(child) and not _is_auth(child):
                host.part(child)

    def hurry(self) -> None:
        """A second signal: wait no longer."""
        self._deadline = self._auth_deadline = self._host.now()

    def over(self, now: float) -> bool:
        """Whether all who have to end have ended; those who do not in time are killed."""
        left = list(self._awaited())
        if now >= self._auth_deadline or all(map(_is_auth, left)):
            for child in filter(_is_auth, left):
                self._host.part(child)
        if left and now >= self._deadline:
            for child in left:
                reaping.kill(child.pid)
            return True
        return not left

    def finish(self) -> None:
        """Let the log process see that nobody writes any more, and give it a moment to write the rest."""
        self._host.log_service.close()
        living = [child for child in self._host.children.living() if reaping.own(child.pid)]
        for child in living:
            if self._is_log(child):
                self._host.part(child)
                reaping.wait(child.pid, LOG_PATIENCE if len(living) == 1 else 0.0)

    def _is_log(self, child: Child) -> bool:
        return child.service is self._host.log_service

    def _awaited(self) -> Iterator[Child]:
        for child in self._host.children.living():
            if self._is_log(child) or (self._may_stay(child) and not self._shutdown_clients):
                continue
            if reaping.own(child.pid) or _has_living_parent(child):
                yield child

    def _may_stay(self, child: Child) -> bool:
        if isinstance(child, MailWorker):
            return child.taken and child.inbox is None
        return isinstance(child, LoginWorker)


def _is_auth(child: Child) -> bool:
    return child.kind.startswith("auth")


def _has_living_parent(child: Child) -> bool:
    """Whether its fork server is still there: its end will be told, or it becomes ours."""
    parent = getattr(child, "parent", None)
    return parent is not None and reaping.own(parent.pid)
