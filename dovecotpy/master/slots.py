"""Which mail sessions there may be: max_mail_processes and mail_max_userip_connections, without any process.

A slot belongs to an owner, which stands for a control socket and is never a pid. Idle workers (mail_process_reuse) hold none, but
are remembered by their key until a session of the same credentials comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable
from typing import NamedTuple

from dovecotpy.ipc.control import Refusal


class Session(NamedTuple):
    """Whom a slot is for: what mail_max_userip_connections counts."""

    protocol: str
    user: str
    address: str


class Limits(NamedTuple):
    """Settings of one protocol."""

    processes: int
    """max_mail_processes, over all protocols"""
    connections: int
    """mail_max_userip_connections; 0: no limit"""


class Slots:
    """The table of slots of all protocols."""

    def __init__(self) -> None:
        self._held: dict[Hashable, Session] = {}
        self._counts: Counter[Session] = Counter()

    def __len__(self) -> int:
        return len(self._held)

    def count(self, session: Session) -> int:
        """Sessions of this user from this address."""
        return self._counts[session]

    def refusal(self, session: Session, limits: Limits) -> Refusal | None:
        """Why there may be no such session now; None when there may."""
        if len(self._held) >= limits.processes:
            return Refusal.TOO_MANY_PROCESSES
        if limits.connections and self._counts[session] >= limits.connections:
            return Refusal.TOO_MANY_CONNECTIONS
        return None

    def take(self, owner: Hashable, session: Session) -> None:
        """Give `owner` the slot; one that it had is free."""
        self.free(owner)
        self._held[owner] = session
        self._counts[session] += 1

    def free(self, owner: Hashable) -> bool:
        """The session of `owner` ended; False when it had none."""
        session = self._held.pop(owner, None)
        if session is None:
            return False
        self._counts[session] -= 1
        if not self._counts[session]:
            del self._counts[session]
        return True

    def holds(self, owner: Hashable) -> bool:
        """Whether `owner` has a slot."""
        return owner in self._held
