"""Keys of a mailbox's messages that SORT and THREAD go by, and their answers, one file for each kind: `dovecotpy.keys.<kind>`.

A file is written anew as a whole and renamed into its place, without a lock: keys are taken from headers, which never change, and an answer
names the messages that it is of, so that of two writers either one is right. Nothing is synced: nobody believes a file whose CRC-32 does
not fit. Files may be deleted at any time.
"""

from __future__ import annotations

import os
import struct
import zlib

from dovecotpy.message.collation import VERSION
from dovecotpy.storage import files
from dovecotpy.storage.index.rendered import QUIET, Owner

NAME = "dovecotpy.keys."
_HEADER_KEYS = ("cc", "date", "displayfrom", "displayto", "from", "subject", "to")
KINDS = (
    *_HEADER_KEYS,
    "links",
    *(f"order-{key}" for key in _HEADER_KEYS),
    "thread-orderedsubject",
    "thread-references",
    "thread-refs",
)
MAX_OCTETS = 1 << 27
"""Octets of a file that is read."""
_HEAD = struct.Struct("<8s32sI40sI")
"""magic, GUID, UIDVALIDITY, how texts become keys, CRC-32 of what precedes and of what follows"""
_MAGIC = b"DPYKeys\x01"


class KeyFiles:
    """The key files of one mailbox. Nothing here raises: what fails is not known, or not kept."""

    def __init__(self, owner: Owner, *, least: int) -> None:
        """least: messages that the mailbox must have before anything is written."""
        self._owner = owner
        self._least = least
        self._unwritable = False

    def load(self, kind: str) -> bytes | None:
        """What was saved last; None where there is nothing to be believed."""
        directory = self._owner.directory()
        head = self._head()
        if directory is None or head is None:
            return None
        try:
            data, _ = files.read(directory, NAME + kind)
        except OSError as error:
            self._failed("read", error)
            return None
        if not _HEAD.size <= len(data) <= MAX_OCTETS or not data.startswith(head):
            return None
        payload = data[_HEAD.size :]
        checksum = zlib.crc32(payload, zlib.crc32(head))
        return payload if data[len(head) : _HEAD.size] == struct.pack("<I", checksum) else None

    def save(self, kind: str, payload: bytes) -> bool:
        """Keep keys in place of those that were kept; whether they are."""
        directory = self._owner.directory()
        head = self._head()
        if directory is None or head is None or self._unwritable:
            return False
        if len(self._owner.uids()) < self._least or _HEAD.size + len(payload) > MAX_OCTETS:
            return False
        checksum = struct.pack("<I", zlib.crc32(payload, zlib.crc32(head)))
        try:
            files.replace(directory, NAME + kind, b"".join((head, checksum, payload)), sync=False)
        except OSError as error:
            self._unwritable = True
            self._failed("write", error)
            return False
        return True

    def discard(self) -> None:
        """Believe nothing that was kept."""
        directory = self._owner.directory()
        if directory is None:
            return
        for kind in KINDS:
            try:
                os.unlink(NAME + kind, dir_fd=directory)
            except FileNotFoundError:
                continue
            except OSError as error:
                self._failed("write", error)
                return

    def _head(self) -> bytes | None:
        guid, uidvalidity = self._owner.identity()
        if not uidvalidity:
            return None
        return _HEAD.pack(_MAGIC, guid, uidvalidity, VERSION.encode(), 0)[:-4]

    def _failed(self, what: str, error: OSError) -> None:
        if error.errno not in QUIET:
            self._owner.complain(f"{what}({NAME}*) failed: {error.strerror}")
