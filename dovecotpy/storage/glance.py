"""The numbers of a mailbox from its index alone, where the store looks as it did when all of it was noted: nothing is opened but the index."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dovecotpy.storage.columns import FLAGS, SIZES, UIDS
from dovecotpy.storage.driver import UNKNOWN_DATE
from dovecotpy.storage.index import log, snapshot
from dovecotpy.storage.index.ledger import Ledger
from dovecotpy.storage.index.log import Record
from dovecotpy.storage.index.snapshot import Snapshot, Unusable


class Glance(NamedTuple):
    """What an index says of a mailbox that is as the index knows it."""

    guid: bytes
    uidvalidity: int
    uidnext: int
    modseq: int
    messages: int
    recent: int
    flags: bytes
    sizes: Sequence[int]
    """empty where they were not asked for; -1: not known"""


def glance(directory: int, stamp: bytes, *, sized: bool) -> Glance | None:
    """directory: of the index. stamp: what the store looks like now. None: the mailbox must be opened to tell."""
    try:
        found = snapshot.open_snapshot(directory)
        if found is None or not found.head.of_this_boot or not found.head.uidvalidity:
            return None
        head, known = found.head, found.head.stamp
        records = [record for record, _ in log.unpack(found.tail(found.log), head.generation, found.log)]
        for record in records:
            if record.stamp is not None:
                known = record.stamp
            elif record.modseq:
                known = b""
        if not known or known != stamp:
            return None
        if any(record.modseq or record.box[0] or (sized and record.learnt) for record in records):
            return _followed(directory, found, records, sized=sized)
        return Glance(
            head.guid,
            head.uidvalidity,
            head.uidnext,
            head.modseq,
            head.messages,
            _recent(directory, head.uidvalidity, head.uidnext, lambda: found.column(UIDS)),
            found.column(FLAGS).tobytes(),
            found.column(SIZES) if sized else (),
        )
    except (Unusable, ValueError, OSError):
        return None


def told_uidnext(directory: int) -> tuple[int, int]:
    """UIDVALIDITY and the next UID as an index tells them, whatever the store looks like; zeros where it tells nothing."""
    try:
        found = snapshot.open_snapshot(directory)
        if found is None:
            return 0, 0
        uidvalidity, uidnext = found.head.uidvalidity, found.head.uidnext
        for record, _ in log.unpack(found.tail(found.log), found.head.generation, found.log):
            if record.box[0]:
                uidvalidity, uidnext = record.box[0], max(uidnext, record.box[1])
    except (Unusable, ValueError, OSError):
        return 0, 0
    return uidvalidity, uidnext


def _followed(directory: int, found: Snapshot, records: Sequence[Record], *, sized: bool) -> Glance | None:
    """With what the log says of messages. Raises Unusable, ValueError, OSError."""
    ledger = Ledger(_no_dates, _no_rescue)
    try:
        ledger.start(found)
        for record in records:
            ledger.apply(record)
        uids = ledger.column(UIDS)
        flags = ledger.column(FLAGS).tobytes()
        sizes = ledger.column(SIZES) if sized else ()
        if ledger.damage:
            return None
        return Glance(
            found.head.guid,
            ledger.uidvalidity,
            ledger.uidnext,
            ledger.modseq,
            len(uids),
            _recent(directory, ledger.uidvalidity, ledger.uidnext, lambda: uids),
            flags,
            sizes,
        )
    finally:
        ledger.clear()  # it refers to itself, and to the open file


def _recent(directory: int, uidvalidity: int, uidnext: int, uids: Callable[[], Sequence[int]]) -> int:
    """How many messages no session claimed yet."""
    first = snapshot.read_recent(directory, uidvalidity)
    if first is None or first >= uidnext:
        return 0
    known = uids()
    return len(known) - bisect_left(known, first)


def _no_dates(uids: Sequence[int]) -> list[tuple[int, int]]:
    return [(UNKNOWN_DATE, UNKNOWN_DATE)] * len(uids)


def _no_rescue(number: int, uids: Sequence[int], sets: Sequence[frozenset[str]]) -> "array[int]":
    raise Unusable(f"column {number} cannot be read")
