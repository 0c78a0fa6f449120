"""The connection of one client of a login process: octets out, and what is watched for."""

from __future__ import annotations

import select
import socket
from abc import abstractmethod
from typing import TYPE_CHECKING

from dovecotpy.login.keeper import Keeper
from dovecotpy.login.stream import PlainStream, StreamLost

if TYPE_CHECKING:
    from dovecotpy.login.tlsstream import TlsStream


MAX_DISCARDED = 262144
"""Octets of a client's input that are thrown away at the end, so that the last words are not lost to a reset."""
IN = select.EPOLLIN
OUT = select.EPOLLOUT
GONE = select.EPOLLHUP | select.EPOLLERR


class Connection:
    """A client's socket, as it came or under TLS."""

    __slots__ = ("_ended", "_keeper", "_pending", "_socket", "_stream", "_tls", "_watched")

    def __init__(self, keeper: Keeper, sock: socket.socket) -> None:
        self._keeper = keeper
        self._socket = sock
        self._stream: PlainStream | TlsStream = PlainStream(sock)
        self._tls: TlsStream | None = None
        self._watched: int | None = None
        self._pending = b""
        """what waits for room"""
        self._ended = False
        """the client sends no more"""

    @abstractmethod
    def _ready(self, events: int, now: float) -> None:
        """Something that was watched for is there."""

    def _send(self, data: bytes) -> None:
        """Send octets; what finds no room waits, and room is watched for. Raises StreamLost."""
        while data:
            sent = self._stream.send(data)
            if not sent:
                break
            data = data[sent:]
        self._pending = data
        if data:
            self._watch(OUT)

    def _watch(self, events: int) -> None:
        if self._watched is None:
            self._keeper.poller.add(self._socket.fileno(), events, self._ready)
        elif self._watched != events:
            self._keeper.poller.change(self._socket.fileno(), events)
        self._watched = events

    def _unwatch(self) -> None:
        if self._watched is not None:
            self._keeper.poller.remove(self._socket.fileno())
            self._watched = None

    def _discard_input(self) -> None:
        """Take what the client has sent already: closing over it would reset the connection and lose the last words."""
        if self._ended or self._tls is not None:
            return
        taken = 0
        try:
            while taken < MAX_DISCARDED and (data := self._stream.receive()):
                taken += len(data)
        except StreamLost:
            self._ended = True

    def _certificate(self) -> tuple[bool, str]:
        """Whether the client's certificate is valid, and whom it names."""
        contexts = self._keeper.contexts
        if self._tls is None or contexts is None:
            return False, ""
        return contexts.certificate(self._tls, self._keeper.certificate_field)
