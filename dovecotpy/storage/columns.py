"""The columns of a mailbox and the log of what changed in them."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence

from dovecotpy.storage.driver import UNKNOWN_DATE, Columns, Row

MAX_LOG = 100_000
"""Entries of the log of changes and of the log of expunges; the older half goes when one is full."""
Dates = Callable[[Sequence[int]], list[tuple[int, int]]]


class LateColumns(Columns):
    """Columns whose dates are looked up when somebody asks for them for the first time."""

    fill: Callable[[], None]

    @property
    def dates(self) -> "array[int]":  # type: ignore[override]  # a field of the base that must not be read before it is filled
        """As `Columns.dates`."""
        self.fill()
        return self[9]

    @property
    def savedates(self) -> "array[int]":  # type: ignore[override]  # as above
        """As `Columns.savedates`."""
        self.fill()
        return self[10]


def empty_columns() -> Columns:
    """Of a mailbox that was not read yet."""
    return Columns(
        0, 0, 1, array("I"), array("B"), array("I"), array("Q"), array("q"), array("q"), array("q"), (frozenset(),)
    )


class Ledger:
    """The columns at their newest modseq, and what changed since older ones.

    dates: gives INTERNALDATE and date of saving for UIDs.
    """

    def __init__(self, dates: Dates) -> None:
        self._dates = dates
        self.columns: Columns = empty_columns()
        self._sets: dict[frozenset[str], int] = {frozenset(): 0}
        self._arrivals: list[tuple[int, int]] = []
        """modseq, first UID that came with it"""
        self._changes: list[tuple[int, int]] = []
        """modseq, UID"""
        self._expunges: list[tuple[int, int, int]] = []
        """modseq, first and last UID"""
        self._log_start = 0

    def restore(self, columns: Columns) -> None:
        """Begin with columns from an index."""
        self._set(columns)
        self._sets = {words: number for number, words in enumerate(columns.keyword_sets)}
        self._log_start = columns.modseq

    def _set(self, columns: Columns) -> None:
        late = LateColumns(*columns)
        late.fill = self._fill
        self.columns = late

    def _fill(self) -> None:
        """Look up the dates that nobody asked for yet."""
        dates, savedates = self.columns[9], self.columns[10]
        if UNKNOWN_DATE not in dates:
            return
        places = [place for place, date in enumerate(dates) if date == UNKNOWN_DATE]
        uids = self.columns.uids
        for place, (date, saved) in zip(places, self._dates([uids[place] for place in places]), strict=True):
            dates[place] = date
            savedates[place] = saved

    def known_columns(self) -> Columns:
        """The columns as they are, unknown dates left unknown."""
        return Columns(*self.columns)

    def place(self, uid: int) -> int:
        """Index of a message; -1 if it is not there."""
        uids = self.columns.uids
        place = bisect_left(uids, uid)
        return place if place < len(uids) and uids[place] == uid else -1

    def learn_size(self, uid: int, size: int) -> bool:
        """The true size of a message, in place; True if it was not known."""
        place = self.place(uid)
        if place < 0 or self.columns.sizes[place] == size:
            return False
        self.columns.sizes[place] = size
        return True

    def keywords(self) -> frozenset[str]:
        """Every keyword of these columns."""
        return frozenset().union(*self.columns.keyword_sets)

    def reach(self, uidvalidity: int, uidnext: int) -> None:
        """The mailbox's UIDVALIDITY and next UID, which change without a modseq."""
        columns = self.columns
        if columns.uidvalidity != uidvalidity or columns.uidnext < uidnext or not columns.modseq:
            self._set(
                Columns(*columns)._replace(
                    uidvalidity=uidvalidity, uidnext=max(columns.uidnext, uidnext), modseq=max(columns.modseq, 1)
                )
            )

    def take(self, appeared: Sequence[Row], changed: Sequence[Row], vanished: Sequence[int]) -> bool:
        """Apply what happened as one modseq; False if nothing did. New UIDs are above all known ones."""
        gone = [uid for uid in vanished if self.place(uid) >= 0]
        differing = [(self.place(row.uid), row) for row in changed if self._differs(row)]
        if not appeared and not gone and not differing:
            return False
        modseq = self.columns.modseq + 1
        columns = [part[:] if isinstance(part, array) else part for part in self.columns]
        if differing:
            self._apply_changes(columns, differing, modseq)
        if gone:
            self._apply_expunges(columns, sorted(gone), modseq)
        if appeared:
            self._apply_arrivals(columns, appeared, modseq)
        columns[0] = modseq
        columns[11 - 1 + 0] = columns[10]
        fresh = Columns(*columns[:11])._replace(keyword_sets=tuple(self._sets))
        self._set(fresh)
        self._trim()
        return True

    def _differs(self, row: Row) -> bool:
        place = self.place(row.uid)
        if place < 0:
            return False
        columns = self.columns
        return (
            columns.flags[place] != row.flags or columns.keyword_sets[columns.keywords[place]] != row.keywords
        )

    def _set_number(self, words: frozenset[str]) -> int:
        return self._sets.setdefault(words, len(self._sets))
