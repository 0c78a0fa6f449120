"""SORT and THREAD over the columns of a mailbox and, where they do not suffice, over the keys of headers, pure.

As evaluate() does, the functions here yield Progress whenever SLICE seconds have passed, and the answer at the end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from dovecotpy.message.header import Header
from dovecotpy.search import packed
from dovecotpy.search.evaluate import SLICE, Columns, Found, Progress
from dovecotpy.search.keys import UNKNOWN, Links, links
from dovecotpy.search.sort import FROM_HEADER, Key, Program, sort
from dovecotpy.search.thread import Algorithm, Forest, Rows, thread

BATCH = 64
"""Headers asked for at once."""
MAX_KEPT = 200_000
"""Keys that are kept in memory; past it all are forgotten and taken from headers again."""

FEW = 64
"""One new key in so many, or fewer: not worth writing all of them anew."""


class KeySource(Protocol):
    """Where keys come from that no column has. None: the message is gone; it is left out of the answer."""

    def headers(self, uids: Sequence[int]) -> Sequence[Header | None]:
        """Headers that have the fields of message.header.USUAL at least, parallel to uids."""

    def size(self, uid: int) -> int | None:
        """RFC822.SIZE, asked only where the columns say -1."""


class Threads(NamedTuple):
    """The answer of thread_messages."""

    uids: array[int]
    """what the numbers in the forest mean"""
    forest: Forest


class Shelf(Protocol):
    """Where keys outlast a session, as octets of `packed`, under names."""

    def load(self, kind: str) -> bytes | None: ...

    def save(self, kind: str, payload: bytes) -> None: ...


class Memory:
    """Keys that were taken from headers while a mailbox is open, or before that by others."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        self._shelf = shelf
        self._values: dict[Any, dict[int, Any]] = {}
        self._saved: dict[Any, int] = {}
        """how many keys the shelf has"""

    def of(self, name: Any) -> dict[int, Any]:
        """What is remembered under a name, by UID."""
        if sum(map(len, self._values.values())) > MAX_KEPT:
            self._values.clear()
        known = self._values.get(name)
        if known is None:
            known = self._values[name] = self._loaded(name)
        return known

    def _loaded(self, name: Any) -> dict[int, Any]:
        kind = packed.name_of(name)
        data = self._shelf.load(kind) if self._shelf is not None else None
        try:
            known = packed.unpack(kind, data) if data is not None else {}
        except packed.Unusable:
            known = {}
        self._saved[name] = len(known)
        return known

    def save(self, name: Any, known: dict[int, Any], uids: Sequence[int], learnt: int) -> None:
        """Put the keys of the messages that are there on the shelf, if so many were learnt that it is worth it."""
        if self._shelf is None or learnt * FEW <= self._saved[name]:
            return
        there = [uid for uid in uids if uid in known]
        kind = packed.name_of(name)
        data = packed.pack(kind, there, [known[uid] for uid in there])
        if data is not None:
            self._shelf.save(kind, data)
            self._saved[name] = len(there)

    def forget(self, uid: int) -> None:
        """The message is gone."""
        for values in self._values.values():
            values.pop(uid, None)


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
    memory: Memory,
    uids: Sequence[int],
    monotonic: Callable[[], float],
    scores: Mapping[int, int] | None = None,
) -> Iterator[Progress | Found]:
    """The messages named in uids (ascending), put in order. Those that are gone are left out. scores: for RELEVANCY."""
    pace = _Pace(monotonic, len(uids))
    readers = {
        criterion.key: FROM_HEADER[criterion.key] for criterion in program if criterion.key in FROM_HEADER
    }
    kept, places, values = yield from _collect(readers, columns, source, memory, uids, pace)
    wanted = {criterion.key for criterion in program}
    if Key.DATE in wanted:
        _fill(values[Key.DATE], _taken(columns.dates, places))
    if Key.ARRIVAL in wanted:
        values[Key.ARRIVAL] = _taken(columns.dates, places)
    if Key.RELEVANCY in wanted and scores is not None:
        values[Key.RELEVANCY] = [-scores[uid] for uid in kept]
    if Key.SIZE in wanted:
        values[Key.SIZE] = yield from _sizes(columns, source, kept, places, pace)
    order = yield from pace.run(sort(program, values, len(kept)))
    yield Found(array("I", map(kept.__getitem__, order)))


