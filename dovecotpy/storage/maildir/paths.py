"""The one place where mailbox names become paths.

A name passes `components` first; what comes out is opened step by step, relative to an open directory and without following links.
Layouts: `maildir++` (`.A.B` in the root, which is INBOX), `imapdir` (`A.B`, and `INBOX` is one of them), `fs` (`A/B`).
"""

from __future__ import annotations

import os
from typing import NamedTuple

from dovecotpy.storage import files
from dovecotpy.storage.errors import InvalidMailboxName, MailboxNotFound

MAX_COMPONENT = 255
SUBDIRECTORIES = ("cur", "new", "tmp")
TRASH = "..DOVECOT-TRASHED"


class Layout(NamedTuple):
    """How names map to directories."""

    name: str
    separator: bytes
    prefix: bytes = b""
    """what directories of mailboxes begin with"""

    @property
    def inbox(self) -> str:
        """The directory that stands for INBOX where it cannot be the root itself."""
        return os.fsdecode(self.prefix + b"INBOX")

    def components(self, disk: bytes) -> tuple[str, ...]:
        """The directories that lead to a mailbox; INBOX has none. Raises InvalidMailboxName."""
        if disk == b"INBOX":
            return ()
        if not disk or b"\0" in disk or b"\n" in disk or b"\r" in disk:
            raise InvalidMailboxName("Invalid mailbox name.")
        parts = self._tree(disk) if self.name == "fs" else self._flat(disk)
        if any(len(os.fsencode(part)) > MAX_COMPONENT for part in parts):
            raise InvalidMailboxName("Mailbox name too long.")
        return parts

    def _flat(self, disk: bytes) -> tuple[str, ...]:
        if disk[:1] in (b".", b"~") or disk[-1:] == b"." or b".." in disk or b"/" in disk:
            raise InvalidMailboxName("Invalid mailbox name.")
        name = os.fsdecode(self.prefix + disk)
        if name in SUBDIRECTORIES:
            raise InvalidMailboxName("Invalid mailbox name.")
        return (name,)

    def _tree(self, disk: bytes) -> tuple[str, ...]:
        parts = tuple(os.fsdecode(disk).split("/"))
        for part in parts:
            if part in ("", ".", "..", *SUBDIRECTORIES) or part == TRASH:
                raise InvalidMailboxName("Invalid mailbox name.")
        if disk[:1] == b"~":
            raise InvalidMailboxName("Invalid mailbox name.")
        return parts


MAILDIRPP = Layout("maildir++", b".", b".")
IMAPDIR = Layout("imapdir", b".")
FS = Layout("fs", b"/")


def open_directory(root: int, parts: tuple[str, ...]) -> int:
    """Descriptor of a directory below `root`. Raises OSError (ELOOP or ENOTDIR for a link)."""
    descriptor = os.open(parts[0] if parts else ".", files.DIRECTORY, dir_fd=root)
    for part in parts[1:]:
        try:
            below = os.open(part, files.DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def ensure_directory(root: int, parts: tuple[str, ...]) -> int:
    """Like `open_directory`, making what is missing on the way. Raises OSError."""
    descriptor = os.open(".", files.DIRECTORY, dir_fd=root)
    for part in parts:
        try:
            try:
                below = os.open(part, files.DIRECTORY, dir_fd=descriptor)
            except FileNotFoundError:
                os.mkdir(part, dir_fd=descriptor)
                files.sync_directory(descriptor)
                below = os.open(part, files.DIRECTORY, dir_fd=descriptor)
        finally:
            os.close(descriptor)
        descriptor = below
    return descriptor


def open_mailbox(root: int, parts: tuple[str, ...], shown: bytes) -> int:
    """Descriptor of a mailbox's directory. Raises MailboxNotFound, OSError."""
    try:
        return open_directory(root, parts)
    except (FileNotFoundError, NotADirectoryError):
        raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(shown)}") from None
