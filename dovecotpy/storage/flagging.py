"""STORE: flags as they shall be, set where nobody else changed them meanwhile."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from dovecotpy.storage.columns import MODSEQS, UIDS, places_of
from dovecotpy.storage.driver import (
    Changed,
    Gone,
    Locked,
    Row,
)
from dovecotpy.storage.errors import (
    InUse,
)
from dovecotpy.storage.index.history import Noted
from dovecotpy.storage.tracked import LOCK_SECONDS, RETRIES, Tracked, Uids


class Operation(enum.Enum):
    """What STORE does with flags."""

    ADD = "+"
    REMOVE = "-"
    REPLACE = "="


class Flagging:
    """One STORE of up to CHUNK messages under the lock."""

    def __init__(
        self,
        mailbox: Tracked,
        locked: Locked,
        op: Operation,
        flags: int,
        keywords: frozenset[str],
        unchanged_since: int | None,
    ) -> None:
        self.mailbox = mailbox
        self.locked = locked
        self.op = op
        self.flags = flags
        self.keywords = keywords
        self.unchanged_since = unchanged_since
        self.changed: list[int] = []
        self.modified: list[int] = []
        self.gone: list[int] = []

    def run(self, uids: Uids) -> None:
        box = self.mailbox
        waiting: Sequence[int] = uids
        for _ in range(RETRIES):
            if not waiting:
                break
            waiting = self._attempt(waiting)
        if waiting:
            raise InUse("Timeout while waiting for lock")
        box._stamp = box._driver.settled_stamp() if box._stamp else b""
        box._unkept = True

    def _attempt(self, uids: Uids) -> list[int]:
        """Set what can be set; UIDs that somebody else changed meanwhile, to be looked at again."""
        box = self.mailbox
        wanted: list[Row] = []
        there = box._rows(uids)
        if box._driver.behind:
            box._guess(there)
        if len(there) < len(uids):
            present = {row.uid for row in there}
            self.gone.extend(uid for uid in uids if uid not in present)
        if self.unchanged_since is not None:
            there = self._unmodified(there, self.unchanged_since)
        targets: dict[tuple[int, frozenset[str]], tuple[int, frozenset[str]]] = {}
        for row in there:
            before = row.flags, row.keywords
            after = targets.get(before)
            if after is None:
                after = targets[before] = self._target(*before)
            if after != before:
                uid, ref, _, _, internaldate, savedate, guid, size = row
                wanted.append(Row(uid, ref, *after, internaldate, savedate, guid, size))
        if not wanted:
            return []
        again: list[int] = []
        done: list[Row] = []
        for target, answer in zip(wanted, self.locked.flags(wanted), strict=True):
            if isinstance(answer, Gone):
                self.gone.append(answer.uid)
                box._stamp = b""
            elif isinstance(answer, Changed):
                done.append(answer.row)
                again.append(answer.row.uid)
                box._stamp = b""
            else:
                done.append(target)
                self.changed.append(target.uid)
        stamp = box.proof_with(done) if done and not again else b""
        if done and box._note((), done, (), stamp=stamp, wait=LOCK_SECONDS) is Noted.HELD:
            raise InUse("Timeout while waiting for lock")
        return again

    def _unmodified(self, rows: Sequence[Row], since: int) -> list[Row]:
        """Those that nobody changed after a modseq; the others are told as modified."""
        ledger = self.mailbox._history.ledger
        modseqs = ledger.column(MODSEQS)
        places = places_of(ledger.column(UIDS), [row.uid for row in rows])
        marked = [(row, modseqs[place] > since) for row, place in zip(rows, places, strict=True)]
        self.modified.extend(row.uid for row, is_modified in marked if is_modified)
        return [row for row, is_modified in marked if not is_modified]

    def _target(self, flags: int, keywords: frozenset[str]) -> tuple[int, frozenset[str]]:
        """What becomes of these flags and keywords."""
        if self.op is Operation.ADD:
            return flags | self.flags, keywords | self.keywords
        if self.op is Operation.REMOVE:
            return flags & ~self.flags, keywords - self.keywords
        return self.flags, self.keywords
