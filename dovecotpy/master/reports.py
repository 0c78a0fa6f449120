"""A limit that is reached is said once a minute, with the setting that raises it."""

from __future__ import annotations

INTERVAL = 60.0
"""Seconds between two lines of the same limit."""


class Reports:
    """When each limit was last said. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def due(self, limit: str, now: float) -> bool:
        """Whether to say it now; then it counts as said."""
        last = self._said.get(limit)
        if last is not None and now - last < INTERVAL:
            return False
        self._said[limit] = now
        return True
