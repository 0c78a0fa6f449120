"""What a session knows of its mailbox's history: the columns at their newest modseq, and what changed since older ones."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from itertools import compress

from dovecotpy.storage.columns import (
    DATES,
    FLAGS,
    KEYWORDS,
    MODSEQS,
    SAVEDATES,
    SIZES,
    TYPES,
    UIDS,
    Altered,
    Arrived,
    LateColumns,
    Learnt,
    Line,
    Removed,
    late,
    place_of,
    places_of,
    ranges,
    run_of,
)
from dovecotpy.storage.driver import UNKNOWN_DATE
from dovecotpy.storage.index import log
from dovecotpy.storage.index.log import Record
from dovecotpy.storage.index.snapshot import MAX_MODSEQ, Snapshot, Unusable

MAX_EXPUNGES = 100_000
"""Ranges of expunged UIDs that are kept; the older half goes when there are more."""
MAX_ARRIVALS = 4096
"""Arrivals that are kept; of older ones it is not known that they were arrivals."""
MAX_ALTERED = 100_000
"""Changes of flags that a session keeps in memory; of older ones the modseqs tell."""
DATES_AT_ONCE = 1024
"""Messages of which the dates are looked up together."""
Dates = Callable[[Sequence[int]], list[tuple[int, int]]]
"""INTERNALDATE and date of saving for UIDs."""
Rescue = Callable[[int, Sequence[int], Sequence[frozenset[str]]], "array[int]"]
"""A column (FLAGS or KEYWORDS, by number of these sets) of these UIDs from the store itself."""


class Rebased:
    """Everything counts as changed at one modseq."""

    __slots__ = ("_modseq",)

    def __init__(self, modseq: int) -> None:
        self._modseq = modseq

    def touches(self, number: int) -> bool:
        """As `Edit.touches`."""
        return number == MODSEQS

    def apply(self, number: int, column: "array[int]") -> "array[int]":
        """As `Edit.apply`."""
        return array("Q", [self._modseq]) * len(column)


class Ledger:
    """Begins empty, or with a snapshot; then follows by records."""

    def __init__(self, dates: Dates, rescue: Rescue) -> None:
        self._dates = dates
        self._rescue = rescue
        self.clear()

    def clear(self) -> None:
        """Nothing is known."""
        self.damage = ""
        """what was found damaged in the snapshot while reading it"""
        self._base: Snapshot | None = None
        self._line = Line(_nothing)
        self._columns: LateColumns | None = None
        self.modseq = self.uidvalidity = self.least = self._log_start = 0
        """least: what vanished after it is known"""
        self.uidnext = 1
        self.sets: list[frozenset[str]] = [frozenset()]
        self._numbers: dict[frozenset[str], int] = {frozenset(): 0}
        self._arrivals: list[tuple[int, int]] = []
        self._altered: list[tuple[int, int]] = []
        self._expunges: list[tuple[int, int, int]] = []
        self.open: set[int] = set()
        """UIDs that were told of another history, and that this one, begun by somebody who was behind, does not speak of yet"""
        self.learnt: dict[int, Learnt] = {}
        """what became known and is in no log yet: by column, by UID"""

    # Beginning

    def start(self, snapshot: Snapshot) -> None:
        """Begin with a snapshot. Raises Unusable, OSError."""
        self.clear()
        head = snapshot.head
        self._base = snapshot
        self._line = Line(self._begin(snapshot))
        self.modseq = self._log_start = head.modseq
        self.uidvalidity, self.uidnext, self.least = head.uidvalidity, head.uidnext, head.least
        self.sets = list(head.sets)
        self._numbers = {words: number for number, words in enumerate(head.sets)}
        if self.sets[:1] != [frozenset()] or len(self._numbers) != len(self.sets):
            raise Unusable("keywords do not fit")
        uids = snapshot.column(UIDS)
        self._line.keep(UIDS, uids)
        if uids and uids[-1] >= head.uidnext:
            raise Unusable("UIDs do not fit")

    def move_to(self, snapshot: Snapshot) -> None:
        """The same as is known stands in a new snapshot: go on from there, with what was read already."""
        line = Line(self._begin(snapshot))
        for number in self._line.loaded():
            line.keep(number, self._line.column(number, len(self._line.edits)))
        self._line, self._base = line, snapshot
        self._columns = None

    def _begin(self, snapshot: Snapshot) -> Callable[[int], "array[int]"]:
        def begin(number: int) -> array[int]:
            try:
                column = snapshot.column(number)
                if number == KEYWORDS and max(column, default=0) >= len(snapshot.head.sets):
                    raise Unusable("keywords do not fit")
                return column
            except (Unusable, OSError) as error:
                self.damage = str(error)
                return self._substitute(number, snapshot)

        return begin

    def _substitute(self, number: int, snapshot: Snapshot) -> "array[int]":
        """For what cannot be read; the UIDs were read at the beginning."""
        head = snapshot.head
        if number in (FLAGS, KEYWORDS):
            return self._rescue(number, self._line.column(UIDS, 0), head.sets)
        value = {MODSEQS: head.modseq, SIZES: -1, DATES: UNKNOWN_DATE, SAVEDATES: -1}.get(number, 0)
        return array(TYPES[number], [value]) * head.messages

    # What is known

    @property
    def columns(self) -> LateColumns:
        """The mailbox at its newest modseq."""
        if self._columns is None:
            line, version = self._line, len(self._line.edits)

            def load(number: int) -> array[int]:
                if number in (DATES, SAVEDATES):
                    self._look_up_dates(line, version)
                return line.column(number, version)

            self._columns = late(self.modseq, self.uidvalidity, self.uidnext, tuple(self.sets), load)
        return self._columns

    def column(self, number: int) -> "array[int]":
        """A column as it is, unknown dates left unknown."""
        return self._line.column(number, len(self._line.edits))

    def _look_up_dates(self, line: Line, version: int) -> None:
        uids, dates = line.column(UIDS, version), line.column(DATES, version)
        if UNKNOWN_DATE not in dates:
            return
        unknown = array("I", compress(uids, map(UNKNOWN_DATE.__eq__, dates)))
        for start in range(0, len(unknown), DATES_AT_ONCE):
            part = unknown[start : start + DATES_AT_ONCE]
            found = self._dates(part)
            for number, values in (
                (DATES, [date for date, _ in found]),
                (SAVEDATES, [date for _, date in found]),
            ):
                line.learn(number, part, values)
                if line is self._line:
                    self._note_learnt(number, part, values)

    def _note_learnt(self, number: int, uids: Sequence[int], values: Sequence[int]) -> None:
        self.learnt.setdefault(number, Learnt()).add(uids, values)

    def learn_sizes(self, sizes: Mapping[int, int]) -> None:
        """The true sizes of messages."""
        uids, column = self.column(UIDS), self.column(SIZES)
        place = run_of(uids, sizes)
        if place >= 0:
            before = column[place : place + len(sizes)]
            found = {
                uid: size for (uid, size), known in zip(sizes.items(), before, strict=True) if size != known
            }
        else:
            found = {uid: size for uid, size in sizes.items() if _differs(uids, column, uid, size)}
        if found:
            values = array("q", found.values())
            self._line.learn(SIZES, list(found), values)
            self._note_learnt(SIZES, list(found), values)

    def place(self, uid: int) -> int:
        """Index of a message; -1 if it is not there."""
        return place_of(self.column(UIDS), uid)

    def number_of(self, words: frozenset[str]) -> int:
        """Of a keyword set; -1 if it has none yet."""
        return self._numbers.get(words, -1)

    def keywords(self) -> frozenset[str]:
        """Every keyword that a message has or had."""
        return frozenset().union(*self.sets)

    # Going on

    def apply(self, record: Record) -> None:
        """What somebody noted. Raises ValueError if it cannot be true; then nothing is to be believed any more."""
        modseq = record.modseq or self.modseq
        if not self.modseq <= modseq < MAX_MODSEQ:
            raise ValueError("a modseq goes back")
        for words in record.sets:
            self._numbers.setdefault(words, len(self.sets))
            self.sets.append(words)
        if record.altered is not None:
            self._alter(record.altered, modseq)
        if record.vanished:
            self._remove(record.vanished, modseq)
        if record.arrived:
            self._add(record.arrived, modseq)
        for number, uids, values in record.learnt:
            self._line.learn(number, uids, values)
        if record.box[0]:
            self.uidvalidity, self.uidnext = record.box[0], max(self.uidnext, record.box[1])
        self.modseq = modseq
        self._columns = None
        if self.open and record.modseq:
            self._decide(self.open)

    def _decide(self, unsure: set[int]) -> None:
        """Messages that were told of another history: they are here now, or gone, or it is still open."""
        here = [uid for uid in sorted(unsure) if self.place(uid) >= 0]
        gone = [uid for uid in sorted(unsure.difference(here)) if uid < self.uidnext]
        self._altered.extend([(self.modseq, uid) for uid in here])
        self._expunges.extend([(self.modseq, first, last) for first, last in ranges(gone)])
        self.open = unsure.difference(here, gone)

    def _alter(self, altered: log.Altered, modseq: int) -> None:
        uids = self.column(UIDS)
        places = places_of(uids, altered.uids)
        if altered.words and max(altered.words) >= len(self.sets):
            raise ValueError("keywords of no number")
        if -1 in places:
            raise ValueError("flags of no message")
        self._line.edits.append(Altered(places, altered.flags, altered.words or None, modseq))
        self._altered.extend([(modseq, uid) for uid in altered.uids])
        if len(self._altered) > MAX_ALTERED:
            half = len(self._altered) // 2
            self._log_start = max(self._log_start, self._altered[half - 1][0])
            del self._altered[:half]
            self._base = None

    def _remove(self, vanished: Sequence[tuple[int, int]], modseq: int) -> None:
        uids = self.column(UIDS)
        places: list[int] = []
        for first, last in vanished:
            start = bisect_left(uids, first)
            end = bisect_left(uids, last + 1, start)
            if last < first or end - start != last - first + 1:
                raise ValueError("what vanished was not there")
            places.extend(range(start, end))
        self._line.edits.append(Removed(places))
        self._expunges.extend([(modseq, first, last) for first, last in vanished])
        if len(self._expunges) > MAX_EXPUNGES:
            half = len(self._expunges) // 2
            self.least = max(self.least, self._expunges[half - 1][0])
            self._log_start = max(self._log_start, self.least)
            self._expunges = [row for row in self._expunges if row[0] > self.least]

    def _add(self, parts: "Sequence[array[int]]", modseq: int) -> None:
        parts = list(parts)
        uids = parts[UIDS]
        parts[MODSEQS] = array("Q", [modseq]) * len(uids)
        known = self.column(UIDS)
        if known and uids[0] <= known[-1] or max(parts[KEYWORDS]) >= len(self.sets):
            raise ValueError("new messages do not fit")
        self._line.edits.append(Arrived(parts))
        self._arrivals.append((modseq, uids[0]))
        self.uidnext = max(self.uidnext, uids[-1] + 1)

    def rebase(self, modseq: int, *, served: bool) -> None:
        """What the columns say of the past is not to be believed: everything counts as changed at this modseq.

        served: this ledger answered somebody already, to whom it can still say what changed since.
        """
        self._line.edits.append(Rebased(modseq))
        self._base = None
        self.modseq = self.least = modseq
        if not served:
            self._log_start = modseq
        self._columns = None

    def go_on_from(self, before: "Ledger") -> None:
        """Another history took the place of one that answered somebody already: what differs counts as changed at its newest modseq.

        Messages beyond its next UID are not gone: whoever began it had not seen them yet.
        """
        uids, old = self.column(UIDS), before.column(UIDS)
        there, was = set(uids), set(old)
        unsure = before.open
        self.open = {uid for uid in unsure.union(was) if uid not in there and uid >= self.uidnext}
        self._altered = [
            *before._altered,
            *[
                (self.modseq, uid)
                for uid in uids
                if uid in unsure or (uid in was and self._other(before, uid))
            ],
        ]
        came = [uid for uid in uids if uid not in was and uid >= before.uidnext]
        self._arrivals = [*before._arrivals, *[(self.modseq, uid) for uid in came[:1]]]
        gone = ranges(sorted(uid for uid in unsure.union(was) if uid not in there and uid < self.uidnext))
        self._expunges = [*before._expunges, *[(self.modseq, first, last) for first, last in gone]]
        self._log_start = before._log_start
        self.take_learnt(before)

    def stay_unsure(self, before: "Ledger") -> None:
        """What was open before, of the same history, is decided by what it says now."""
        if before.open:
            self._decide(before.open)

    def take_learnt(self, before: "Ledger") -> None:
        """What became known of messages before stays known."""
        self.learnt = before.learnt
        for number, learnt in before.learnt.items():
            self._line.learn(number, learnt.uids, learnt.values)

    def _other(self, before: "Ledger", uid: int) -> bool:
        mine, other = self.place(uid), before.place(uid)
        return (
            self.column(FLAGS)[mine] != before.column(FLAGS)[other]
            or self.sets[self.column(KEYWORDS)[mine]] != before.sets[before.column(KEYWORDS)[other]]
        )

    # What changed

    def changes(self, since: int) -> tuple["array[int]", "array[int]", list[tuple[int, int]], bool]:
        """UIDs that appeared, UIDs with changed flags, ranges of vanished UIDs after a modseq, and whether that is all of it.

        Of messages whose arrival is too long ago it is only told that they changed.
        """
        try:
            return self._changes(since)
        except (Unusable, OSError) as error:
            self.damage, self._base = str(error), None
            self._log_start = self.modseq
            return self._changes(since)

    def _changes(self, since: int) -> tuple["array[int]", "array[int]", list[tuple[int, int]], bool]:
        if since < self._log_start and (since < self.least or self._base is None):
            uids, modseqs = self.column(UIDS), self.column(MODSEQS)
            changed = array("I", [uid for uid, at in zip(uids, modseqs, strict=True) if at > since])
            return array("I"), changed, [], False
        first = self._first_arrival(since)
        uids = self.column(UIDS)
        start = bisect_left(uids, first)
        altered = {uid for at, uid in self._altered[bisect_left(self._altered, (since + 1, 0)) :]}
        if since < self._log_start and self._base is not None:
            altered.update(self._altered_before(self._base, since, first))
        changed = array("I", sorted(altered))
        places = places_of(uids, changed)
        if -1 in places:
            changed = array("I", [uid for uid, place in zip(changed, places, strict=True) if place >= 0])
        rows = self._expunges if since >= self._log_start else self.expunges()
        gone = sorted((low, high) for at, low, high in rows[bisect_left(rows, (since + 1, 0, 0)) :])
        return uids[start:], changed, gone, True

    def _altered_before(self, base: Snapshot, since: int, first: int) -> list[int]:
        arrivals = self.arrivals()
        starts = [uid for _, uid in arrivals]
        found = []
        for uid, modseq in base.changed_since(since):
            if uid >= first:
                came = arrivals[bisect_left(starts, uid + 1) - 1][0]
                if modseq == came:
                    continue
            found.append(uid)
        return found

    def _first_arrival(self, since: int) -> int:
        """The first UID that came after a modseq, beyond all UIDs where none did or nobody knows."""
        rows = self._arrivals if since >= self._log_start else self.arrivals()
        if len(rows) >= MAX_ARRIVALS and since < rows[0][0]:
            return 1 << 33
        at = bisect_left(rows, (since + 1, 0))
        return rows[at][1] if at < len(rows) else 1 << 33

    def arrivals(self) -> list[tuple[int, int]]:
        """Modseq and first UID, ascending; the last MAX_ARRIVALS. Raises Unusable, OSError."""
        rows = self._arrivals
        if self._base is not None:
            rows = sorted({*self._base.arrivals(), *rows})
        return rows[-MAX_ARRIVALS:]

    def expunges(self) -> list[tuple[int, int, int]]:
        """Modseq, first and last UID, ascending. Raises Unusable, OSError."""
        rows = self._expunges
        if self._base is not None:
            rows = sorted({*self._base.expunges(), *rows})
        if len(rows) > MAX_EXPUNGES:
            half = len(rows) // 2
            self.least = max(self.least, rows[half - 1][0])
            rows = [row for row in rows if row[0] > self.least]
        return rows


def _nothing(number: int) -> "array[int]":
    return array(TYPES[number])


def _differs(uids: Sequence[int], column: Sequence[int], uid: int, value: int) -> bool:
    """Whether a message is there and something else is known of it."""
    place = place_of(uids, uid)
    return place >= 0 and column[place] != value
