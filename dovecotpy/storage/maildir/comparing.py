"""What a listing, or the watch, shows beside what is known: names that are missing, new or there twice."""

from __future__ import annotations

import time
from itertools import filterfalse
from typing import TYPE_CHECKING

from dovecotpy.storage import files
from dovecotpy.storage.errors import MailboxReplaced
from dovecotpy.storage.files import NOWHERE
from dovecotpy.storage.maildir import filename, uidlist
from dovecotpy.storage.maildir.listing import Listing, look
from dovecotpy.storage.maildir.uidlist import Broken
from dovecotpy.storage.notify import LEFT_FOR_GOOD

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox


LISTINGS = 3
"""Listings before a name that is missing is left as it was."""
PAUSE = 0.003
"""Seconds before a noisy listing is repeated, so that events on their way arrive."""


class Comparing:
    """One mailbox as it is found, beside what is known of it."""

    def __init__(self, box: MaildirBox) -> None:
        self.box = box
        self.vanished: list[int] = []
        self.complete = True
        self.listed = 0
        """the next UID, as far as lines were read before the listing was begun"""
        self.nobody_wrote = True
        """nobody was at work on those lines any more"""
        self.missing: list[tuple[int, str]] = []
        self.new: dict[str, str] = {}
        """base names that are not known at their place, in new/: names"""
        self.cur: dict[str, str] = {}
        self.doubles: list[tuple[bool, str]] = []

    def _from_events(self) -> Listing | None:
        """What the watch says that others did, where that is all of it and leaves nothing open; None: a listing is due."""
        box = self.box
        if box.exact is None:
            return None
        self._read_lines_first()
        marks = box.marks()
        box.take_events()
        if box.exact is None or not box.news:
            return None
        touched = {is_new for is_new, _ in box.news}
        if (box.exact.new != marks.new and True not in touched) or (
            box.exact.cur != marks.cur and False not in touched
        ):
            return None
        last = {(is_new, event.name): event for is_new, event in box.news}
        left: set[str] = set()
        came: set[str] = set()
        twice = False
        for (is_new, name), event in last.items():
            known, bases = (box.new, self.new) if is_new else (box.cur, self.cur)
            if event.came == (name in known) or name[0] == ".":
                continue
            base = filename.base_of(name)
            if not event.came:
                self.missing.append((known[name], name))
                if event.kind != LEFT_FOR_GOOD:
                    left.add(base)
            else:
                twice = twice or base in came
                bases[base] = name
                came.add(base)
        if twice or left - came:
            self.missing, self.new, self.cur = [], {}, {}
            return None
        return Listing((), (), marks, marks, False, True, frozenset(came), False, len(box.news))

    def _read_lines_first(self) -> None:
        """The lines of the uidlist that what follows can say anything about."""
        if self.box.uidlist.identity != NOWHERE or not self.box.names:
            self._read_lines()
        self.listed, self.nobody_wrote = self.box.uidlist.uidnext, not self._others_write()

    def _list(self) -> Listing:
        box = self.box
        if box.exact is None:
            box.news.clear()
            box.news_lost = False
        self._read_lines_first()
        for attempt in range(LISTINGS):
            listing = look(box)
            self._compare(listing)
            if self._is_certain(listing):
                break
            if attempt + 1 < LISTINGS:
                time.sleep(PAUSE)
        return listing

    def _settled(self) -> int:
        """Of files with lines below this UID, the listing proves that they are not there.

        A writer puts lines at the end, then the files, and only then lets go of the lock: under its hands the last lines without a file
        are open, and whatever came later is.
        """
        box = self.box
        settled = self.listed
        if self.nobody_wrote:
            return settled
        for base, uid in reversed(box.uidlist.uids.items()):
            if uid >= self.listed:
                continue
            if uid < box.told or uid in box.names or base in self.new or base in self.cur:
                break
            settled = uid
        return settled

    def _others_write(self) -> bool:
        box = self.box
        return not box.dotlock.held and files.identify(box.control, uidlist.NAME + ".lock") != NOWHERE

    def _compare(self, listing: Listing) -> None:
        """Which names are not known, and which known names are not there."""
        box = self.box
        self.doubles = []
        missing: list[tuple[int, str]] = []
        found: list[dict[str, str]] = []
        for is_new, names, known in ((True, listing.new, box.new), (False, listing.cur, box.cur)):
            if names is known:
                found.append({})
                continue
            names = names if isinstance(names, (list, set)) else list(names)
            fresh = list(filterfalse(known.__contains__, names))
            if len(names) - len(fresh) < len(known):
                gone = set(known)
                gone.difference_update(names)
                missing += [(known[name], name) for name in sorted(gone)]
            found.append(self._by_base(is_new, fresh))
        self.missing = missing
        self.new, self.cur = found
        for base in self.new.keys() & self.cur.keys():
            self.doubles.append((True, self.new.pop(base)))

    def _by_base(self, is_new: bool, names: list[str]) -> dict[str, str]:
        """Names of messages by their base names; what stands twice is noted."""
        bases = dict(zip([name.partition(":")[0] for name in names], names, strict=True))
        if len(bases) == len(names) and "/." not in "/" + "/".join(names):
            return bases
        bases = {}
        for name in names:
            base = name.partition(":")[0]
            if base in bases:
                self.doubles.append((is_new, name))
            elif name[0] != ".":
                bases[base] = name
        return bases

    def _is_certain(self, listing: Listing) -> bool:
        """Nothing is left open that another listing could settle."""
        if listing.quiet:
            return True
        for _, name in self.missing:
            base = filename.base_of(name)
            if base not in self.new and base not in self.cur and not listing.proves_gone(base):
                return False
        return listing.watched or not self.doubles

    def _read_lines(self) -> None:
        box = self.box
        twice = len(box.uidlist.duplicates)
        try:
            again = box.uidlist.refresh()
        except Broken:
            return
        validity = box.uidlist.uidvalidity
        if not validity:
            return
        if box.uidvalidity and validity != box.uidvalidity:
            raise MailboxReplaced("Mailbox UIDVALIDITY changed")
        box.uidvalidity = validity
        box.guid = box.uidlist.guid.encode()
        box.list_reread = box.list_reread or (again and bool(box.names))
        if again or len(box.uidlist.duplicates) > twice:
            self._check_uids()

    def _check_uids(self) -> None:
        """The list was written anew, or names a message again: messages whose UID is another one now are gone under the old one."""
        box = self.box
        uids = box.uidlist.uids
        for uid, name in list(box.names.items()):
            base = filename.base_of(name)
            if uids.get(base, uid) != uid:
                is_new = name in box.new
                box.forget(uid)
                self.vanished.append(uid)
                (self.new if is_new else self.cur)[base] = name
        self.missing = [(uid, name) for uid, name in self.missing if uid in box.names]
