"""A look at a very large Maildir: listings become hashes, what is known passes by one name at a time, and only differences are kept.

It says what `sync.py` would say, which needs every name and every line of the list of UIDs in memory. Everything happens under the lock, so that
no writer that keeps to it is between its line and its file. Hashes only narrow down: what they say is missing is looked for by its name.
"""

from __future__ import annotations

import os
import time
from array import array
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.storage import files
from dovecotpy.storage.columns import place_of
from dovecotpy.storage.driver import Columns, Delta, Lost, Row
from dovecotpy.storage.errors import InUse, NoSpace, PermissionDenied
from dovecotpy.storage.files import NOWHERE
from dovecotpy.storage.maildir import filename, lines, uidlist
from dovecotpy.storage.maildir.comparing import LISTINGS, PAUSE
from dovecotpy.storage.maildir.listing import Listing, Marks
from dovecotpy.storage.maildir.uidlist import Broken
from dovecotpy.storage.notify import LEFT_FOR_GOOD

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox
    from dovecotpy.storage.maildir.locked import LockedMaildir

LOCK_SECONDS = 1.0
MOST = 50_000
"""Differences of a kind that one look takes note of; the next ones go on."""
_FOLDER = 4
"""Letters of `cur/` and `new/`."""
_name = attrgetter("name")


