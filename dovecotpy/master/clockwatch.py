"""Watches the wall clock against the monotonic one: a jump is said once, and nothing else depends on it."""

from __future__ import annotations

TOLERANCE = 1.0
"""Seconds that the two clocks may part between two looks."""


class ClockWatch:
    """Compares both clocks at each look."""

    def __init__(self, wall: float, monotonic: float) -> None:
        self._offset = wall - monotonic

    def look(self, wall: float, monotonic: float) -> str:
        """What to log: empty when the wall clock went on as it should."""
        offset = wall - monotonic
        moved = offset - self._offset
        self._offset = offset
        if abs(moved) < TOLERANCE:
            return ""
        direction = "forwards" if moved > 0 else "backwards"
        return f"Time just moved {direction} by {round(abs(moved))} seconds."
