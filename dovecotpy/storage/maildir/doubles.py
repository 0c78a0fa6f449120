"""Messages that stand twice in a Maildir."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.storage.maildir import filename
from dovecotpy.storage.maildir.comparing import Comparing
from dovecotpy.storage.maildir.listing import Listing

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox


HARD_LINK_SECONDS = 30
"""A second hard link to a message is a duplicate when it is so old; before that, somebody may be at work."""


class Doubles(Comparing):
    """A comparison that settles what stands twice: a second link goes, another message gets a name of its own."""

    def __init__(self, box: MaildirBox) -> None:
        super().__init__(box)
        self.moved_files = False

    def _real_doubles(self, listing: Listing) -> list[tuple[bool, str]]:
        """Base names that stand twice for certain, not because one was renamed during the listing."""
        box = self.box
        doubles = list(self.doubles)
        gone = {name for _, name in self.missing}
        if not box.names and not doubles:
            return []
        for is_new, bases in ((True, self.new), (False, self.cur)):
            for base in list(bases):
                uid = box.uidlist.uids.get(base)
                known = box.names.get(uid) if uid is not None else None
                if known is not None and known not in gone and filename.base_of(known) == base:
                    doubles.append((is_new, bases.pop(base)))
        if not doubles:
            return []
        certain = [(is_new, name) for is_new, name in doubles if listing.proves_gone(filename.base_of(name))]
        if len(certain) < len(doubles):
            self.complete = False
        return certain if box.writable else []

    def _fix_doubles(self, doubles: list[tuple[bool, str]]) -> None:
        box = self.box
        for is_new, name in doubles:
            directory = box.new_directory if is_new else box.cur_directory
            other = self._other_of(filename.base_of(name), name)
            try:
                mine = os.stat(name, dir_fd=directory, follow_symlinks=False)
                if other is None:
                    continue
                theirs = os.stat(other[1], dir_fd=other[0], follow_symlinks=False)
                if (mine.st_dev, mine.st_ino) == (theirs.st_dev, theirs.st_ino):
                    self._unlink_double(directory, name, mine.st_ctime)
                    continue
                fresh = box.context.names.make() + filename.sizes_of(filename.base_of(name))
                os.rename(name, fresh, src_dir_fd=directory, dst_dir_fd=box.new_directory)
            except FileNotFoundError:
                continue
            self.complete = False
            self.moved_files = True
            box.context.log(Level.WARNING, f"{box.shown}: Fixed a duplicate: {name} -> {fresh}")

    def _unlink_double(self, directory: int, name: str, changed: float) -> None:
        if abs(clock.file_time() - changed) <= HARD_LINK_SECONDS:
            self.complete = False
            return
        os.unlink(name, dir_fd=directory)
        self.complete = False
        self.moved_files = True
        self.box.context.log(Level.WARNING, f"{self.box.shown}: Unlinked a duplicate: {name}")

    def _other_of(self, base: str, name: str) -> tuple[int, str] | None:
        box = self.box
        uid = box.uidlist.uids.get(base)
        if uid is not None and uid in box.names:
            return box.path(uid)
        if base in self.cur and self.cur[base] != name:
            return box.cur_directory, self.cur[base]
        if base in self.new and self.new[base] != name:
            return box.new_directory, self.new[base]
        return None
