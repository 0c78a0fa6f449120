"""`dovecotpy.overview` in the mail root: what STATUS counted in each mailbox and what the mailbox looked like then.

So the counts of a hundred mailboxes cost one file and a few stats for each. A line holds as long as its mailbox has the very stamp
that it had: one that its index had settled, so that no change hides behind it. The file is written anew when a session has counted
many mailboxes more, or ends; whoever comes last wins, and what others counted is counted again.

Head: magic, version, id of the boot, how many lines, CRC-32 of all that follows. Then the lines (stamp, numbers), then the names in the
same order, each between two LF, which no name contains. Numbers are the writing machine's, which the magic names.
"""

from __future__ import annotations

import struct
import sys
import zlib
from contextlib import suppress
from typing import NamedTuple

from dovecotpy.storage import files
from dovecotpy.storage.state import BOOT

NAME = "dovecotpy.overview"
MAX_LINES = 10_000
"""Mailboxes that are kept; of more, those that were counted last."""
MAX_FILE = 1 << 24
WORTH = 4
"""New counts for which the file is written at the end."""
MANY, SHARE = 32, 4
"""New counts for which it is written at once, or the SHARE-th part of what it has if that is more."""
_MAGIC = b"DPYO" + (b"\x01" if sys.byteorder == "little" else b"\x02")
_VERSION = 1
_HEAD = struct.Struct("<5sBxx40sII")
_LINE = struct.Struct("<48s5I")
_STAMP_OCTETS = 48


class Counts(NamedTuple):
    """What STATUS tells of a mailbox, as far as its stamp proves it."""

    messages: int
    unseen: int
    deleted: int
    uidnext: int
    uidvalidity: int


class Overview:
    """The file of one root. directory: open, kept by the caller."""

    __slots__ = ("_count", "_data", "_directory", "_names", "_noted", "_read")

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._read = False
        self._data = b""
        self._names = b""
        self._count = 0
        self._noted: dict[bytes, tuple[bytes, Counts]] = {}

    def find(self, name: bytes, stamp: bytes) -> Counts | None:
        """The counts of a mailbox (by its name on disk) that looks so now; None: they must be counted."""
        noted = self._noted.get(name)
        if noted is not None:
            return noted[1] if noted[0] == stamp else None
        if not self._read:
            self._load()
        at = self._names.find(b"\n%b\n" % name)
        if at < 0:
            return None
        found, *numbers = _LINE.unpack_from(
            self._data, _HEAD.size + _LINE.size * self._names.count(b"\n", 0, at)
        )
        return Counts(*numbers) if found == stamp else None

    def note(self, name: bytes, stamp: bytes, counts: Counts) -> None:
        """A mailbox was counted while it had this stamp, which its index had settled."""
        if len(stamp) == _STAMP_OCTETS and b"\n" not in name and len(self._noted) < MAX_LINES:
            self._noted[name] = stamp, counts
            if len(self._noted) >= max(MANY, self._count // SHARE):
                with suppress(OSError):  # a cache: those who need it count for themselves
                    self.keep()

    def keep(self) -> None:
        """Write down what was counted, if that is worth it. Raises OSError."""
        if len(self._noted) < WORTH or not BOOT:
            return
        self._load()
        lines: dict[bytes, bytes] = {}
        for place, name in enumerate(self._names.split(b"\n")[1 : self._count + 1]):
            at = _HEAD.size + _LINE.size * place
            lines[name] = self._data[at : at + _LINE.size]
        for name, (stamp, counts) in self._noted.items():
            lines.pop(name, None)
            lines[name] = _LINE.pack(stamp, *counts)
        self._noted.clear()
        names = list(lines)[-MAX_LINES:]
        body = b"".join([*map(lines.__getitem__, names), b"\n", b"\n".join(names), b"\n"])
        head = _HEAD.pack(_MAGIC, _VERSION, BOOT.encode(), len(names), zlib.crc32(body))
        files.replace(self._directory, NAME, head + body, sync=False)
        self._read = False

    def _load(self) -> None:
        """What cannot be read or believed is not there."""
        self._read, self._data, self._names, self._count = True, b"", b"", 0
        try:
            if files.identify(self._directory, NAME).size > MAX_FILE:
                return
            data, _ = files.read(self._directory, NAME)
            magic, version, boot, count, checksum = _HEAD.unpack_from(data)
        except (OSError, struct.error):
            return
        names = data[_HEAD.size + count * _LINE.size :]
        if (
            (magic, version) != (_MAGIC, _VERSION)
            or not BOOT
            or boot.rstrip(b"\0") != BOOT.encode()
            or names.count(b"\n") != count + 1
            or zlib.crc32(memoryview(data)[_HEAD.size :]) != checksum
        ):
            return
        self._data, self._names, self._count = data, names, count
