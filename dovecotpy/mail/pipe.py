"""A descriptor of any kind in the place of a client's socket: what --exec-mail gets from sshd or inetd."""

from __future__ import annotations

import errno
import os
import select

PIPE_ATOM = 4096
"""Octets that a pipe takes without blocking once poll() says that it takes any (PIPE_BUF on Linux)."""


class Pipe:
    """One descriptor. Its flags are shared with whoever gave it, so it is left blocking and asked before each use."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._poll = select.poll()

    def recv(self, size: int, flags: int, /) -> bytes:
        """Raises BlockingIOError where there is nothing to read, OSError."""
        self._require(select.POLLIN)
        return os.read(self._number, size)

    def send(self, data: bytes | memoryview, flags: int, /) -> int:
        """Raises BlockingIOError where it would block, OSError."""
        self._require(select.POLLOUT)
        return os.write(self._number, memoryview(data)[:PIPE_ATOM])

    def shutdown(self, how: int, /) -> None:
        """A pipe has no half; the end of the process closes it."""

    def fileno(self) -> int:
        """The descriptor."""
        return self._number

    def close(self) -> None:
        """It stays open: it is the process's standard input or output."""

    def _require(self, events: int) -> None:
        self._poll.register(self._number, events)
        if not self._poll.poll(0):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
