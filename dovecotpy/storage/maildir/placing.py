"""Many messages into a Maildir, all or none: lines in the uidlist first, then the files, then the directories' durability."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.storage import files
from dovecotpy.storage.driver import Row
from dovecotpy.storage.errors import Internal
from dovecotpy.storage.maildir import filename, uidlist
from dovecotpy.storage.maildir.filename import Info

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox
    from dovecotpy.storage.maildir.locked import LockedMaildir

PLACES = 100
"""Tries to find a name that is not taken."""
Put = Callable[[int, str, int], None]
"""Links message number `at` under a name in a directory. Raises FileExistsError, Moved, OSError."""
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES)


class Placing:
    """One placing under the lock: `add` as often as needed, then `finish`, or `undo` whatever was raised."""

    __slots__ = ("_all_told", "_box", "_done", "_keys", "_locked", "_uids")

    def __init__(self, locked: LockedMaildir, box: MaildirBox) -> None:
        self._locked = locked
        self._box = box
        self._all_told = next(reversed(box.uidlist.uids.values()), 0) < box.told
        self._keys = f"{uidlist.SAVED}{int(clock.now())}"
        self._done: list[tuple[bool, str]] = []
        """in new/, name"""
        self._uids: list[int] = []

    def add(self, bases: list[str], infos: Sequence[Info], put: Put) -> list[Row]:
        """Place some more. Raises whatever `put` and `LockedMaildir.assign` do; then `undo` is due."""
        box = self._box
        uids = self._locked.assign(bases, keys=self._keys)
        first = len(self._done)
        for at, info in enumerate(infos):
            self._put_one(at, info, uids, bases, put)
        self._uids += uids
        named = [(uid, name) for uid, (_, name) in zip(uids, self._done[first:], strict=True)]
        if self._all_told:
            for uid, (is_new, name) in zip(uids, self._done[first:], strict=True):
                box.place(uid, name, is_new=is_new)
        box.absorb_events()
        return box.rows(named)

    def _put_one(self, at: int, info: Info, uids: list[int], bases: list[str], put: Put) -> None:
        """A name that is taken gets another one, and a line with its next UID."""
        box = self._box
        for _ in range(PLACES):
            is_new, name = target(bases[at], info)
            box.expect(is_new, True, name)
            try:
                put(at, name, box.new_directory if is_new else box.cur_directory)
            except FileExistsError:
                bases[at] = box.context.names.make() + filename.sizes_of(bases[at])
                uids[at] = self._locked.assign([bases[at]], keys=self._keys)[0]
                if at + 1 < len(bases):
                    uids[at + 1 :] = self._locked.assign(bases[at + 1 :], keys=self._keys)
                continue
            self._done.append((is_new, name))
            return
        raise Internal.because(f"{box.shown}: no free name for a message after {PLACES} tries")

    def finish(self) -> None:
        """Make the names durable; from now on the messages are there. Raises OSError."""
        box = self._box
        if box.context.sync:
            for is_new in {is_new for is_new, _ in self._done}:
                files.sync_directory(box.new_directory if is_new else box.cur_directory)
        if self._all_told and self._uids:
            box.told = self._uids[-1] + 1
            box.settle(own=True)
        elif self._uids:
            box.doubt()

    def undo(self) -> None:
        """Nothing stays visible."""
        box = self._box
        box.doubt()
        if self._all_told:
            for uid in self._uids:
                box.forget(uid)
        for is_new, name in self._done:
            os.unlink(name, dir_fd=box.new_directory if is_new else box.cur_directory)
        self._done.clear()


def target(base: str, info: Info) -> tuple[bool, str]:
    """Where a message goes: new/ without flags, else cur/."""
    if not info.flags and not info.keywords:
        return True, base
    return False, filename.with_info(base, info)
