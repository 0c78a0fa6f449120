"""Sequence sets: `1,3:5,7:*` (RFC 3501 section 9, sequence-set), of message numbers or of UIDs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

MAX_RANGES = 10_000
"""Ranges of one set; beyond: BAD."""
STAR = 0
"""Stands for `*` in a parsed set."""
SAVED = (-1, -1)
"""Alone in a parsed set: `$`, the saved search result (RFC 5182)."""
_LARGEST = 0xFFFFFFFF

Ranges: TypeAlias = list[tuple[int, int]]


class InvalidSet(Exception):
    """Not a sequence set. Client: BAD; log: nothing."""


def parse_set(text: bytes) -> Ranges:
    """The ranges as typed, `*` as STAR, `$` as SAVED. Raises InvalidSet, also beyond MAX_RANGES."""
    if text == b"$":
        return [SAVED]
    pieces = text.split(b",", MAX_RANGES)
    if len(pieces) > MAX_RANGES:
        raise InvalidSet("Too many ranges in a messageset")
    ranges = []
    for piece in pieces:
        first, colon, last = piece.partition(b":")
        low = _number(first)
        ranges.append((low, _number(last) if colon else low))
    return ranges


def _number(text: bytes) -> int:
    if text.isdigit() and len(text) <= 10:
        value = int(text)
        if 0 < value <= _LARGEST:
            return value
    elif text == b"*":
        return STAR
    raise InvalidSet("Invalid messageset")


def settle(ranges: Ranges, largest: int) -> Ranges:
    """Ascending ranges that neither touch nor overlap, with `largest` for `*` (RFC 3501: `4:2` is `2:4`)."""
    settled: Ranges = []
    for low, high in sorted(_ordered(low or largest, high or largest) for low, high in ranges):
        if settled and low <= settled[-1][1] + 1:
            if high > settled[-1][1]:
                settled[-1] = (settled[-1][0], high)
        else:
            settled.append((low, high))
    return settled


def _ordered(low: int, high: int) -> tuple[int, int]:
    return (low, high) if low <= high else (high, low)


def common(left: Ranges, right: Ranges) -> Ranges:
    """What two settled lists of ranges have in common."""
    found: Ranges = []
    at = 0
    for low, high in left:
        while at < len(right) and right[at][1] < low:
            at += 1
        place = at
        while place < len(right) and right[place][0] <= high:
            found.append((max(low, right[place][0]), min(high, right[place][1])))
            place += 1
    return found


def ranges_of(numbers: Sequence[int]) -> Ranges:
    """Ascending numbers as ranges."""
    ranges: Ranges = []
    if not numbers:
        return ranges
    first = last = numbers[0]
    for number in numbers:
        if number > last + 1:
            ranges.append((first, last))
            first = number
        last = number
    ranges.append((first, last))
    return ranges


def render(ranges: Iterable[tuple[int, int]]) -> bytes:
    """Ranges as a set, such as `1:3,5`."""
    return b",".join(b"%d" % low if low == high else b"%d:%d" % (low, high) for low, high in ranges)


def render_numbers(numbers: Sequence[int]) -> bytes:
    """Numbers in their given order as a set: consecutive ones become ranges, none is left out or moved."""
    if not numbers:
        return b""
    ranges: Ranges = []
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            ranges.append((first, last))
            first = number
        last = number
    ranges.append((first, last))
    return render(ranges)
