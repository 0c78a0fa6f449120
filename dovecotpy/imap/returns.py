"""What RETURN of SEARCH and SORT may ask for, one unit each, in the order of the ESEARCH response (RFC 4731, RFC 5182,
RFC 5267 section 3.1, RFC 9394).
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.fuzzy import FUZZY
from dovecotpy.imap.partial import PARTIAL, Partial, parse_partial
from dovecotpy.imap.registry import Table, extension
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.response import string
from dovecotpy.imap.wire.tokens import Atom

ESEARCH = extension("ESEARCH")
ESORT = extension("ESORT", requires=("ESEARCH", "SORT"))
SEARCHRES = extension("SEARCHRES", requires=("ESEARCH",))
RELEVANCY = b"RELEVANCY"
PIECE = 4_000
"""Ranges put together before they are handed out."""


class Result(NamedTuple):
    """What a search found."""

    uids: "array[int]"
    """in the order of the answer"""
    numbers: Sequence[int]
    """the same as they are told: message numbers, or UIDs"""
    is_sorted: bool = True
    """the order is that of the mailbox"""

    scores: Mapping[int, int] | None = None
    """how well each message fits, by UID (RFC 6203)"""

    @property
    def ascending(self) -> "array[int]":
        """The UIDs in the order of the mailbox."""
        return self.uids if self.is_sorted else array("I", sorted(self.uids))


class ReturnOption(NamedTuple):
    """One option. Options are asked in the order of their declaration."""

    told: Callable[[Result, object], Iterable[bytes]] | None
    """its part of the response, with a space in front; nothing where it does not apply. None: it is no part"""
    parse: Callable[[Arguments], object] | None = None
    """its own arguments. Raises Mistaken; None: it has none"""
    picks: Callable[[Result, object], "array[int]"] | None = None
    """UIDs of the messages that it returns; None: all that were found"""


def _first(result: Result, value: object) -> "array[int]":
    return result.uids[:1]


def _last(result: Result, value: object) -> "array[int]":
    return result.uids[-1:]


def _part(result: Result, value: object) -> "array[int]":
    assert isinstance(value, Partial)
    start, end = value.places(len(result.uids))
    return result.uids[start:end]


def _tell_min(result: Result, value: object) -> Iterable[bytes]:
    return [b" MIN %d" % result.numbers[0]] if result.numbers else []


def _tell_max(result: Result, value: object) -> Iterable[bytes]:
    return [b" MAX %d" % result.numbers[-1]] if result.numbers else []


def _tell_all(result: Result, value: object) -> Iterable[bytes]:
    if result.numbers:
        yield b" ALL "
        yield from rendered(result.numbers)


def _tell_count(result: Result, value: object) -> Iterable[bytes]:
    return [b" COUNT %d" % len(result.numbers)]


def _tell_part(result: Result, value: object) -> Iterable[bytes]:
    assert isinstance(value, Partial)
    start, end = value.places(len(result.numbers))
    yield b" PARTIAL (" + value.text + b" "
    if start < end:
        yield from rendered(result.numbers[start:end])
    else:
        yield b"NIL"
    yield b")"


def _tell_relevancy(result: Result, value: object) -> Iterable[bytes]:
    scores = result.scores or {}
    if result.uids:
        yield b" RELEVANCY (" + b" ".join([b"%d" % scores[uid] for uid in result.uids]) + b")"


def rendered(numbers: Sequence[int]) -> Iterator[bytes]:
    """Numbers in their order as a set, in pieces."""
    comma = b""
    for start in range(0, len(numbers), PIECE):
        yield comma + sequence.render_numbers(numbers[start : start + PIECE])
        comma = b","


RETURN_OPTIONS: Table[ReturnOption] = Table()
RETURN_OPTIONS.add(b"MIN", ReturnOption(_tell_min, picks=_first), ESEARCH)
RETURN_OPTIONS.add(b"MAX", ReturnOption(_tell_max, picks=_last), ESEARCH)
RETURN_OPTIONS.add(b"ALL", ReturnOption(_tell_all), ESEARCH)
RETURN_OPTIONS.add(b"COUNT", ReturnOption(_tell_count), ESEARCH)
RETURN_OPTIONS.add(b"PARTIAL", ReturnOption(_tell_part, parse_partial, _part), PARTIAL)
RETURN_OPTIONS.add(RELEVANCY, ReturnOption(_tell_relevancy), FUZZY)
RETURN_OPTIONS.add(b"SAVE", ReturnOption(None), SEARCHRES)


class Returns(NamedTuple):
    """The options of one search."""

    values: dict[bytes, object]

    @property
    def save(self) -> bool:
        """Whether `$` becomes the result (RFC 5182 section 2.1)."""
        return b"SAVE" in self.values

    @property
    def relevancy(self) -> bool:
        """Whether scores are asked for."""
        return RELEVANCY in self.values

    def returned(self, result: Result) -> "array[int]":
        """UIDs of the messages that are returned, or saved, ascending: with MIN, MAX and PARTIAL alone, these (RFC 4731
        section 3.2, RFC 5182 section 2.4, RFC 9394 section 3.2).
        """
        named = RETURN_OPTIONS.ordered(frozenset(self.values))
        units = [(name, unit) for name, unit in named if unit.told is not None]
        picked: set[int] = set()
        for name, unit in units:
            if unit.picks is None:
                return result.ascending
            picked.update(unit.picks(result, self.values[name]))
        return array("I", sorted(picked)) if units else result.ascending

    def response(self, tag: bytes, result: Result, *, by_uid: bool, modseq: int | None) -> Iterator[bytes]:
        """The ESEARCH response in pieces; nothing if SAVE alone was asked for."""
        units = [
            (name, unit)
            for name, unit in RETURN_OPTIONS.ordered(frozenset(self.values))
            if unit.told is not None
        ]
        if not units:
            return
        yield b"* ESEARCH (TAG " + string(tag) + (b") UID" if by_uid else b")")
        for name, unit in units:
            if unit.told is not None:
                yield from unit.told(self._meant(name, result), self.values[name])
        yield b" MODSEQ %d\r\n" % modseq if modseq is not None else b"\r\n"

    def _meant(self, name: bytes, result: Result) -> Result:
        """What an option speaks of: scores are those of the part that is told."""
        part = self.values.get(b"PARTIAL")
        if name != RELEVANCY or not isinstance(part, Partial):
            return result
        return result._replace(uids=_part(result, part))


def parse_returns(arguments: Arguments, disabled: frozenset[bytes], needs: bytes = ESEARCH) -> Returns | None:
    """RETURN with its options, if it comes next; `RETURN ()` is `RETURN (ALL)`. needs: the extension that brings it.
    Raises Mistaken.
    """
    first = arguments.peek()
    if not isinstance(first, Atom) or first.upper() != b"RETURN" or needs in disabled:
        return None
    arguments.next()
    inner = Arguments(arguments.name, arguments.list())
    values: dict[bytes, object] = {}
    while inner.more():
        name = inner.atom()
        unit = RETURN_OPTIONS.find(name, disabled)
        if unit is None or name in values:
            raise arguments.wrong(f"Unknown SEARCH return option {name.decode('ascii', 'replace')}")
        values[name] = unit.parse(inner) if unit.parse is not None else True
    if b"PARTIAL" in values and b"ALL" in values:
        raise arguments.wrong("PARTIAL and ALL exclude each other.")
    return Returns(values or {b"ALL": True})
