"""One history of a mailbox for all its sessions: every change has one modseq, whoever notices it first.

A session follows by reading what others noted behind the snapshot (no lock), and notes what it finds changed in the store under the
index lock, after it has read what others noted meanwhile, so that nothing is noted twice. A number is given only by writing it there; the
numbers are reserved ahead in State, so that a history that was lost, or of another boot, is followed by one with higher numbers.
"""

from __future__ import annotations

import enum
import os
from array import array
from collections.abc import Callable, Sequence

from dovecotpy.storage.columns import FLAGS, TYPES, UIDS
from dovecotpy.storage.driver import BoxDriver, Row
from dovecotpy.storage.errors import InUse, StoreError
from dovecotpy.storage.flags import SEEN
from dovecotpy.storage.index import log, snapshot
from dovecotpy.storage.index.ledger import Ledger
from dovecotpy.storage.index.lock import IndexLock
from dovecotpy.storage.index.log import Record
from dovecotpy.storage.index.settle import Found, settle
from dovecotpy.storage.index.snapshot import Head, Snapshot, Unusable
from dovecotpy.storage.state import BOOT

FOLD_LEAST = 1000
"""Messages that the log may speak of before a new snapshot is written; of a large mailbox one FOLD_SHARE-th of it."""
FOLD_SHARE = 64
RECORDS_LEAST, RECORDS_MOST, RECORDS_SHARE = 64, 2000, 200
"""Records that the log may have, by the mailbox's size: reading one costs an opening 10 microseconds, writing a message anew 0.1."""
LEARNT_LEAST = 64
"""Values learnt of messages that are worth a record of their own before the session ends."""
TRIES = 5
"""Times that the lock is taken again because numbers had to be reserved."""
NO_WAIT = 0.0


Settle = Callable[[], tuple[Record | None, bool]]
"""What is to be noted, after others' notes were read; and whether something must be looked at again."""


class Noted(enum.Enum):
    """What became of something that was to be noted."""

    DONE = 1
    DOUBTFUL = 2
    """done, but for messages that somebody changed again meanwhile: look at the store once more"""
    HELD = 3
    """nothing: somebody does not let go of the lock"""