class LargeSync:
    """One of them."""

    def __init__(self, box: MaildirBox, known: Columns) -> None:
        self.box = box
        self.columns = known
        self.complete = True
        self.missing: dict[int, str] = {}
        """known messages that are not at their paths"""
        self.fresh: dict[str, str] = {}
        """base names of paths that are not known: paths"""
        self.waiting: dict[int, str] = {}
        """known messages in new/, which are there"""
        self.changed: dict[int, str] = {}
        self.vanished: list[int] = []
        self.recent: list[int] = []
        self.limit = 1 << 32
        """UIDs from here on cannot be told yet"""
        self.moved_files = False
        self.truncated = False
        """there are more fresh names than are wanted, so that nothing is proven gone"""
        self.capped = False
        """there are more missing ones, so that a fresh name may be one of these"""

    def run(self) -> Delta | None:
        """None: this is not for here, and nothing was done. Raises MailboxReplaced, InUse, StoreError, OSError."""
        box = self.box
        if not self._is_for_here():
            return None
        try:
            with box.lock(clock.monotonic() + LOCK_SECONDS) as locked:
                if not box.dotlock.held:
                    return self._nothing()
                locked.read_list()
                return self._look(locked) if box.is_large else None
        except InUse:
            return self._nothing()
        except (PermissionDenied, Broken, Lost):
            return None

    def _is_for_here(self) -> bool:
        box = self.box
        if not box.is_large or box.shared is not None or not (box.guid and box.uidvalidity):
            return False
        if box.context.options.mail_nfs_storage or box.keywords.full:
            return False
        return uidlist.file_identity(box.control) != NOWHERE

    def _nothing(self) -> Delta:
        """Others are at work, or the disk is full: what was known serves on."""
        box = self.box
        box.known = None
        return Delta([], [], [], b"", [], box.told, False)

    def _look(self, locked: LockedMaildir) -> Delta | None:
        box = self.box
        listing = self._from_events() or self._list()
        meanings = box.keywords.names
        box.refresh_keywords()
        if box.keywords.full:
            return None
        if box.keywords.names != meanings:
            self._compare_keywords()
        for uid in self.missing:
            self.waiting.pop(uid, None)
        self._take_moved()
        found = lines.find(box, set(self.fresh)) if self._lines_count() else lines.Found()
        self._take_renumbered(found)
        self._name_anew(found, listing)
        self._take_missing(listing)
        self._assign(locked, found)
        self._take_late(found, listing)
        came = frozenset(base for base, path in self.fresh.items() if path[0] == "n")
        if box.writable:
            self._move_new()
        appeared = self._tell(found, came)
        self._settle(listing)
        for uid in self.vanished:
            self.changed.pop(uid, None)
        changed = box.rows(sorted((uid, path[_FOLDER:]) for uid, path in self.changed.items()))
        return Delta(appeared, changed, self.vanished, box.stamp(), self.recent, box.told, self.complete)

    def _lines_count(self) -> bool:
        """There are lines that nothing is known of, or names whose lines must be looked for."""
        box = self.box
        return bool(self.fresh or box.ghosts) or box.uidlist.uidnext > box.told

    # What is there

    def _from_events(self) -> Listing | None:
        """As in `Comparing`: what the watch says that others did, where that is all of it."""
        box = self.box
        if box.exact is None or box.behind:
            return None
        marks = box.marks()
        box.take_events()
        if box.exact is None or not box.news:
            return None
        touched = {is_new for is_new, _ in box.news}
        if (box.exact.new != marks.new and True not in touched) or (
            box.exact.cur != marks.cur and False not in touched
        ):
            return None
        last = {
            ("new/" if is_new else "cur/") + event.name: event
            for is_new, event in box.news
            if event.name[0] != "."
        }
        ghosts = len(box.ghosts)
        known = self._known_of(last.keys())
        came = {
            filename.base_of(path[_FOLDER:])
            for path, event in last.items()
            if event.came and path not in known
        }
        left = {
            filename.base_of(path[_FOLDER:])
            for path, event in last.items()
            if not event.came and path in known and event.kind != LEFT_FOR_GOOD
        }
        if (
            len(box.ghosts) > ghosts
            or left - came
            or not self._apply({path: event.came for path, event in last.items()}, known)
        ):
            self._forget_differences()
            return None
        return Listing((), (), marks, marks, False, True, frozenset(came), False, len(box.news))

    def _forget_differences(self) -> None:
        self.missing, self.fresh, self.waiting = {}, {}, {}
        self.complete, self.truncated, self.capped = True, False, False

    def _known_of(self, paths: Iterable[str]) -> dict[str, int]:
        """UIDs of those of these paths that are known; known messages in new/ are noted on the way."""
        wanted = frozenset(paths)
        found: dict[str, int] = {}
        for uid, path in self.box.stream():
            if path in wanted:
                found[path] = uid
            if path[0] == "n":
                self.waiting[uid] = path
        return found

    def _list(self) -> Listing:
        for attempt in range(LISTINGS):
            listing = self._list_once()
            if self.truncated or self._is_certain(listing):
                break
            if attempt + 1 < LISTINGS:
                time.sleep(PAUSE)
        return listing

    def _is_certain(self, listing: Listing) -> bool:
        """Nothing is left open that another listing could settle."""
        gone = (filename.base_of(path[_FOLDER:]) for path in self.missing.values())
        return listing.quiet or all(base in self.fresh or listing.proves_gone(base) for base in gone)

    def _list_once(self) -> Listing:
        box = self.box
        self._forget_differences()
        known = box.known if box.clean and not box.behind else None
        watched = box.watch()
        if box.exact is None:
            box.news.clear()
            box.news_lost = False
        if watched:
            box.take_events()
        before = box.marks()
        aged = before.aged
        same = known is not None and known.cur == before.cur and not box.ghosts
        self._compare(None if same else self._hashes())
        if same and box.ghosts:
            self._forget_differences()
            self._compare(self._hashes())
        after = box.marks()
        events = box.take_events() if watched else []
        still = before[:2] == after[:2]
        quiet = still and (events == [] if watched else aged and before == after)
        if self.truncated or events is None:
            self.complete = False
            return Listing((), (), before, after, False, False, frozenset(), False)
        taken = len(box.news)
        if not events:
            return Listing((), (), before, after, quiet, watched and still, frozenset(), False, taken)
        last = {("new/" if is_new else "cur/") + event.name: event.came for is_new, event in events}
        last = {path: came for path, came in last.items() if path[_FOLDER] != "."}
        self._apply(last, self._known_of(last.keys()))
        touched = frozenset(event.name.partition(":")[0] for _, event in events)
        return Listing((), (), before, after, False, True, touched, False, taken)

    def _names(self) -> Iterator[str]:
        with os.scandir(self.box.cur_directory) as entries:
            yield from map(_name, entries)

    def _hashes(self) -> set[int]:
        """Of the names in cur/. Raises Lost where two have the same."""
        with os.scandir(self.box.cur_directory) as entries:
            hashes = array("q", map(hash, map(_name, entries)))
        found = set(hashes)
        if len(found) < len(hashes):
            raise Lost("two names have the same hash")
        return found

    def _compare(self, listed: set[int] | None) -> None:
        """Find the differences. listed: hashes of the names in cur/; None: it is as it is known."""
        box = self.box
        new = {"new/" + name for name in os.listdir(box.new_directory) if name[0] != "."}
        lost: dict[int, str] = {}
        for uid, path in box.stream():
            if path[0] == "n":
                if path in new:
                    new.discard(path)
                    self.waiting[uid] = path
                    continue
            elif listed is None:
                continue
            else:
                digest = hash(path[_FOLDER:])
                if digest in listed:
                    listed.discard(digest)
                    continue
            if len(lost) < MOST:
                lost[uid] = path
            else:
                self.capped, self.complete = True, False
        fresh, wanted = list(new), listed or set()
        for name in self._names() if wanted else ():
            if hash(name) in wanted and name[0] != ".":
                fresh.append("cur/" + name)
                if len(fresh) > MOST:
                    break
        for path in fresh[:MOST]:
            self._add_fresh(path)
        self.missing = {uid: path for uid, path in lost.items() if self._is_missing(path)}
        self.truncated = len(fresh) > MOST

    def _is_missing(self, path: str) -> bool:
        """A name that is there after all came back, or has another one's hash: nothing is said of it."""
        box = self.box
        directory = box.new_directory if path[0] == "n" else box.cur_directory
        if files.identify(directory, path[_FOLDER:]) == NOWHERE:
            return True
        self.complete = False
        return False

    def _add_fresh(self, path: str) -> bool:
        """False where the base name stands there already: one of them waits."""
        if self.fresh.setdefault(filename.base_of(path[_FOLDER:]), path) != path:
            self.complete = False
            return False
        return True

    def _apply(self, last: dict[str, bool], known: dict[str, int]) -> bool:
        """Names that came or left meanwhile; False where a base name came twice."""
        plain = True
        for path, came in last.items():
            uid, base = known.get(path), filename.base_of(path[_FOLDER:])
            if not came and uid is None and self.fresh.get(base) == path:
                del self.fresh[base]
            elif not came and uid is not None:
                self.missing[uid] = path
                self.waiting.pop(uid, None)
            elif came and uid is not None:
                self.missing.pop(uid, None)
        for path, came in last.items():
            if came and path not in known:
                plain = self._add_fresh(path) and plain
        return plain

    def _compare_keywords(self) -> None:
        """Letters mean something else: which messages have other keywords than the columns say."""
        box, columns = self.box, self.columns
        uids, keywords, sets = columns.uids, columns.keywords, columns.keyword_sets
        meanings: dict[str, frozenset[str]] = {}
        for uid, path in box.stream():
            info = path.partition(":")[2]
            words = meanings.get(info)
            if words is None:
                words = meanings[info] = box.understood(info)[1]
            place = place_of(uids, uid)
            if place >= 0 and sets[keywords[place]] != words:
                self.changed[uid] = path

    # What becomes of it

    def _take_moved(self) -> None:
        """Known messages at other names."""
        for uid, path in list(self.missing.items()):
            other = self.fresh.pop(filename.base_of(path[_FOLDER:]), None)
            if other is None:
                continue
            del self.missing[uid]
            self._put(uid, other)
            self.changed[uid] = other
            if other[0] == "n":
                self.waiting[uid] = other

    def _put(self, uid: int, path: str) -> None:
        self.box.put(uid, path[_FOLDER:], is_new=path[0] == "n")

    def _take_renumbered(self, found: lines.Found) -> None:
        """The list names a known message again: it is gone under the old UID."""
        box = self.box
        late = found.late.keys() - self.fresh.keys()
        if not late:
            return
        again = []
        for uid, path in box.stream():
            base = filename.base_of(path[_FOLDER:])
            if base in late and uid != found.late[base] and uid not in self.missing:
                again.append((uid, base, path))
        for uid, base, path in again:
            box.forget(uid)
            self.waiting.pop(uid, None)
            self.vanished.append(uid)
            self.fresh[base] = path
            found.uids[base] = found.late[base]

    def _name_anew(self, found: lines.Found, listing: Listing) -> None:
        """A message with a base name that another one has, or had, gets one of its own; a second link waits."""
        box = self.box
        for base in list(self.fresh):
            uid = found.uids.get(base)
            if uid is None or found.late.get(base) == uid:
                continue
            path = self.fresh.pop(base)
            directory = box.new_directory if path[0] == "n" else box.cur_directory
            certain = listing.proves_gone(base) and not self.capped and box.writable
            if not certain or self._is_second(uid, directory, path):
                self.complete = False
                continue
            name = path[_FOLDER:]
            other = box.context.names.make() + filename.sizes_of(base)
            target = other + name[len(base) :]
            box.expect(path[0] == "n", False, name)
            box.expect(path[0] == "n", True, target)
            try:
                os.rename(name, target, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                self.complete = False
                continue
            self.moved_files = True
            self.fresh[other] = path[:_FOLDER] + target

    def _is_second(self, uid: int, directory: int, path: str) -> bool:
        where = self.box.path(uid)
        return where is not None and files.identify(directory, path[_FOLDER:]).inode in (
            0,
            files.identify(*where).inode,
        )

    def _take_missing(self, listing: Listing) -> None:
        """Known names that are not there: gone if that is proven, else they stay until it is."""
        box = self.box
        for uid, path in self.missing.items():
            base = filename.base_of(path[_FOLDER:])
            if not listing.proves_gone(base):
                self.complete = False
                continue
            box.forget(uid)
            box.dead.add((base, uid))
            self.vanished.append(uid)

    def _assign(self, locked: LockedMaildir, found: lines.Found) -> None:
        """Lines for new messages; without room for them these wait."""
        unknown = filename.in_order(base for base in self.fresh if base not in found.uids)
        if not unknown:
            return
        try:
            given = locked.assign(unknown)
        except NoSpace:
            self.complete = False
            for base in unknown:
                del self.fresh[base]
            return
        found.uids.update(zip(unknown, given, strict=True))

    def _take_late(self, found: lines.Found, listing: Listing) -> None:
        """Lines without files, whose writers died: nobody else has the lock."""
        box, since = self.box, int(clock.now())
        for base, uid in found.late.items():
            if base in self.fresh:
                continue
            if listing.proves_gone(base):
                box.absent.setdefault((base, uid), since)
                if box.ghosts.pop(uid, None) is not None:
                    self.vanished.append(uid)
                continue
            self.complete = False
            if uid >= box.told:
                self.limit = min(self.limit, uid)
        if box.ghosts and (listing.quiet or listing.watched):
            listed = set(found.late.values())
            for uid in [uid for uid in box.ghosts if uid not in listed]:
                del box.ghosts[uid]
                self.vanished.append(uid)

    def _move_new(self) -> None:
        """Messages in new/ go to cur/; a disk or a directory that does not let them leaves them."""
        box = self.box
        for base, path in self.fresh.items():
            if path[0] == "n":
                self.fresh[base] = self._moved(path)
        for uid, path in self.waiting.items():
            target = self._moved(path)
            if target != path:
                self._put(uid, target)
                if uid in self.changed:
                    self.changed[uid] = target
        box.absorb_events()

    def _moved(self, path: str) -> str:
        box, name = self.box, path[_FOLDER:]
        target = name if ":" in name else name + ":2,"
        box.expect(True, False, name)
        box.expect(False, True, target)
        try:
            os.rename(name, target, src_dir_fd=box.new_directory, dst_dir_fd=box.cur_directory)
        except OSError:
            return path
        self.moved_files = True
        return "cur/" + target

    def _tell(self, found: lines.Found, came: frozenset[str]) -> list[Row]:
        """New messages in the order of their UIDs, up to the first one that may still be on its way. came: base names, by way of new/."""
        box = self.box
        told = []
        for uid, base in sorted((found.uids[base], base) for base in self.fresh):
            if uid >= self.limit:
                self.complete = False
                continue
            path = self.fresh[base]
            box.place(uid, path[_FOLDER:], is_new=path[0] == "n")
            if box.ghosts.pop(uid, None) is not None:
                self.changed[uid] = path
            else:
                told.append((uid, path[_FOLDER:]))
                if base in came:
                    self.recent.append(uid)
        box.told = max(box.told, min(box.uidlist.uidnext, self.limit))
        return box.rows(told)

    def _settle(self, listing: Listing) -> None:
        """As `Sync` does."""
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
