"""One Maildir as a driver: descriptors, what is known of its files, watch, locks, bodies and drafts."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.storage import files
from dovecotpy.storage.dotlock import Dotlock
from dovecotpy.storage.driver import (
    UNKNOWN_DATE,
    Capabilities,
    Columns,
    Delta,
    Moved,
    Ref,
    Remembered,
    Row,
)
from dovecotpy.storage.errors import (
    MailboxReplaced,
    MessageGone,
    PermissionDenied,
    StoreError,
)
from dovecotpy.storage.files import Shared
from dovecotpy.storage.flags import SEEN
from dovecotpy.storage.maildir import filename, uidlist
from dovecotpy.storage.maildir.again import SightAgain
from dovecotpy.storage.maildir.body import FileBody, FileDraft, beginnings
from dovecotpy.storage.maildir.context import Context
from dovecotpy.storage.maildir.filename import Info
from dovecotpy.storage.maildir.first import FirstSight
from dovecotpy.storage.maildir.large import LargeSync
from dovecotpy.storage.maildir.listing import look
from dovecotpy.storage.maildir.locked import LockedMaildir
from dovecotpy.storage.maildir.sync import Sync
from dovecotpy.storage.maildir.uidlist import Uidlist
from dovecotpy.storage.maildir.watched import Watched, packed, unpacked

if TYPE_CHECKING:
    pass

SHARED_FILE = "dovecot-shared"
MAX_KEYWORDS = 2000
_NO_REF = Ref(b"")
_NO_KEYWORDS: frozenset[str] = frozenset()


class MaildirBox(Watched):
    """One mailbox. Takes over the descriptors `directory` and `control` (they may be the same).

    shown: its name, for log lines. guid and uidvalidity are known after the first sync or `adopt`.
    """

    def __init__(self, context: Context, shown: str, directory: int, control: int, *, writable: bool) -> None:
        super().__init__(context, shown, directory, control)
        self.guid = b""
        self.uidvalidity = 0
        self._originals: dict[int, str] = {}
        self._originals_end = 0
        """`_originals` has every copy whose UID is below"""
        self.dotlock = Dotlock(control, uidlist.NAME + ".lock", exclusive=context.options.dotlock_use_excl)
        self.dead: set[tuple[str, int]] = set()
        """base names and UIDs whose expunge was told; a later line of the same name is another message"""
        self.absent: dict[tuple[str, int], int] = {}
        """base names and UIDs in the uidlist without a file, since when (Unix seconds)"""
        self.told = 0
        """UIDs below were told, so that no message may appear among them"""
        self.reserved = 0
        """UIDs below are reserved on disk"""
        self.modseqs = (b"", 0, 0)
        """reserved on disk and not asked for yet: of which GUID, the first one and the one behind the last"""
        self.expected = 0
        """messages that are going to need UIDs"""
        self.gave_uids = False
        """UIDs that need not be in the list after a power failure"""
        self.list_waits = False
        """the lock is held, and the uidlist, which is as an index saw it, was not read for that"""
        self.list_reread = False
        """the uidlist was read from its start since it was compared with what was told"""
        self.takes_lines = False
        """whoever has the lock reads the list line by line"""
        self.is_fresh = False
        """its uidlist was made just now, so that Courier's keywords are still to be taken over"""
        self.surplus: dict[int, frozenset[str]] | None = None
        self.seen: frozenset[int] | None = None
        """what this user has seen of a shared mailbox; None: not looked up yet"""
        self._infos: dict[str, tuple[int, frozenset[str]]] = {}
        self._open_directories(writable)
        self.capabilities = Capabilities(True, context.state.usable, True, MAX_KEYWORDS, self.writable)

    # Directories

    def _open_directories(self, writable: bool) -> None:
        try:
            self.cur_directory = self._subdirectory("cur")
            self.new_directory = self._subdirectory("new")
            self.tmp_directory = self._subdirectory("tmp")
            self.shared = self._find_shared()
            self.writable = writable and os.access(
                ".", os.W_OK, dir_fd=self.cur_directory, effective_ids=True
            )
            if self.writable:
                self._clean_temporary()
        except OSError as error:
            self.close()
            raise files.translated(error, f"open({self.shown}/cur, new, tmp)") from error

    def _subdirectory(self, name: str) -> int:
        try:
            return os.open(name, files.DIRECTORY, dir_fd=self.directory)
        except FileNotFoundError:
            self._check_alive()
            with suppress(FileExistsError):  # another session came first
                os.mkdir(name, dir_fd=self.directory)
            return os.open(name, files.DIRECTORY, dir_fd=self.directory)

    def _check_alive(self) -> None:
        if os.fstat(self.directory).st_nlink == 0:
            raise MailboxReplaced("Mailbox was deleted")

    def _find_shared(self) -> Shared | None:
        try:
            found = os.stat(SHARED_FILE, dir_fd=self.directory, follow_symlinks=False)
        except OSError:
            return None
        return Shared(stat.S_IMODE(found.st_mode), found.st_gid)

    def _clean_temporary(self) -> None:
        """Remove what dead writers left; looked at only when tmp/ was not touched for long or is not empty for sure."""
        found = os.fstat(self.tmp_directory)
        if clock.file_time() - found.st_mtime < files.TEMPORARY_SECONDS:
            return
        if clock.file_time() - found.st_atime < files.TEMPORARY_SECONDS and found.st_atime > found.st_mtime:
            return
        files.sweep(self.tmp_directory, os.listdir(self.tmp_directory))
        self.clean_control()

    def clean_control(self) -> None:
        """Remove what writers that died before the rename left beside the uidlist."""
        files.sweep_temporary(self.control, "dovecot")

    def adopt(
        self,
        stamp: bytes,
        uidvalidity: int,
        guid: bytes,
        told: int,
        uids: Sequence[int],
        names: Remembered,
        behind: frozenset[int] = frozenset(),
    ) -> bool:
        """Take what an index remembers as known; True if the mailbox is proven unchanged since."""
        self.uidvalidity, self.guid, self.told = uidvalidity, guid, told
        self.start_from(names, uids, behind)
        try:
            now = self.marks()
        except OSError as error:
            raise files.translated(error, f"stat({self.shown})") from error
        if not stamp:
            return False
        self.known, self.clean = unpacked(stamp), True
        return packed(now) == stamp

    def reserve_modseqs(self, least: int) -> tuple[int, int]:
        """Modseqs from `least` on that nobody used, reserved on disk: the first one and the one behind the last. Raises StoreError."""
        if not self.guid:
            raise PermissionDenied("Permission denied")
        (guid, first, end), self.modseqs = self.modseqs, (b"", 0, 0)
        if guid == self.guid and least < end:
            return max(first, least), end
        return self.context.state.reserve_modseqs(self.guid.decode(), least)

    @property
    def known_until(self) -> int:
        """Every message below this UID is known by its name; others only told that those beyond are there."""
        return min(self.told, min(self.ghosts, default=self.told))

    def guess(self, row: Row) -> None:
        """Look for a message at the name that its flags give it, before anybody takes a listing."""
        old = self.name_of(row.uid)
        if old is None or self.loaded or row.uid not in self.behind or self.shared is not None:
            return
        base, _, ending = old.partition(":")
        before, letters = filename.parse_info(ending), self.keywords.letters
        words = "".join(letters[word] for word in row.keywords if word in letters)
        name = filename.with_info(base, Info(row.flags, words, before.unknown, before.rest))
        if files.identify(self.cur_directory, name) != files.NOWHERE:
            self.found_behind(row.uid, name)

    def _find_again(self, uids: AbstractSet[int]) -> dict[int, os.stat_result]:
        """Messages that are not at the names that are known, by one listing. Raises OSError."""
        if not uids:
            return {}
        wanted = {filename.base_of(self.name_of(uid) or ""): uid for uid in uids}
        self.doubt()
        found: dict[int, os.stat_result] = {}
        listing = look(self)
        for is_new, names in ((True, listing.new), (False, listing.cur)):
            directory = self.new_directory if is_new else self.cur_directory
            for name in names:
                uid = wanted.get(filename.base_of(name))
                if uid is None:
                    continue
                try:
                    found[uid] = os.stat(name, dir_fd=directory, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                self.put(uid, name, is_new=is_new)
        return found

    def heard(self, came: Sequence[int], went: Sequence[int], uidnext: int) -> None:
        """Other sessions told of new messages, and of some that are gone, and that none will appear below `uidnext` any more."""
        if (came or went) and not self.is_large:
            self.load_names()
        for uid in went:
            name = self.name_of(uid)
            if name is not None:
                self.dead.add((filename.base_of(name), uid))
                self.forget(uid)
            self.ghosts.pop(uid, None)
        for uid in came:
            if self.name_of(uid) is None:
                self.ghosts.setdefault(uid, "")
        if came or went:
            self.known = None
        self.told = max(self.told, uidnext)

    def still(self, uids: Sequence[int]) -> list[int]:
        """Those of these messages that stand under the name that is known."""
        self.load_names()
        found = []
        for uid in uids:
            where = self.path(uid)
            try:
                if where is not None:
                    os.stat(where[1], dir_fd=where[0], follow_symlinks=False)
                    found.append(uid)
            except OSError:
                continue
        if len(found) < len(uids):
            self.known = None
        return found

    def known_rows(self) -> list[Row]:
        """Every message whose name is known. Raises StoreError."""
        self.load_names()
        try:
            self._find_again(self.behind)
            self.refresh_keywords()
        except OSError as error:
            raise files.translated(error, f"read({self.shown})") from error
        self.load_surplus()
        return self.rows(sorted(self.names.items()))

    # Names and flags

    def path(self, uid: int) -> tuple[int, str] | None:
        """Directory and name of a message."""
        found = self.where(uid)
        if found is None:
            return None
        return (self.new_directory if found[0] else self.cur_directory), found[1]

    def refresh_keywords(self) -> None:
        """Read `dovecot-keywords` again if it changed. Raises OSError."""
        if self.keywords.refresh():
            self._infos.clear()
            self.surplus = None

    def row(self, uid: int, name: str) -> Row:
        """What a name says of its message."""
        return self.rows([(uid, name)])[0]

    def rows(self, named: Sequence[tuple[int, str]]) -> list[Row]:
        """What names say of their messages. Rows are found again by UID, so that refs are empty."""
        self.load_surplus()
        infos, surplus = self._infos, self.surplus
        seen = self.private_seen()
        rows = []
        for uid, name in named:
            base, _, info = name.partition(":")
            found = infos.get(info)
            if found is None:
                found = infos[info] = self._understood(filename.parse_info(info))
            flags, keywords = found
            if surplus:
                keywords |= surplus.get(uid, _NO_KEYWORDS)
            if seen is not None:
                flags = flags & ~SEEN | (SEEN if uid in seen else 0)
            size = filename.crlf_size(base) if ",W=" in base else None
            rows.append(Row(uid, _NO_REF, flags, keywords, UNKNOWN_DATE, None, b"", size))
        return rows

    def private_seen(self) -> frozenset[int] | None:
        """What this user has seen of a mailbox that he shares with others; None: it is not shared."""
        if self.shared is None:
            return None
        if self.seen is None and not self.guid:
            return frozenset()
        if self.seen is None:
            self.seen = self._look_up_seen()
        return self.seen

    def _look_up_seen(self) -> frozenset[int]:
        """A State that cannot be read is said once, and nothing counts as seen then."""
        state = self.context.private
        try:
            if state.exists() and not state.broken:
                return state.seen(self.context.user, self.guid.decode())
        except StoreError as error:
            self.context.log(Level.WARNING, error.log or str(error))
        return frozenset()

    def note_seen(self, rows: Sequence[Row]) -> bool:
        """Keep what this user has seen of a shared mailbox; True if that is new. Durable. Raises InUse, StoreError.

        What is gone meanwhile needs no mark any more.
        """
        before = self.private_seen()
        if before is None:
            return False
        self.load_names()
        seen = frozenset(row.uid for row in rows if row.flags & SEEN) - before
        unseen = frozenset(row.uid for row in rows if not row.flags & SEEN) & before
        if not seen and not unseen:
            return False
        unseen |= {
            uid for uid in before if uid < self.told and uid not in self.names and uid not in self.ghosts
        }
        self.context.private.set_seen(self.context.user, self.guid.decode(), seen, unseen)
        self.seen = before - unseen | seen
        return True

    def understood(self, info: str) -> tuple[int, frozenset[str]]:
        """Flags and keywords that a name's ending says."""
        return self._understood(filename.parse_info(info))

    def _understood(self, info: Info) -> tuple[int, frozenset[str]]:
        names = self.keywords.names
        return info.flags, frozenset([names[letter] for letter in info.keywords if letter in names])

    def forget_meanings(self) -> None:
        """The letters mean something else now."""
        self._infos.clear()

    def load_surplus(self) -> None:
        """Keywords beyond the letters; they exist only where all letters are taken."""
        if self.surplus is None and self.keywords.full and self.guid and self.context.state.exists():
            self.surplus = self.context.state.keywords(self.guid.decode())

    def dates(self, uids: Sequence[int]) -> list[tuple[int, int]]:
        """INTERNALDATE is the mtime. The date of saving stands in the list, else in the name, which never changes either; of other names it is
        the ctime, which the index keeps.

        Of a message that is gone, both are the time in its name unless the list knows better.
        """
        listed = self._listed()
        noted = listed.saved if listed.extra else _nothing
        places = list(map(self.path, uids))
        entries: dict[int, os.stat_result] = {}
        moved: set[int] = set()
        for uid, where in zip(uids, places, strict=True):
            try:
                if where is not None:
                    entries[uid] = os.stat(where[1], dir_fd=where[0], follow_symlinks=False)
            except FileNotFoundError:
                moved.add(uid)
            except OSError:
                continue
        if moved:
            try:
                entries.update(self._find_again(moved))
            except OSError as error:
                raise files.translated(error, f"read({self.shown})") from error
            places = list(map(self.path, uids))
        found = []
        for uid, where in zip(uids, places, strict=True):
            entry = entries.get(uid)
            if entry is not None:
                date, changed = int(entry[stat.ST_MTIME]), int(entry[stat.ST_CTIME])
            else:
                date = changed = filename.order(self.name_of(uid) or "")[0]
            saved = noted(uid)
            if saved is None:
                saved = filename.delivered(where[1]) if where is not None else None
            found.append((date, changed if saved is None else saved))
        return found

    def identities(self, uids: Sequence[int]) -> list[bytes | None]:
        """A copy has its original's; others their base name."""
        originals = self._known_originals(uids)
        found: list[bytes | None] = []
        for uid, where in zip(uids, self.whereabouts(uids), strict=True):
            if where is None:
                found.append(None)
                continue
            known = originals.get(uid) or uidlist.identity_of(filename.base_of(where[1]))
            found.append(known.encode("ascii", "replace"))
        return found

    def _known_originals(self, uids: Sequence[int]) -> Mapping[int, str]:
        """`Uidlist.original` of those that are copies; where the list was not read, it is looked through once for all messages that it has."""
        if self.uidlist.identity != files.NOWHERE and not self.uidlist.partial:
            extra, original = self.uidlist.extra, self.uidlist.original
            return {uid: original(uid) for uid in uids if uid in extra}
        last = max(uids, default=0)
        if last >= self._originals_end:
            try:
                self._originals = uidlist.originals(files.read(self.control, uidlist.NAME)[0])
            except OSError:
                self._originals = {}
            self._originals_end = max(last + 1, self.told)
        return self._originals

    def _listed(self) -> Uidlist:
        """The list as read, or, where an index made that unnecessary so far, read aside: what is new in it is for the next sync to see."""
        if self.uidlist.identity != files.NOWHERE and not self.uidlist.partial:
            return self.uidlist
        aside = Uidlist(self.control, afresh=self.context.options.mail_nfs_storage)
        try:
            aside.refresh()
        except (uidlist.Broken, OSError):
            return self.uidlist
        finally:
            aside.close()
        return aside

    # Messages

    def body(self, uid: int) -> FileBody:
        """A message's octets. Raises Moved (sync, then again) or MessageGone."""
        where = self.path(uid)
        if where is None:
            raise (
                Moved
                if uid in self.ghosts
                else MessageGone("Some of the requested messages no longer exist.")
            )
        try:
            return self._open_body(*where)
        except Moved:
            self.doubt()
            raise

    def beginnings(self, uids: Sequence[int], most: int, *, whole: bool) -> Iterator[bytes]:
        """The first octets of messages; empty where `body` must look."""
        return beginnings(map(self.path, uids), most, whole=whole)

    def _open_body(self, directory: int, name: str) -> FileBody:
        return FileBody(
            directory, name, f"{self.shown}/{'new' if directory == self.new_directory else 'cur'}"
        )

    def draft(self) -> FileDraft:
        """A new message to write into. Raises NoSpace, StoreError."""
        if not self.writable:
            raise PermissionDenied("Permission denied")
        return FileDraft(
            self.tmp_directory,
            self.context.names.make(),
            crlf=self.context.options.mail_save_crlf,
            sync=self.context.sync,
            shared=self.shared,
        )

    # Writing

    def lock(self, deadline: float) -> LockedMaildir:
        """The right to write, by `clock.monotonic()` deadline: a context manager. Entering raises InUse, StoreError.

        On a full disk no lock file can be made; then flags and expunges work without it and everything else raises NoSpace.
        """
        return LockedMaildir(self, deadline)

    def sync(self, known: Columns, since: bytes) -> Delta:
        """What changed. The lock is taken only where something must be written. Raises MailboxReplaced, InUse, StoreError."""
        try:
            return (
                FirstSight(self).run()
                or SightAgain(self).run()
                or LargeSync(self, known).run()
                or Sync(self, known).run()
            )
        except OSError as error:
            raise files.translated(error, f"sync({self.shown})") from error

    def defined_keywords(self) -> frozenset[str]:
        """Keywords that have a letter."""
        if self.keywords.untouched:
            try:
                self.refresh_keywords()
            except OSError as error:
                raise files.translated(error, f"read({self.shown}/dovecot-keywords)") from error
        return frozenset(self.keywords.letters)

    def disown(self) -> None:
        """Forget what was adopted: it was of another mailbox."""
        self.uidvalidity, self.guid, self.told, self.reserved = 0, b"", 0, 0
        self.modseqs = (b"", 0, 0)
        self.forget_places()
        self._originals_end = 0
        self.uidlist.close()
        self.uidlist = Uidlist(self.control, afresh=self.context.options.mail_nfs_storage)
        self.seen = None

    @property
    def closed(self) -> bool:
        """`close` was called."""
        return self.directory < 0

    def close(self) -> None:
        """Give back descriptors and watches. Idempotent."""
        self.uidlist.close()
        self._unwatch()
        self.forget_places()
        if self.gave_uids and self.control >= 0:
            self.gave_uids = False
            exclusive = self.context.options.dotlock_use_excl
            self.context.closings.add(self.control, self.guid, self.uidlist.uidnext, exclusive=exclusive)
        descriptors = {
            self.directory,
            self.control,
            self.new_directory,
            self.cur_directory,
            self.tmp_directory,
        }
        for descriptor in descriptors - {-1}:
            os.close(descriptor)
        self.directory = self.control = self.new_directory = self.cur_directory = self.tmp_directory = -1


def _nothing(uid: int) -> None:
    """No list says when a message was saved."""
