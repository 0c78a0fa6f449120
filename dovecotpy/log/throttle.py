"""No mail process may fill the log: mail_log_max_lines_per_sec, counted for each pid."""

from __future__ import annotations

import enum

WINDOW = 1.0
"""Seconds that a count is for."""


class Verdict(enum.Enum):
    """What becomes of a line."""

    WRITE = 0
    FIRST_DROPPED = 1
    """the first beyond the limit: say so, drop it"""
    DROP = 2


class Throttle:
    """Counts lines a second of each process; 0 lines: no limit."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self._counts: dict[int, tuple[float, int]] = {}

    def judge(self, pid: int, now: float) -> Verdict:
        """One more line of `pid`; `now`: monotonic seconds."""
        if not self._lines:
            return Verdict.WRITE
        start, count = self._counts.get(pid, (now, 0))
        if now - start >= WINDOW:
            start, count = now, 0
        self._counts[pid] = (start, count + 1)
        if count < self._lines:
            return Verdict.WRITE
        return Verdict.FIRST_DROPPED if count == self._lines else Verdict.DROP

    def expired(self, now: float) -> list[tuple[int, int]]:
        """Forget the windows that have passed; the pids that were throttled in them, with how many lines were dropped."""
        gone = [pid for pid, (start, _) in self._counts.items() if now - start >= WINDOW]
        counts = [(pid, self._counts.pop(pid)[1] - self._lines) for pid in gone]
        return [(pid, dropped) for pid, dropped in counts if dropped > 0]
