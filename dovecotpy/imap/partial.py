"""PARTIAL: a range of a result by place, from its start or from its end (RFC 9394)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.registry import extension
from dovecotpy.imap.wire.tokens import Atom

PARTIAL = extension("PARTIAL")
_LARGEST = 0xFFFFFFFF


class Partial(NamedTuple):
    """Places first to last, counted from 1, of a result."""

    text: bytes
    """as typed"""
    first: int
    last: int
    from_end: bool

    def places(self, count: int) -> tuple[int, int]:
        """Start and end of the slice of a result of this length; empty where it has no such places."""
        if self.from_end:
            return max(count - self.last, 0), max(count - self.first + 1, 0)
        return min(self.first - 1, count), min(self.last, count)


def parse_partial(arguments: Arguments) -> Partial:
    """A partial-range, the next argument. Raises Mistaken."""
    token = arguments.next()
    if not isinstance(token, Atom):
        raise arguments.wrong("Invalid PARTIAL range.")
    first, colon, last = token.partition(b":")
    from_end = first[:1] == b"-"
    if from_end != (last[:1] == b"-"):
        raise arguments.wrong("Invalid PARTIAL range.")
    numbers = [first[from_end:], last[from_end:]]
    if not colon or not all(number.isdigit() and len(number) <= 10 for number in numbers):
        raise arguments.wrong("Invalid PARTIAL range.")
    low, high = sorted(map(int, numbers))
    if not low or high > _LARGEST:
        raise arguments.wrong("Invalid PARTIAL range.")
    return Partial(bytes(token), low, high, from_end)


def narrowed(spans: Sequence[tuple[int, int]], partial: Partial) -> list[tuple[int, int]]:
    """What is left of slices, ascending, when only some places of what they hold together are meant."""
    low, high = partial.places(sum(end - start for start, end in spans))
    left = []
    before = 0
    for start, end in spans:
        first = max(low - before, 0) + start
        last = min(high - before, end - start) + start
        if first < last:
            left.append((first, last))
        before += end - start
    return left
