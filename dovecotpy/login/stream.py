"""A client's octets without blocking, plain or under TLS, in one form for those who read and write them."""

from __future__ import annotations

import socket
from typing import Protocol

CHUNK = 16384
"""Octets taken at once: one TLS record at most, so that none of them waits inside OpenSSL where epoll does not see it."""

_FLAGS = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class StreamLost(Exception):
    """The connection is gone otherwise than by an orderly end; the text says how."""


class Stream(Protocol):
    """What a client's connection can do. Octets are never both taken and lost."""

    wants_write: bool
    """the last call waits for room, whatever it was"""
    wants_read: bool
    """the last call waits for octets of the peer, whatever it was"""

    def receive(self) -> bytes | None:
        """At most CHUNK octets; empty at the peer's end, None when there are none now. Raises StreamLost."""

    def send(self, data: bytes | memoryview) -> int:
        """How many octets went; 0 when there is no room now. Raises StreamLost."""

    def close(self) -> None:
        """Say goodbye if the form has a way to, and close."""


class PlainStream:
    """A connected socket. Its blocking mode does not matter."""

    __slots__ = ("socket", "wants_write", "wants_read")

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.wants_write = False
        self.wants_read = True

    def receive(self) -> bytes | None:
        """See Stream."""
        try:
            return self.socket.recv(CHUNK, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise StreamLost(error.strerror or str(error)) from error

    def send(self, data: bytes | memoryview) -> int:
        """See Stream."""
        try:
            sent = self.socket.send(data, _FLAGS)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError as error:
            raise StreamLost(error.strerror or str(error)) from error
        self.wants_write = sent < len(data)
        return sent

    def close(self) -> None:
        """See Stream."""
        self.socket.close()
