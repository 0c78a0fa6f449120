"""SORT and THREAD over the columns of a mailbox and, where they do not suffice, over the keys of headers, pure.

As evaluate() does, the functions here yield Progress whenever SLICE seconds have passed, and the answer at the end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from dovecotpy.message.fields import Values
from dovecotpy.search import orders, packed
from dovecotpy.search.evaluate import SLICE, Columns, Found, Progress
from dovecotpy.search.keys import UNKNOWN, Links, links
from dovecotpy.search.memory import Known, Memory
from dovecotpy.search.orders import Order, backwards
from dovecotpy.search.sort import FROM_HEADER, Key, Program, sort
from dovecotpy.search.thread import Algorithm, Rows, render, thread

BATCH = 64
"""Headers asked for at once."""


class KeySource(Protocol):
    """Where keys come from that no column has. None: the message is gone; it is left out of the answer."""

    def headers(self, uids: Sequence[int]) -> Sequence[Values | None]:
        """Headers that have the fields of message.header.USUAL at least, parallel to uids."""

    def size(self, uid: int) -> int | None:
        """RFC822.SIZE, asked only where the columns say -1."""


class Threads(NamedTuple):
    """The answer of thread_messages."""

    uids: "array[int]"
    """the messages that are there, ascending"""
    rendered: bytes
    """thread-lists in which each message is called by its place in uids, from 1 on; see orders.renumbered"""


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
    table = _Table(columns, source, memory, pace, scores)
    found = yield from _by_orders(program, table, uids)
    if found is None:
        found = yield from _by_keys(program, table, uids)
    yield Found(found)


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
    table = _Table(columns, source, memory, pace)
    whole = len(uids) == len(table.uids) and array("I", uids) == table.uids
    kept = memory.threads(algorithm) if whole else None
    if kept is not None and kept.uids == table.uids and kept.dated.hold(table.uids, columns):
        yield Threads(kept.uids, kept.rendered)
        return
    there, places, values = yield from _collect({Links: links}, table, uids)
    rows, undated = _rows(algorithm, values.pop(Links), columns, places)
    memory.release(Links)
    counted = there if algorithm is Algorithm.REFS else array("I", map(there.__getitem__, undated))
    forest = yield from pace.run(thread(algorithm, rows))
    del rows
    pieces = []
    for piece in render(forest, range(1, len(there) + 1)):
        pieces.append(piece)
        if pace.due():
            yield Progress(pace.done, pace.total)
    threads = Threads(there, b"".join(pieces))
    if there == table.uids:
        dates = orders.dated(counted, there, columns)
        memory.keep_threads(algorithm, orders.Threaded(there, dates, threads.rendered))
    yield threads


class _Table(NamedTuple):
    """What there is to sort."""

    columns: Columns
    source: KeySource
    memory: Memory
    pace: _Pace
    scores: Mapping[int, int] | None = None

    @property
    def uids(self) -> "array[int]":
        """Every message of the mailbox."""
        uids = self.columns.uids
        return uids if isinstance(uids, array) else array("I", uids)


# Kept orders


def _by_orders(
    program: Program, table: _Table, uids: Sequence[int]
) -> Generator[Progress, None, "array[int] | None"]:
    """The messages by the orders of whole mailboxes; None where one is missing and it is not worth making it."""
    there, memory = table.uids, table.memory
    places = _places(there, uids)
    whole = len(places) == len(there)
    readers = {each.key: FROM_HEADER[each.key] for each in program if each.key in FROM_HEADER}
    if whole and len(readers) > 1 and not any(map(memory.order, readers)):
        yield from _collect(readers, table, uids)
    found: dict[Key, Order] = {}
    for key in readers:
        order = yield from _order(key, table, whole=whole)
        if order is None:
            return None
        found[key] = order
    if not found:
        return None
    table.pace.done = len(uids)
    if len(program) == 1:
        only = found[program[0].key]
        ordered = backwards(only) if program[0].reverse else only.places
        return array("I", map(there.__getitem__, orders.within(ordered, places)))
    values: dict[Key, Sequence[int]] = {
        key: _taken(orders.ranks(each), places) for key, each in found.items()
    }
    kept = array("I", _taken(there, places))
    yield from _from_columns(program, table, kept, places, values)
    result = yield from table.pace.run(sort(program, values, len(kept)))
    return array("I", map(kept.__getitem__, result))


def _order(key: Key, table: _Table, *, whole: bool) -> Generator[Progress, None, Order | None]:
    """The mailbox in the order of a key, from what was kept, brought up to date. whole: if that does not do, it is made anew."""
    columns, there, memory = table.columns, table.uids, table.memory
    order = memory.order(key)
    if order is not None and not order.dated.hold(there, columns):
        order = None
    if order is not None and order.uids == there:
        memory.keep_order(key, order, 0)
        return order
    came: Sequence[int] | None = orders.few(order, there) if order is not None else None
    if order is None or came is None:
        changed = len(there)
        order = (yield from _made(key, table)) if whole else None
    else:
        changed = len(there) - len(order.uids) + 2 * len(came)
        order = yield from _renewed(key, table, order, came)
    if order is not None:
        memory.keep_order(key, order, changed)
        memory.release(key)
    return order


def _made(key: Key, table: _Table) -> Generator[Progress, None, Order | None]:
    """The mailbox in the order of a key; None if a message is gone."""
    columns, there = table.columns, table.uids
    kept, _, values = yield from _collect({key: FROM_HEADER[key]}, table, there)
    if len(kept) < len(there):
        return None
    keys: Sequence[Any] = values[key]
    undated = _undated(keys, there) if key is Key.DATE else array("I")
    if undated:
        keys = _filled(keys, columns.dates)
    made: Order = yield from table.pace.run(orders.make(there, keys, orders.dated(undated, there, columns)))
    return made


def _renewed(
    key: Key, table: _Table, order: Order, came: Sequence[int]
) -> Generator[Progress, None, Order | None]:
    """An order brought up to date; None if a message is gone, or a key not known any more."""
    columns, there = table.columns, table.uids
    kept, _, values = yield from _collect({key: FROM_HEADER[key]}, table, came)
    if len(kept) < len(came):
        return None
    undated = order.dated.uids
    if key is Key.DATE:
        undated = array("I", sorted((*undated, *_undated(values[key], kept))))
    steps = orders.renew(
        order, there, came, _key_of(key, table, undated), orders.dated(undated, there, columns)
    )
    try:
        renewed: Order = yield from table.pace.run(steps)
    except KeyError:
        return None
    return renewed


def _key_of(key: Key, table: _Table, undated: Sequence[int]) -> Callable[[int], Any]:
    """The key of a message by its UID, with its INTERNALDATE where nothing else is told. Raises KeyError if it is not known."""
    known = table.memory.of(key)
    if not undated:
        return known.__getitem__
    there, dates, without = table.uids, table.columns.dates, frozenset(undated)
    return lambda uid: dates[bisect_left(there, uid)] if uid in without else known[uid]


def _undated(sent: Sequence[int], uids: Sequence[int]) -> "array[int]":
    """Messages whose header tells no date."""
    if UNKNOWN not in sent:
        return array("I")
    return array("I", [uid for uid, moment in zip(uids, sent, strict=True) if moment == UNKNOWN])


# Keys


def _by_keys(program: Program, table: _Table, uids: Sequence[int]) -> Generator[Progress, None, "array[int]"]:
    """The messages by their keys."""
    readers = {
        criterion.key: FROM_HEADER[criterion.key] for criterion in program if criterion.key in FROM_HEADER
    }
    kept, places, values = yield from _collect(readers, table, uids)
    if Key.DATE in values and UNKNOWN in values[Key.DATE]:
        values[Key.DATE] = _filled(values[Key.DATE], _taken(table.columns.dates, places))
    yield from _from_columns(program, table, kept, places, values)
    result = yield from table.pace.run(sort(program, values, len(kept)))
    return array("I", map(kept.__getitem__, result))


def _from_columns(
    program: Program, table: _Table, uids: Sequence[int], places: Sequence[int], values: dict[Key, Any]
) -> Generator[Progress, None, None]:
    """Put in what the columns of the mailbox tell."""
    wanted = {criterion.key for criterion in program}
    if Key.ARRIVAL in wanted:
        values[Key.ARRIVAL] = _taken(table.columns.dates, places)
    if Key.RELEVANCY in wanted and table.scores is not None:
        values[Key.RELEVANCY] = [-table.scores[uid] for uid in uids]
    if Key.SIZE in wanted:
        values[Key.SIZE] = yield from _sizes(table, uids, places)


def _rows(
    algorithm: Algorithm, found: Sequence[Links], columns: Columns, places: Sequence[int]
) -> tuple[Rows, Sequence[int]]:
    """What there is to be threaded, and the places of messages whose header tells no date."""
    links = packed.link_columns(found)
    sent = [each.sent for each in found] if links is None else links.sent
    undated = [place for place, moment in enumerate(sent) if moment == UNKNOWN] if UNKNOWN in sent else []
    arrivals = _taken(columns.dates, places) if undated or algorithm is Algorithm.REFS else ()
    if links is None:
        rows = Rows(
            arrivals,
            _filled(sent, arrivals),
            [each.subject for each in found],
            bytes([each.reply for each in found]),
            (each.identity for each in found),
            (each.references for each in found),
        )
        return rows, undated
    identities, references = links.identified()
    dates = _filled(sent, arrivals)
    rows = Rows(arrivals, dates, list(links.subjects), links.replies, identities, references)
    return rows, undated


def _collect(
    readers: dict[Any, Callable[[Values], Any]], table: _Table, uids: Sequence[int]
) -> Generator[Progress, None, tuple["array[int]", Sequence[int], dict[Any, Sequence[Any]]]]:
    """UIDs of what is there, their places in the columns, and what the readers find in headers, column by column."""
    memory, there = table.memory, table.uids
    wanted = array("I", uids)
    remembered = {name: memory.of(name) for name in readers}
    lacking = {name: known.missing(wanted) for name, known in remembered.items()}
    missing = set().union(*lacking.values())
    if missing:
        yield from _read(readers, remembered, table.source, sorted(missing), table.pace)
        for name, known in remembered.items():
            memory.save(name, known, there, len(lacking[name]))
    places = _places(there, uids)
    if missing or len(places) < len(uids):
        for known in remembered.values():
            gone = known.missing(wanted)
            if gone:
                places = [place for place in places if there[place] not in gone]
    kept = array("I", _taken(there, places))
    table.pace.done = len(uids)
    return kept, places, {name: known.taken(kept) for name, known in remembered.items()}


def _read(
    readers: dict[Any, Callable[[Values], Any]],
    remembered: dict[Any, Known],
    source: KeySource,
    uids: Sequence[int],
    pace: _Pace,
) -> Generator[Progress, None, None]:
    """Take from headers what is not remembered."""
    work = [(read, remembered[name].learn) for name, read in readers.items()]
    for start in range(0, len(uids), BATCH):
        batch = uids[start : start + BATCH]
        for uid, header in zip(batch, source.headers(batch), strict=True):
            if header is not None:
                for read, learn in work:
                    learn(uid, read(header))
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


def _filled(sent: Sequence[int], arrivals: Sequence[int]) -> Sequence[int]:
    """Sent dates with INTERNALDATE in place of those that no header tells (RFC 5256 section 2.2)."""
    if UNKNOWN not in sent:
        return sent
    return [arrival if moment == UNKNOWN else moment for moment, arrival in zip(sent, arrivals, strict=True)]


def _sizes(table: _Table, uids: Sequence[int], places: Sequence[int]) -> Generator[Progress, None, list[int]]:
    """Sizes of messages; those that nobody knows yet by reading."""
    sizes = _taken(table.columns.sizes, places)
    if min(sizes, default=0) < 0:
        for index, size in enumerate(sizes):
            if size < 0:
                sizes[index] = table.source.size(uids[index]) or 0
                if table.pace.due():
                    yield Progress(index, len(sizes))
    return sizes
