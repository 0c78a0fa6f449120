"""The columns of a mailbox: versions that follow one another by small edits.

A version is immutable once handed out. Its columns are read from where they began (an index file, or memory) and brought up to date only
when somebody asks for them, and an edit copies those columns alone that it changes.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from dovecotpy.storage.driver import Columns

UIDS, FLAGS, KEYWORDS, MODSEQS, SIZES, DATES, SAVEDATES = range(7)
TYPES = "IBIQqqq"
LEARNT_FROM = 4096
"""Values that became known of messages, from which on those that were said twice are looked for."""
Load = Callable[[int], "array[int]"]


class LateColumns(Columns):
    """Columns that are looked up when somebody asks for them for the first time."""

    load: Load

    def _part(self, number: int) -> "array[int]":
        kept: dict[int, array[int]] = self.__dict__.setdefault("parts", {})
        part = kept.get(number)
        if part is None:
            part = kept[number] = self.load(number)
        return part

    @property
    def uids(self) -> "array[int]":
        """As `Columns.uids`."""
        return self._part(UIDS)

    @property
    def flags(self) -> "array[int]":
        """As `Columns.flags`."""
        return self._part(FLAGS)

    @property
    def keywords(self) -> "array[int]":
        """As `Columns.keywords`."""
        return self._part(KEYWORDS)

    @property
    def modseqs(self) -> "array[int]":
        """As `Columns.modseqs`."""
        return self._part(MODSEQS)

    @property
    def sizes(self) -> "array[int]":
        """As `Columns.sizes`."""
        return self._part(SIZES)

    @property
    def dates(self) -> "array[int]":
        """As `Columns.dates`."""
        return self._part(DATES)

    @property
    def savedates(self) -> "array[int]":
        """As `Columns.savedates`."""
        return self._part(SAVEDATES)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Columns):
            return NotImplemented
        return all(getattr(self, field) == getattr(other, field) for field in Columns._fields)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]


def late(
    modseq: int, uidvalidity: int, uidnext: int, sets: tuple[frozenset[str], ...], load: Load
) -> LateColumns:
    """Columns of which nothing was looked up yet."""
    uids, flags, keywords, modseqs, sizes, dates, savedates = (array(kind) for kind in TYPES)
    found = LateColumns(
        modseq, uidvalidity, uidnext, uids, flags, keywords, modseqs, sizes, dates, savedates, sets
    )
    found.load = load
    return found


class Edit(Protocol):
    """One step from a version to the next."""

    def touches(self, number: int) -> bool:
        """Whether a column changes."""

    def apply(self, number: int, column: "array[int]") -> "array[int]":
        """The column afterwards; the one given is changed or dropped."""


class Arrived:
    """New messages at the end. parts: a column each."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence["array[int]"]) -> None:
        self._parts = parts

    def touches(self, number: int) -> bool:
        """All."""
        return True

    def apply(self, number: int, column: "array[int]") -> "array[int]":
        """As `Edit.apply`."""
        column.extend(self._parts[number])
        return column


class Altered:
    """Other flags. keywords: None where they stay as they are."""

    __slots__ = ("_flags", "_keywords", "_modseq", "_places")

    def __init__(
        self, places: Sequence[int], flags: Sequence[int], keywords: Sequence[int] | None, modseq: int
    ) -> None:
        self._places = places
        self._flags = flags
        self._keywords = keywords
        self._modseq = modseq

    def touches(self, number: int) -> bool:
        """As `Edit.touches`."""
        return number in (FLAGS, MODSEQS) or (number == KEYWORDS and self._keywords is not None)

    def apply(self, number: int, column: "array[int]") -> "array[int]":
        """As `Edit.apply`."""
        places = self._places
        values = self._flags if number == FLAGS else self._keywords
        if number == MODSEQS:
            values = array("Q", (self._modseq,)) * len(places)
        if isinstance(places, range):
            column[places.start : places.stop] = array(column.typecode, values or ())
            return column
        for place, value in zip(places, values or (), strict=True):
            column[place] = value
        return column


class Removed:
    """Messages that are gone. places: ascending."""

    __slots__ = ("_places",)

    def __init__(self, places: Sequence[int]) -> None:
        self._places = places

    def touches(self, number: int) -> bool:
        """All."""
        return True

    def apply(self, number: int, column: "array[int]") -> "array[int]":
        """As `Edit.apply`."""
        if len(self._places) == 1:
            del column[self._places[0]]
            return column
        kept = array(column.typecode)
        start = 0
        for place in self._places:
            kept.extend(column[start:place])
            start = place + 1
        kept.extend(column[start:])
        return kept


