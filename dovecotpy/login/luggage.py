"""What goes with a client on its way to a mail process: the hand-over's octets and, under TLS, the plaintext end of a pair."""

from __future__ import annotations

import socket


class Luggage:
    """Of one client. `inner`: our end of the pair, which the proxy serves once the client is taken."""

    __slots__ = ("_passed", "inner", "message")

    def __init__(self) -> None:
        self.message: bytes | None = None
        """the hand-over, as long as it has not left"""
        self.inner: socket.socket | None = None
        self._passed: socket.socket | None = None

    def plaintext_end(self) -> int:
        """The descriptor that the mail process gets instead of a client under TLS. Raises OSError."""
        if self._passed is None:
            self.inner, self._passed = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        return self._passed.fileno()

    def departed(self) -> None:
        """It is in the queue: what went is nobody's here any more."""
        self.message = None
        if self._passed is not None:
            self._passed.close()
            self._passed = None

    def unload(self) -> None:
        """The client stays. Idempotent."""
        self.departed()
        if self.inner is not None:
            self.inner.close()
            self.inner = None

    def take_inner(self) -> socket.socket | None:
        """Our end of the pair, the caller's from now on; None without TLS."""
        inner, self.inner = self.inner, None
        return inner
