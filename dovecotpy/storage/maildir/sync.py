"""Bringing what is known of a Maildir up to date without ever taking a listing's gap for an expunge."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.storage.driver import Columns, Delta, Row
from dovecotpy.storage.errors import InUse, NoSpace, PermissionDenied
from dovecotpy.storage.files import NOWHERE
from dovecotpy.storage.maildir import courier, filename
from dovecotpy.storage.maildir.doubles import Doubles
from dovecotpy.storage.maildir.listing import Listing, Marks, look

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox
    from dovecotpy.storage.maildir.locked import LockedMaildir
FIRST_LOCK_SECONDS = 10.0
LOCK_SECONDS = 1.0
"""A mailbox that is open already does not wait longer for the lock: new messages come with the next look."""


class Sync(Doubles):
    """One sync of one mailbox."""

    def __init__(self, box: MaildirBox, known: Columns) -> None:
        super().__init__(box)
        self.columns = known
        self.appeared: list[Row] = []
        self.changed: dict[int, str] = {}
        self.recent: list[int] = []
        self.placed: set[int] = set()
        """known messages that were found, be it at the name that they had before"""
        self.surplus_before: dict[int, frozenset[str]] = {}

    def run(self) -> Delta:
        """Raises MailboxReplaced, InUse, StoreError, OSError."""
        box = self.box
        box.load_names()
        listing = self._from_events() or self._list()
        self._keywords()
        self._read_list(listing)
        listing = self._write_if_needed(listing)
        self._surplus()
        self._private()
        self._take_moved()
        self._take_missing(listing)
        self._take_appeared(listing)
        self._settle(listing)
        rows = box.rows([(uid, name) for uid, name in self.changed.items() if uid in box.names])
        return Delta(self.appeared, rows, self.vanished, box.stamp(), self.recent, box.told, self.complete)

    def _keywords(self) -> None:
        """After the listing, because a keyword gets its letter before a name shows it."""
        box = self.box
        self.surplus_before = box.surplus or {}
        meanings = box.keywords.names
        box.refresh_keywords()
        if box.keywords.names != meanings:
            for uid, name in box.names.items():
                if filename.parse_info(name.partition(":")[2]).keywords:
                    self.changed[uid] = name

    def _surplus(self) -> None:
        """Keywords beyond the letters, which no file name shows."""
        box = self.box
        if not box.keywords.full:
            return
        before = self.surplus_before
        box.surplus = None
        box.load_surplus()
        if box.surplus is not None and before != box.surplus:
            for uid in before.keys() | box.surplus.keys():
                if before.get(uid) != box.surplus.get(uid) and uid in box.names:
                    self.changed[uid] = box.names[uid]

    def _private(self) -> None:
        """What this user marked as seen over another connection, which no file name shows."""
        box = self.box
        if box.shared is None:
            return
        before, box.seen = box.seen or frozenset(), None
        for uid in before ^ (box.private_seen() or frozenset()):
            if uid in box.names:
                self.changed[uid] = box.names[uid]

    # The uidlist

    def _read_list(self, listing: Listing) -> None:
        box = self.box
        if (
            not (self.new or self.cur or self.missing or box.ghosts or not box.guid)
            and listing.after.uidlist == self.box.listed_mark()
        ):
            return
        self._read_lines()

    # What must be written

    def _write_if_needed(self, listing: Listing) -> Listing:
        """The listing to go on with."""
        box = self.box
        doubles = self._real_doubles(listing)
        moves = box.writable and bool(self.new or box.new)
        unassigned = self._unassigned()
        if not (doubles or moves or unassigned or not box.guid or not box.uidlist.complete):
            return listing
        first = not box.uidvalidity
        box.expected = len(unassigned)
        deadline = clock.monotonic() + (FIRST_LOCK_SECONDS if first else LOCK_SECONDS)
        try:
            with box.lock(deadline) as locked:
                locked.read_list()
                if box.uidlist.identity != NOWHERE:
                    box.uidlist.make_whole()
                    if self._is_outdated():
                        listing = self._list()
                        self._keywords()
                        doubles = self._real_doubles(listing)
                    self._assign(locked)
                    self._fix_doubles(doubles)
                    if moves:
                        self._move_new()
                    locked.tidy()
                    return listing
        except InUse:
            if first:
                raise
        except (PermissionDenied, NoSpace) as error:
            self._assign_in_memory(error)
            return listing
        if first:
            self._assign_in_memory(NoSpace("Not enough disk space"))
            return listing
        self._leave_unassigned()
        return listing

    def _is_outdated(self) -> bool:
        """Under the lock: there are lines of files that the listing may have come too early for."""
        box = self.box
        least = max(self._settled(), box.told)
        for base, uid in reversed(box.uidlist.uids.items()):
            if uid < least:
                return False
            if base not in self.new and base not in self.cur and (base, uid) not in box.absent:
                return True
        return False

    def _unassigned(self) -> list[str]:
        """Base names that need a UID: unknown ones, and those that come back after their absence was told."""
        box = self.box
        uids = box.uidlist.uids
        if not uids:
            return [*self.new, *self.cur]
        if not box.told and self.new.keys() <= uids.keys() and self.cur.keys() <= uids.keys():
            return []
        waiting = []
        for bases in (self.new, self.cur):
            for base in bases:
                uid = uids.get(base)
                if uid is None or (uid < box.told and uid not in box.names and uid not in box.ghosts):
                    waiting.append(base)
        return waiting

    def _assign(self, locked: LockedMaildir) -> None:
        locked.assign(filename.in_order(self._unassigned()))
        if self.box.is_fresh:
            self.box.is_fresh = False
            known = courier.keywords(self.box.directory)
            if known:
                self._take_courier_keywords(known)

    def _take_courier_keywords(self, words: dict[str, list[str]]) -> None:
        """Courier's keywords become letters in the names, once, with the first list of ours."""
        box = self.box
        present = {base: keywords for base, keywords in words.items() if base in self.cur}
        wanted = sorted({word for keywords in present.values() for word in keywords})
        box.keywords.define(wanted, sync=box.context.sync, shared=box.shared)
        box.forget_meanings()
        for base, keywords in present.items():
            name = self.cur[base]
            info = filename.parse_info(name.partition(":")[2])
            letters = "".join(box.keywords.letters[word] for word in keywords if word in box.keywords.letters)
            self._rename(
                False, name, filename.with_info(base, info._replace(keywords=info.keywords + letters))
            )

    def _assign_in_memory(self, error: Exception) -> None:
        """Nothing can be written here: UIDs hold for this session alone."""
        box = self.box
        if not box.uidvalidity:
            box.uidvalidity = box.uidlist.uidvalidity = int(clock.now())
        elif box.writable and isinstance(error, NoSpace):
            self._leave_unassigned()
            return
        for base in filename.in_order(self._unassigned()):
            box.uidlist.uids.pop(base, None)
            box.uidlist.take_over([(base, box.uidlist.uidnext)])

    def _leave_unassigned(self) -> None:
        for base in self._unassigned():
            self.new.pop(base, None)
            self.cur.pop(base, None)
            self.complete = False

    def _move_new(self) -> None:
        """Messages in new/ go to cur/; a disk or a directory that does not let them leaves them."""
        box = self.box
        waiting = [(name, box.new.get(name)) for name in (*self.new.values(), *box.new)]
        for name, uid in waiting:
            base, _, info = name.partition(":")
            target = name if info else base + ":2,"
            if not self._rename(True, name, target):
                continue
            if uid is not None:
                box.put(uid, target, is_new=False)
            else:
                del self.new[base]
                self.cur[base] = target
                self.recent.append(box.uidlist.uids[base])

    def _rename(self, is_new: bool, name: str, target: str) -> bool:
        box = self.box
        box.expect(is_new, False, name)
        box.expect(False, True, target)
        directory = box.new_directory if is_new else box.cur_directory
        try:
            os.rename(name, target, src_dir_fd=directory, dst_dir_fd=box.cur_directory)
        except OSError:
            return False
        self.moved_files = True
        if not is_new and filename.base_of(name) in self.cur:
            self.cur[filename.base_of(name)] = target
        return True

    # What is told

    def _take_moved(self) -> None:
        """Known messages at other names."""
        box = self.box
        uids = box.uidlist.uids
        for is_new, bases in ((True, self.new), (False, self.cur)):
            if not box.names:
                return
            for base in list(bases):
                uid = uids.get(base)
                if uid is not None and uid in box.names:
                    name = bases.pop(base)
                    box.put(uid, name, is_new=is_new)
                    self.changed[uid] = name
                    self.placed.add(uid)

    def _take_missing(self, listing: Listing) -> None:
        """Known names that are not there: gone if that is proven, else they stay until it is."""
        box = self.box
        for uid, name in self.missing:
            if uid in self.placed or box.names.get(uid) != name:
                continue
            base = filename.base_of(name)
            if listing.proves_gone(base):
                box.forget(uid)
                box.dead.add((base, uid))
                self.vanished.append(uid)
            else:
                self.complete = False

    def _take_appeared(self, listing: Listing) -> None:
        """New messages in the order of their UIDs, up to the first one that may still be on its way."""
        box = self.box
        found = self._found()
        cold = not box.told and not box.ghosts
        settled = self._settled()
        limit = 1 << 32
        since = int(clock.now())
        trailing: list[tuple[int, str]] = []
        for base, uid in reversed(box.uidlist.uids.items()):
            if uid < box.told and not box.ghosts:
                break
            if uid in found or uid in box.names or (uid < box.told and uid not in box.ghosts):
                continue
            if uid >= settled and uid >= box.told and (base, uid) not in box.absent:
                trailing.append((uid, base))
            elif listing.proves_gone(base):
                box.absent.setdefault((base, uid), since)
                if box.ghosts.pop(uid, None) is not None:
                    self.vanished.append(uid)
            elif cold:
                self.complete = False
                box.ghosts[uid] = base
            elif uid >= box.told:
                self.complete = False
                limit = uid
        if trailing:
            limit = min(limit, self._first_in_flight(trailing, since))
        self._drop_lost_ghosts(listing, found)
        self._tell(found, limit, cold)

    def _first_in_flight(self, trailing: list[tuple[int, str]], since: int) -> int:
        """Late lines without files: a writer puts the line first, then the file. The first UID that may still come."""
        box = self.box
        if self._others_write():
            self.complete = False
            return min(uid for uid, _ in trailing)
        again = look(box)
        if again.missed or again.touched or not again.watched:
            self.complete = False
        there = {name.partition(":")[0] for names in (again.new, again.cur) for name in names}
        limit = 1 << 32
        for uid, base in trailing:
            if base not in there and again.proves_gone(base):
                box.absent.setdefault((base, uid), since)
            else:
                self.complete = False
                limit = min(limit, uid)
        return limit

    def _found(self) -> dict[int, str]:
        """UIDs and names of messages that are not known at their place."""
        uids = self.box.uidlist.uids
        cur = self.cur
        if cur.keys() <= uids.keys():
            found = dict(zip(map(uids.__getitem__, cur), cur.values(), strict=True))
        else:
            found = {uids[base]: name for base, name in cur.items() if base in uids}
        if self.new:
            found.update((uids[base], name) for base, name in self.new.items() if base in uids)
        return found

    def _drop_lost_ghosts(self, listing: Listing, found: dict[int, str]) -> None:
        """Told messages whose lines are gone from the list too."""
        box = self.box
        if not box.ghosts or not (listing.quiet or listing.watched):
            return
        listed = set(box.uidlist.uids.values())
        for uid in list(box.ghosts):
            if uid not in found and uid not in listed:
                del box.ghosts[uid]
                self.vanished.append(uid)

    def _tell(self, found: dict[int, str], limit: int, cold: bool) -> None:
        box = self.box
        with_ghosts = cold and bool(box.ghosts)
        tell = sorted(found.keys() | box.ghosts.keys()) if with_ghosts else sorted(found)
        if tell and tell[-1] >= limit:
            tell = [uid for uid in tell if uid < limit]
            self.complete = False
        in_new = set(self.new.values())
        moved = set(self.recent)
        if moved or in_new:
            self.recent = [uid for uid in tell if uid in moved or (in_new and found.get(uid) in in_new)]
        if with_ghosts:
            self.appeared = box.rows([(uid, found.get(uid) or box.ghosts[uid]) for uid in tell])
        else:
            self.appeared = box.rows([(uid, found[uid]) for uid in tell if uid not in box.ghosts])
        if not box.ghosts and not in_new:
            box.place_in_cur({uid: found[uid] for uid in tell})
            tell = []
        for uid in tell:
            name = found.get(uid)
            if name is None:
                continue
            if box.ghosts and box.ghosts.pop(uid, None) is not None and not cold:
                self.changed[uid] = name
            box.place(uid, name, is_new=name in in_new)
        box.told = max(box.told, min(box.uidlist.uidnext, limit))

    def _settle(self, listing: Listing) -> None:
        """Decide what `known` may say."""
        box = self.box
        if not self.complete:
            box.known = box.exact = None
            return
        box.caught_up()
        if listing.watched:
            box.know(listing.after, clean=False)
            box.rely_on_events(listing.after, listing.taken)
        elif listing.quiet:
            box.know(listing.before, clean=True)
        else:
            box.known = None
        if self.moved_files:
            box.settle(own=True)
        elif box.known is not None:
            box.known = Marks(box.known.new, box.known.cur, box.listed_mark())
