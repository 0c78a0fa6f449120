"""Evaluation of a search over the columns of a mailbox and, only where they do not suffice, over messages.

What columns can answer is answered for all messages at once. What is left is asked message by message, cheap
terms first, each message read at most once however many terms look into it. The evaluation is a generator: it
yields Progress whenever SLICE seconds have passed, so that the caller can look at the client, and Found at the end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from operator import eq
from typing import NamedTuple

from dovecotpy.message.date import local_midnight
from dovecotpy.search import query as q
from dovecotpy.search.message_terms import Gone, MessageTerms, TextSource
from dovecotpy.search.occurrences import SLICE, Known, Occurrences, Progress, TextIndex, text_terms
from dovecotpy.search.table import Columns, Table

__all__ = ["SLICE", "Columns", "Found", "Occurrences", "Progress", "TextIndex", "TextSource", "evaluate"]

ROWS = 50000
"""Messages of which columns are looked at in one go, divided by the number of terms."""


class Found(NamedTuple):
    """The answer: UIDs in ascending order."""

    uids: array[int]


def evaluate(
    query: q.Query,
    columns: Columns,
    source: TextSource,
    within: Sequence[int],
    monotonic: Callable[[], float],
    midnight: Callable[[int], int] = local_midnight,
    index: TextIndex | None = None,
) -> Iterator[Progress | Found]:
    """Search the messages named in within (ascending UIDs; those not in columns are left out).

    monotonic: seconds, for the slices. midnight: the moment at which a day number begins by the server's clock.
    index: saves reading messages to look for text.
    Yields Progress any number of times, then Found once. Raises QueryTooDeep, and what the source raises.
    """
    query = q.simplified(query)
    if isinstance(query, q.All) and _same(columns.uids, within):
        yield Found(array("I", within))
        return
    cheap, dear = _split(query)
    if _asks_size(cheap) and min(columns.sizes, default=0) < 0:
        cheap, dear = q.All(), q.And((cheap, dear))
    deadline = monotonic() + SLICE
    candidates: list[int] = []
    table = Table(columns, midnight)
    step = max(ROWS // _terms(cheap), 1)
    for start in range(0, len(within), step):
        candidates += table.select(cheap, _rows(columns.uids, within[start : start + step]))
        if monotonic() >= deadline:
            yield Progress(0, len(within))
            deadline = monotonic() + SLICE
    if isinstance(dear, q.All):
        yield Found(array("I", map(columns.uids.__getitem__, candidates)))
        return
    known = Known(table)
    if index is not None:
        dear, candidates = yield from known.narrow(_ordered(dear), candidates, index, monotonic)
        if isinstance(dear, q.All):
            yield Found(array("I", map(columns.uids.__getitem__, candidates)))
            return
    yield from _read(dear, table, known, source, candidates, monotonic)


def _read(
    query: q.Query,
    table: Table,
    known: Known,
    source: TextSource,
    rows: list[int],
    monotonic: Callable[[], float],
) -> Iterator[Progress | Found]:
    query = _ordered(query)
    needles = frozenset((isinstance(term, q.Text), table.key(term)) for term in _body_terms(query))
    found = array("I")
    deadline = monotonic() + SLICE
    for done, row in enumerate(rows):
        view = MessageTerms(table, known, source, row, needles)
        steps = view.matches(query)
        try:
            while True:
                if monotonic() >= deadline:
                    yield Progress(done, len(rows))
                    deadline = monotonic() + SLICE
                next(steps)
        except StopIteration as stop:
            if stop.value:
                found.append(view.uid)
        except Gone:
            continue
    yield Found(found)


def _rows(uids: Sequence[int], within: Sequence[int]) -> Sequence[int]:
    """Places in the columns of the UIDs in within, which is not empty; those that are not there are left out."""
    first = bisect_left(uids, within[0])
    last = bisect_right(uids, within[-1], first)
    if _same(uids[first:last], within):
        return range(first, last)
    rows = []
    for uid in within:
        first = bisect_left(uids, uid, first, last)
        if first < last and uids[first] == uid:
            rows.append(first)
    return rows


def _same(uids: Sequence[int], others: Sequence[int]) -> bool:
    """Whether two lists of UIDs are the same."""
    if isinstance(uids, array) and isinstance(others, array):
        return uids == others
    return len(uids) == len(others) and all(map(eq, uids, others))


def _terms(query: q.Query) -> int:
    if isinstance(query, (q.And, q.Or)):
        return 1 + sum(_terms(term) for term in query.terms)
    return 1 + _terms(query.term) if isinstance(query, q.Not) else 1


def _split(query: q.Query) -> tuple[q.Query, q.Query]:
    """What columns can answer, and what is left; the answer is both."""
    if not q.needs_messages(query):
        return query, q.All()
    if isinstance(query, q.And):
        cheap = tuple(term for term in query.terms if not q.needs_messages(term))
        dear = tuple(term for term in query.terms if q.needs_messages(term))
        return q.And(cheap), q.And(dear)
    return q.All(), query


def _cost(query: q.Query) -> int:
    """Rank by what must be read: nothing, the header, the body, the body once more."""
    if isinstance(query, (q.And, q.Or)):
        return max((_cost(term) for term in query.terms), default=0)
    if isinstance(query, q.Not):
        return _cost(query.term)
    if isinstance(query, q.Shown):
        return 3
    if isinstance(query, (q.Body, q.Text)):
        return 2
    return 1 if q.needs_messages(query) else 0


def _asks_size(query: q.Query) -> bool:
    if isinstance(query, (q.And, q.Or)):
        return any(_asks_size(term) for term in query.terms)
    if isinstance(query, q.Not):
        return _asks_size(query.term)
    return isinstance(query, (q.Larger, q.Smaller))


def _ordered(query: q.Query) -> q.Query:
    """The same search with cheap terms first everywhere."""
    if isinstance(query, (q.And, q.Or)):
        terms = tuple(sorted((_ordered(term) for term in query.terms), key=_cost))
        return q.And(terms) if isinstance(query, q.And) else q.Or(terms)
    return q.Not(_ordered(query.term)) if isinstance(query, q.Not) else query


def _body_terms(query: q.Query) -> list[q.Body | q.Text]:
    """All terms that look into bodies, so that one reading serves them all."""
    return [term for term in text_terms(query) if isinstance(term, (q.Body, q.Text))]
