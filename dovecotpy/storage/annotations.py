"""What clients keep about mailboxes and about the account: metadata (RFC 5464), and by that what mailboxes are for.

Entries are State, keyed by mailbox GUID, those of the account by an empty one: `/private` ones in the State of the user, `/shared` ones in
that of the namespace. The uses that /private/specialuse tells (RFC 6154 section 4) go before those that mail_special_use gives by name.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Protocol

from dovecotpy.storage.errors import CannotDo, PermissionDenied, StoreError
from dovecotpy.storage.state import SPECIAL_USE, State

SPECIAL_USE_ENTRY = SPECIAL_USE.encode()
MAX_LOST = 1_000
"""GUIDs remembered as not found."""
SERVER = ""
"""Stands for the account where a GUID is asked for."""
PRIVATE, SHARED = b"/private/", b"/shared/"
ASSIGNABLE = {use.lower(): use for use in (b"\\Archive", b"\\Drafts", b"\\Junk", b"\\Sent", b"\\Trash")}
"""Uses that a mailbox can be given; \\All and \\Flagged would be views of others."""


class Rooms(Protocol):
    """What is asked of the store."""

    def mailbox_guid(self, name: bytes, *, writable: bool) -> str:
        """The key of a mailbox. Raises MailboxNotFound, StoreError."""

    def shared_state(self, name: bytes) -> State:
        """The State of the namespace of a mailbox."""

    def touch(self, name: bytes) -> None:
        """Something about a mailbox changed, but none of its messages: its modseq rises. Raises as `mailbox_guid`."""

    def uses_by_name(self, name: bytes) -> frozenset[bytes]:
        """What the settings say that a mailbox is for."""


class Annotations:
    """The metadata of one user. own: the user's State."""

    __slots__ = ("_lost", "_names", "_own", "_rooms")

    def __init__(self, rooms: Rooms, own: State) -> None:
        self._rooms = rooms
        self._own = own
        self._names: dict[str, bytes] = {}
        """mailboxes by GUID, as they were found last"""
        self._lost: set[tuple[str, int]] = set()
        """GUIDs of which none was found among some names"""

    def get(self, name: bytes) -> dict[bytes, bytes]:
        """All entries of a mailbox, or with an empty name of the account. Raises MailboxNotFound, StoreError."""
        guid = self._rooms.mailbox_guid(name, writable=False) if name else SERVER
        found = self._entries(self._own, guid, PRIVATE)
        if name:
            found.update(self._entries(self._rooms.shared_state(name), guid, SHARED))
            uses = found.get(SPECIAL_USE_ENTRY)
            if uses is None:
                uses = b" ".join(sorted(self.use_of(name, self.uses(()))))
            found.pop(SPECIAL_USE_ENTRY, None)
            if uses:
                found[SPECIAL_USE_ENTRY] = uses
        return found

    def _entries(self, state: State, guid: str, prefix: bytes) -> dict[bytes, bytes]:
        if not state.exists() or not state.usable:
            return {}
        return {entry: value for entry, value in state.entries(guid).items() if entry.startswith(prefix)}

    def set(self, name: bytes, changes: Mapping[bytes, bytes | None], most: int) -> None:
        """Set entries, or with None remove them: all or none, durable; the mailbox has a higher modseq then. most: entries of one mailbox that are allowed.

        Raises MailboxNotFound, PermissionDenied, LimitReached, CannotDo for a use that cannot be given and for entries of both kinds that two
        States would keep, StoreError.
        """
        private = {entry: value for entry, value in changes.items() if entry.startswith(PRIVATE)}
        shared = {entry: value for entry, value in changes.items() if entry.startswith(SHARED)}
        if shared and not name:
            raise PermissionDenied("Shared entries of the server cannot be set.")
        state = self._rooms.shared_state(name) if shared else self._own
        if shared and not state.usable:
            raise PermissionDenied("Permission denied")
        if private and state is not self._own:
            raise CannotDo("Private and shared entries of this mailbox cannot be set by one command.")
        guid = self._rooms.mailbox_guid(name, writable=True) if name else SERVER
        if name and SPECIAL_USE_ENTRY in private:
            self._own.note_uses()
            uses = assignable(private[SPECIAL_USE_ENTRY] or b"")
            private[SPECIAL_USE_ENTRY] = uses if uses or self._rooms.uses_by_name(name) else None
            self._names[guid] = name
        state.set_entries(guid, {**private, **shared}, most)
        if name:
            self._rooms.touch(name)

    def copy(self, name: bytes, to: bytes) -> None:
        """Copy what a mailbox has to another one (RFC 5464 section 4.1). Raises as `set`."""
        if not self._own.exists():
            return
        guid = self._rooms.mailbox_guid(name, writable=True)
        other = self._rooms.mailbox_guid(to, writable=True)
        self._own.set_entries(other, dict(self._own.entries(guid)), 1 << 30)

    # What mailboxes are for

    def uses(self, names: Sequence[bytes]) -> dict[bytes, frozenset[bytes]]:
        """What mailboxes are for by /private/specialuse, by name. names: all mailboxes, looked through where one was renamed."""
        if not self._own.knows_uses:
            return {}
        told = self._own.metadata(SPECIAL_USE)
        found = {}
        for guid, value in told.items():
            name = self._name_of(guid, names)
            if name is not None:
                found[name] = frozenset(value.split())
        return found

    def use_of(self, name: bytes, told: Mapping[bytes, frozenset[bytes]]) -> frozenset[bytes]:
        """What one mailbox is for; a use that was given to another one is not this one's by its name."""
        if name in told:
            return told[name]
        by_name = self._rooms.uses_by_name(name)
        return by_name.difference(*told.values()) if told and by_name else by_name

    def _name_of(self, guid: str, names: Sequence[bytes]) -> bytes | None:
        known = self._names.get(guid)
        if known is not None and self._is(guid, known):
            return known
        looked_at = (guid, hash(tuple(names)))
        if looked_at in self._lost:
            return None
        for name in names:
            if self._is(guid, name):
                self._names[guid] = name
                return name
        if len(self._lost) >= MAX_LOST:
            self._lost.clear()
        self._lost.add(looked_at)
        return None

    def _is(self, guid: str, name: bytes) -> bool:
        try:
            return self._rooms.mailbox_guid(name, writable=False) == guid
        except StoreError:
            return False


def assignable(value: bytes) -> bytes:
    """Uses with blanks between them, as they are spelled. Raises CannotDo [USEATTR]."""
    found = []
    for use in value.split():
        known = ASSIGNABLE.get(use.lower())
        if known is None:
            raise CannotDo(f"{os.fsdecode(use)} not supported", code="USEATTR")
        found.append(known)
    return b" ".join(dict.fromkeys(found))
