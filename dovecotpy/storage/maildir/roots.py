"""Where the mailboxes of a mail_location are: below its mail root, and beside it in those of CONTROL and INDEX."""

from __future__ import annotations

import os
from contextlib import suppress

from dovecotpy.ipc.record import Level
from dovecotpy.storage import files
from dovecotpy.storage.errors import (
    StoreError,
)
from dovecotpy.storage.location import Location
from dovecotpy.storage.maildir import paths
from dovecotpy.storage.maildir.context import Context
from dovecotpy.storage.maildir.paths import FS, IMAPDIR, MAILDIRPP, Layout
from dovecotpy.storage.maildir.uidlist import Broken, Uidlist
from dovecotpy.storage.overview import Overview
from dovecotpy.storage.state import State

_LAYOUTS = {layout.name: layout for layout in (MAILDIRPP, IMAPDIR, FS)}


class Roots:
    """The directories of one mail_location. Raises StoreError when the root cannot be used."""

    def __init__(self, location: Location, context: Context, *, inbox: bool) -> None:
        self._location = location
        self._context = context._replace(is_clash=self._is_clash)
        self._has_inbox = inbox
        self.layout: Layout = _LAYOUTS.get(location.layout, MAILDIRPP)
        if self.layout is IMAPDIR and not location.inbox:
            self._location = location._replace(inbox=os.path.join(location.root, self.layout.inbox))
        self.separator = self.layout.separator
        self._roots: dict[str, int] = {}
        self._index_said = False
        self._overview: Overview | None = None

    def use(self, state: State) -> None:
        """The State of the CONTROL root, before the first mailbox is opened."""
        self._context = self._context._replace(state=state)

    def keep_private_in(self, state: State) -> None:
        """The user's own State, before the first mailbox is opened."""
        self._context = self._context._replace(private=state)

    def _components(self, disk: bytes) -> tuple[str, ...]:
        """Where a mailbox is. `INBOX` is the root only in the tree that has the user's INBOX. Raises InvalidMailboxName."""
        if disk == b"INBOX" and not self._has_inbox:
            return (self.layout.inbox,)
        return self.layout.components(disk)

    def _root(self, path: str) -> int:
        """Descriptor of a root, made when it is missing."""
        found = self._roots.get(path)
        if found is None:
            mode = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            try:
                try:
                    found = os.open(path, mode)
                except FileNotFoundError:
                    os.makedirs(path)
                    found = os.open(path, mode)
            except OSError as error:
                raise files.translated(error, f"open({path})") from error
            self._roots[path] = found
        return found

    def _mail_root(self) -> int:
        return self._root(self._location.root)

    def _inbox_directory(self) -> int:
        """A new descriptor of INBOX's directory."""
        path = self._location.inbox or self._location.root
        return os.dup(self._root(path))

    def control_root(self) -> str:
        """The path below which uidlists, State and subscriptions are."""
        return self._location.control or self._location.root

    def control_directory(self) -> int:
        """The descriptor of the same."""
        return self._root(self.control_root())

    def _beside(self, path: str, parts: tuple[str, ...]) -> int:
        """A mailbox's directory below a CONTROL or INDEX root, made when it is missing; a new descriptor."""
        return paths.ensure_directory(self._root(path), parts or (self.layout.inbox,))

    def index_directory(self, disk: bytes) -> int | None:
        """Where a mailbox's index is: a new descriptor; None: INDEX=MEMORY, or it cannot be had."""
        if self._location.index_root == "MEMORY":
            return None
        parts = self._components(disk)
        try:
            if self._location.index_root:
                return self._beside(self._location.index_root, parts)
            return self._directory(parts, disk)
        except (OSError, StoreError) as error:
            if not self._index_said:
                self._index_said = True
                where = self._location.index_root or self._location.root
                cause = error.strerror if isinstance(error, OSError) else error.log
                self._context.log(Level.WARNING, f"Indexes below {where} are not used: {cause}")
            return None

    def _directory(self, parts: tuple[str, ...], disk: bytes) -> int:
        if not parts:
            return self._inbox_directory()
        return paths.open_mailbox(self._mail_root(), parts, disk)

    def _is_clash(self, guid: str, name: str) -> bool:
        """Whether the mailbox of that name has that GUID."""
        return self._guid(os.fsencode(name)) == guid

    def _guid(self, disk: bytes) -> str:
        """The GUID that a mailbox's uidlist has; empty where it has none."""
        try:
            control = self._control_of(disk)
        except (OSError, StoreError):
            return ""
        listed = Uidlist(control)
        try:
            listed.refresh()
            return listed.guid
        except (Broken, OSError):
            return ""
        finally:
            listed.close()
            os.close(control)

    def _control_of(self, disk: bytes) -> int:
        parts = self._components(disk)
        if self._location.control:
            return paths.open_directory(self._root(self._location.control), parts or (self.layout.inbox,))
        return self._directory(parts, disk)

    def close(self) -> None:
        """Give back descriptors. Idempotent. What was counted is written down where that can be: nothing depends on it."""
        if self._overview is not None:
            with suppress(OSError):
                self._overview.keep()
            self._overview = None
        for descriptor in self._roots.values():
            os.close(descriptor)
        self._roots.clear()
