"""What of a session's findings is to be noted, after what others noted was read."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from dovecotpy.storage.columns import (
    DATES,
    FLAGS,
    KEYWORDS,
    SAVEDATES,
    SIZES,
    TYPES,
    UIDS,
    place_of,
    places_of,
    ranges,
)
from dovecotpy.storage.driver import UNKNOWN_DATE, Arrivals, BoxDriver, Row
from dovecotpy.storage.index import log
from dovecotpy.storage.index.ledger import Ledger
from dovecotpy.storage.index.log import Record

Numbers = Mapping[frozenset[str], int]
"""Of keyword sets."""


class Found(NamedTuple):
    """What a session found in the store, or did to it."""

    appeared: Sequence[Row]
    changed: Sequence[Row]
    vanished: Sequence[int]
    uidnext: int
    bumped: frozenset[int]
    """UIDs of `changed` that count as changed though their flags are what is noted"""
    stamp: bytes = b""
    """what proves that the store holds nothing but this and what is noted; empty: nothing does"""
    arrivals: Arrivals | None = None


class Settled(NamedTuple):
    """What is to be noted; None: nothing. Its modseq is 1 where it must get one."""

    record: Record | None
    doubtful: Sequence[int]
    """UIDs that somebody changed again since the session looked"""
    lost: Sequence[int]
    """UIDs that the session found and that must not appear any more: higher ones were told without them"""


def settle(ledger: Ledger, driver: BoxDriver, found: Found, touched: set[int], denied: set[int]) -> Settled:
    """touched: UIDs that others noted something of since the session looked. denied: UIDs that it told to be gone."""
    uids = ledger.column(UIDS)
    block = found.arrivals
    if block is not None and (uids or block.uids[0] < ledger.uidnext or found.appeared):
        found = found._replace(appeared=[*found.appeared, *block.rows()])
        block = None
    new = [row for row in found.appeared if row.uid >= ledger.uidnext]
    late = [row for row in found.appeared if row.uid < ledger.uidnext]
    lost = [row.uid for row in late if place_of(uids, row.uid) < 0]
    gone = sorted({uid for uid in denied.union(found.vanished) if place_of(uids, uid) >= 0})
    dropped = set(gone)
    altered = {
        row.uid: row for row in _differing(ledger, [*late, *found.changed], uids) if row.uid not in dropped
    }
    altered.update(
        (row.uid, row) for row in found.changed if row.uid in found.bumped and row.uid not in touched
    )
    doubtful = [uid for uid in altered if uid in touched]
    if doubtful:
        still = set(driver.still(doubtful))
        doubtful = [uid for uid in doubtful if uid not in still]
        for uid in doubtful:
            del altered[uid]
    places = places_of(uids, list(altered))
    rows = [row for row, place in zip(altered.values(), places, strict=True) if place >= 0]
    validity = driver.uidvalidity
    box = (0, 0)
    if validity != ledger.uidvalidity or found.uidnext > ledger.uidnext:
        box = (validity, found.uidnext)
    passed = ledger.open and min(ledger.open) < max(ledger.uidnext, found.uidnext)
    counts = bool(new or block or gone or rows or passed or not ledger.modseq)
    if not counts and box == (0, 0):
        return Settled(None, doubtful, lost)
    sets, numbers = _sets(
        ledger, [row.keywords for row in (*new, *rows)] or (block.keyword_sets if block else ())
    )
    record = Record(
        int(counts),
        arrived=_arrived(new, numbers) if block is None else _arrived_at_once(block, numbers),
        altered=_altered(ledger, rows, numbers, uids),
        vanished=ranges(gone),
        sets=sets,
        box=box,
    )
    return Settled(record, doubtful, lost)


def _differing(ledger: Ledger, rows: Sequence[Row], uids: "array[int]") -> list[Row]:
    """Those that are there and have other flags or keywords than what is noted."""
    if not rows:
        return []
    flags, words, sets = ledger.column(FLAGS), ledger.column(KEYWORDS), ledger.sets
    places = places_of(uids, [row.uid for row in rows])
    return [
        row
        for row, place in zip(rows, places, strict=True)
        if place >= 0 and (flags[place] != row.flags or sets[words[place]] != row.keywords)
    ]


def _sets(ledger: Ledger, every: Sequence[frozenset[str]]) -> tuple[list[frozenset[str]], Numbers]:
    """Keyword sets that have no number yet, and the numbers of all."""
    sets: list[frozenset[str]] = []
    numbers: dict[frozenset[str], int] = {}
    for words in every:
        if words not in numbers:
            number = ledger.number_of(words)
            if number < 0:
                number = len(ledger.sets) + len(sets)
                sets.append(words)
            numbers[words] = number
    return sets, numbers


def _altered(ledger: Ledger, rows: Sequence[Row], numbers: Numbers, uids: "array[int]") -> log.Altered | None:
    if not rows:
        return None
    column = ledger.column(KEYWORDS)
    altered = array("I", [row.uid for row in rows])
    words = array("I", [numbers[row.keywords] for row in rows])
    if all(column[place] == number for place, number in zip(places_of(uids, altered), words, strict=True)):
        words = array("I")
    return log.Altered(altered, array("B", [row.flags for row in rows]), words)


def _arrived(rows: Sequence[Row], numbers: Numbers) -> "list[array[int]]":
    """Columns of new messages; their modseq is that of the record."""
    if not rows:
        return []
    rows = sorted(rows)
    columns = [array(kind) for kind in TYPES]
    columns[UIDS].extend([row.uid for row in rows])
    columns[FLAGS].extend([row.flags for row in rows])
    columns[KEYWORDS].extend([numbers[row.keywords] for row in rows])
    columns[SIZES].extend([-1 if row.size is None else row.size for row in rows])
    columns[DATES].extend([row.internaldate for row in rows])
    columns[SAVEDATES].extend([-1 if row.savedate is None else row.savedate for row in rows])
    return columns


def _arrived_at_once(block: Arrivals, numbers: Numbers) -> "list[array[int]]":
    """As `_arrived`."""
    count = len(block.uids)
    meant = [numbers[words] for words in block.keyword_sets]
    keywords = block.keywords
    if meant != list(range(len(meant))):
        keywords = array("I", [meant[number] for number in keywords])
    columns = [array(kind) for kind in TYPES]
    columns[UIDS], columns[FLAGS], columns[KEYWORDS] = block.uids, block.flags, keywords
    columns[SIZES] = block.sizes
    columns[DATES] = array("q", [UNKNOWN_DATE]) * count
    columns[SAVEDATES] = array("q", [-1]) * count
    return columns
