"""A mail_location of Maildirs: Maildir++ (`.A.B` in the root) or LAYOUT=fs."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from dovecotpy.storage import files
from dovecotpy.storage.driver import BoxInfo
from dovecotpy.storage.errors import (
    CannotDo,
    InvalidMailboxName,
    MailboxExists,
    MailboxNotFound,
    StoreError,
)
from dovecotpy.storage.maildir import paths, uidlist
from dovecotpy.storage.maildir.box import SHARED_FILE, MaildirBox
from dovecotpy.storage.maildir.listing import Marks
from dovecotpy.storage.maildir.paths import FS, MAILDIRPP, TRASH
from dovecotpy.storage.maildir.removal import MAX_REMOVED_DEPTH, TEMPORARY, clean_trash, remove
from dovecotpy.storage.maildir.roots import Roots
from dovecotpy.storage.maildir.subscriptions import Subscriptions
from dovecotpy.storage.maildir.watched import packed
from dovecotpy.storage.overview import Overview

FOLDER_MARK = "maildirfolder"
MAX_DEPTH = 64
"""Directories below the root that a listing of LAYOUT=fs follows."""


class MaildirTree(Roots):
    """The mailboxes of one user at one mail_location. Raises StoreError when the root cannot be used."""

    # Opening

    def open(self, disk: bytes, *, writable: bool) -> MaildirBox:
        """Raises MailboxNotFound, InvalidMailboxName, StoreError."""
        parts = self._components(disk)
        shown = os.fsdecode(disk)
        try:
            directory = self._directory(parts, disk)
            if parts and not self._is_maildir(directory):
                os.close(directory)
                raise MailboxNotFound(f"Mailbox doesn't exist: {shown}")
            control = self._beside(self._location.control, parts) if self._location.control else directory
        except OSError as error:
            raise files.translated(error, f"open({self._location.root}, mailbox {shown})") from error
        return MaildirBox(self._context, shown, directory, control, writable=writable)

    def glance(self, disk: bytes) -> tuple[int, bytes] | None:
        """A new descriptor of a mailbox's index and the stamp of what the mailbox looks like now; None: it must be opened to tell."""
        where = self._location
        if where.index_root or where.control or self._context.options.mail_nfs_storage:
            return None
        try:
            directory = self._directory(self._components(disk), disk)
        except (OSError, StoreError):
            return None
        try:
            if files.identify(directory, SHARED_FILE) != files.NOWHERE:
                os.close(directory)
                return None
            return directory, packed(Marks.seen_in(directory, uidlist.NAME))
        except OSError:
            os.close(directory)
            return None

    @property
    def overview(self) -> Overview:
        """What was counted of these mailboxes."""
        if self._overview is None:
            self._overview = Overview(self._mail_root())
        return self._overview

    def look(self, disk: bytes) -> bytes:
        """The stamp of what a mailbox looks like now; empty: it must be opened to tell.

        On the way to it a link is followed, which shows nothing but what stands at the same inodes as before.
        """
        where = self._location
        if where.index_root or where.control or self._context.options.mail_nfs_storage:
            return b""
        parts = self._components(disk)
        root = self._mail_root() if parts else self._root(where.inbox or where.root)
        path = "/".join(parts) + "/" if parts else ""
        try:
            if os.access(path + SHARED_FILE, os.F_OK, dir_fd=root, follow_symlinks=False):
                return b""
            return packed(Marks.seen_in(root, uidlist.NAME, path))
        except OSError:
            return b""

    @property
    def keeps_modseqs(self) -> bool:
        """As `Capabilities.modseq`."""
        return self._context.state.usable

    def _is_maildir(self, directory: int) -> bool:
        """In Maildir++ any dot directory is a mailbox and gets what it lacks; else only one that has cur/ is."""
        return self.layout is MAILDIRPP or files.identify(directory, "cur") != files.NOWHERE

    def exists(self, disk: bytes) -> bool:
        """Whether there is a mailbox of that name. Raises InvalidMailboxName."""
        parts = self._components(disk)
        if not parts:
            return True
        try:
            directory = paths.open_directory(self._mail_root(), parts)
        except OSError:
            return False
        try:
            return self._is_maildir(directory)
        finally:
            os.close(directory)

    # Listing

    def mailboxes(self) -> Iterable[BoxInfo]:
        """Every mailbox; INBOX first where this tree has one."""
        names = sorted(self._deep() if self.layout is FS else self._flat())
        if self._has_inbox:
            names = [(b"INBOX", True), *((name, there) for name, there in names if name != b"INBOX")]
        parents = {name.rpartition(self.separator)[0] for name, _ in names}
        for name, there in names:
            yield BoxInfo(name, there, name in parents, None)

    def _flat(self) -> Iterator[tuple[bytes, bool]]:
        root = self._mail_root()
        with os.scandir(root) as entries:
            for entry in entries:
                name = entry.name
                if name.startswith((TRASH, TEMPORARY)):
                    clean_trash(root, name)
                shown = name[len(self.layout.prefix) :]
                if not name.startswith(os.fsdecode(self.layout.prefix)) or shown[:1] in ("", "."):
                    continue
                if self._is_plain_file(entry) or name in paths.SUBDIRECTORIES:
                    continue
                yield os.fsencode(shown), self.layout is MAILDIRPP or self._has_cur((name,))

    def _is_plain_file(self, entry: os.DirEntry[str]) -> bool:
        try:
            if entry.is_dir(follow_symlinks=self._context.options.maildir_stat_dirs):
                return False
            return not entry.is_symlink() or self._context.options.maildir_stat_dirs
        except OSError:
            return True

    def _deep(self) -> Iterator[tuple[bytes, bool]]:
        waiting: list[tuple[str, int]] = [("", 0)]
        while waiting:
            path, depth = waiting.pop()
            for name in self._subdirectories(path):
                below = f"{path}/{name}" if path else name
                parts = tuple(below.split("/"))
                yield os.fsencode(below), self._has_cur(parts)
                if depth < MAX_DEPTH:
                    waiting.append((below, depth + 1))

    def _subdirectories(self, path: str) -> list[str]:
        try:
            directory = paths.open_directory(self._mail_root(), tuple(path.split("/")) if path else ())
        except OSError:
            return []
        try:
            with os.scandir(directory) as entries:
                found = [
                    entry.name
                    for entry in entries
                    if (entry.name[0] != "." or entry.name.startswith(TEMPORARY))
                    and entry.name not in paths.SUBDIRECTORIES
                    and entry.is_dir(follow_symlinks=False)
                ]
            for name in found:
                if name[0] == ".":
                    clean_trash(directory, name)
            return [name for name in found if name[0] != "."]
        finally:
            os.close(directory)

    def _has_cur(self, parts: tuple[str, ...]) -> bool:
        try:
            directory = paths.open_directory(self._mail_root(), parts)
        except OSError:
            return False
        try:
            return files.identify(directory, "cur") != files.NOWHERE
        finally:
            os.close(directory)

    # Making and removing

    def create(self, disk: bytes) -> None:
        """Durable. Raises MailboxExists, InvalidMailboxName, NoSpace, StoreError."""
        parts = self._components(disk)
        if not parts or self.exists(disk):
            raise MailboxExists("Mailbox exists.")
        root = self._mail_root()
        try:
            parent = paths.ensure_directory(root, parts[:-1])
            try:
                self._make(parent, parts[-1])
            finally:
                os.close(parent)
        except OSError as error:
            raise files.translated(
                error, f"mkdir({self._location.root}, mailbox {os.fsdecode(disk)})"
            ) from error

    def _make(self, parent: int, name: str) -> None:
        """Built under another name, then renamed, so that a mailbox is there whole or not at all."""
        sync = self._context.sync
        if files.identify(parent, name) != files.NOWHERE:
            directory = paths.open_directory(parent, (name,))
            try:
                self._fill(directory)
            finally:
                os.close(directory)
            return
        temporary = f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}"
        os.mkdir(temporary, dir_fd=parent)
        directory = paths.open_directory(parent, (temporary,))
        try:
            self._fill(directory)
            os.rename(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            remove(parent, temporary)
            raise
        finally:
            os.close(directory)
        if sync:
            files.sync_directory(parent)

    def _fill(self, directory: int) -> None:
        shared = self._shared()
        files.adopt(directory, shared, directory=True)
        for name in paths.SUBDIRECTORIES:
            try:
                os.mkdir(name, dir_fd=directory)
            except FileExistsError:
                continue
            if shared is not None:
                below = os.open(name, files.DIRECTORY, dir_fd=directory)
                files.adopt(below, shared, directory=True)
                os.close(below)
        marks = [FOLDER_MARK] if self.layout is MAILDIRPP else []
        if shared is not None:
            marks.append(SHARED_FILE)
        for name in marks:
            if files.identify(directory, name) == files.NOWHERE:
                files.replace(directory, name, b"", sync=False, shared=shared)
        if self._context.sync:
            files.sync_directory(directory)

    def _shared(self) -> files.Shared | None:
        try:
            found = os.stat(SHARED_FILE, dir_fd=self._mail_root(), follow_symlinks=False)
        except OSError:
            return None
        return files.Shared(stat.S_IMODE(found.st_mode), found.st_gid)

    def delete(self, disk: bytes) -> None:
        """Children stay. Raises MailboxNotFound, CannotDo, StoreError."""
        parts = self._components(disk)
        if not parts:
            raise CannotDo("INBOX can't be deleted.")
        guid = self._guid(disk) if self._context.state.exists() else ""
        root = self._mail_root()
        try:
            parent = paths.open_directory(root, parts[:-1])
        except OSError:
            raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(disk)}") from None
        try:
            found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                os.unlink(parts[-1], dir_fd=parent)
                return
            if self.layout is FS:
                self._delete_deep(parent, parts[-1], disk)
            else:
                self._to_trash(parent, parts[-1])
        except FileNotFoundError:
            raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(disk)}") from None
        except OSError as error:
            raise files.translated(
                error, f"delete({self._location.root}, mailbox {os.fsdecode(disk)})"
            ) from error
        finally:
            os.close(parent)
        if self.layout is FS:
            self._prune(parts[:-1])
        self._forget_beside(parts)
        if guid:
            self._context.state.forget(guid)

    def _prune(self, parts: tuple[str, ...]) -> None:
        """Directories above a deleted mailbox that hold nothing any more are no names worth showing."""
        while parts:
            try:
                parent = paths.open_directory(self._mail_root(), parts[:-1])
            except OSError:
                return
            try:
                os.rmdir(parts[-1], dir_fd=parent)
            except OSError:
                return
            finally:
                os.close(parent)
            parts = parts[:-1]

    def _to_trash(self, parent: int, name: str) -> None:
        """Gone in one step; what is slow comes after."""
        trash = TRASH
        try:
            os.rename(name, trash, src_dir_fd=parent, dst_dir_fd=self._mail_root())
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                raise
            remove(self._mail_root(), trash)
            trash = f"{TRASH}.{os.getpid()}"
            os.rename(name, trash, src_dir_fd=parent, dst_dir_fd=self._mail_root())
        if self._context.sync:
            files.sync_directory(parent)
        remove(self._mail_root(), trash)

    def _delete_deep(self, parent: int, name: str, disk: bytes) -> None:
        """With fs, children are inside: only the mail goes, and the directory when nothing is left in it."""
        directory = paths.open_directory(parent, (name,))
        try:
            if files.identify(directory, "cur") == files.NOWHERE and os.listdir(directory):
                raise CannotDo(f"Directory {os.fsdecode(disk)} isn't empty, can't delete it.")
            for below in paths.SUBDIRECTORIES:
                trash = f"{TEMPORARY}{os.getpid()}-{os.urandom(4).hex()}"
                try:
                    os.rename(below, trash, src_dir_fd=directory, dst_dir_fd=self._mail_root())
                except FileNotFoundError:
                    continue
                remove(self._mail_root(), trash)
            for entry in os.listdir(directory):
                found = os.stat(entry, dir_fd=directory, follow_symlinks=False)
                if stat.S_ISREG(found.st_mode):
                    os.unlink(entry, dir_fd=directory)
            if not os.listdir(directory):
                os.rmdir(name, dir_fd=parent)
        finally:
            os.close(directory)

    def _forget_beside(self, parts: tuple[str, ...]) -> None:
        """What stood for a deleted mailbox in CONTROL and INDEX roots goes, so that a new one of its name begins anew.

        With fs, the directories of its children are inside and stay.
        """
        for path in (self._location.control, self._location.index_root):
            if not path or path == "MEMORY":
                continue
            try:
                parent = paths.open_directory(self._root(path), parts[:-1])
            except OSError:
                continue
            remove(parent, parts[-1], MAX_REMOVED_DEPTH)
            os.close(parent)

    # Renaming

    def rename(self, old: bytes, new: bytes) -> None:
        """With its children. Durable. Raises MailboxNotFound, MailboxExists, InvalidMailboxName, CannotDo, StoreError."""
        before = self._components(old)
        after = self._components(new)
        if new == old or self.exists(new):
            raise MailboxExists("Target mailbox already exists")
        if new.startswith(old + self.separator):
            raise CannotDo("Can't rename mailbox under its own child.")
        if not before:
            raise CannotDo("Renaming INBOX isn't supported.")
        try:
            if self.layout is FS:
                self._rename_deep(before, after, old)
            else:
                self._rename_flat(old, new)
            for path in (self._location.control, self._location.index_root):
                if path and path != "MEMORY":
                    self._rename_beside(self._root(path), before, after, old, new)
        except OSError as error:
            raise files.translated(
                error, f"rename({self._location.root}, {os.fsdecode(old)} -> {os.fsdecode(new)})"
            ) from error

    def _rename_deep(self, before: tuple[str, ...], after: tuple[str, ...], old: bytes) -> None:
        root = self._mail_root()
        target = paths.ensure_directory(root, after[:-1])
        try:
            source = paths.open_mailbox(root, before[:-1], old)
            try:
                os.rename(before[-1], after[-1], src_dir_fd=source, dst_dir_fd=target)
            except FileNotFoundError:
                raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(old)}") from None
            finally:
                os.close(source)
            if self._context.sync:
                files.sync_directory(target)
        finally:
            os.close(target)

    def _rename_flat(self, old: bytes, new: bytes) -> None:
        """Children first, so that the mailbox itself has its old name until all are done and a second try ends it."""
        root = self._mail_root()
        names = [name for name, _ in self._flat()]
        children = [name for name in names if name.startswith(old + b".")]
        if old not in names and not children:
            raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(old)}")
        moves = [*children, *([old] if old in names else [])]
        for name in moves:
            target = self._components(new + name[len(old) :])[0]
            if files.identify(root, target) != files.NOWHERE:
                raise MailboxExists("Target mailbox already exists")
        for name in moves:
            target = self._components(new + name[len(old) :])[0]
            os.rename(os.fsdecode(self.layout.prefix + name), target, src_dir_fd=root, dst_dir_fd=root)
        if self._context.sync:
            files.sync_directory(root)

    def _rename_beside(
        self, root: int, before: tuple[str, ...], after: tuple[str, ...], old: bytes, new: bytes
    ) -> None:
        if self.layout is FS:
            try:
                source = paths.open_directory(root, before[:-1])
            except OSError:
                return
            target = paths.ensure_directory(root, after[:-1])
            try:
                os.rename(before[-1], after[-1], src_dir_fd=source, dst_dir_fd=target)
            except FileNotFoundError:
                return
            finally:
                os.close(source)
                os.close(target)
            return
        prefix = before[0]
        for name in os.listdir(root):
            if name == prefix or name.startswith(prefix + "."):
                os.rename(name, after[0] + name[len(prefix) :], src_dir_fd=root, dst_dir_fd=root)

    # Subscriptions

    def _subscriptions(self) -> Subscriptions:
        return Subscriptions(
            self.control_directory(),
            self._location.subscriptions or "subscriptions",
            root=self._mail_root(),
            separator=self.separator.decode(),
            sync=self._context.sync,
            exclusive=self._context.options.dotlock_use_excl,
        )

    def subscriptions(self) -> list[bytes]:
        """Names as on disk, also of mailboxes that do not exist."""
        return self._subscriptions().read()

    def subscribe(self, disk: bytes, wanted: bool) -> None:
        """Raises InUse, StoreError."""
        if b"\n" in disk or b"\r" in disk or b"\0" in disk:
            raise InvalidMailboxName("Invalid mailbox name.")
        self._subscriptions().change(disk, wanted)
