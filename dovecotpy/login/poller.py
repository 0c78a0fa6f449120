"""An epoll with a function behind each descriptor."""

from __future__ import annotations

import select
from collections.abc import Callable

Ready = Callable[[int, float], None]
"""Called with epoll's events and the monotonic time. It must bear to be called for nothing."""


class Poller:
    """Made after the fork: an epoll that two processes share wakes and confuses both."""

    __slots__ = ("_epoll", "_ready")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: dict[int, Ready] = {}

    def add(self, descriptor: int, events: int, ready: Ready) -> None:
        """Watch a descriptor. Raises OSError."""
        self._epoll.register(descriptor, events)
        self._ready[descriptor] = ready

    def change(self, descriptor: int, events: int) -> None:
        """Watch for other events. Raises OSError."""
        self._epoll.modify(descriptor, events)

    def again(self, descriptor: int, events: int) -> None:
        """Watch a descriptor that is watched already as if it had come last. Raises OSError."""
        self._epoll.unregister(descriptor)
        self._epoll.register(descriptor, events)

    def remove(self, descriptor: int) -> None:
        """Watch no more: before the descriptor is closed or passed on, since epoll watches what stands behind it."""
        if self._ready.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def wait(self, seconds: float | None) -> list[tuple[int, int]]:
        """Descriptors and their events; seconds: None to wait for ever."""
        return self._epoll.poll(seconds)

    def find(self, descriptor: int) -> Ready | None:
        """Who watches a descriptor now: an earlier event of the same batch may have ended it."""
        return self._ready.get(descriptor)

    def fileno(self) -> int:
        """It is readable while something waits."""
        return self._epoll.fileno()

    def close(self) -> None:
        """End it."""
        self._epoll.close()
        self._ready.clear()
