"""What an index knows of many messages at once about terms that look for text."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import NamedTuple, Protocol

from dovecotpy.search import query as q
from dovecotpy.search.table import Table

SLICE = 0.05
"""Seconds of work between two yields; the budget of DESIGN section 4 is 0.1."""


class Progress(NamedTuple):
    """Still at work: so many of the messages that must be read are done."""

    done: int
    total: int


class Occurrences(NamedTuple):
    """Which messages match one term that looks for text."""

    holding: set[int]
    unknown: set[int]
    """UIDs of messages that must be read to know; neither here nor there: those that do not match, or are gone"""


TextTerm = q.Header | q.Body | q.Text


class TextIndex(Protocol):
    """Knows of many messages at once whether they match a term that looks for text."""

    def occurrences(
        self, term: TextTerm, key: bytes, uids: Sequence[int]
    ) -> Generator[int, None, Occurrences]:
        """What is known about messages. key: the collation key of the term's text. Yields, between two pieces of work, how many are done."""


def text_terms(query: q.Query) -> list[TextTerm]:
    """All terms that look for text."""
    if isinstance(query, (q.And, q.Or)):
        return [found for term in query.terms for found in text_terms(term)]
    if isinstance(query, q.Not):
        return text_terms(query.term)
    return [query] if isinstance(query, (q.Header, q.Body, q.Text)) else []


class Known:
    """What an index told about terms that look for text."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.terms: dict[int, Occurrences] = {}
        """by the identity of the term"""

    def narrow(
        self, query: q.Query, rows: list[int], index: TextIndex, monotonic: Callable[[], float]
    ) -> Generator[Progress, None, tuple[q.Query, list[int]]]:
        """Ask about all terms that look for text. What is left of the query to be asked message by message, and the rows that may match it."""
        terms = query.terms if isinstance(query, q.And) else (query,)
        left: list[q.Query] = []
        for term in terms:
            inner = term.term if isinstance(term, q.Not) else term
            if isinstance(inner, (q.Header, q.Body, q.Text)):
                rows, settled = yield from self._filter(term, inner, rows, index, monotonic)
                if settled:
                    continue
            else:
                for each in text_terms(term):
                    yield from self._ask(each, rows, index, monotonic)
            left.append(term)
        if not left:
            return q.All(), rows
        return left[0] if len(left) == 1 else q.And(tuple(left)), rows

    def _filter(
        self,
        term: q.Query,
        inner: TextTerm,
        rows: list[int],
        index: TextIndex,
        monotonic: Callable[[], float],
    ) -> Generator[Progress, None, tuple[list[int], bool]]:
        """The rows that match a term or may do so, and whether all of them certainly do."""
        uids = self.table.columns.uids
        found = yield from self._ask(inner, rows, index, monotonic)
        if term is inner:
            possible = found.holding | found.unknown if found.unknown else found.holding
            return [row for row in rows if uids[row] in possible], not found.unknown
        return [row for row in rows if uids[row] not in found.holding], not found.unknown

    def _ask(
        self, term: TextTerm, rows: list[int], index: TextIndex, monotonic: Callable[[], float]
    ) -> Generator[Progress, None, Occurrences]:
        uids = self.table.columns.uids
        asked = uids if len(rows) == len(uids) else [uids[row] for row in rows]
        steps = index.occurrences(term, self.table.key(term), asked)
        deadline = monotonic() + SLICE
        while True:
            try:
                done = next(steps)
            except StopIteration as stop:
                found: Occurrences = stop.value
                break
            if monotonic() >= deadline:
                yield Progress(done, len(rows))
                deadline = monotonic() + SLICE
        self.terms[id(term)] = found
        return found
