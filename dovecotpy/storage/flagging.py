"""STORE: flags as they shall be, set where nobody else changed them meanwhile."""

from __future__ import annotations

import enum
from collections.abc import Sequence

from dovecotpy.storage.columns import MODSEQS
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
        ledger = box._history.ledger
        wanted: list[Row] = []
        there = box._rows(uids)
        present = {row.uid for row in there}
        self.gone.extend(uid for uid in uids if uid not in present)
        for row in there:
            if (
                self.unchanged_since is not None
                and ledger.column(MODSEQS)[ledger.place(row.uid)] > self.unchanged_since
            ):
                self.modified.append(row.uid)
                continue
            target = self._target(row)
            if target.flags != row.flags or target.keywords != row.keywords:
                wanted.append(target)
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

    def _target(self, row: Row) -> Row:
        flags, keywords = self.flags, self.keywords
        if self.op is Operation.ADD:
            flags, keywords = row.flags | flags, row.keywords | keywords
        elif self.op is Operation.REMOVE:
            flags, keywords = row.flags & ~flags, row.keywords - keywords
        uid, ref, _, _, internaldate, savedate, guid, size = row
        return Row(uid, ref, flags, keywords, internaldate, savedate, guid, size)
