"""`dovecotpy-closed` beside the uidlist: in some boot of the machine, every UID that was given stood durably in the list.

UIDs are reserved ahead so that their lines need no sync of their own, and after another boot what was reserved may have been given
without a trace. A session that gave UIDs says at its end that there is none: under the uidlist's lock it syncs the list, then writes the
mark. Whoever gives a UID takes the mark back first, durably, so that a session that is killed, or a power failure, leaves none. The mark
holds for the boot that it names and for one reserve of it: the next one, of another boot, stands in State by then.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.storage import files, state
from dovecotpy.storage.dotlock import Dotlock
from dovecotpy.storage.errors import StoreError
from dovecotpy.storage.maildir import uidlist

NAME = "dovecotpy-closed"
LOCK_SECONDS = 0.2
"""How long the end of a session waits for somebody else's lock; without it there is no mark."""
MAX_WAITING = 128
"""Mailboxes to be marked at the end of a session; beyond, the oldest is marked at once."""
_RECORD = struct.Struct("<32s36sI")
_CHECKSUM = struct.Struct("<I")


def boot_of(control: int, guid: bytes, uidnext: int) -> str:
    """The boot in which the mailbox was closed with nothing open; empty: none that is known of. Raises OSError."""
    try:
        if not os.stat(NAME, dir_fd=control, follow_symlinks=False).st_size:
            return ""
        data, _ = files.read(control, NAME)
    except FileNotFoundError:
        return ""
    if len(data) != _RECORD.size + _CHECKSUM.size:
        return ""
    if _CHECKSUM.unpack_from(data, _RECORD.size)[0] != zlib.crc32(data[: _RECORD.size]):
        return ""
    owner, boot, least = _RECORD.unpack_from(data)
    if owner.rstrip(b"\0") != guid or least > uidnext:
        return ""
    return str(boot.rstrip(b"\0").decode("ascii", "replace"))


def take_back(control: int) -> None:
    """UIDs are about to be given: durable when it returns. Under the lock. Raises OSError."""
    try:
        descriptor = os.open(NAME, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=control)
    except FileNotFoundError:
        return
    try:
        os.ftruncate(descriptor, 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def mark(control: int, guid: bytes, uidnext: int) -> None:
    """Sync the list, then say so. Under the lock. Raises OSError."""
    if not state.BOOT:
        return
    descriptor = os.open(uidlist.NAME, files.READ, dir_fd=control)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    data = _RECORD.pack(guid, state.BOOT.encode(), uidnext)
    mode = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(NAME, mode, 0o666, dir_fd=control)
    try:
        os.pwrite(descriptor, data + _CHECKSUM.pack(zlib.crc32(data)), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class _Waiting(NamedTuple):
    control: int
    guid: bytes
    uidnext: int
    exclusive: bool


class Closings:
    """The mailboxes in which this session gave UIDs and that are to be marked when it ends."""

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: dict[bytes, _Waiting] = {}

    def add(self, control: int, guid: bytes, uidnext: int, *, exclusive: bool) -> None:
        """A mailbox is closed. control: the directory of its uidlist, kept by the caller."""
        before = self._waiting.pop(guid, None)
        if before is not None:
            os.close(before.control)
        elif len(self._waiting) >= MAX_WAITING:
            self._settle(self._waiting.pop(next(iter(self._waiting))))
        self._waiting[guid] = _Waiting(os.dup(control), guid, uidnext, exclusive)

    def close(self) -> None:
        """Mark them. What cannot be marked costs UIDs after another boot, and nothing else."""
        while self._waiting:
            self._settle(self._waiting.popitem()[1])

    def _settle(self, each: _Waiting) -> None:
        lock = Dotlock(each.control, uidlist.NAME + ".lock", exclusive=each.exclusive)
        try:
            lock.take(clock.monotonic() + LOCK_SECONDS, "Timeout while waiting for lock")
            try:
                mark(each.control, each.guid, each.uidnext)
            finally:
                lock.release()
        except (OSError, StoreError):
            return
        finally:
            os.close(each.control)
