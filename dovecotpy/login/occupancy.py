"""How many clients a login process takes, and what it tells the master of it. Pure counting, no sockets.

A client before login counts once, and once more under TLS; a logged-in one counts while its TLS is proxied. With one process for each
connection the first client ends the listening for good.
"""

from __future__ import annotations

from typing import NamedTuple

from dovecotpy.ipc.control import LoginState

MANY_CONNECTIONS = 32
"""With more connections than this allowed, MANY_VICTIMS give way at once, else one."""
MANY_VICTIMS = 16


class Report(NamedTuple):
    """What the master is told: the state, and how many clients there are of each kind."""

    state: LoginState
    prelogin: int
    proxying: int


class Occupancy:
    """The counts of one process. The caller reports each change; `report()` says when the master wants to know."""

    __slots__ = (
        "_maximum",
        "_single",
        "_prelogin",
        "_prelogin_tls",
        "_proxying",
        "_closing",
        "listening",
        "_told",
    )

    def __init__(self, maximum: int, *, single: bool) -> None:
        self._maximum = 1 if single else maximum
        self._single = single
        self._prelogin = 0
        self._prelogin_tls = 0
        self._proxying = 0
        self._closing = False
        self.listening = True
        """new clients are accepted"""
        self._told: LoginState | None = None

    @property
    def prelogin(self) -> int:
        """Clients that are not logged in."""
        return self._prelogin

    @property
    def tls(self) -> int:
        """Clients under TLS, logged in or not."""
        return self._prelogin_tls + self._proxying

    @property
    def clients(self) -> int:
        """Every client that this process holds."""
        return self._prelogin + self._proxying

    @property
    def weight(self) -> int:
        """What the clients count together."""
        return self._prelogin + self.tls

    def victims(self) -> int:
        """How many of the oldest clients before login give way to the one that was just accepted. Call it before `accepted`."""
        if self._single or self.weight < self._maximum or self._maximum == 1:
            return 0
        return MANY_VICTIMS if self._maximum > MANY_CONNECTIONS else 1

    def accepted(self, *, tls: bool) -> None:
        """A client came."""
        new = 2 if tls else 1
        if self._single or self.weight + new + 1 >= self._maximum:
            self.listening = False
        self._prelogin += 1
        self._prelogin_tls += tls

    def secured(self) -> None:
        """A client before login began TLS."""
        self._prelogin_tls += 1

    def logged_in(self, *, tls: bool) -> None:
        """A client was handed over; under TLS it stays to be proxied."""
        self._prelogin -= 1
        self._prelogin_tls -= tls
        self._proxying += tls
        self._left()

    def ended(self, *, tls: bool) -> None:
        """A client before login has gone."""
        self._prelogin -= 1
        self._prelogin_tls -= tls
        self._left()

    def proxy_ended(self) -> None:
        """A logged-in client has gone."""
        self._proxying -= 1
        self._left()

    def listen_although_full(self) -> None:
        """The master has no process that listens."""
        self.listening = not self._single and not self._closing

    def close(self) -> None:
        """Take no client any more."""
        self._closing = True
        self.listening = False

    def report(self) -> Report | None:
        """What the master must be told now, or None when it knows."""
        if self.listening:
            state = LoginState.LISTENING
        elif self._prelogin:
            state = LoginState.FULL_PRELOGINS
        else:
            state = LoginState.FULL_LOGINS
        if self._single and self._told is not None:
            state = max(state, self._told)
        if state is self._told:
            return None
        self._told = state
        return Report(state, self._prelogin, self._proxying)

    def _left(self) -> None:
        if not self._single and not self._closing and self.tls < self._maximum:
            self.listening = True