class History:
    """Of one mailbox. directory: of its index, kept by the caller; None: this session's own, in memory.

    heard: told of UIDs that came and went by others' notes. complain: takes one line about an index that cannot be used.
    """

    def __init__(
        self,
        directory: int | None,
        driver: BoxDriver,
        heard: Callable[[Sequence[int], Sequence[int]], None],
        complain: Callable[[str], None],
    ) -> None:
        self._directory = directory if directory is not None else -1
        self._driver = driver
        self._heard = heard
        self._complain = complain
        self.ledger = Ledger(driver.dates, self._rescue())
        self.lasting = directory is not None
        """its numbers mean the same in other sessions"""
        self.owed = False
        """what is noted must be compared with all that the format knows"""
        self.stamp = b""
        self.names = b""
        self._lock = IndexLock(self._directory)
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

    def probe(self, wait: float) -> None:
        """Make sure, before the store is changed, that the change can be noted. Raises InUse."""
        if self.lasting and self.ledger.modseq:
            try:
                self._lock.take(wait)
                self._lock.release()
            except OSError:
                return

    def discard(self) -> None:
        """Do not take what the index remembers but the numbers that it gave."""
        if not self.lasting:
            return
        try:
            found = snapshot.open_snapshot(self._directory)
        except (Unusable, OSError):
            return
        if found is not None:
            self._bad = found.head.generation
            self._floor = found.head.reserved[1]

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
        self.stale = not found.head.of_this_boot
        if self.stale:
            self.stamp = b""

    def _take_head(self, found: Snapshot) -> None:
        self._snapshot = found
        self._end = found.log
        self._weight = self._records = 0
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
            there = os.stat(snapshot.NAME, dir_fd=self._directory, follow_symlinks=False)
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
            self._denied = {uid for uid in there - was if uid <= highest}
        self._came.extend(sorted(there - was - self._denied))
        end = max(self.ledger.uidnext, before.uidnext) if same else self.ledger.uidnext
        self._went.extend(uid for uid in sorted(was - there) if uid < end)
        self._touched.update(there)
        if same:
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
            self.stamp, self.names = record.stamp, record.names
        elif record.modseq:
            self.stamp = b""
        if record.altered is not None:
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

    # Noting

    def note(
        self,
        appeared: Sequence[Row],
        changed: Sequence[Row],
        vanished: Sequence[int],
        uidnext: int,
        *,
        bumped: frozenset[int] = frozenset(),
        wait: float = NO_WAIT,
    ) -> Noted:
        """Give what happened in the store one modseq, where nobody did yet.

        bumped: UIDs of `changed` that count as changed though their flags are what is noted. wait: seconds for the lock.
        """
        found = Found(appeared, changed, vanished, uidnext, bumped)
        if not self.lasting:
            self._touched.clear()
            return self._note_alone(lambda: self._settle(found))
        return self._locked(lambda: self._settle(found), wait)

    def _locked(self, work: Settle, wait: float) -> Noted:
        self._touched.clear()
        for _ in range(TRIES):
            try:
                self._lock.take(wait)
                try:
                    done = self._write(work)
                finally:
                    self._lock.release()
                self._tell()
                if done is not None:
                    return done
                self._fresh = self._driver.reserve_modseqs(max(self.ledger.modseq + 1, self._floor))
            except InUse:
                return Noted.HELD
            except (OSError, StoreError) as error:
                self._go_alone(error)
                break
        else:
            self.lasting = False
        return self._note_alone(work)

    def _note_alone(self, work: Settle) -> Noted:
        record, doubtful = work()
        if record is not None:
            self._apply_own(record._replace(modseq=record.modseq and self.ledger.modseq + 1))
        self._tell()
        return Noted.DOUBTFUL if doubtful else Noted.DONE

    def _apply_own(self, record: Record) -> None:
        """What this session noted itself is no news to its format."""
        kept = self._came, self._went
        self._came, self._went = [], []
        self._apply(record)
        self._came, self._went = kept

    def _write(self, work: Settle) -> Noted | None:
        """Under the lock; None: numbers must be reserved first. Raises OSError."""
        self._catch_up()
        if self.stale:
            if self._fresh[0] <= max(self.ledger.modseq, self._floor) and (
                self._fresh[0] or not self._fresh[1]
            ):
                return None
            return self._begin_anew(work)
        if self.owed:
            owed, _ = self._compared(self._known_rows(), self._driver.known_until)
            if owed is not None and not self._put_numbered(owed):
                return None
            self.owed = self._is_incomplete()
        record, doubtful = work()
        if record is not None and not self._put_numbered(record):
            return None
        return Noted.DOUBTFUL if doubtful else Noted.DONE

    def _put_numbered(self, record: Record) -> bool:
        """Note with the next number; False: numbers must be reserved first. Raises OSError."""
        modseq = max(self.ledger.modseq + 1, self._reserved[0])
        if record.modseq and modseq >= self._reserved[1]:
            modseq = max(modseq, self._fresh[0])
            if modseq >= self._fresh[1]:
                return False
            record = record._replace(reserved=self._fresh)
        self._put(record._replace(modseq=record.modseq and modseq))
        return True

    def _known_rows(self) -> list[Row]:
        """All that the format knows; what others noted of arrivals may come before it was compared, and make it look lost."""
        rows = self._driver.known_rows()
        if self._driver.private_seen() is not None:
            rows = [row._replace(flags=row.flags & ~SEEN) for row in rows]
        return rows

    def _catch_up(self) -> None:
        """Raises OSError."""
        try:
            if self._snapshot is not None and not self.stale:
                self._look()
            if self._snapshot is None or self.stale:
                self._join()
        except (Unusable, ValueError) as error:
            self._lose(error)

    def _join(self) -> None:
        """Somebody may have begun a history meanwhile. Raises Unusable, OSError."""
        try:
            found = snapshot.open_snapshot(self._directory)
        except Unusable:
            return
        if found is None or not found.head.of_this_boot or not self._is_ours(found):
            return
        if found.head.generation == self._bad:
            return
        before = self.ledger
        try:
            self._start(found)
        except (Unusable, ValueError):
            return
        self._replaced(before)

    def _put(self, record: Record) -> None:
        """Raises OSError."""
        found = self._snapshot
        assert found is not None
        heard = sum(len(uids) for _, uids, _ in record.learnt)
        if heard and not record.modseq and record.stamp is None and self._is_heavy(heard):
            try:  # the columns have it already, and writing them is less than a record of so many
                self._fold(found.head.history, self._reserved)
                return
            except OSError:
                self._weight = 0
        data = log.pack(record, found.head.generation, self._end)
        written = os.pwrite(found.descriptor, data, self._end)
        if written != len(data):
            raise OSError(28, os.strerror(28))
        self._end += written
        self._apply_own(record)
        if self._is_heavy(0):
            try:
                self._fold(found.head.history, self._reserved)
            except OSError:
                self._weight = self._records = 0

    def _is_heavy(self, more: int) -> bool:
        """The log is more work for whoever opens the mailbox than a new snapshot is for us. more: messages it would speak of besides."""
        count = len(self.ledger.column(UIDS))
        records = min(max(RECORDS_LEAST, count // RECORDS_SHARE), RECORDS_MOST)
        return self._weight + more > max(FOLD_LEAST, count // FOLD_SHARE) or self._records > records

    def _begin_anew(self, work: Settle) -> Noted:
        """A history of its own, beyond all numbers that were given before. Raises OSError."""
        first, end = self._fresh
        ledger = self.ledger
        if first > 1 or ledger.modseq:
            ledger.rebase(first, served=self.served)
        if self.owed and ledger.modseq:
            owed, _ = self._compared(self._known_rows(), self._driver.known_until)
            if owed is not None:
                self._apply_own(owed._replace(modseq=first))
            self.owed = self._is_incomplete()
        record, doubtful = work()
        self._apply_own((record or Record())._replace(modseq=first))
        self._fresh = (0, 0)
        self.stale = False
        self._fold(os.urandom(8), (first, end))
        return Noted.DOUBTFUL if doubtful else Noted.DONE

    def _fold(self, history: bytes, reserved: tuple[int, int]) -> None:
        """Write the snapshot anew. Raises OSError."""
        ledger = self.ledger
        expunges = ledger.expunges()
        head = Head(
            history,
            os.urandom(8),
            BOOT.encode(),
            self._driver.guid,
            ledger.uidvalidity,
            ledger.uidnext,
            ledger.modseq,
            ledger.least,
            reserved,
            self.names,
            self.stamp,
            tuple(ledger.sets),
            len(ledger.column(UIDS)),
        )
        snapshot.write(self._directory, head, ledger.column, expunges, ledger.arrivals())
        ledger.learnt = {}
        found = snapshot.open_snapshot(self._directory)
        if found is None:
            self.stale = True
            return
        ledger.move_to(found)
        self._take_head(found)

    # What is to be noted

    def _settle(self, found: Found) -> tuple[Record | None, bool]:
        """What of it is not noted yet, and whether some of it must be looked at again."""
        found = found._replace(uidnext=max(found.uidnext, self._least_uidnext))
        settled = settle(self.ledger, self._driver, found, self._touched, self._denied)
        self._went.extend(settled.lost)
        return settled.record, bool(settled.doubtful or settled.lost)

    def reconcile(self, rows: Sequence[Row], uidnext: int, wait: float = NO_WAIT) -> Noted:
        """Compare all that the format knows with what is noted."""

        if not self.lasting:
            noted = self.note(rows, (), (), uidnext)
        else:
            noted = self._locked(lambda: self._compared(rows, uidnext), wait)
        if noted is not Noted.HELD:
            self.owed = self._is_incomplete()
        return noted

    def _is_incomplete(self) -> bool:
        """Messages that others told of were not seen by name yet, so that a comparison leaves them open."""
        return self._driver.known_until < self._driver.told

    def _compared(self, rows: Sequence[Row], uidnext: int) -> tuple[Record | None, bool]:
        known = {row.uid for row in rows}
        uids = self.ledger.column(UIDS)
        self._touched.update(uids)
        self._came.extend([uid for uid in uids if uid not in known and uid not in self._denied])
        return self._settle(Found(rows, (), (), uidnext, frozenset()))

    # What has no modseq

    def keep(self, stamp: bytes, names: bytes, wait: float = NO_WAIT) -> None:
        """Note what the store looked like when all that is in it was noted, and what became known of messages meanwhile."""
        if not self.lasting or self._snapshot is None or self.stale:
            return
        modseq = self.ledger.modseq
        self.keep_learnt(1, wait)
        if (stamp or self.stamp) == self.stamp and names == self.names:
            return

        def work() -> tuple[Record | None, bool]:
            return Record(stamp=stamp if self.ledger.modseq == modseq else b"", names=names), False

        self._locked(work, wait)

    def keep_learnt(self, least: int = LEARNT_LEAST, wait: float = NO_WAIT) -> None:
        """Note what became known of messages, if that is at least so many values: sessions that begin now need not look it up again."""
        if sum(map(len, self.ledger.learnt.values())) < least:
            return
        if not self.lasting or self._snapshot is None or self.stale:
            return

        def work() -> tuple[Record | None, bool]:
            known = self.ledger.learnt.items()
            return Record(learnt=[(number, list(each), list(each.values())) for number, each in known]), False

        if self._locked(work, wait) is Noted.DONE:
            self.ledger.learnt = {}

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self._lock.close()
        self._snapshot = None
        self.ledger.clear()
