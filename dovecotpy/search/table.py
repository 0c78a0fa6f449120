"""Terms that columns answer, for many messages at once."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import compress
from typing import NamedTuple, Protocol

from dovecotpy.message.collation import collation_key
from dovecotpy.message.date import DAY
from dovecotpy.search import query as q


class Columns(Protocol):
    """What of the store's columns is looked at; all sequences are parallel, in ascending UID order."""

    @property
    def uids(self) -> Sequence[int]: ...
    @property
    def flags(self) -> Sequence[int]: ...
    @property
    def keywords(self) -> Sequence[int]: ...
    @property
    def modseqs(self) -> Sequence[int]: ...
    @property
    def sizes(self) -> Sequence[int]: ...
    @property
    def dates(self) -> Sequence[int]: ...
    @property
    def savedates(self) -> Sequence[int]: ...
    @property
    def keyword_sets(self) -> Sequence[frozenset[str]]: ...


def _values(column: Sequence[int], rows: Sequence[int]) -> Sequence[int]:
    """What stands in a column at some rows; a slice of it where they follow each other."""
    if isinstance(rows, range):
        return column[rows.start : rows.stop]
    return [column[row] for row in rows]


def _marks(bit: int, wanted: bool) -> bytes:
    """For each octet of flags, whether the bit stands in it as wanted."""
    return bytes((bool(value & bit) is wanted) for value in range(256))


class _Ranges(NamedTuple):
    """Ranges of UIDs, ascending and apart from each other."""

    firsts: list[int]
    lasts: list[int]

    def holds(self, uid: int) -> bool:
        index = bisect_right(self.firsts, uid) - 1
        return index >= 0 and uid <= self.lasts[index]


def _merged(ranges: tuple[tuple[int, int], ...]) -> _Ranges:
    firsts: list[int] = []
    lasts: list[int] = []
    for first, last in sorted((min(pair), max(pair)) for pair in ranges):
        if lasts and first <= lasts[-1] + 1:
            lasts[-1] = max(lasts[-1], last)
        else:
            firsts.append(first)
            lasts.append(last)
    return _Ranges(firsts, lasts)


class Table:
    """Terms that columns answer, for many rows at once. What a term needs is worked out once, under its identity."""

    __slots__ = ("_having", "_keys", "_ranges", "_uids", "columns", "midnight")

    def __init__(self, columns: Columns, midnight: Callable[[int], int]) -> None:
        self.columns = columns
        self.midnight = midnight
        self._keys: dict[int, bytes] = {}
        self._having: dict[int, frozenset[int]] = {}
        self._ranges: dict[int, _Ranges] = {}
        self._uids: dict[int, frozenset[int]] = {}

    def key(self, query: q.Header | q.Body | q.Text | q.Shown) -> bytes:
        """The collation key of the text that a term looks for."""
        key = self._keys.get(id(query))
        if key is None:
            key = self._keys[id(query)] = collation_key(query.text)
        return key

    def select(self, query: q.Query, rows: Sequence[int]) -> Sequence[int]:
        """Those of the rows that match; order is kept."""
        if isinstance(query, q.All):
            return rows
        if isinstance(query, q.And):
            for term in query.terms:
                rows = self.select(term, rows)
            return rows
        if isinstance(query, q.Or):
            matching: set[int] = set()
            for term in query.terms:
                matching.update(self.select(term, [row for row in rows if row not in matching]))
            return [row for row in rows if row in matching]
        if isinstance(query, q.Not):
            excluded = frozenset(self.select(query.term, rows))
            return [row for row in rows if row not in excluded]
        return self.leaf(query, rows)

    def leaf(self, query: q.Query, rows: Sequence[int]) -> Sequence[int]:
        """select() for a term without terms inside."""
        if isinstance(query, q.Uids):
            return self.listed(query, rows)
        if isinstance(query, q.UidRanges):
            return self.ranges(query, rows)
        columns = self.columns
        if isinstance(query, q.Flag):
            flags = _values(columns.flags, rows)
            if isinstance(flags, array):
                return list(compress(rows, flags.tobytes().translate(_marks(query.bit, query.wanted))))
            bit = query.bit
            return [row for row, each in zip(rows, flags, strict=True) if bool(each & bit) is query.wanted]
        if isinstance(query, q.Keyword):
            return self.keyword(query, rows)
        if isinstance(query, (q.Before, q.On, q.Since)):
            first, after = self.period(query)
            since = list(compress(rows, map(first.__le__, _values(columns.dates, rows))))
            return list(compress(since, map(after.__gt__, _values(columns.dates, since))))
        if isinstance(query, q.ArrivedBy):
            return list(compress(rows, map(query.moment.__ge__, _values(columns.dates, rows))))
        if isinstance(query, q.ArrivedFrom):
            return list(compress(rows, map(query.moment.__le__, _values(columns.dates, rows))))
        if isinstance(query, (q.SavedBefore, q.SavedOn, q.SavedSince)):
            first, after = self.period(query)
            since = list(compress(rows, map(first.__le__, _values(columns.savedates, rows))))
            return list(compress(since, map(after.__gt__, _values(columns.savedates, since))))
        if isinstance(query, q.Larger):
            return list(compress(rows, map(query.octets.__lt__, _values(columns.sizes, rows))))
        if isinstance(query, q.Smaller):
            known = list(compress(rows, map((0).__le__, _values(columns.sizes, rows))))
            return list(compress(known, map(query.octets.__gt__, _values(columns.sizes, known))))
        if isinstance(query, q.ModSequence):
            return list(compress(rows, map(query.at_least.__le__, _values(columns.modseqs, rows))))
        raise TypeError(f"columns cannot answer {query!r}")

    def keyword(self, query: q.Keyword, rows: Sequence[int]) -> Sequence[int]:
        having = self._having.get(id(query))
        if having is None:
            name = query.name.lower()
            sets = enumerate(self.columns.keyword_sets)
            having = frozenset(
                number for number, names in sets if any(name == each.lower() for each in names)
            )
            self._having[id(query)] = having
        if not having:
            return []
        return list(compress(rows, map(having.__contains__, _values(self.columns.keywords, rows))))

    def listed(self, query: q.Uids, rows: Sequence[int]) -> Sequence[int]:
        listed = self._uids.get(id(query))
        if listed is None:
            listed = self._uids[id(query)] = frozenset(query.uids)
        uids = self.columns.uids
        return [row for row in rows if uids[row] in listed]

    def ranges(self, query: q.UidRanges, rows: Sequence[int]) -> Sequence[int]:
        ranges = self._ranges.get(id(query))
        if ranges is None:
            ranges = self._ranges[id(query)] = _merged(query.ranges)
        uids = self.columns.uids
        return [row for row in rows if ranges.holds(uids[row])]

    def day(self, row: int) -> int:
        """The day number of a message's INTERNALDATE by the server's clock."""
        date = self.columns.dates[row]
        day = date // DAY
        if date < self.midnight(day):
            return day - 1
        return day + 1 if date >= self.midnight(day + 1) else day

    def period(
        self, query: q.Before | q.On | q.Since | q.SavedBefore | q.SavedOn | q.SavedSince
    ) -> tuple[int, int]:
        """The first moment that matches and the one after the last."""
        endless = 1 << 62
        if isinstance(query, (q.Before, q.SavedBefore)):
            return -endless, self.midnight(query.day)
        if isinstance(query, (q.Since, q.SavedSince)):
            return self.midnight(query.day), endless
        return self.midnight(query.day), self.midnight(query.day + 1)