def thread_messages(
    algorithm: Algorithm,
    columns: Columns,
    source: KeySource,
    memory: Memory,
    uids: Sequence[int],
    monotonic: Callable[[], float],
) -> Iterator[Progress | Threads]:
    """The messages named in uids (ascending), threaded. Those that are gone are left out."""
    pace = _Pace(monotonic, len(uids))
    kept, places, values = yield from _collect({Links: links}, columns, source, memory, uids, pace)
    rows = _rows(values[Links], _taken(columns.dates, places))
    forest = yield from pace.run(thread(algorithm, rows))
    yield Threads(kept, forest)


def _rows(found: Sequence[Links], arrivals: Sequence[int]) -> Rows:
    moments = [each.sent for each in found]
    _fill(moments, arrivals)
    return Rows(
        arrivals,
        moments,
        [each.subject for each in found],
        bytes([each.reply for each in found]),
        [each.identity for each in found],
        [each.references for each in found],
    )


def _collect(
    readers: dict[Any, Callable[[Header], Any]],
    columns: Columns,
    source: KeySource,
    memory: Memory,
    uids: Sequence[int],
    pace: _Pace,
) -> Generator[Progress, None, tuple[array[int], Sequence[int], dict[Any, list[Any]]]]:
    """UIDs of what is there, their places in the columns, and what the readers find in headers, column by column."""
    remembered = {name: memory.of(name) for name in readers}
    missing = {uid for known in remembered.values() for uid in uids if uid not in known}
    there = columns.uids
    if missing:
        learnt = {name: sum(uid not in known for uid in missing) for name, known in remembered.items()}
        yield from _read(readers, remembered, source, sorted(missing), pace)
        for name, count in learnt.items():
            memory.save(name, remembered[name], there, count)
    places = _places(there, uids)
    if missing or len(places) < len(uids):
        for known in remembered.values():
            places = [place for place in places if there[place] in known]
    kept = array("I", _taken(there, places))
    pace.done = len(uids)
    return kept, places, {name: list(map(known.__getitem__, kept)) for name, known in remembered.items()}


def _read(
    readers: dict[Any, Callable[[Header], Any]],
    remembered: dict[Any, dict[int, Any]],
    source: KeySource,
    uids: Sequence[int],
    pace: _Pace,
) -> Generator[Progress, None, None]:
    """Take from headers what is not remembered."""
    shared: dict[Any, Any] = {}
    work = [(read, remembered[name]) for name, read in readers.items()]
    for start in range(0, len(uids), BATCH):
        batch = uids[start : start + BATCH]
        for uid, header in zip(batch, source.headers(batch), strict=True):
            if header is not None:
                for read, known in work:
                    value = read(header)
                    known[uid] = shared.setdefault(value, value)
        if pace.due():
            pace.done = start
            yield Progress(start, len(uids))


def _places(known: Sequence[int], uids: Sequence[int]) -> Sequence[int]:
    """Places of the UIDs that are in the columns."""
    if len(known) == len(uids) and all(map(int.__eq__, known, uids)):
        return range(len(known))
    places = []
    place = 0
    for uid in uids:
        place = bisect_left(known, uid, place)
        if place < len(known) and known[place] == uid:
            places.append(place)
    return places


def _taken(column: Sequence[int], places: Sequence[int]) -> list[int]:
    if len(places) == len(column):
        return list(column)
    return [column[place] for place in places]


def _fill(sent: list[int], arrivals: Sequence[int]) -> None:
    """INTERNALDATE in place of sent dates that no header tells (RFC 5256 section 2.2)."""
    if UNKNOWN in sent:
        for index, moment in enumerate(sent):
            if moment == UNKNOWN:
                sent[index] = arrivals[index]


def _sizes(
    columns: Columns, source: KeySource, uids: Sequence[int], places: Sequence[int], pace: _Pace
) -> Generator[Progress, None, list[int]]:
    """Sizes of messages; those that nobody knows yet by reading."""
    sizes = _taken(columns.sizes, places)
    if min(sizes, default=0) < 0:
        for index, size in enumerate(sizes):
            if size < 0:
                sizes[index] = source.size(uids[index]) or 0
                if pace.due():
                    yield Progress(index, len(sizes))
    return sizes
