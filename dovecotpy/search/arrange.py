"""SORT and THREAD over the columns of a mailbox and, where they do not suffice, over the keys of headers, pure.

As evaluate() does, the functions here yield Progress whenever SLICE seconds have passed, and the answer at the end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from dovecotpy.search.evaluate import SLICE, Columns, Found, Progress
from dovecotpy.search.keys import UNKNOWN, HeaderKeys
from dovecotpy.search.sort import FROM_HEADER, Key, Program, sort
from dovecotpy.search.thread import Algorithm, Forest, Rows, thread


class KeySource(Protocol):
    """Where keys come from that no column has. None: the message is gone; it is left out of the answer."""

    def keys(self, uid: int) -> HeaderKeys | None:
        """The keys of a message's header."""

    def size(self, uid: int) -> int | None:
        """RFC822.SIZE, asked only where the columns say -1."""


class Threads(NamedTuple):
    """The answer of thread_messages."""

    uids: array[int]
    """what the numbers in the forest mean"""
    forest: Forest


class _Pace:
    """When it is time for Progress."""

    def __init__(self, monotonic: Callable[[], float], total: int) -> None:
        self.monotonic = monotonic
        self.deadline = monotonic() + SLICE
        self.total = total
        self.done = 0

    def due(self) -> bool:
        if self.monotonic() < self.deadline:
            return False
        self.deadline = self.monotonic() + SLICE
        return True

    def run(self, steps: Generator[None, None, Any]) -> Generator[Progress, None, Any]:
        """The result of a generator; Progress when it is time for it."""
        while True:
            try:
                next(steps)
            except StopIteration as stop:
                return stop.value
            if self.due():
                yield Progress(self.done, self.total)


def sort_messages(
    program: Program,
    columns: Columns,
    source: KeySource,
    uids: Sequence[int],
    monotonic: Callable[[], float],
) -> Iterator[Progress | Found]:
    """The messages named in uids (ascending), put in order. Those that are gone are left out."""
    pace = _Pace(monotonic, len(uids))
    readers = {
        criterion.key: FROM_HEADER[criterion.key] for criterion in program if criterion.key in FROM_HEADER
    }
    kept, places, values = yield from _collect(readers, columns, source, uids, pace)
    wanted = {criterion.key for criterion in program}
    if Key.DATE in wanted:
        _fill(values[Key.DATE], columns.dates, places)
    if Key.ARRIVAL in wanted:
        values[Key.ARRIVAL] = _taken(columns.dates, places)
    if Key.SIZE in wanted:
        values[Key.SIZE] = yield from _sizes(columns, source, kept, places, pace)
    order = yield from pace.run(sort(program, values, len(kept)))
    yield Found(array("I", map(kept.__getitem__, order)))


def thread_messages(
    algorithm: Algorithm,
    columns: Columns,
    source: KeySource,
    uids: Sequence[int],
    monotonic: Callable[[], float],
) -> Iterator[Progress | Threads]:
    """The messages named in uids (ascending), threaded. Those that are gone are left out."""
    pace = _Pace(monotonic, len(uids))
    readers = {
        "sent": lambda keys: keys.sent,
        "subject": lambda keys: keys.subject,
        "reply": lambda keys: keys.reply,
        "identity": lambda keys: keys.identity,
        "references": lambda keys: keys.references,
    }
    kept, places, values = yield from _collect(readers, columns, source, uids, pace)
    _fill(values["sent"], columns.dates, places)
    rows = Rows(
        _taken(columns.dates, places),
        values["sent"],
        values["subject"],
        bytes(values["reply"]),
        values["identity"],
        values["references"],
    )
    forest = yield from pace.run(thread(algorithm, rows))
    yield Threads(kept, forest)


def _collect(
    readers: dict[Any, Callable[[HeaderKeys], Any]],
    columns: Columns,
    source: KeySource,
    uids: Sequence[int],
    pace: _Pace,
) -> Generator[Progress, None, tuple[array[int], Sequence[int], dict[Any, list[Any]]]]:
    """UIDs of what is there, their places in the columns, and what the readers find in their keys, column by column."""
    values: dict[Any, list[Any]] = {name: [] for name in readers}
    fillers = [(values[name].append, read) for name, read in readers.items()]
    kept = array("I")
    places: list[int] = []
    known = columns.uids
    shared: dict[Any, Any] = {}
    share = shared.setdefault
    place = bisect_left(known, uids[0]) if uids else 0
    for done, uid in enumerate(uids):
        if place >= len(known) or known[place] != uid:
            place = bisect_left(known, uid)
        if place >= len(known) or known[place] != uid:
            continue
        if fillers:
            keys = source.keys(uid)
            if keys is None:
                continue
            for append, read in fillers:
                value = read(keys)
                append(share(value, value))
            if pace.due():
                pace.done = done
                yield Progress(done, len(uids))
        kept.append(uid)
        places.append(place)
        place += 1
    pace.done = len(uids)
    return kept, places, values


def _taken(column: Sequence[int], places: Sequence[int]) -> list[int]:
    if len(places) == len(column):
        return list(column)
    return [column[place] for place in places]


def _fill(sent: list[int], dates: Sequence[int], places: Sequence[int]) -> None:
    """INTERNALDATE in place of sent dates that no header tells (RFC 5256 section 2.2)."""
    if UNKNOWN in sent:
        for index, moment in enumerate(sent):
            if moment == UNKNOWN:
                sent[index] = dates[places[index]]


def _sizes(
    columns: Columns, source: KeySource, uids: Sequence[int], places: Sequence[int], pace: _Pace
) -> Generator[Progress, None, list[int]]:
    """Sizes of messages; those that nobody knows yet by reading."""
    sizes = [columns.sizes[place] for place in places]
    if min(sizes, default=0) < 0:
        for index, size in enumerate(sizes):
            if size < 0:
                sizes[index] = source.size(uids[index]) or 0
                if pace.due():
                    yield Progress(index, len(sizes))
    return sizes
