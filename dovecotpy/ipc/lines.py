"""Lines out of a byte stream, with a bound that a stranger cannot pass."""

from __future__ import annotations

KEPT = 256
"""Octets kept of a line that is too long: enough to see whose it is."""


class CutLine(bytes):
    """The beginning of a line that was longer than the bound; the rest of it was skipped."""


class LineBuffer:
    """Collects octets and gives whole lines without their LF.

    A line longer than `bound` octets is given at once, as a `CutLine` of its first octets, and skipped up to its LF; so never
    more than the bound is held.
    """

    __slots__ = ("_bound", "_held", "_skipping")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._held = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now, too long ones cut. Raises nothing."""
        lines: list[bytes] = []
        if self._skipping:
            _, newline, data = data.partition(b"\n")
            if not newline:
                return lines
            self._skipping = False
        *whole, rest = (self._held + data).split(b"\n")
        for line in whole:
            lines.append(line if len(line) <= self._bound else CutLine(line[:KEPT]))
        if len(rest) > self._bound:
            lines.append(CutLine(rest[:KEPT]))
            self._skipping = True
            rest = b""
        self._held = rest
        return lines

    @property
    def held(self) -> int:
        """Octets of an unfinished line."""
        return len(self._held)
