"""The header fields that clients ask for in lists, as one record a message: HEADER.FIELDS of any of them without the message.

A record: an octet for the name of each field, and the fields' original octets in the order of the message, without their last line ends, a
LF before each of them and a NUL for each line end within one. Whoever wrote two messages with the same program wrote
their fields in the same order: what an order says is worked out once, as a `Shape`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple, Protocol

from dovecotpy.message.header import MAX_FIELD, USUAL, Header

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
MAX_SHAPES = 2000
"""Orders of fields that are remembered, and that a selection remembers; then the memory starts anew."""
MAX_LINES = 120
"""Fields of the longest order that is remembered."""
MANY_LINES = 2000
"""Fields of a header of which one has to look at each single one."""
MAX_NAME = 64
"""Octets of the longest name that is looked up."""
MAX_SPELLINGS = 2000
"""Spellings of names that are remembered; then the memory starts anew."""

_USUAL = len(USUAL)
_OTHER, _ODD = 0xFE, 0xFF
"""Stand for a field that is not kept, and for a line of which one has to look what it is."""
_NUMBERS = bytes(range(len(KEPT)))
_LETTERS = bytes(range(0x20, 0x20 + len(KEPT)))
"""What stands for the numbers in a record: no LF among them."""
_TO_LETTERS = bytes.maketrans(_NUMBERS, _LETTERS)
_TO_NUMBERS = bytes.maketrans(_LETTERS, _NUMBERS)
_NAME = re.compile(rb"[!-9;-~]+:")
_BLANK = (b" ", b"\t", b"")
_EMPTY = (b"\n", b"\r", b"")

_spellings: dict[bytes, int] = {}
_sights: "dict[bytes, _Sight | None]" = {}
_shapes: "dict[bytes, Shape]" = {}

Lines = Sequence[bytes]
"""Kept fields as they stand in a record, name and colon in front."""


class Shape:
    """What the order of its kept fields says about a message."""

    __slots__ = ("first", "last", "numbers", "prefix")

    def __init__(self, numbers: bytes) -> None:
        self.numbers = numbers
        """of the names, in the order of the message"""
        count = len(numbers)
        self.prefix = numbers.translate(_TO_LETTERS) + b"\n" if count else b""
        """what a record begins with"""
        self.first = dict(zip(numbers[::-1], range(count - 1, -1, -1), strict=True))
        """where the first field of a name stands, by the name's number"""
        self.last = self.first
        if len(self.first) < count:
            self.last = dict(zip(numbers, range(count), strict=True))

    def repeats(self, number: int) -> bool:
        """Whether there are several fields of this name."""
        return self.last is not self.first and self.numbers.count(number) > 1


def shape_of(numbers: bytes) -> Shape:
    """The shape of fields with these numbers."""
    shape = _shapes.get(numbers)
    if shape is None:
        if len(_shapes) >= MAX_SHAPES:
            _shapes.clear()
        shape = _shapes[numbers] = Shape(numbers)
    return shape


class _Sight(NamedTuple):
    """What the names of all fields of a header say: which of them are kept."""

    shape: Shape
    pick: Callable[[list[bytes]], Lines]


class Values(Protocol):
    """Values of header fields, of a whole header or of what is kept of one."""

    @property
    def usual(self) -> dict[bytes, list[bytes]]:
        """As `Header.usual`."""

    def get(self, name: bytes) -> bytes | None:
        """As `Header.get`."""

    def all(self, name: bytes) -> list[bytes]:
        """As `Header.all`."""


class Fields:
    """The kept fields of a message."""

    __slots__ = ("lines", "shape")

    def __init__(self, shape: Shape, lines: Lines) -> None:
        self.shape = shape
        self.lines = lines

    @property
    def usual(self) -> dict[bytes, list[bytes]]:
        """As `Header.usual`."""
        found: dict[bytes, list[bytes]] = {}
        for number, line in zip(self.shape.numbers, self.lines, strict=True):
            if number < _USUAL:
                found.setdefault(KEPT[number], []).append(value_of(line))
        return found

    def get(self, name: bytes) -> bytes | None:
        """As `Header.get`, of a kept name."""
        place = self.shape.first.get(NUMBERS[name])
        if place is None:
            return None
        value = self.lines[place].partition(b":")[2]
        return (value.replace(b"\0", b"") if b"\0" in value else value).strip()

    def all(self, name: bytes) -> list[bytes]:
        """As `Header.all`, of a kept name."""
        number = NUMBERS[name]
        if number not in self.shape.first:
            return []
        if not self.shape.repeats(number):
            return [value_of(self.lines[self.shape.first[number]])]
        pairs = zip(self.shape.numbers, self.lines, strict=True)
        return [value_of(line) for each, line in pairs if each == number]

    @property
    def size(self) -> int:
        """Octets of the fields."""
        return sum(map(len, self.lines))

    @property
    def record(self) -> bytes:
        """What is kept of the message."""
        return self.shape.prefix + b"\n".join(self.lines)


