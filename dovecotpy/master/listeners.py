"""The TCP listeners that are open, what is wanted instead, and what could not be opened yet."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable
from typing import NamedTuple

from dovecotpy.master import listen
from dovecotpy.master.listen import Address, ListenError, Wanted

TRIES = 10
"""How often a port that somebody holds is tried again, once a second."""


class Open(NamedTuple):
    """A listener with what it is for."""

    place: Wanted
    sock: socket.socket


class Listeners:
    """The set of the server, over all generations.

    A reload stages the set that it wants; what is new is opened, what is gone stays open until `commit`.
    """

    def __init__(self) -> None:
        self._open: dict[Address, Open] = {}
        self._missing: dict[Wanted, int] = {}
        self._staged: dict[Address, Open] | None = None
        self._staged_missing: dict[Wanted, int] = {}

    def open_all(self, places: Iterable[Wanted]) -> None:
        """At the start: all or nothing. Raises ListenError."""
        try:
            for place in places:
                self._open[place.address] = Open(place, listen.open_socket(place.address))
        except ListenError:
            self.close()
            raise

    def stage(self, places: Iterable[Wanted]) -> list[str]:
        """What a reload wants. Returns the error lines of what cannot be opened.

        A busy port is no error yet: a process of the old generation may hold it, so it is tried again after `commit`.
        """
        self.rollback()
        self._staged, self._staged_missing = {}, {}
        errors = []
        for place in places:
            held = self._open.get(place.address)
            if held is not None:
                self._staged[place.address] = Open(place, held.sock)
                continue
            try:
                self._staged[place.address] = Open(place, listen.open_socket(place.address))
            except ListenError as error:
                if _busy(error):
                    self._staged_missing[place] = TRIES
                else:
                    errors.append(str(error))
        return errors

    def commit(self) -> None:
        """The staged set is the one: close what is not in it."""
        if self._staged is None:
            return
        for address, entry in self._open.items():
            if address not in self._staged:
                entry.sock.close()
        self._open, self._missing = self._staged, self._staged_missing
        self._staged, self._staged_missing = None, {}

    def rollback(self) -> None:
        """The staged set is not wanted after all: close what is only in it."""
        for address, entry in (self._staged or {}).items():
            if address not in self._open:
                entry.sock.close()
        self._staged, self._staged_missing = None, {}

    def retry(self) -> tuple[bool, list[str]]:
        """Once a second: whether one more is open now, and the error lines of those that are given up."""
        opened = False
        errors = []
        for place, tries in list(self._missing.items()):
            problem = self._try(place)
            if problem is None:
                opened = True
            elif tries <= 1:
                errors.append(str(problem))
            if problem is None or tries <= 1:
                del self._missing[place]
            else:
                self._missing[place] = tries - 1
        return opened, errors

    def reopen_lost(self) -> tuple[list[Address], list[str]]:
        """Listeners that a child shut down for everybody: those opened again, and the error lines."""
        lost = [entry for entry in self._open.values() if not listen.listens(entry.sock)]
        errors = []
        for entry in lost:
            entry.sock.close()
            del self._open[entry.place.address]
            problem = self._try(entry.place)
            if problem is not None:
                self._missing[entry.place] = TRIES
                errors.append(str(problem))
        return [entry.place.address for entry in lost], errors

    def of(self, protocol: str) -> list[Open]:
        """Those of imap (imap and imaps) or pop3, plain ones first; while a set is staged, of that."""
        entries = self._open if self._staged is None else self._staged
        mine = [entry for entry in entries.values() if entry.place.protocol in (protocol, protocol + "s")]
        return sorted(mine, key=lambda entry: entry.place.tls)

    def sockets(self) -> list[socket.socket]:
        """All that are open."""
        return [entry.sock for entry in self._open.values()]

    def close(self) -> None:
        """Accept nothing more; processes that inherited one still could."""
        self.rollback()
        for entry in self._open.values():
            entry.sock.close()
        self._open.clear()
        self._missing.clear()

    def _try(self, place: Wanted) -> ListenError | None:
        try:
            self._open[place.address] = Open(place, listen.open_socket(place.address))
        except ListenError as error:
            return error
        return None


def _busy(error: ListenError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno == errno.EADDRINUSE
