"""The header fields that clients ask for in lists, as one record a message: HEADER.FIELDS of any of them without the message.

A record: the number of fields, the number of each one's name, where each one starts and the last one ends (32 bits, little-endian), and the
original octets one behind another, in the order of the message.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from itertools import accumulate

from dovecotpy.message.header import FOLD, MAX_FIELD, USUAL, Header

KEPT = (
    *sorted(USUAL),
    b"content-class",
    b"delivered-to",
    b"disposition-notification-to",
    b"errors-to",
    b"importance",
    b"keywords",
    b"list-help",
    b"list-id",
    b"list-owner",
    b"list-post",
    b"list-subscribe",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"mail-followup-to",
    b"mail-reply-to",
    b"mime-version",
    b"newsgroups",
    b"organization",
    b"precedence",
    b"priority",
    b"resent-cc",
    b"resent-date",
    b"resent-from",
    b"resent-message-id",
    b"resent-sender",
    b"resent-to",
    b"return-path",
    b"sensitivity",
    b"status",
    b"user-agent",
    b"x-draft-info",
    b"x-forwarded-message-id",
    b"x-identity-key",
    b"x-k9mail-identity",
    b"x-label",
    b"x-mailer",
    b"x-msmail-priority",
    b"x-mozilla-keys",
    b"x-mozilla-status",
    b"x-priority",
    b"x-spam-flag",
    b"x-spam-status",
    b"x-status",
    b"x-uniform-type-identifier",
    b"x-universally-unique-identifier",
)
"""Names in lower case; a record speaks of each by its place. The order is part of the form of the cache."""

NUMBERS = {name: number for number, name in enumerate(KEPT)}
MAX_FIELDS = 255
"""Fields of one record; a message with more has none."""
MAX_PLANS = 1000
"""Orders of fields that a selection remembers; then its memory starts anew."""
MAX_NAME = 64
"""Octets of the longest name that is looked up."""
MAX_SPELLINGS = 2000
"""Spellings of names that are remembered; then the memory starts anew."""

_USUAL = len(USUAL)
_BLANK = (b" ", b"\t")
_BOUNDS = tuple(struct.Struct(f"<{count + 1}I") for count in range(MAX_FIELDS + 1))
_PACK_BOUNDS = tuple(each.pack for each in _BOUNDS)
_READ_BOUNDS = tuple(each.unpack_from for each in _BOUNDS)


_spellings: dict[bytes, int] = {b"": -1}


def pack(header: Header) -> bytes | None:
    """The record of a header; None if there are too many fields, or they do not mean the same by themselves.

    The header's usual values are known afterwards: one walk gives both.
    """
    raw = header.raw
    text = raw.replace(b"\r\n\t", FOLD + b"\t").replace(b"\r\n ", FOLD + b" ")
    if b"\0" in raw or b" :" in text or b"\t:" in text or raw[:1] in _BLANK:
        return _pack_slowly(header)
    usual: dict[bytes, list[bytes]] = {}
    numbers = []
    lines = []
    spelling = _spellings.get
    folded = FOLD in text
    short = len(text) <= MAX_FIELD
    for line in text.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        number = spelling(name)
        if number is None:
            number = _learn(name)
        if number >= 0 and colon:
            numbers.append(number)
            lines.append(line)
            if number < _USUAL:
                if folded:
                    value = value.replace(FOLD, b"")
                name = KEPT[number]
                value = value.strip() if short else value[:MAX_FIELD].strip()
                if name in usual:
                    usual[name].append(value)
                else:
                    usual[name] = [value]
    header.adopt(usual)
    if len(numbers) > MAX_FIELDS:
        return None
    lines.append(b"")
    return _record(numbers, lines)


def _learn(name: bytes) -> int:
    """The number of a name in any spelling, -1 for others; remembered if it is short."""
    number = NUMBERS.get(name.strip().lower(), -1) if len(name) <= MAX_NAME else -1
    if len(_spellings) >= MAX_SPELLINGS:
        _spellings.clear()
    if len(name) <= MAX_NAME:
        _spellings[name] = number
    return number


def _record(numbers: Sequence[int], lines: Sequence[bytes]) -> bytes:
    """lines: without their line ends, FOLD for those inside, and an empty one at the end."""
    count = len(numbers)
    octets = b"\r\n".join(lines)
    if FOLD in octets:
        octets = octets.replace(FOLD, b"\r\n")
    sizes = [len(line) + 2 for line in lines]
    bounds = accumulate(sizes[:-1], initial=5 * count + 5)
    return b"%c%b%b%b" % (count, bytes(numbers), _PACK_BOUNDS[count](*bounds), octets)


def _pack_slowly(header: Header) -> bytes | None:
    """`pack` of a header with lines that are read differently by those who look for fields and those who look for values."""
    found = header.kept(NUMBERS)
    if len(found) > MAX_FIELDS:
        return None
    if any(FOLD in piece for _, piece in found):
        return None
    lines = [piece.removesuffix(b"\r\n") for _, piece in found]
    record = _record([number for number, _ in found], [*lines, b""])
    return record if unpack(record).usual == header.usual else None


def unpack(record: bytes) -> Header:
    """A header of the kept fields alone."""
    return Header(record[5 * record[0] + 5 :] + b"\r\n")


class Selection:
    """HEADER.FIELDS for some of the kept names."""

    __slots__ = ("_numbers", "_plans")

    def __init__(self, names: Iterable[bytes]) -> None:
        """names: in lower case, all of KEPT."""
        self._numbers = frozenset(NUMBERS[name] for name in names)
        self._plans: dict[bytes, list[tuple[int, int]]] = {}

    def answer(self, record: bytes) -> bytes:
        """What FETCH tells of a record's message (RFC 3501 section 6.4.5), the empty line included."""
        count = record[0]
        numbers = record[1 : count + 1]
        plan = self._plans.get(numbers)
        if plan is None:
            plan = self._remember(numbers)
        bounds = _READ_BOUNDS[count](record, count + 1)
        return b"".join([record[bounds[first] : bounds[last]] for first, last in plan]) + b"\r\n"

    def _remember(self, numbers: bytes) -> list[tuple[int, int]]:
        """Runs of wanted fields: the first and the one behind the last."""
        plan: list[tuple[int, int]] = []
        for place, number in enumerate(numbers):
            if number not in self._numbers:
                continue
            if plan and plan[-1][1] == place:
                plan[-1] = (plan[-1][0], place + 1)
            else:
                plan.append((place, place + 1))
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        self._plans[numbers] = plan
        return plan
