"""The event loop of the auth process: descriptors, timers, nothing else."""

from __future__ import annotations

import heapq
import itertools
import select
import socket
from collections.abc import Callable

from dovecotpy import clock

MAX_OUTPUT = 50 * 1024
"""Octets waiting for a client beyond which nothing more is read from it."""
READ_SIZE = 16384
READ = int(select.EPOLLIN)
WRITE = int(select.EPOLLOUT)
_NOSIGNAL = int(socket.MSG_NOSIGNAL)


class Timer:
    """Something that is done later, unless cancelled."""

    __slots__ = ("action",)

    def __init__(self, action: Callable[[], None] | None) -> None:
        self.action = action

    def cancel(self) -> None:
        """It is not done any more."""
        self.action = None


class Loop:
    """Runs callbacks when descriptors are ready or time has come."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._watched: dict[int, Callable[[int], None]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._running = False

    def watch(self, sock: socket.socket, ready: Callable[[int], None], events: int = READ) -> None:
        """Call `ready` with the events of a socket, READ, WRITE or both; again for other events or another callback."""
        number = sock.fileno()
        if number in self._watched:
            self._epoll.modify(number, events)
        else:
            self._epoll.register(number, events)
        self._watched[number] = ready

    def forget(self, sock: socket.socket) -> None:
        """Watch a socket no more; one that is not watched is no error. To be called before it is closed."""
        if self._watched.pop(sock.fileno(), None) is not None:
            self._epoll.unregister(sock.fileno())

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something after so many seconds of the monotonic clock."""
        timer = Timer(action)
        heapq.heappush(self._timers, (clock.monotonic() + seconds, next(self._order), timer))
        return timer

    def run(self) -> None:
        """Until `stop`."""
        self._running = True
        while self._running:
            self.once(None)

    def once(self, longest: float | None) -> None:
        """Wait for the next events, at most `longest` seconds, and do what is due."""
        for number, events in self._epoll.poll(self._wait(longest)):
            ready = self._watched.get(number)
            if ready is not None:
                # an end and an error are read as well as written
                ready((READ if events & ~WRITE else 0) | (WRITE if events & ~READ else 0))
        now = clock.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, _, timer = heapq.heappop(self._timers)
            if timer.action is not None:
                timer.action()

    def stop(self) -> None:
        """Leave `run` after the callbacks at work."""
        self._running = False

    def _wait(self, longest: float | None) -> float | None:
        while self._timers and self._timers[0][2].action is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return longest
        due = max(self._timers[0][0] - clock.monotonic(), 0.0)
        return due if longest is None else min(due, longest)


class Stream:
    """A connected stream socket in the loop: octets in by a callback, octets out buffered."""

    def __init__(
        self, loop: Loop, sock: socket.socket, feed: Callable[[bytes], None], closed: Callable[[], None]
    ) -> None:
        """feed: gets what came. closed: is called once, when the other side or `close` ended the connection."""
        sock.setblocking(False)
        self._loop = loop
        self.sock = sock
        self._feed = feed
        self._closed: Callable[[], None] | None = closed
        self._out = bytearray()
        self._events = 0
        self._update()

    def send(self, data: bytes) -> None:
        """Send, now or when there is room."""
        if self._closed is None:
            return
        if not self._out:
            data = data[self._write(data) :]
        self._out += data
        self._update()

    def close(self) -> None:
        """End the connection; `closed` is told."""
        closed, self._closed = self._closed, None
        if closed is None:
            return
        self._loop.forget(self.sock)
        self.sock.close()
        closed()

    def _write(self, data: bytes | bytearray) -> int:
        try:
            return self.sock.send(data, _NOSIGNAL)
        except BlockingIOError:
            return 0
        except OSError:
            self._loop.later(0, self.close)
            return len(data)

    def _update(self) -> None:
        events = 0 if len(self._out) > MAX_OUTPUT else READ
        if self._out:
            events |= WRITE
        if events != self._events and self._closed is not None:
            self._loop.watch(self.sock, self._ready, events)
            self._events = events

    def _ready(self, events: int) -> None:
        if events & WRITE and self._out:
            del self._out[: self._write(self._out)]
            self._update()
        if events & READ:
            self._read()

    def _read(self) -> None:
        try:
            data = self.sock.recv(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self._feed(data)
        else:
            self.close()