def value_of(line: bytes) -> bytes:
    """The unfolded, trimmed value of a kept field."""
    value = line.partition(b":")[2]
    if b"\0" in value:
        value = value.replace(b"\0", b"")
    return value.strip()


def opening(data: bytes) -> bytes | None:
    """The header that octets of a message as stored begin with, for `scan`; None if its end is not among them or lines end in several ways."""
    if data[:1] in _EMPTY:
        return None
    end = data.find(b"\n\n")
    if end > 0:
        header = data[:end]
        if b"\r" not in header:
            return header
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    header = data[:end].replace(b"\r\n", b"\n")
    return None if b"\r" in header or b"\n\n" in header or header[-1:] == b"\n" else header


def scan(header: bytes) -> Fields | None:
    """The kept fields of a header with LF between its lines, without CR and empty lines; None for one that is not written as nearly all are.

    That is: with a line that is no field, with octets that no name has, with NUL, or too long.
    """
    if b"\0" in header or len(header) > MAX_FIELD or header[:1] in _BLANK:
        return None
    lines = header.replace(b"\n\t", b"\0\t").replace(b"\n ", b"\0 ").split(b"\n")
    try:
        names = bytes([_spellings[line[: line.find(b":") + 1]] for line in lines])
    except KeyError:
        if len(lines) > MANY_LINES:
            return None
        names = bytes([_number(line[: line.find(b":") + 1]) for line in lines])
    try:
        sight = _sights[names]
    except KeyError:
        sight = _look(names)
    return None if sight is None else Fields(sight.shape, sight.pick(lines))


def _number(name: bytes) -> int:
    """The number of a name in any spelling, with its colon."""
    number = _spellings.get(name)
    if number is not None:
        return number
    number = NUMBERS.get(name[:-1].lower(), _OTHER) if _NAME.fullmatch(name) else _ODD
    if len(name) <= MAX_NAME:
        if len(_spellings) >= MAX_SPELLINGS:
            _spellings.clear()
        _spellings[name] = number
    return number


def _look(names: bytes) -> _Sight | None:
    """Learn what an order of fields says; None: to be looked at one by one."""
    sight = None
    kept = [place for place, number in enumerate(names) if number < _OTHER]
    if _ODD not in names and len(kept) <= MAX_FIELDS:
        shape = shape_of(names.translate(None, bytes((_OTHER,))))
        sight = _Sight(shape, _picking(kept))
    if len(names) <= MAX_LINES:
        if len(_sights) >= MAX_SHAPES:
            _sights.clear()
        _sights[names] = sight
    return sight


def _picking(places: Sequence[int]) -> Callable[[list[bytes]], Lines]:
    """What gives the lines at these places."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda lines: [lines[place] for place in places]


def pack(header: Header) -> bytes | None:
    """The record of a header; None if it is too long, has too many fields, or they do not mean the same by themselves."""
    if len(header.raw) > MAX_FIELD:
        return None
    text = opening(header.raw)
    found = scan(text) if text is not None else None
    if found is not None:
        header.adopt(found.usual)
        return found.record
    return _pack_slowly(header)


def _pack_slowly(header: Header) -> bytes | None:
    """`pack` of a header with lines that are read differently by those who look for fields and those who look for values."""
    kept = header.kept(NUMBERS)
    if len(kept) > MAX_FIELDS or any(b"\0" in piece for _, piece in kept):
        return None
    lines = [piece.removesuffix(b"\r\n").replace(b"\r\n", b"\0") for _, piece in kept]
    if any(b"\n" in line for line in lines):
        return None
    found = Fields(shape_of(bytes([number for number, _ in kept])), lines)
    return found.record if found.usual == header.usual else None


def unpack(record: bytes) -> Fields:
    """The fields of a record."""
    letters, *lines = record.split(b"\n")
    return Fields(shape_of(letters.translate(_TO_NUMBERS)), lines)


class Selection:
    """HEADER.FIELDS for some of the kept names."""

    __slots__ = ("_numbers", "_plans")

    def __init__(self, names: Iterable[bytes]) -> None:
        """names: in lower case, all of KEPT."""
        self._numbers = frozenset(NUMBERS[name] for name in names)
        self._plans: dict[bytes, Callable[[list[bytes]], Lines]] = {}

    def answer(self, record: bytes) -> bytes:
        """What FETCH tells of a record's message (RFC 3501 section 6.4.5), the empty line included."""
        lines = record.split(b"\n")
        plan = self._plans.get(lines[0])
        if plan is None:
            plan = self._remember(lines[0])
        octets = b"\r\n".join(plan(lines))
        if b"\0" in octets:
            octets = octets.replace(b"\0", b"\r\n")
        return octets + b"\r\n\r\n" if octets else b"\r\n"

    def _remember(self, letters: bytes) -> Callable[[list[bytes]], Lines]:
        """What gives the wanted fields of records that begin so."""
        numbers = letters.translate(_TO_NUMBERS)
        plan = _picking([place for place, number in enumerate(numbers, 1) if number in self._numbers])
        if len(self._plans) >= MAX_SHAPES:
            self._plans.clear()
        self._plans[letters] = plan
        return plan
