"""Every socket that the master opened for others: TCP listeners, the auth sockets and mail queues in login_dir."""

from __future__ import annotations

import socket

from dovecotpy.master import directories
from dovecotpy.master.directories import Owner
from dovecotpy.master.listeners import Listeners
from dovecotpy.master.plan import Plan


class Sockets:
    """They outlive generations: a reload stages what it wants, and commits it when its processes are ready."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self.listeners = Listeners()
        self._auths: dict[str, socket.socket] = {}
        self._queues: dict[str, socket.socket] = {}
        self._login_dir = ""
        self._staged: frozenset[str] | None = None
        self._before: frozenset[str] | None = None

    def open(self, plan: Plan) -> None:
        """At the start. Raises ListenError, OSError."""
        self._login_dir = plan.login_dir
        self.listeners.open_all(plan.places())
        self._provide(plan)

    def stage(self, plan: Plan) -> list[str]:
        """What a reload wants. Returns the error lines of what cannot be opened. Raises ListenError, OSError."""
        places = plan.places()
        self._before = frozenset(self._auths)
        self._provide(plan)
        self._staged = frozenset(plan.auth_names())
        return self.listeners.stage(places)

    def commit(self) -> None:
        """What was staged is in use."""
        self.listeners.commit()
        self._keep(self._staged)

    def rollback(self) -> None:
        """What was staged is not wanted after all."""
        self.listeners.rollback()
        self._keep(self._before)

    def _keep(self, names: frozenset[str] | None) -> None:
        """Remove the auth sockets with other names; None: none was staged."""
        for name in [name for name in self._auths if names is not None and name not in names]:
            directories.unlink_bound(self._auths.pop(name))
        self._staged = self._before = None

    def auth(self, name: str) -> socket.socket:
        """The listening socket of an auth section."""
        return self._auths[name]

    def queue(self, protocol: str) -> socket.socket:
        """The receiving end of a mail queue."""
        return self._queues[protocol]

    def descriptors(self) -> list[int]:
        """All of them: what the detach must keep."""
        held = [*self.listeners.sockets(), *self._auths.values(), *self._queues.values()]
        return [sock.fileno() for sock in held]

    def close(self) -> None:
        """The server ends: nobody is served any more, and the names in login_dir go."""
        self.listeners.close()
        for sock in (*self._auths.values(), *self._queues.values()):
            directories.unlink_bound(sock)
        self._auths.clear()
        self._queues.clear()

    def _provide(self, plan: Plan) -> None:
        for name in plan.auth_names():
            if name not in self._auths:
                self._auths[name] = directories.bind_auth(f"{self._login_dir}/{name}", self._owner)
        for protocol in plan.protocols:
            if protocol not in self._queues:
                path = f"{self._login_dir}/mail/{protocol}"
                self._queues[protocol] = directories.bind_queue(path, self._owner)
