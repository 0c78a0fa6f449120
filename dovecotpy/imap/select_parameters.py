"""What may stand in parentheses behind the mailbox of SELECT and EXAMINE, one unit each (RFC 4466 section 2.1)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import CONDSTORE, QRESYNC
from dovecotpy.imap.registry import Table
from dovecotpy.imap.view import LINES, View
from dovecotpy.imap.wire import sequence

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

MAX_NUMBER = 0xFFFFFFFF


class SelectParameter(NamedTuple):
    """One parameter."""

    parse: Callable[["ImapSession", Arguments], object]
    """its value. Raises Mistaken: nothing was opened or closed yet"""
    enables: bytes
    """the extension that naming it switches on"""
    opened: Callable[[View, object], Iterator[bytes]] | None = None
    """what is said of the mailbox behind the responses of every SELECT"""


class Resync(NamedTuple):
    """What a client knows of a mailbox (RFC 7162 section 3.2.5)."""

    uidvalidity: int
    modseq: int
    known: sequence.Ranges | None
    """settled ranges of UIDs"""
    match: tuple[sequence.Ranges, sequence.Ranges]
    """message numbers and their UIDs, ascending, as many of the one as of the other"""


def _nothing(session: "ImapSession", arguments: Arguments) -> object:
    return True


def _resync(session: "ImapSession", arguments: Arguments) -> object:
    if not session.dialect.qresync:
        raise arguments.wrong("QRESYNC was not enabled.")
    inner = Arguments(arguments.name, arguments.list())
    uidvalidity, modseq = inner.number(MAX_NUMBER), inner.modseq()
    if not uidvalidity or not modseq:
        raise arguments.wrong()
    known = None
    if inner.more() and not isinstance(inner.peek(), list):
        known = sequence.settle(_plain(inner), MAX_NUMBER)
    match: tuple[sequence.Ranges, sequence.Ranges] = ([], [])
    if inner.more():
        session.dialect.need_numbers()
        pair = Arguments(arguments.name, inner.list())
        match = _plain(pair), _plain(pair)
        pair.end()
        if not _ascends(match[0]) or not _ascends(match[1]) or _count(match[0]) != _count(match[1]):
            raise arguments.wrong("Invalid sequence match data.")
    inner.end()
    return Resync(uidvalidity, modseq, known, match)


def _plain(arguments: Arguments) -> sequence.Ranges:
    """A set without `*` or `$`."""
    ranges = arguments.sequence_set()
    if any(min(pair) <= sequence.STAR for pair in ranges):
        raise arguments.wrong("Invalid messageset")
    return [(min(pair), max(pair)) for pair in ranges]


def _ascends(ranges: sequence.Ranges) -> bool:
    return all(before[1] < after[0] for before, after in zip(ranges, ranges[1:], strict=False))


def _count(ranges: sequence.Ranges) -> int:
    return sum(high - low + 1 for low, high in ranges)


class _Numbers:
    """The numbers of ascending ranges by their place."""

    def __init__(self, ranges: sequence.Ranges) -> None:
        self.ranges = ranges
        self.starts: list[int] = []
        self.count = 0
        for low, high in ranges:
            self.starts.append(self.count)
            self.count += high - low + 1

    def __getitem__(self, place: int) -> int:
        number = bisect_right(self.starts, place) - 1
        return self.ranges[number][0] + place - self.starts[number]


def matched_uid(view: View, match: tuple[sequence.Ranges, sequence.Ranges]) -> int:
    """The largest UID of a pair that is still true; 0: none is.

    A pair is true as long as nothing up to it vanished, so that the true ones come before the others.
    """
    numbers, uids = _Numbers(match[0]), _Numbers(match[1])
    low, high = 0, numbers.count
    while low < high:
        middle = (low + high) // 2
        index = numbers[middle] - 1
        if index < len(view.uids) and view.uids[index] == uids[middle]:
            low = middle + 1
        else:
            high = middle
    return uids[low - 1] if low else 0


def _resynchronize(view: View, value: object) -> Iterator[bytes]:
    """VANISHED (EARLIER) and FETCH for what changed; nothing if it is not the mailbox that the client knew."""
    assert isinstance(value, Resync)
    if not view.modseqs_last or value.uidvalidity != view.columns.uidvalidity:
        return
    since = value.modseq if value.modseq <= view.modseq else 0
    known = value.known if value.known is not None else [(1, view.columns.uidnext - 1)]
    yield from view.vanished_earlier(value.modseq, known, matched_uid(view, value.match))
    for start, end in view.changed_since(view.spans(known, by_uid=True), since):
        for at in range(start, end, LINES):
            yield view.flags_lines(view.uids[at : min(at + LINES, end)], by_uid=True)


SELECT_PARAMETERS: Table[SelectParameter] = Table()
SELECT_PARAMETERS.add(b"CONDSTORE", SelectParameter(_nothing, CONDSTORE), CONDSTORE)
SELECT_PARAMETERS.add(b"QRESYNC", SelectParameter(_resync, QRESYNC, _resynchronize), QRESYNC)


def parse_parameters(session: "ImapSession", arguments: Arguments) -> dict[bytes, object]:
    """The parameters that a SELECT has, by name. Raises Mistaken."""
    found: dict[bytes, object] = {}
    if not arguments.more():
        return found
    inner = Arguments(arguments.name, arguments.list())
    arguments.end()
    while inner.more() or not found:
        name = inner.atom()
        unit = SELECT_PARAMETERS.find(name, session.dialect.disabled)
        if unit is None or name in found:
            raise arguments.wrong(f"Unknown parameter {name.decode('ascii', 'replace')}")
        found[name] = unit.parse(session, inner)
    return found
