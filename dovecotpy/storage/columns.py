"""The columns of a mailbox and the log of what changed in them."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence

from dovecotpy.storage.driver import UNKNOWN_DATE, Columns, Row

MAX_LOG = 100_000
"""Entries of the log of changes and of the log of expunges; the older half goes when one is full."""
Dates = Callable[[Sequence[int]], list[tuple[int, int]]]


class LateColumns(Columns):
    """Columns whose dates are looked up when somebody asks for them for the first time."""

    fill: Callable[[], None]

    @property
    def dates(self) -> "array[int]":
        """As `Columns.dates`."""
        self.fill()
        return super().dates

    @property
    def savedates(self) -> "array[int]":
        """As `Columns.savedates`."""
        self.fill()
        return super().savedates


def empty_columns() -> Columns:
    """Of a mailbox that was not read yet."""
    return Columns(
        0,
        0,
        1,
        array("I"),
        array("B"),
        array("I"),
        array("Q"),
        array("q"),
        array("q"),
        array("q"),
        (frozenset(),),
    )


class Ledger:
    """The columns at their newest modseq, and what changed since older ones.

    dates: gives INTERNALDATE and date of saving for UIDs. above: gives a modseq that was not used yet, higher than the last one here.
    """

    def __init__(self, dates: Dates, above: Callable[[int], int]) -> None:
        self._dates = dates
        self._above = above
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

    def rebase(self) -> None:
        """What the columns say of the past is not to be believed: everything counts as changed just now."""
        columns = Columns(*self.columns)
        modseq = self._above(columns.modseq)
        self._set(columns._replace(modseq=modseq, modseqs=array("Q", [modseq]) * len(columns.uids)))
        self._log_start = modseq

    def _set(self, columns: Columns) -> None:
        late = LateColumns(*columns)
        late.fill = self._fill
        self.columns = late

    def _fill(self) -> None:
        """Look up the dates that nobody asked for yet."""
        known = Columns(*self.columns)
        dates, savedates = known.dates, known.savedates
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
                    uidvalidity=uidvalidity,
                    uidnext=max(columns.uidnext, uidnext),
                    modseq=columns.modseq or self._above(0),
                )
            )

    def take(self, appeared: Sequence[Row], changed: Sequence[Row], vanished: Sequence[int]) -> bool:
        """Apply what happened as one modseq; False if nothing did. New UIDs are above all known ones."""
        gone = sorted({uid for uid in vanished if self.place(uid) >= 0})
        differing = [(self.place(row.uid), row) for row in changed if self._differs(row)]
        if not appeared and not gone and not differing:
            return False
        modseq = self._above(self.columns.modseq)
        copy = _Draft(self.columns)
        for place, row in differing:
            copy.change(place, row, self._set_number(row.keywords), modseq)
            self._changes.append((modseq, row.uid))
        if gone:
            copy.remove([self.place(uid) for uid in gone])
            self._expunges.extend((modseq, first, last) for first, last in ranges(gone))
        if appeared:
            copy.add(appeared, [self._set_number(row.keywords) for row in appeared], modseq)
            self._arrivals.append((modseq, appeared[0].uid))
        self._set(copy.finished(modseq, tuple(self._sets)))
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

    def _trim(self) -> None:
        for log in (self._changes, self._expunges):
            if len(log) > MAX_LOG:
                half = len(log) // 2
                self._log_start = max(self._log_start, log[half - 1][0])
                del log[:half]

    def changes(self, since: int) -> tuple["array[int]", "array[int]", list[tuple[int, int]], bool]:
        """UIDs that appeared, UIDs with changed flags, ranges of vanished UIDs after a modseq, and whether that is all of it."""
        columns = self.columns
        if since < self._log_start:
            changed = array(
                "I", [uid for uid, at in zip(columns.uids, columns.modseqs, strict=True) if at > since]
            )
            return array("I"), changed, [], False
        appeared = array("I")
        arrival = bisect_left(self._arrivals, (since + 1, 0))
        first = self._arrivals[arrival][1] if arrival < len(self._arrivals) else 1 << 33
        if arrival < len(self._arrivals):
            appeared = columns.uids[bisect_left(columns.uids, first) :]
        log = self._changes[bisect_left(self._changes, (since + 1, 0)) :]
        changed = array("I", sorted({uid for _, uid in log if self.place(uid) >= 0}))
        gone = self._expunges[bisect_left(self._expunges, (since + 1, 0, 0)) :]
        return appeared, changed, sorted((low, high) for _, low, high in gone), True


class _Draft:
    """Copies of columns that are being changed."""

    def __init__(self, columns: Columns) -> None:
        self._uidvalidity = columns.uidvalidity
        self._uidnext = columns.uidnext
        self._arrays: list[array[int]] = [
            part[:] for part in tuple.__iter__(columns) if isinstance(part, array)
        ]

    def change(self, place: int, row: Row, words: int, modseq: int) -> None:
        self._arrays[1][place] = row.flags
        self._arrays[2][place] = words
        self._arrays[3][place] = modseq

    def remove(self, places: list[int]) -> None:
        """places: ascending."""
        bounds = [-1, *places, len(self._arrays[0])]
        for number, column in enumerate(self._arrays):
            kept = array(column.typecode)
            for before, after in zip(bounds, bounds[1:], strict=False):
                kept.extend(column[before + 1 : after])
            self._arrays[number] = kept

    def add(self, rows: Sequence[Row], words: list[int], modseq: int) -> None:
        uids, flags, keywords, modseqs, sizes, dates, savedates = self._arrays
        uids.extend([row.uid for row in rows])
        flags.extend([row.flags for row in rows])
        keywords.extend(words)
        modseqs.extend([modseq] * len(rows))
        sizes.extend([-1 if row.size is None else row.size for row in rows])
        dates.extend([row.internaldate for row in rows])
        savedates.extend([-1 if row.savedate is None else row.savedate for row in rows])
        self._uidnext = max(self._uidnext, rows[-1].uid + 1)

    def finished(self, modseq: int, sets: tuple[frozenset[str], ...]) -> Columns:
        uids, flags, keywords, modseqs, sizes, dates, savedates = self._arrays
        return Columns(
            modseq,
            self._uidvalidity,
            self._uidnext,
            uids,
            flags,
            keywords,
            modseqs,
            sizes,
            dates,
            savedates,
            sets,
        )


def ranges(uids: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending UIDs as ranges."""
    found: list[tuple[int, int]] = []
    for uid in uids:
        if found and found[-1][1] == uid - 1:
            found[-1] = (found[-1][0], uid)
        else:
            found.append((uid, uid))
    return found
