"""What others noted in the index of a mailbox, read without a lock."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Sequence

from dovecotpy.storage import files
from dovecotpy.storage.columns import FLAGS, TYPES, UIDS
from dovecotpy.storage.driver import BoxDriver
from dovecotpy.storage.errors import StoreError
from dovecotpy.storage.flags import SEEN
from dovecotpy.storage.index import log, snapshot
from dovecotpy.storage.index.ledger import Ledger
from dovecotpy.storage.index.lock import IndexLock
from dovecotpy.storage.index.log import Record
from dovecotpy.storage.index.snapshot import Snapshot, Unusable


class Following:
    """One session's reading of a mailbox's history. Arguments: see `History`."""

    def __init__(
        self,
        directory: int | None,
        driver: BoxDriver,
        heard: Callable[[Sequence[int], Sequence[int]], None],
        complain: Callable[[str], None],
        *,
        afresh: bool = False,
    ) -> None:
        self._afresh = afresh
        self._directory = directory if directory is not None else -1
        self._driver = driver
        self._heard = heard
        self._complain = complain
        self.ledger = Ledger(driver.dates, self._rescue())
        self.lasting = directory is not None
        """its numbers mean the same in other sessions"""
        self.owed = False
        """what is noted must be compared with all that the format knows"""
        self._doubtful = False
        """so was that comparison, in the taking of the lock at hand"""
        self.stamp = b""
        self.names = b""
        self.behind: set[int] = set()
        """UIDs whose flags changed since `names` were written"""
        self._lock = IndexLock(self._directory, afresh=afresh)
        self._snapshot: Snapshot | None = None
        self._end = 0
        self._weight = 0
        self._records = 0
        self._reserved = (0, 0)
        self._fresh = (0, 0)
        """a reserve of this session's that stands in no file yet"""
        self.stale = True
        """the numbers of what was read are not to be believed, or there are none: to be written anew"""
        self.served = False
        """somebody was answered from it"""
        self._floor = 0
        """numbers below were given by a history that is not believed"""
        self._bad = b""
        """generation of a file that was found damaged"""
        self._touched: set[int] = set()
        self._told_uidnext = 0
        """what the format heard of"""
        self._least_uidnext = 0
        """what this session told of a history that another one took the place of"""
        self._denied: set[int] = set()
        """UIDs that another history knows and that this session told to be gone"""
        self._came: list[int] = []
        self._went: list[int] = []

    # Beginning

    def open(self) -> bool:
        """Take what the index remembers; False if there is nothing. Says what it says of a damaged one."""
        if not self.lasting:
            return False
        try:
            found = snapshot.open_snapshot(self._directory)
            if found is None or not found.head.uidvalidity:
                return False
            self._start(found)
            self._came, self._went = [], []
            return True
        except (Unusable, ValueError) as error:
            self._complain(f"{snapshot.NAME} is not used: {error}")
        except OSError as error:
            self._complain(f"{snapshot.NAME} is not used: {error.strerror}")
        return False

    @property
    def guid(self) -> bytes:
        """Of the mailbox that the index is of."""
        return self._snapshot.head.guid if self._snapshot is not None else b""

    def check(self) -> list[str]:
        """Read every octet of the file; what is wrong with it."""
        if self._snapshot is None:
            return []
        found = self._snapshot
        try:
            for number in range(len(TYPES)):
                found.column(number)
            found.expunges()
            found.arrivals()
        except (Unusable, OSError) as error:
            return [f"{snapshot.NAME}: {error}"]
        size = os.fstat(found.descriptor).st_size
        return [f"{snapshot.NAME}: the log ends at {self._end} of {size}"] if size > self._end else []

    def reset(self) -> None:
        """What was read is of another mailbox, or damaged."""
        self.ledger.clear()
        self._snapshot = None
        self.stamp = self.names = b""
        self.stale = True
        self._told_uidnext = self._least_uidnext = 0

    def _start(self, found: Snapshot) -> None:
        """Raises Unusable, ValueError, OSError; then all is as before."""
        kept = self.ledger, self._snapshot, self._end, self._reserved, self.stamp, self.names
        news = self._came, self._went
        self._came, self._went = [], []
        try:
            self.ledger = Ledger(self._driver.dates, self._rescue())
            self.ledger.start(found)
            self._take_head(found)
            self._read_tail()
            other = kept[1] is not None and kept[1].head.history != found.head.history
            if self.ledger.modseq < kept[0].modseq + other:
                raise Unusable("modseqs went back")
        except BaseException:
            self.ledger, self._snapshot, self._end, self._reserved, self.stamp, self.names = kept
            raise
        finally:  # what its log tells of is no news: `_replaced` compares
            self._came, self._went = news
        self.stale = not found.head.of_this_boot
        if self.stale:
            self.stamp = b""

    def _take_head(self, found: Snapshot) -> None:
        self._snapshot = found
        self._end = found.log
        self._weight = self._records = 0
        self.behind = set()
        self._reserved = found.head.reserved
        self.stamp, self.names = found.head.stamp, found.head.names

    # Following

    def follow(self) -> None:
        """Take note of what others noted."""
        if not self.lasting or self._snapshot is None or self.stale:
            return
        try:
            if self.ledger.damage:
                raise Unusable(self.ledger.damage)
            self._look()
        except (Unusable, ValueError) as error:
            self._lose(error)
        except OSError as error:
            self._go_alone(error)
        self._tell()

    def _look(self) -> None:
        """Raises Unusable, ValueError, OSError."""
        mine = self._snapshot
        assert mine is not None
        try:
            there = files.stat_of(self._directory, snapshot.NAME, afresh=self._afresh)
        except FileNotFoundError:
            self.stale = True
            return
        if (there.st_dev, there.st_ino) != mine.identity:
            self._read_tail()
            self._reopen(mine)
        elif there.st_size != self._end:
            self._read_tail()

    def _read_tail(self) -> None:
        """Raises ValueError, OSError."""
        found = self._snapshot
        assert found is not None
        data = found.tail(self._end)
        for record, end in log.unpack(data, found.head.generation, self._end):
            self._apply(record)
            self._end = end

    def _reopen(self, before: Snapshot) -> None:
        """Another file is in place: mostly what we know, folded."""
        found = snapshot.open_snapshot(self._directory)
        ledger = self.ledger
        if found is None or not self._is_ours(found):
            self.stale = True
            return
        head = found.head
        same = head.history == before.head.history
        if same and head.modseq == ledger.modseq and list(head.sets) == ledger.sets:
            ledger.move_to(found)
            self._take_head(found)
            self._read_tail()
            return
        self._start(found)
        self._replaced(ledger, same=same)

    def _replaced(self, before: Ledger, *, same: bool = False) -> None:
        """The ledger begins anew. same: with numbers that mean what they meant.

        Whoever began another history may not have seen the last messages yet: what lies beyond its next UID is not gone.
        """
        uids, known = self.ledger.column(UIDS), before.column(UIDS)
        there, was = set(uids), set(known)
        if self.served and not same:
            highest = max(
                known[-1] if known else 0, max((last for _, _, last in before.expunges()), default=0)
            )
            self._denied = {uid for uid in there - was - before.open if uid <= highest}
        self._came.extend(sorted(there - was - self._denied))
        end = max(self.ledger.uidnext, before.uidnext) if same else self.ledger.uidnext
        self._went.extend(uid for uid in sorted(was - there) if uid < end)
        self._touched.update(there)
        if same:
            self.ledger.stay_unsure(before)
            self.ledger.take_learnt(before)
            return
        if self.served:
            self._least_uidnext = max(self._least_uidnext, before.uidnext)
            self.ledger.go_on_from(before)
        self.owed = True

    def _apply(self, record: Record) -> None:
        """Raises ValueError."""
        self.ledger.apply(record)
        self._records += 1
        if record.reserved[1]:
            self._reserved = record.reserved
        if record.stamp is not None:
            if record.stamp and record.names != self.names:
                self.behind.clear()
            self.stamp, self.names = record.stamp, record.names
        elif record.modseq:
            self.stamp = b""
        if record.altered is not None:
            self.behind.update(record.altered.uids)
            self._touched.update(record.altered.uids)
            self._weight += len(record.altered.uids)
        if record.arrived:
            self._came.extend(record.arrived[UIDS])
            self._weight += len(record.arrived[UIDS])
        for first, last in record.vanished:
            self._went.extend(range(first, last + 1))
        self._weight += len(record.vanished) + sum(len(uids) for _, uids, _ in record.learnt)

    def _tell(self) -> None:
        """The format hears of messages that others found or lost."""
        if self._came or self._went or self.ledger.uidnext > self._told_uidnext:
            self._told_uidnext = max(self._told_uidnext, self.ledger.uidnext)
            came, went = self._came, self._went
            self._came, self._went = [], []
            self._heard(came, went)

    def _is_ours(self, found: Snapshot) -> bool:
        head = found.head
        return head.guid == self._driver.guid and head.uidvalidity == self._driver.uidvalidity

    def _lose(self, error: Exception) -> None:
        """The file is damaged: what is known goes on under new numbers."""
        self._complain(f"{snapshot.NAME} is not used: {error}")
        if self._snapshot is not None:
            self._bad = self._snapshot.head.generation
        self.ledger.damage = ""
        self.stale = self.owed = True

    def _go_alone(self, error: OSError | StoreError) -> None:
        """Nothing can be noted any more: this session goes on for itself.

        The numbers that it gives now are in no file. They stay below the end of the reserve; the file goes, so that whoever comes next
        begins beyond it.
        """
        self.lasting = False
        self._lock.close()
        if isinstance(error, OSError):
            self._complain(f"write({snapshot.NAME}) failed: {error.strerror}")
        try:
            os.unlink(snapshot.NAME, dir_fd=self._directory)
        except OSError:
            return

    def alone(self) -> None:
        """A session that told no number yet goes on for itself."""
        self.lasting = False

    def _rescue(self) -> Callable[[int, Sequence[int], Sequence[frozenset[str]]], "array[int]"]:
        driver = self._driver

        def rescue(number: int, uids: Sequence[int], sets: Sequence[frozenset[str]]) -> array[int]:
            """Flags or keywords as the store has them; keywords of no number are left to the comparison that follows."""
            rows = {row.uid: row for row in driver.known_rows()}
            numbers = {words: at for at, words in enumerate(sets)}
            shown = ~SEEN if driver.private_seen() is not None else ~0
            column = array(TYPES[number], [0]) * len(uids)
            for place, uid in enumerate(uids):
                row = rows.get(uid)
                if row is not None:
                    column[place] = row.flags & shown if number == FLAGS else numbers.get(row.keywords, 0)
            return column

        return rescue

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self._lock.close()
        self._snapshot = None
        self.ledger.clear()
