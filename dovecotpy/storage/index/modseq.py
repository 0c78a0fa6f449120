"""`dovecotpy.modseq` in the INDEX directory: the highest modseq that any session gave to a change of the mailbox.

Every change that a session notices gets a number that no other session used. The numbers are reserved ahead in State, so that the file may
be deleted at any time and none comes twice: without the file, or in another boot, the next number is beyond the reserve. A session
knows exactly what happened at the numbers that it gave itself; of others' numbers it knows only that something happened.
"""

from __future__ import annotations

import fcntl
import os
import struct
import time
import zlib
from typing import NamedTuple

from dovecotpy.storage import files
from dovecotpy.storage.driver import BoxDriver
from dovecotpy.storage.errors import StoreError
from dovecotpy.storage.state import BOOT

NAME = "dovecotpy.modseq"
TRIES = 25
PAUSE = 0.002
"""Seconds between tries for the file's lock; a holder that does not let go costs a block of numbers, not the read."""
_RECORD = struct.Struct("<32s36sQQ")
_CHECKSUM = struct.Struct("<I")


class Given(NamedTuple):
    """Numbers up to `highest` were given, those below `end` are reserved."""

    highest: int
    end: int


class Modseqs:
    """The numbers of one mailbox. directory: of its index, kept by the caller; None: they are this session's own."""

    __slots__ = ("_block", "_directory", "_driver", "floor", "lasting")

    def __init__(self, directory: int | None, driver: BoxDriver) -> None:
        self._directory = directory
        self._driver = driver
        self._block: tuple[int, int] = (0, 0)
        self.lasting = directory is not None
        """what is given here means the same in later sessions"""
        self.floor = 0
        """somebody else gave numbers below it: for a client of theirs anything may have changed until then"""

    def highest(self) -> int:
        """The highest number given so far; 0: not known."""
        if self._directory is None:
            return 0
        try:
            given = _parse(files.read(self._directory, NAME)[0], self._driver.guid)
        except OSError:
            return 0
        return given.highest if given is not None else 0

    def next(self, above: int) -> int:
        """A number that nobody used, higher than all that were, and than `above`, this session's last."""
        if not self.lasting or self._directory is None:
            return above + 1
        try:
            try:
                number = self._from_file(self._directory, above)
            except OSError:
                number = self._from_block(above)
        except StoreError:
            self.lasting = False
            return above + 1
        if above and number != above + 1:
            self.floor = number
        return number

    def _from_file(self, directory: int, above: int) -> int:
        """State is asked only while the file's lock is not held. Raises OSError, StoreError."""
        number = self._take(directory, above, None)
        if number is None:
            number = self._take(directory, above, self._driver.reserve_modseqs(above + 1))
        if number is None:
            raise BlockingIOError
        return number

    def _take(self, directory: int, above: int, block: tuple[int, int] | None) -> int | None:
        mode = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(NAME, mode, 0o666, dir_fd=directory)
        try:
            _lock(descriptor)
            guid = self._driver.guid
            given = _parse(os.pread(descriptor, 256, 0), guid)
            if given is not None and max(given.highest, above) + 1 < given.end:
                given = Given(max(given.highest, above) + 1, given.end)
            elif block is not None:
                given = Given(*block)
            else:
                return None
            os.pwrite(descriptor, _packed(given, guid), 0)
            return given.highest
        finally:
            os.close(descriptor)

    def _from_block(self, above: int) -> int:
        """Without the file: from a reserve of this session alone. Raises StoreError."""
        first, end = self._block
        if not above < first < end:
            first, end = self._driver.reserve_modseqs(above + 1)
        self._block = first + 1, end
        return first


def _lock(descriptor: int) -> None:
    """Raises BlockingIOError when somebody keeps the lock."""
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            time.sleep(PAUSE)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _packed(given: Given, guid: bytes) -> bytes:
    data = _RECORD.pack(guid, BOOT.encode(), given.highest, given.end)
    return data + _CHECKSUM.pack(zlib.crc32(data))


def _parse(data: bytes, guid: bytes) -> Given | None:
    """What a record says; None if it is damaged, of another mailbox or another boot."""
    if len(data) != _RECORD.size + _CHECKSUM.size or not BOOT:
        return None
    if _CHECKSUM.unpack_from(data, _RECORD.size)[0] != zlib.crc32(data[: _RECORD.size]):
        return None
    owner, boot, highest, end = _RECORD.unpack_from(data)
    if owner.rstrip(b"\0") != guid or boot.rstrip(b"\0") != BOOT.encode():
        return None
    return Given(highest, end)
