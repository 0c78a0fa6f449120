"""The first sight of a very large Maildir that has a list of UIDs, but no index: names are sorted, and each line finds its own among them.

As in `first.py`, what is anything but plain is left to `sync.py`.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.storage import files
from dovecotpy.storage.driver import Delta
from dovecotpy.storage.errors import NoSpace, PermissionDenied
from dovecotpy.storage.maildir import filename, first, lines, uidlist
from dovecotpy.storage.maildir.comparing import LISTINGS
from dovecotpy.storage.maildir.first import LOCK_SECONDS, FirstSight
from dovecotpy.storage.maildir.listing import Marks
from dovecotpy.storage.maildir.uidlist import Broken

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.locked import LockedMaildir

LARGE = 4 << 20
"""Octets of the list from which on it is not read into memory."""
MOST_UNKNOWN = 50_000
"""Names without lines."""


class SightAgain(FirstSight):
    """One of them."""

    def run(self) -> Delta | None:
        """None: not plain, and nothing was done that would be in the way. Raises MailboxReplaced, InUse, StoreError, OSError."""
        box = self.box
        if not self._may_be_large():
            return None
        box.takes_lines = True
        try:
            with box.lock(clock.monotonic() + LOCK_SECONDS) as locked:
                return self._look(locked) if box.dotlock.held else None
        except (PermissionDenied, NoSpace, Broken):
            return None
        finally:
            box.takes_lines = False

    def _may_be_large(self) -> bool:
        box = self.box
        if box.told or box.names or box.ghosts or not box.loaded or box.shared is not None:
            return False
        if not box.writable or box.uidvalidity or box.uidlist.uids or box.context.options.mail_nfs_storage:
            return False
        return files.identify(box.control, uidlist.NAME).size >= LARGE

    def _look(self, locked: LockedMaildir) -> Delta | None:
        """Under the lock, so that no writer that keeps to it is between its line and its file."""
        box = self.box
        if not box.uidlist.partial:
            return None
        for _ in range(LISTINGS):
            listed = self._listed()
            if listed is not None:
                break
        else:
            return None
        waiting, names, after = listed
        box.refresh_keywords()
        names.sort()
        moves = first.moves_of(waiting, names)
        if box.keywords.full or moves is None or len(names) < first.LARGE or not first.put_in_order(names):
            return None
        names += moves.values()
        names.sort()
        uids, places = self._matched(names)
        if len(uids) < len(names) and not self._give_uids(locked, names, uids, places):
            return None
        if not all(self._move(name, target) for name, target in moves.items()):
            return None
        moved = frozenset(moves.values())
        recent = (
            [uid for uid, place in zip(uids, places, strict=True) if names[place] in moved] if moved else []
        )
        return self._told(_packed(names, places), uids, after, True, recent)

    def _listed(self) -> tuple[list[str], list[str], Marks] | None:
        """Names in new/ and in cur/; None where these did not hold still."""
        box = self.box
        watched = box.watch()
        if watched:
            box.take_events()
            box.news.clear()
            box.news_lost = False
        before = box.marks()
        aged = before.aged
        waiting, names = os.listdir(box.new_directory), os.listdir(box.cur_directory)
        after = box.marks()
        if not (box.take_events() == [] if watched else aged and before == after):
            return None
        return waiting, names, after

    def _matched(self, names: list[str]) -> tuple["array[int]", "array[int]"]:
        """UIDs of lines that have a file, and the places of their names. Raises OSError, and Broken where a name has two lines."""
        uids, places = array("I"), array("I")
        taken = bytearray(len(names))
        place, count = -1, len(names)
        for uid, base in lines.each_line(self.box.control):
            head = base + ":"
            place += 1
            if place >= count or not names[place].startswith(head):
                place = bisect_left(names, head)
                if place == count or not names[place].startswith(head):
                    continue
            if taken[place]:
                raise Broken(0, f"{base} stands twice")
            taken[place] = 1
            uids.append(uid)
            places.append(place)
        return uids, places

    def _give_uids(
        self, locked: LockedMaildir, names: list[str], uids: "array[int]", places: "array[int]"
    ) -> bool:
        """To what has no line; False where that is too much of it."""
        if len(names) - len(uids) > MOST_UNKNOWN:
            return False
        taken = bytearray(len(names))
        for place in places:
            taken[place] = 1
        unknown = {filename.base_of(name): at for at, name in enumerate(names) if not taken[at]}
        bases = filename.in_order(unknown)
        uids.extend(locked.assign(bases))
        places.extend(map(unknown.__getitem__, bases))
        return True


def _packed(names: list[str], places: "array[int]") -> list[bytes]:
    """The names in the order of their UIDs; they are taken out of the list meanwhile."""
    packed = []
    for start in range(0, len(places), first.CHUNK):
        part = places[start : start + first.CHUNK]
        packed.append(os.fsencode("\0".join([names[place] for place in part])))
        for place in part:
            names[place] = ""
    return packed