class Learnt:
    """Values of one column that became known of messages, in little room; what is said later of a message counts."""

    __slots__ = ("_limit", "uids", "values")

    def __init__(self) -> None:
        self.uids = array("I")
        self.values = array("q")
        """parallel to uids"""
        self._limit = LEARNT_FROM

    def __len__(self) -> int:
        return len(self.uids)

    def add(self, uids: Sequence[int], values: Sequence[int]) -> None:
        """Values, parallel to uids."""
        self.uids.extend(uids)
        self.values.extend(values)
        if len(self.uids) > self._limit:
            self._settle()

    def _settle(self) -> None:
        """Drop what was said of the same messages before."""
        if any(map(int.__ge__, self.uids, self.uids[1:])):
            known = dict(zip(self.uids, self.values, strict=True))
            self.uids, self.values = array("I", known), array("q", known.values())
        self._limit = 2 * len(self.uids)

    def put(self, column: "array[int]", uids: Sequence[int]) -> None:
        """Change a column. uids: that of UIDs."""
        for uid, value in zip(self.uids, self.values, strict=True):
            place = place_of(uids, uid)
            if place >= 0:
                column[place] = value


class Line:
    """Versions in a line. begin: gives a column of version 0, new each time."""

    __slots__ = ("_begin", "_cache", "_learnt", "edits")

    def __init__(self, begin: Load) -> None:
        self._begin = begin
        self.edits: list[Edit] = []
        self._cache: list[tuple[int, array[int]] | None] = [None] * len(TYPES)
        self._learnt: dict[int, Learnt] = {}

    def column(self, number: int, version: int) -> "array[int]":
        """A column as of a version; not to be changed but by `learn`."""
        cached = self._cache[number]
        own = cached is None or cached[0] > version
        start, column = (0, self._begin(number)) if cached is None or own else cached
        for edit in self.edits[start:version]:
            if edit.touches(number):
                if not own:
                    column, own = column[:], True
                column = edit.apply(number, column)
        learnt = self._learnt.get(number)
        if learnt and (cached is None or cached[0] > version):
            learnt.put(column, self.column(UIDS, version))
        if cached is None or cached[0] <= version:
            self._cache[number] = (version, column)
        return column

    def keep(self, number: int, column: "array[int]") -> None:
        """A column of version 0 that is at hand."""
        self._cache[number] = (0, column)

    def loaded(self) -> list[int]:
        """Columns that were asked for."""
        return [number for number, cached in enumerate(self._cache) if cached is not None]

    def learn(self, number: int, uids: Sequence[int], values: Sequence[int]) -> None:
        """What was not known of messages becomes known, also to versions that were handed out. values: parallel to uids."""
        self._learnt.setdefault(number, Learnt()).add(uids, values)
        if self._cache[number] is None:
            return
        newest = len(self.edits)
        column, every = self.column(number, newest), self.column(UIDS, newest)
        place = run_of(every, uids)
        if place >= 0:
            column[place : place + len(uids)] = array(column.typecode, values)
            return
        for uid, value in zip(uids, values, strict=True):
            place = place_of(every, uid)
            if place >= 0:
                column[place] = value


def place_of(uids: Sequence[int], uid: int) -> int:
    """Index of a message; -1 if it is not there."""
    place = bisect_left(uids, uid)
    return place if place < len(uids) and uids[place] == uid else -1


def run_of(uids: "array[int]", some: Iterable[int]) -> int:
    """Index of the first of some messages that follow each other; -1 if they do not, or are not all there."""
    wanted = array(uids.typecode, some)
    place = place_of(uids, wanted[0]) if wanted else -1
    return place if place >= 0 and uids[place : place + len(wanted)] == wanted else -1


def places_of(uids: "array[int]", wanted: Sequence[int]) -> Sequence[int]:
    """Index of each message, -1 where it is not there; a range where they stand beside each other, which costs little more than one."""
    if not wanted:
        return ()
    count, start = len(wanted), bisect_left(uids, wanted[0])
    if start + count <= len(uids) and uids[start + count - 1] == wanted[-1]:
        listed = wanted if isinstance(wanted, array) else array("I", wanted)
        if uids[start : start + count] == listed:
            return range(start, start + count)
    return [place_of(uids, uid) for uid in wanted]


def ranges(uids: Sequence[int]) -> list[tuple[int, int]]:
    """Ascending UIDs as ranges."""
    found: list[tuple[int, int]] = []
    for uid in uids:
        if found and found[-1][1] == uid - 1:
            found[-1] = (found[-1][0], uid)
        else:
            found.append((uid, uid))
    return found
