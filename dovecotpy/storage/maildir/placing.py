"""Many messages into a Maildir, all or none: lines in the uidlist first, then the files, then the directories' durability."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.storage import files
from dovecotpy.storage.errors import Internal
from dovecotpy.storage.maildir import filename, uidlist
from dovecotpy.storage.maildir.filename import Info

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox
    from dovecotpy.storage.maildir.locked import LockedMaildir

PLACES = 100
"""Tries to find a name that is not taken."""
NO_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP, errno.EACCES)


class Placing:
    """One placing under the lock: `add` as often as needed, then `finish`, or `undo` whatever was raised."""

    __slots__ = ("_all_told", "_box", "_done", "_endings", "_keys", "_locked", "_uids")

    def __init__(self, locked: LockedMaildir, box: MaildirBox) -> None:
        self._locked = locked
        self._box = box
        self._all_told = next(reversed(box.uidlist.uids.values()), 0) < box.told
        self._keys = f"{uidlist.SAVED}{int(clock.now())}"
        self._endings: dict[Info, str] = {}
        self._done: list[tuple[bool, str]] = []
        """in new/, name"""
        self._uids: list[int] = []

    def add(
        self, sources: Sequence[tuple[int, str]], bases: list[str], infos: Sequence[Info]
    ) -> list[tuple[int, str]]:
        """Place some more; UIDs and names. sources: directories and names of files, which are linked.

        Raises FileNotFoundError where a source is not there any more, OSError, StoreError; then `undo` is due.
        """
        box = self._box
        uids = self._locked.assign(bases, keys=self._keys)
        folders = (box.cur_directory, box.new_directory)
        first = len(self._done)
        done = self._done
        link, ending_of, watched = os.link, self._ending, box.watched
        for at, (directory, old) in enumerate(sources):
            ending = ending_of(infos[at])
            is_new = not ending
            name = bases[at] + ending
            if watched:
                box.expect(is_new, True, name)
            try:
                link(old, name, src_dir_fd=directory, dst_dir_fd=folders[is_new], follow_symlinks=False)
            except FileExistsError:
                name = self._elsewhere(at, (directory, old), ending, uids, bases)
            done.append((is_new, name))
        self._uids += uids
        fresh = done[first:]
        if self._all_told:
            box.place_all([(uid, *place) for uid, place in zip(uids, fresh, strict=True)])
        box.absorb_events()
        return [(uid, name) for uid, (_, name) in zip(uids, fresh, strict=True)]

    def _ending(self, info: Info) -> str:
        """What follows the base name; nothing for a message without flags, which goes to new/."""
        ending = self._endings.get(info)
        if ending is None:
            ending = filename.with_info("", info) if info.flags or info.keywords else ""
            self._endings[info] = ending
        return ending

    def _elsewhere(
        self, at: int, source: tuple[int, str], ending: str, uids: list[int], bases: list[str]
    ) -> str:
        """A name that is taken gets another one, and a line with its next UID."""
        box = self._box
        for _ in range(PLACES):
            base = bases[at]
            bases[at] = box.context.names.make() + filename.sizes_of(base)
            self._locked.carry_over(base, bases[at])
            uids[at] = self._locked.assign([bases[at]], keys=self._keys)[0]
            if at + 1 < len(bases):
                uids[at + 1 :] = self._locked.assign(bases[at + 1 :], keys=self._keys)
            name = bases[at] + ending
            box.expect(not ending, True, name)
            folder = box.cur_directory if ending else box.new_directory
            try:
                os.link(source[1], name, src_dir_fd=source[0], dst_dir_fd=folder, follow_symlinks=False)
            except FileExistsError:
                continue
            return name
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
