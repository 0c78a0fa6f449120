"""What changes a mailbox: saving, flags, expunging."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.storage.driver import (
    Draft,
    DraftBody,
    Locked,
    Row,
)
from dovecotpy.storage.errors import (
    LimitReached,
    PermissionDenied,
)
from dovecotpy.storage.flagging import Flagging, Operation
from dovecotpy.storage.glance import told_uidnext
from dovecotpy.storage.tracked import LOCK_SECONDS, Tracked, Uids

CHUNK = 1000
"""Messages of a STORE, MOVE or EXPUNGE under one taking of the lock."""
MAX_KEYWORDS = 2000


class Stored(NamedTuple):
    """UIDs by what became of them."""

    changed: Uids
    modified: Uids
    """not changed, because somebody else changed them after `unchanged_since`"""
    gone: Uids


class Appended(NamedTuple):
    """Where new messages are."""

    uidvalidity: int
    uids: Uids


class Writing(Tracked):
    """A mailbox that is written to."""

    def draft(self) -> DraftBody:
        """A new message to write into; `append` or `replace` takes it. Raises PermissionDenied, NoSpace, StoreError."""
        return self._driver.draft()

    def _lock(self) -> float:
        if not self.writable:
            raise PermissionDenied("Permission denied")
        return clock.monotonic() + LOCK_SECONDS

    def _catch_up(self, locked: Locked) -> None:
        """Under the lock: know what others did before anything is changed. Raises InUse if nothing could be noted."""
        if not self._synced:
            if self._index is not None:
                locked.begin_at(*told_uidnext(self._index))
            return
        self._history.follow()
        if not self._stamp or self._driver.stamp() != self._stamp:
            self._take(locked.sync(self.columns(), self._stamp), LOCK_SECONDS)
        self._history.probe(LOCK_SECONDS)

    def _merge_placed(self, rows: Sequence[Row]) -> None:
        """Take what was saved into the columns, if everything before it was told."""
        if self._synced and rows and rows[-1].uid < self._driver.told:
            self._note(rows, (), (), self._driver.told, wait=LOCK_SECONDS)
        if rows:
            self._note_unclaimed(rows[0].uid)
        self._stamp = self._driver.settled_stamp() if self._stamp else b""

    def append(self, drafts: Sequence[Draft]) -> Appended:
        """Save messages, all or none; durable when it returns. Raises NoSpace, InUse, LimitReached, StoreError."""
        deadline = self._lock()
        for draft in drafts:
            draft.body.finish(draft.internaldate)
        with self._driver.lock(deadline) as locked:
            self._catch_up(locked)
            drafts = [draft._replace(keywords=self._spelled(draft.keywords)) for draft in drafts]
            rows = locked.save(drafts)
            self._merge_placed(rows)
        return Appended(self._driver.uidvalidity, array("I", [row.uid for row in rows]))

    def expunge(self, uids: Uids) -> Uids:
        """Remove messages for good; those that are gone now. Works on a full disk. Raises InUse, StoreError."""
        gone = array("I")
        for start in range(0, len(uids), CHUNK):
            with self._driver.lock(self._lock()) as locked:
                self._catch_up(locked)
                rows = self._rows(uids[start : start + CHUNK])
                removed = locked.remove(rows)
                self._note((), (), removed, wait=LOCK_SECONDS)
                self._stamp = self._driver.settled_stamp() if self._stamp else b""
                self._unkept = True
            for uid in removed:
                self._messages.forget(uid)
                self._keys.forget(uid)
            gone.extend(removed)
        return gone

    def store(
        self,
        uids: Uids,
        op: Operation,
        flags: int,
        keywords: frozenset[str],
        unchanged_since: int | None = None,
    ) -> Stored:
        """Change flags; on disk before it returns. Raises LimitReached, NoSpace, InUse, StoreError."""
        changed, modified, gone = array("I"), array("I"), array("I")
        keywords = self._spelled(keywords)
        for start in range(0, len(uids), CHUNK):
            with self._driver.lock(self._lock()) as locked:
                self._catch_up(locked)
                part = Flagging(self, locked, op, flags, keywords, unchanged_since)
                part.run(uids[start : start + CHUNK])
            changed.extend(part.changed)
            modified.extend(part.modified)
            gone.extend(part.gone)
        return Stored(changed, modified, gone)

    def _spelled(self, keywords: frozenset[str]) -> frozenset[str]:
        """Keywords in the spelling that the mailbox has already; they are the same whatever their case (RFC 3501 section 2.3.2)."""
        if not keywords:
            return keywords
        defined = self.keywords()
        known = {word.lower(): word for word in defined}
        spelled = frozenset(known.get(word.lower(), word) for word in keywords)
        if len(spelled | defined) > MAX_KEYWORDS:
            raise LimitReached("Too many keywords in this mailbox")
        return spelled
