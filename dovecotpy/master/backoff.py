"""A kind of process that dies before it is ready is tried again after a delay that grows."""

from __future__ import annotations

FIRST = 1.0
"""Seconds before the second try."""
LONGEST = 60.0
"""Seconds that a delay grows to."""


class Backoff:
    """The delay of one kind. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._delay = 0.0
        self._not_before = 0.0

    @property
    def failing(self) -> bool:
        """Whether the last try failed."""
        return self._delay > 0

    def failed(self, now: float) -> bool:
        """A try failed. True when it is the first after a success: then it is said in the log."""
        first = not self.failing
        self._delay = min(max(FIRST, self._delay * 2), LONGEST)
        self._not_before = now + self._delay
        return first

    def succeeded(self) -> bool:
        """A try succeeded. True when the one before had failed: then it is said in the log."""
        failing = self.failing
        self._delay = 0.0
        self._not_before = 0.0
        return failing

    def may_try(self, now: float) -> bool:
        """Whether the delay has passed."""
        return now >= self._not_before
