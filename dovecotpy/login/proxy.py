"""The TLS of a logged-in client: octets between the client and the plaintext that the mail process has, with back-pressure both ways.

Nothing is taken from one side before the other has taken what came before, so a client that does not read holds up its own mail
process and costs one chunk here. Login processes may not call shutdown(2) (it would end sockets that they share), so the mail process
learns that a client closed its side when the session has been silent for a moment: answers that are still on their way arrive.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from dovecotpy.login.poller import Poller
from dovecotpy.login.stream import CHUNK, Stream, StreamLost

DOWN_CHUNK = 65536
"""Octets taken from the mail process at once."""
ROUNDS = 4
"""Chunks moved in one direction before other clients have their turn."""
SILENCE = 1.0
"""Seconds without output from the mail process after which a client that closed its side is taken to be gone."""
STALLED = 300.0
"""Seconds without progress in writing to a client that does not read; then it is closed."""

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_GONE = select.EPOLLHUP | select.EPOLLERR


class Proxy:
    """One client. stream: its TLS; inner: the plaintext's socket; ended: called once, when everything is closed."""

    __slots__ = (
        "_poller",
        "_stream",
        "_outer",
        "_inner",
        "_ended",
        "_up",
        "_down",
        "_outer_events",
        "_inner_events",
        "_outer_closed",
        "_inner_closed",
        "_moved_at",
        "_open",
    )

    def __init__(
        self,
        poller: Poller,
        stream: Stream,
        outer: int,
        inner: socket.socket,
        ended: Callable[[], None],
        now: float,
    ) -> None:
        self._poller = poller
        self._stream = stream
        self._outer = outer
        self._inner = inner
        self._ended = ended
        self._up = b""
        self._down = b""
        self._outer_events = select.EPOLLIN
        self._inner_events = select.EPOLLIN
        self._outer_closed = False
        self._inner_closed = False
        self._moved_at = now
        self._open = True
        poller.add(outer, select.EPOLLIN, self._outer_ready)
        poller.add(inner.fileno(), select.EPOLLIN, self._inner_ready)

    @property
    def restless(self) -> bool:
        """`tick` must be called: one side is closed, or the client does not read."""
        return self._outer_closed or self._inner_closed or bool(self._down)

    def held(self) -> int:
        """Octets that were taken from one side and not yet by the other."""
        return len(self._up) + len(self._down)

    def tick(self, now: float) -> None:
        """End what waits for nothing more. now: monotonic seconds."""
        if not self._open:
            return
        idle = now - self._moved_at
        silent = self._outer_closed and idle >= SILENCE and not self._up
        if silent or (self.restless and idle >= STALLED):
            self.close()

    def close(self) -> None:
        """End it now."""
        if not self._open:
            return
        self._open = False
        self._up = self._down = b""
        self._poller.remove(self._outer)
        self._poller.remove(self._inner.fileno())
        self._stream.close()
        self._inner.close()
        self._ended()

    def _outer_ready(self, events: int, now: float) -> None:
        self._move(now)
        if self._open and events & _GONE and (self._up or self._outer_closed):
            self.close()

    def _inner_ready(self, events: int, now: float) -> None:
        self._move(now)

    def _move(self, now: float) -> None:
        try:
            closed = self._move_up()
            moved = self._move_down()
        except StreamLost:
            self.close()
            return
        if moved or closed:
            self._moved_at = now
        if self._inner_closed and not self._down:
            self.close()
        elif self._open:
            self._watch()

    def _move_up(self) -> bool:
        """From the client to the mail process; whether the client closed its side now."""
        for _ in range(ROUNDS):
            if not self._up:
                if self._outer_closed or self._inner_closed:
                    return False
                data = self._stream.receive()
                if data is None:
                    return False
                if not data:
                    self._outer_closed = True
                    return True
                self._up = data
            if not self._write_up():
                return False
        return False

    def _write_up(self) -> bool:
        try:
            sent = self._inner.send(self._up, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            self._up = b""  # the session has ended; what it said last is still to be told
            return False
        self._up = self._up[sent:]
        return True

    def _move_down(self) -> bool:
        """From the mail process to the client; whether the client took something."""
        moved = False
        for _ in range(ROUNDS):
            if not self._down and not self._read_down():
                break
            while self._down:
                sent = self._stream.send(memoryview(self._down)[:CHUNK])
                if not sent:
                    return moved
                self._down = self._down[sent:]
                moved = True
        return moved

    def _read_down(self) -> bool:
        if self._inner_closed:
            return False
        try:
            data = self._inner.recv(DOWN_CHUNK, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            data = b""
        if not data:
            self._inner_closed = True
            self._poller.remove(self._inner.fileno())
            return False
        self._down = data
        return True

    def _watch(self) -> None:
        outer = inner = 0
        if not self._up and not self._outer_closed and not self._inner_closed:
            outer |= select.EPOLLIN
        if self._down or self._stream.wants_write:
            outer |= select.EPOLLOUT
        if not self._down:
            inner |= select.EPOLLIN
        if self._up:
            inner |= select.EPOLLOUT
        if outer != self._outer_events:
            self._poller.change(self._outer, outer)
            self._outer_events = outer
        if inner != self._inner_events and not self._inner_closed:
            self._watch_inner(inner)

    def _watch_inner(self, events: int) -> None:
        """Watch the mail process's side; not at all while nothing is wanted of it, since its end alone would be told for ever."""
        descriptor = self._inner.fileno()
        if not events:
            self._poller.remove(descriptor)
        elif not self._inner_events:
            self._poller.add(descriptor, events, self._inner_ready)
        else:
            self._poller.change(descriptor, events)
        self._inner_events = events
