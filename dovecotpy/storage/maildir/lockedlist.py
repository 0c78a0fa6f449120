"""The uidlist of a Maildir while its lock is held: read, repaired, made, and given UIDs."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Self

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.storage import files, state
from dovecotpy.storage.errors import Internal, MailboxReplaced, NoSpace, StoreError
from dovecotpy.storage.maildir import closing, courier, filename, lines, uidlist
from dovecotpy.storage.maildir.uidlist import Broken

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox


KEEP_LINES = 24 * 3600
"""Seconds that the uidlist keeps the line of a message whose file is missing."""


class LockedList:
    """The right to write. A context manager; entering it again while the lock is held costs nothing."""

    __slots__ = ("_bare", "_carried", "_box", "_deadline", "_nested")

    def __init__(self, box: MaildirBox, deadline: float) -> None:
        self._box = box
        self._deadline = deadline
        self._nested = False
        self._bare = False
        self._carried: dict[str, str] = {}
        """identities that copies bring along, by base name"""

    def __enter__(self) -> Self:
        box = self._box
        if box.dotlock.held:
            self._nested = True
            self.read_list()
            return self
        try:
            box.dotlock.take(self._deadline, "Timeout while waiting for lock")
        except NoSpace:
            self._bare = True
            return self
        try:
            box.list_waits = self._may_wait()
            if not box.list_waits:
                self._read_list()
        except BaseException:
            box.dotlock.release()
            raise
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if not self._nested and not self._bare:
            self._box.list_waits = False
            self._box.dotlock.release()

    # The uidlist

    def _may_wait(self) -> bool:
        """Whether the list was never read and is as an index saw it: flags and expunges need nothing of it."""
        box = self._box
        if box.uidlist.identity != files.NOWHERE or box.known is None or not (box.guid and box.uidvalidity):
            return False
        if box.context.options.mail_nfs_storage:
            return False
        found = files.identify(box.control, uidlist.NAME)
        return found != files.NOWHERE and (found.inode, found.size) == box.known.uidlist

    def read_list(self) -> None:
        """Before the list is used: read it, if that waited. Raises StoreError."""
        if self._box.list_waits:
            self._box.list_waits = False
            self._read_list()

    def _read_list(self) -> None:
        """Take note of what others appended; repair or make the file where it is needed."""
        box = self._box
        try:
            again = box.uidlist.refresh(whole=False)
            if again and box.uidlist.partial and not self._is_trusted():
                box.uidlist.make_whole()
        except Broken as broken:
            box.context.log(
                Level.ERROR,
                f"Broken file {box.shown}/{uidlist.NAME} line {broken.line}: {broken.reason}",
            )
            os.unlink(uidlist.NAME, dir_fd=box.control)
            again = box.uidlist.refresh()
        except OSError as error:
            raise files.translated(error, f"read({box.shown}/{uidlist.NAME})") from error
        try:
            if box.uidlist.uidvalidity == 0:
                self._make_list()
            self._check_validity()
            box.uidlist.uidnext = max(box.uidlist.uidnext, box.told)
            if again or box.list_reread:
                box.list_reread = False
                if not box.uidlist.partial:
                    self._restore_lines()
            if again and not box.uidlist.guid:
                box.uidlist.set_guid(os.urandom(16).hex())
                self._rewrite()
            elif not box.uidlist.complete or box.uidlist.duplicates:
                self._report_duplicates()
                self._rewrite()
            elif box.uidlist.version != 3:
                self._rewrite()
        except OSError as error:
            raise files.translated(error, f"write({box.shown}/{uidlist.NAME})") from error
        box.guid = box.uidlist.guid.encode()

    def _is_trusted(self) -> bool:
        """The list's end will do: of a large mailbox also where every line that counts was compared one by one."""
        box = self._box
        if box.takes_lines or self._is_known_list():
            return True
        return box.is_large and box.uidlist.uidnext >= box.told and lines.fits(box)

    def _is_known_list(self) -> bool:
        """The list is the one that goes with what is known, with nothing but more lines, or nothing is known that it could lack."""
        box = self._box
        if box.uidlist.uidnext < box.told:
            return False
        if box.known is None:
            return box.told <= 1 and not (box.names or box.ghosts)
        inode, size = box.known.uidlist
        return inode == box.uidlist.identity.inode and size <= box.uidlist.identity.size

    def _restore_lines(self) -> None:
        """Lines of messages that we told of and that the list lost, as after a power failure, are put back."""
        box = self._box
        if box.known is not None and box.known.uidlist == box.listed_mark() and not box.loaded:
            return
        box.load_names()
        uids = box.uidlist.uids
        named = ((filename.base_of(name), uid) for uid, name in box.names.items())
        lost = {base: uid for base, uid in named if base not in uids}
        if lost:
            used = set(uids.values())
            lost = {base: uid for base, uid in lost.items() if uid not in used}
        if not lost:
            return
        box.uidlist.uids = dict(sorted((uids | lost).items(), key=_by_uid))
        self._rewrite()

    def _check_validity(self) -> None:
        box = self._box
        if box.uidvalidity and box.uidvalidity != box.uidlist.uidvalidity:
            raise MailboxReplaced("Mailbox UIDVALIDITY changed")
        box.uidvalidity = box.uidlist.uidvalidity

    def _make_list(self) -> None:
        """A new list: from what an index or an open session knows, else from Courier's, else empty."""
        box = self._box
        box.load_names()
        known = sorted(box.names.items()) or [(uid, base) for uid, base in sorted(box.ghosts.items()) if base]
        found = None if box.uidvalidity else courier.uids(box.directory)
        if box.uidvalidity and (known or box.told <= 1):
            box.uidlist.start(box.uidvalidity, max(box.told, 1), (box.guid or _fresh_guid()).decode())
            box.uidlist.take_over((filename.base_of(name), uid) for uid, name in known)
        elif found is not None:
            box.uidlist.start(found[0], found[1], _fresh_guid().decode())
            box.uidlist.take_over(found[2])
        else:
            guid = _fresh_guid()
            box.uidlist.start(self._fresh_uidvalidity(guid), 1, guid.decode())
        box.is_fresh = not box.uidvalidity
        self._rewrite()
        if box.context.sync:
            files.sync_directory(box.control)

    def _fresh_uidvalidity(self, guid: bytes) -> int:
        """With it come the reserves that the mailbox is going to need, because each write of State costs several syncs."""
        box = self._box
        try:
            validity, uids, modseqs = box.context.state.begin(
                guid.decode(), box.shown, int(clock.now()), box.expected
            )
        except StoreError as error:
            box.context.log(Level.WARNING, error.log or str(error))
            return int(clock.now())
        box.reserved, box.modseqs = uids.end, (guid, *modseqs)
        return validity

    def _report_duplicates(self) -> None:
        box = self._box
        for line, name, old, new in box.uidlist.duplicates:
            box.context.log(
                Level.WARNING,
                f"{box.shown}/{uidlist.NAME}: Duplicate file entry at line {line}: {name} (uid {old} -> {new})",
            )

    def _rewrite(self, without: Collection[str] = ()) -> None:
        box = self._box
        box.uidlist.rewrite(without=without, sync=box.context.sync, shared=box.shared)
        box.dead = {each for each in box.dead if each[0] not in without}
        box.absent = {each: since for each, since in box.absent.items() if each[0] not in without}

    def begin_at(self, uidvalidity: int, uidnext: int) -> None:
        """As `Locked.begin_at`."""
        listed = self._box.uidlist
        if uidvalidity == listed.uidvalidity:
            listed.uidnext = min(max(listed.uidnext, uidnext), uidlist.MAX_NUMBER)

    def tidy(self) -> None:
        """Drop lines without a file when they are a quarter of the list. A full disk or a lost lock leaves it as it is."""
        box = self._box
        fewest = max(uidlist.STALE_LEAST, box.count // uidlist.STALE_SHARE)
        unread = box.list_waits or box.uidlist.partial
        if self._bare or (unread and (box.is_large or len(box.dead) + len(box.absent) < fewest)):
            return
        try:
            self.read_list()
            box.uidlist.make_whole()
        except StoreError as error:
            box.context.log(Level.WARNING, error.log or str(error))
            return
        except (Broken, OSError) as error:
            box.context.log(Level.WARNING, f"read({box.shown}/{uidlist.NAME}) failed: {error}")
            return
        least = max(uidlist.STALE_LEAST, len(box.uidlist.uids) // uidlist.STALE_SHARE)
        limit = clock.now() - KEEP_LINES
        gone = {each for each, since in box.absent.items() if since < limit} | box.dead
        stale = {base for base, uid in gone if box.uidlist.uids.get(base) == uid}
        if len(stale) < least or not box.dotlock.keep():
            return
        try:
            self._rewrite(stale)
            box.clean_control()
        except OSError as error:
            box.context.log(Level.WARNING, f"rewriting {box.shown}/{uidlist.NAME} failed: {error.strerror}")

    def assign(self, bases: Sequence[str], *, keys: str = "") -> list[int]:
        """Give UIDs to base names, in this order; reserved and written down before anybody is told. Raises StoreError."""
        box = self._box
        if self._bare:
            raise NoSpace("Not enough disk space")
        if not bases:
            return []
        self.read_list()
        first, sync = self._take(len(bases))
        again = list(filter(box.uidlist.uids.__contains__, bases)) if box.uidlist.uids else []
        try:
            if again:
                self._rewrite(again)
            words = [self._keys(keys, base) for base in bases] if self._carried else [keys] * len(bases)
            box.uidlist.append(first, bases, words, sync=sync)
        except OSError as error:
            raise files.translated(error, f"write({box.shown}/{uidlist.NAME})") from error
        return list(range(first, first + len(bases)))

    def assign_many(self, parts: Iterable[Sequence[str]], count: int, *, keep: bool) -> int:
        """As `assign`, of base names in parts, none of which has a line; the first UID."""
        box = self._box
        if self._bare:
            raise NoSpace("Not enough disk space")
        self.read_list()
        first, sync = self._take(count)
        try:
            box.uidlist.append_many(first, parts, count, sync=sync, keep=keep)
        except OSError as error:
            raise files.translated(error, f"write({box.shown}/{uidlist.NAME})") from error
        return first

    def _take(self, count: int) -> tuple[int, bool]:
        """The first of so many UIDs, reserved, and whether the list must be synced."""
        box = self._box
        sync = self._reserve(count)
        first = box.uidlist.uidnext
        if first + count - 1 > uidlist.MAX_UID:
            raise Internal.because(f"{box.shown}/{uidlist.NAME}: no UIDs left")
        if not box.dotlock.keep():
            raise Internal.because(
                f"{box.shown}/{uidlist.NAME}.lock was broken by somebody else while we held it"
            )
        return first, sync

    def _carry(self, base: str, identity: bytes | None) -> None:
        """The message that gets this base name is a copy: what it shares with its original goes into the list."""
        if identity is not None and identity != uidlist.identity_of(base).encode():
            self._carried[base] = identity.decode("ascii")

    def carry_over(self, base: str, other: str) -> None:
        """A message gets another name than it was to have."""
        if base in self._carried:
            self._carried[other] = self._carried[base]

    def _keys(self, keys: str, base: str) -> str:
        identity = self._carried.get(base)
        return keys if identity is None else f"{keys} {uidlist.IDENTITY}{identity}".lstrip()

    def _reserve(self, count: int) -> bool:
        """Reserve UIDs ahead; True if there is no reserve, so that the list itself must be synced.

        Of more UIDs at once than are reserved ahead, the list is synced instead of State, which costs a fourth: what was given in this boot
        before stands in it, and a reserve of this boot says that nothing was lost with another one.
        """
        box = self._box
        if not box.context.sync:
            return False
        box.gave_uids = True
        closed = self._reopen()
        if box.uidlist.uidnext + count <= box.reserved:
            return False
        if box.context.state.broken:
            return True
        try:
            self._settle_clash()
            if count > state.UIDS_AHEAD:
                box.reserved = box.context.state.reserved_uids(box.guid.decode())
                if box.reserved:
                    return box.uidlist.uidnext + count > box.reserved
            reserve = box.context.state.reserve(
                box.guid.decode(), uid=box.uidlist.uidnext, count=count, closed=closed
            )
        except StoreError as error:
            if isinstance(error, NoSpace):
                raise
            box.context.log(Level.WARNING, error.log or str(error))
            return True
        box.uidlist.uidnext = min(max(box.uidlist.uidnext, reserve.first), uidlist.MAX_NUMBER)
        box.reserved = reserve.end
        return False

    def _reopen(self) -> str:
        """The boot in which the mailbox was closed, if that was another one; in this one it is open from now on."""
        box = self._box
        try:
            closed = closing.boot_of(box.control, box.guid, box.uidlist.uidnext)
            if closed and closed == state.BOOT:
                closing.take_back(box.control)
                return ""
        except OSError as error:
            raise files.translated(error, f"write({box.shown}/{closing.NAME})") from error
        return closed

    def _settle_clash(self) -> None:
        """A folder copied with its uidlist has the GUID of its original: the copy gets one of its own."""
        self.read_list()
        box = self._box
        guid = box.guid.decode()
        owner = box.context.state.owner(guid)
        if owner == box.shown:
            return
        if owner and box.context.is_clash(guid, owner):
            box.uidlist.set_guid(_fresh_guid().decode())
            self._rewrite()
            box.guid = box.uidlist.guid.encode()
            box.context.state.copy(guid, box.guid.decode())
            guid = box.guid.decode()
        box.context.state.own(guid, box.shown)


def _by_uid(line: tuple[str, int]) -> int:
    return line[1]


def _fresh_guid() -> bytes:
    return os.urandom(16).hex().encode()
