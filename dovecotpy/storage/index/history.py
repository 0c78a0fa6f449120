"""One history of a mailbox for all its sessions: every change has one modseq, whoever notices it first.

A session follows by reading what others noted behind the snapshot (no lock), and notes what it finds changed in the store under the
index lock, after it has read what others noted meanwhile, so that nothing is noted twice. A number is given only by writing it there; the
numbers are reserved ahead in State, so that a history that was lost, or of another boot, is followed by one with higher numbers.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Sequence

from dovecotpy.storage.columns import UIDS
from dovecotpy.storage.driver import Arrivals, Row
from dovecotpy.storage.errors import InUse, StoreError
from dovecotpy.storage.flags import SEEN
from dovecotpy.storage.index import log, snapshot
from dovecotpy.storage.index.following import Following
from dovecotpy.storage.index.log import Record
from dovecotpy.storage.index.settle import Found, settle
from dovecotpy.storage.index.snapshot import Head, Unusable
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


class History(Following):
    """Of one mailbox. directory: of its index, kept by the caller; None: this session's own, in memory.

    heard: told of UIDs that came and went by others' notes. complain: takes one line about an index that cannot be used.
    afresh: stat may answer from memory there, so that files are opened for each look.
    """

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

    # Noting

    def note(
        self,
        appeared: Sequence[Row],
        changed: Sequence[Row],
        vanished: Sequence[int],
        uidnext: int,
        *,
        bumped: frozenset[int] = frozenset(),
        stamp: bytes = b"",
        arrivals: Arrivals | None = None,
        wait: float = NO_WAIT,
    ) -> Noted:
        """Give what happened in the store one modseq, where nobody did yet.

        bumped: UIDs of `changed` that count as changed though their flags are what is noted. stamp: what proves that there is nothing else in
        the store but what is noted already. wait: seconds for the lock.
        """
        found = Found(appeared, changed, vanished, uidnext, bumped, stamp, arrivals)
        if not self.lasting:
            self._touched.clear()
            self._doubtful = False
            return self._note_alone(lambda: self._settle(found))
        return self._locked(lambda: self._settle(found), wait)

    def bump(self, wait: float = NO_WAIT) -> Noted:
        """Note a modseq of which nothing is told. wait: seconds for the lock."""
        if not self.lasting:
            return self._note_alone(_nothing_new)
        return self._locked(_nothing_new, wait)

    def _locked(self, work: Settle, wait: float, *, compares: bool = False) -> Noted:
        """compares: the work is the comparison that is owed."""
        self._touched.clear()
        self._doubtful = False
        for _ in range(TRIES):
            try:
                self._lock.take(wait)
                try:
                    done = self._write(work, compares=compares)
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
        return self._done(doubtful)

    def _done(self, doubtful: bool) -> Noted:
        return Noted.DOUBTFUL if doubtful or self._doubtful else Noted.DONE

    def _apply_own(self, record: Record) -> None:
        """What this session noted itself is no news to its format."""
        kept = self._came, self._went
        self._came, self._went = [], []
        self._apply(record)
        self._came, self._went = kept

    def _write(self, work: Settle, *, compares: bool) -> Noted | None:
        """Under the lock; None: numbers must be reserved first. Raises OSError."""
        self._catch_up()
        if self.stale:
            if self._fresh[0] <= self.ledger.modseq or self._fresh[0] < self._floor:
                return None
            return self._begin_anew(work, compares=compares)
        if self.owed and not compares:
            owed = self._owed_record()
            if owed is not None and not self._put_numbered(owed):
                return None
            self.owed = self._is_incomplete()
        record, doubtful = work()
        if record is not None and not self._put_numbered(record):
            return None
        return self._done(doubtful)

    def _owed_record(self) -> Record | None:
        record, doubtful = self._compared(self._known_rows(), self._driver.known_until)
        self._doubtful = self._doubtful or doubtful
        return record

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

    def _begin_anew(self, work: Settle, *, compares: bool) -> Noted:
        """A history of its own, beyond all numbers that were given before. Raises OSError."""
        first, end = self._fresh
        ledger = self.ledger
        if first > 1 or ledger.modseq:
            ledger.rebase(first, served=self.served)
        if self.owed and ledger.modseq and not compares:
            owed = self._owed_record()
            if owed is not None:
                self._apply_own(owed._replace(modseq=first))
            self.owed = self._is_incomplete()
        record, doubtful = work()
        self._apply_own((record or Record())._replace(modseq=first))
        self._fresh = (0, 0)
        self.stale = False
        self._fold(os.urandom(8), (first, end))
        return self._done(doubtful)

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
            b"" if self.behind else self.names,
            b"" if self.behind else self.stamp,
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
        if self.ledger.open:
            found = self._below_open(found)
        settled = settle(self.ledger, self._driver, found, self._touched, self._denied)
        self._went.extend(settled.lost)
        record, doubtful = settled.record, bool(settled.doubtful or settled.lost)
        if found.stamp and record is not None and not (doubtful or self.owed or self._touched):
            record = record._replace(stamp=found.stamp, names=self.names)
        return record, doubtful

    def reconcile(self, wait: float = NO_WAIT) -> Noted:
        """Compare all that the format knows with what is noted. Raises StoreError."""
        rows, uidnext = self._known_rows(), self._driver.known_until
        if not self.lasting:
            noted = self.note(rows, (), (), uidnext)
        else:
            noted = self._locked(lambda: self._compared(rows, uidnext), wait, compares=True)
        if noted is not Noted.HELD:
            self.owed = self._is_incomplete()
        return noted

    def _below_open(self, found: Found) -> Found:
        """Nothing that lies beyond a message which was told, is not noted and not known by name: noting it would lose that message."""
        end = self._driver.known_until
        rows = [*found.appeared, *(found.arrivals.rows() if found.arrivals is not None else ())]
        appeared = [row for row in rows if row.uid < end]
        stamp = found.stamp if len(appeared) == len(rows) and found.uidnext <= end else b""
        return found._replace(appeared=appeared, arrivals=None, stamp=stamp, uidnext=min(found.uidnext, end))

    def _is_incomplete(self) -> bool:
        """Messages that others told of were not seen by name yet, or ours are not noted: a comparison leaves them open."""
        return self._driver.known_until < self._driver.told or bool(self.ledger.open)

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
        if self.keep_learnt(1, wait) is Noted.DOUBTFUL:
            stamp = b""
        if (stamp or self.stamp) == self.stamp and names == self.names:
            return

        def work() -> tuple[Record | None, bool]:
            return Record(stamp=stamp if self._is_at(modseq) else b"", names=names), False

        self._locked(work, wait)

    def _is_at(self, modseq: int) -> bool:
        return self.ledger.modseq == modseq and not self._doubtful

    def keep_learnt(self, least: int = LEARNT_LEAST, wait: float = NO_WAIT) -> Noted:
        """Note what became known of messages, if that is at least so many values: sessions that begin now need not look it up again."""
        if sum(map(len, self.ledger.learnt.values())) < least:
            return Noted.DONE
        if not self.lasting or self._snapshot is None or self.stale:
            return Noted.DONE

        def work() -> tuple[Record | None, bool]:
            known = self.ledger.learnt.items()
            return Record(learnt=[(number, each.uids, each.values) for number, each in known]), False

        noted = self._locked(work, wait)
        if noted is not Noted.HELD:
            self.ledger.learnt = {}
        return noted


def _nothing_new() -> tuple[Record | None, bool]:
    """A change that is in no message."""
    return Record(modseq=1), False
