"""The text of messages as collation keys, one file after the other message, so that SEARCH reads no message.

Two files in the INDEX directory: `dovecotpy.text.headers` (area 0: each header, decoded, a line for each field) and
`dovecotpy.text.bodies` (area 0: MIME headers of parts, area 1: the text of parts). Each is a head and chunks:

head    magic, version, UIDVALIDITY, mailbox GUID, version of the collation, CRC-32 of that
chunk   magic, messages in it, length of each area, CRC-32 of the table, of the areas, of this;
        table: UIDs; flags; of each area the end of each message's text; then the areas

Chunks are only ever added, by pwrite behind the last one under an flock of their own, which is taken after all other locks. Nobody
believes a chunk whose checksums do not fit, and each session looks for itself: so nothing is synced, and what a killed writer or a lost
power supply left half written is written over. A file may be deleted at any time: who has it open reads on, who writes makes a new one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import sys
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterator, Sequence
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.message.collation import VERSION as COLLATION
from dovecotpy.storage import files

HEADERS = "dovecotpy.text.headers"
BODIES = "dovecotpy.text.bodies"
LOCK = "dovecotpy.text.lock"
VERSION = 1
CHUNK_MESSAGES = 512
CHUNK_OCTETS = 1 << 20
"""A chunk is written when it has so many messages, or so many octets."""
MAX_TEXT = 1 << 20
"""Octets of one area of one message that are kept; a longer one is read instead."""
MAX_CHUNK = 64 << 20
"""Octets of one chunk; a head that claims more is none."""
DEAD = 4
"""One message in so many may be gone before a file is written anew."""
ABANDONED = 3600.0
"""Seconds after which a file that somebody began to write anew is taken to be forgotten."""
FEW = 8
"""Where fewer than one in so many messages of a chunk are asked about, only their texts are read."""

UNREAD = 1
"""Flag of a message whose text is not here: the message has to be read."""
ODD = 2
"""Flag of a header whose lines are not certainly its fields."""

_MAGIC = b"DPYT" + (b"\x01" if sys.byteorder == "little" else b"\x02")
_HEAD = struct.Struct("<5sBxxI32s48sI")
_CHUNK = struct.Struct("<4sIIIIII")
_CHUNK_MAGIC = b"\xffCK\n"


class Record(NamedTuple):
    """What is kept of one message."""

    uid: int
    flags: int
    areas: tuple[bytes, ...]


class _Chunk:
    """A chunk whose table was believed: where its areas lie and what is in them."""

    __slots__ = ("areas", "checksum", "ends", "flags", "uids")

    def __init__(
        self,
        uids: "array[int]",
        flags: bytes,
        ends: "list[array[int]]",
        areas: list[tuple[int, int]],
        checksum: int,
    ) -> None:
        self.uids = uids
        self.flags = flags
        self.ends = ends
        """of each area, where each message's text ends in it"""
        self.areas = areas
        """of each area, its place in the file and its length"""
        self.checksum = checksum
        """of the areas; -1 when it was found to fit"""


class Hit(NamedTuple):
    """A message in which a key was found, and where its text lies in what was looked through."""

    uid: int
    flags: int
    start: int
    end: int


class Hits(NamedTuple):
    """What a look for a key in one chunk found: what was looked through, valid until the next look, and each message once."""

    data: "bytes | bytearray"
    found: list[Hit]


class TextFile:
    """One of the files, followed by one session. Reading takes no lock. Every method but `append` raises nothing: a file that cannot be
    read has no messages.

    directory: of the INDEX, not taken over.
    """

    def __init__(self, directory: int, name: str, areas: int, guid: bytes, uidvalidity: int) -> None:
        self.directory = directory
        self.name = name
        self.count = areas
        self._head = _head(guid, uidvalidity)
        self._descriptor = -1
        self._end = 0
        self.size = 0
        """octets of the file that are believed"""
        self.places: dict[int, int] = {}
        """chunk of each UID"""
        self._chunks: list[_Chunk] = []
        self._buffer = bytearray()

    def __contains__(self, uid: int) -> bool:
        return uid in self.places

    # Following the file

    def refresh(self) -> None:
        """Take note of chunks that were added, or of another file under the name."""
        try:
            found = files.identify(self.directory, self.name)
            if self._descriptor >= 0:
                own = os.fstat(self._descriptor)
                if (own.st_dev, own.st_ino) != (found.device, found.inode):
                    self._forget()
            if self._descriptor < 0 and not self._open():
                return
            self._walk(os.fstat(self._descriptor).st_size)
        except OSError:
            self._forget()

    def _open(self) -> bool:
        try:
            descriptor = os.open(self.name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self.directory)
        except FileNotFoundError:
            return False
        self._descriptor = descriptor
        if os.pread(descriptor, _HEAD.size, 0) != self._head:
            self._forget()
            return False
        self._end = self.size = _HEAD.size
        return True

    def _walk(self, size: int) -> None:
        while self._end + _CHUNK.size <= size:
            length = self._take(self._end, size)
            if not length:
                return
            self._end += length
            self.size = self._end

    def _take(self, at: int, size: int) -> int:
        """Believe the table of the chunk at a place, or not; the chunk's length, 0 where there is no whole one."""
        head = os.pread(self._descriptor, _CHUNK.size, at)
        if len(head) < _CHUNK.size or zlib.crc32(head[:-4]) != int.from_bytes(head[-4:], "little"):
            return 0
        magic, messages, first, second, of_table, of_areas, _ = _CHUNK.unpack(head)
        table = messages * (5 + 4 * self.count)  # UID, flags, ends
        length: int = _CHUNK.size + table + first + second
        if magic != _CHUNK_MAGIC or length > MAX_CHUNK or at + length > size:
            return 0
        data = os.pread(self._descriptor, table, at + _CHUNK.size)
        if zlib.crc32(data) == of_table:
            self._believe(data, messages, at + _CHUNK.size + table, (first, second)[: self.count], of_areas)
        return length

    def _believe(self, table: bytes, messages: int, at: int, lengths: Sequence[int], checksum: int) -> None:
        uids = array("I", table[: 4 * messages])
        flags = table[4 * messages : 5 * messages]
        place = 5 * messages
        ends = []
        areas = []
        for length in lengths:
            column = array("I", table[place : place + 4 * messages])
            place += 4 * messages
            if any(map(int.__gt__, column, column[1:])) or column[-1:] != array("I", (length,)):
                return
            ends.append(column)
            areas.append((at, length))
            at += length
        if any(map(int.__ge__, uids, uids[1:])):
            return
        number = len(self._chunks)
        self._chunks.append(_Chunk(uids, flags, ends, areas, checksum))
        self.places.update(dict.fromkeys(uids, number))

    def _fits(self, number: int) -> bool:
        """Whether the areas of a chunk are what was written; if not, its messages are not here. Raises OSError."""
        chunk = self._chunks[number]
        if chunk.checksum >= 0:
            data = self._read(chunk.areas[0][0], sum(length for _, length in chunk.areas))
            if data is None or zlib.crc32(data) != chunk.checksum:
                for uid in chunk.uids:
                    if self.places.get(uid) == number:
                        del self.places[uid]
                return False
            chunk.checksum = -1
        return True

    def _read(self, at: int, length: int) -> memoryview | None:
        """Octets of the file, in a buffer that the next read uses again; None if there are fewer."""
        if len(self._buffer) < length:
            self._buffer = bytearray(max(length, CHUNK_OCTETS + CHUNK_OCTETS // 4))
        view = memoryview(self._buffer)[:length]
        have = 0
        while have < length:
            got = os.preadv(self._descriptor, [view[have:]], at + have)
            if not got:
                return None
            have += got
        return view

    def _forget(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._end = self.size = 0
        self.places.clear()
        self._chunks.clear()

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        self._forget()
        self._buffer = bytearray()

    # Looking for text

    def chunks_of(self, uids: Sequence[int]) -> dict[int, list[int]]:
        """UIDs that are here, by their chunk."""
        places = self.places
        wanted: dict[int, list[int]] = {}
        for uid in uids:
            number = places.get(uid)
            if number is not None:
                wanted.setdefault(number, []).append(uid)
        return wanted

    def look(self, number: int, area: int, key: bytes, uids: Sequence[int], doubtful: int) -> Hits | None:
        """Which of some messages of a chunk hold a key in an area; those with a flag of doubtful always do.

        None: the file cannot be read.
        """
        chunk = self._chunks[number]
        try:
            if not self._fits(number):
                return None
        except OSError:
            return None
        wanted = frozenset(uids)
        found = []
        if any(chunk.flags):
            marked = [
                (uid, flags)
                for uid, flags in zip(chunk.uids, chunk.flags, strict=True)
                if flags & doubtful and uid in wanted
            ]
            found = [Hit(uid, flags, 0, 0) for uid, flags in marked]
            wanted = wanted.difference([uid for uid, _ in marked])
        try:
            if len(wanted) * FEW < len(chunk.uids):
                return self._look_at_few(chunk, area, key, sorted(wanted), found)
            at, length = chunk.areas[area]
            if self._read(at, length) is None:
                return None
        except OSError:
            return None
        data = self._buffer
        ends = chunk.ends[area]
        place = data.find(key, 0, length)
        while place >= 0:
            index = bisect_right(ends, place)
            end = ends[index]
            uid = chunk.uids[index]
            if place + len(key) <= end and uid in wanted:
                found.append(Hit(uid, chunk.flags[index], ends[index - 1] if index else 0, end))
            place = data.find(key, end, length)
        return Hits(data, found)

    def _look_at_few(
        self, chunk: _Chunk, area: int, key: bytes, uids: Sequence[int], found: "list[Hit]"
    ) -> Hits | None:
        ends = chunk.ends[area]
        at, _ = chunk.areas[area]
        pieces = []
        size = 0
        for uid in uids:
            index = bisect_left(chunk.uids, uid)
            start = ends[index - 1] if index else 0
            text = os.pread(self._descriptor, ends[index] - start, at + start)
            if len(text) < ends[index] - start:
                return None
            if key in text:
                found.append(Hit(uid, chunk.flags[index], size, size + len(text)))
                pieces.append(text)
                size += len(text)
        return Hits(b"".join(pieces), found)

    # Adding text

    def append(self, records: Sequence[Record]) -> None:
        """Add messages that are not here yet, under the lock. Raises BlockingIOError while another writer has it, OSError."""
        with _locked(self.directory):
            self.refresh()
            new = [record for record in records if record.uid not in self.places]
            if self._descriptor < 0:
                files.replace(self.directory, self.name, self._head, sync=False)
                self.refresh()
            if new and self._descriptor >= 0:
                self._put(sorted(new))

    def _put(self, records: Sequence[Record]) -> None:
        """Write a chunk behind the last one; it is believed without being read again."""
        head, table, texts = pack(records, self.count)
        at = self._end
        waiting = [memoryview(head), memoryview(table), memoryview(texts)]
        while waiting:
            written = os.pwritev(self._descriptor, waiting, at)
            at += written
            while waiting and written >= len(waiting[0]):
                written -= len(waiting.pop(0))
            if waiting:
                waiting[0] = waiting[0][written:]
        _, messages, first, second, *_ = _CHUNK.unpack(head)
        self._believe(table, messages, self._end + len(head) + len(table), (first, second)[: self.count], -1)
        self._end = self.size = at

    def compact(self, alive: "frozenset[int]") -> Generator[None, None, None]:
        """Write the file anew without messages that are gone, if those are many. Yields between two pieces of work, without the lock.

        May be given up at any of them. Raises OSError.
        """
        gone = sum(1 for uid in self.places if uid not in alive)
        if not gone or gone * DEAD < len(self.places):
            return
        new = self.name + ".new"
        try:
            target = os.open(new, files.CREATE, 0o666, dir_fd=self.directory)
        except FileExistsError:
            left = os.stat(new, dir_fd=self.directory, follow_symlinks=False)
            if abs(clock.now() - left.st_mtime) > ABANDONED:
                os.unlink(new, dir_fd=self.directory)
            return
        try:
            done = yield from self._copy(target, 0, alive)
            if self._replace(new, target, done, alive):
                new = ""
        finally:
            os.close(target)
            if new:
                os.unlink(new, dir_fd=self.directory)
        self.refresh()

    def _copy(self, target: int, first: int, alive: "frozenset[int]") -> Generator[None, None, int]:
        """Copy chunks from a number on; the number of the next one."""
        if not first:
            files.write_all(target, self._head)
        for number in range(first, len(self._chunks)):
            if self._fits(number):
                records = [
                    record
                    for record in self._records(self._chunks[number])
                    if record.uid in alive and self.places.get(record.uid) == number
                ]
                if records:
                    files.write_all(target, b"".join(pack(records, self.count)))
            yield
        return len(self._chunks)

    def _replace(self, new: str, target: int, done: int, alive: "frozenset[int]") -> bool:
        """Under the lock, copy what was added meanwhile and put the new file in place. False where others were faster."""
        with _locked(self.directory):
            before = os.fstat(self._descriptor)
            if files.identify(self.directory, self.name)[:2] != (before.st_dev, before.st_ino):
                return False
            self._walk(before.st_size)
            for _ in self._copy(target, done, alive):
                pass
            os.rename(new, self.name, src_dir_fd=self.directory, dst_dir_fd=self.directory)
        return True

    def _records(self, chunk: _Chunk) -> list[Record]:
        areas = []
        for (at, length), ends in zip(chunk.areas, chunk.ends, strict=True):
            data = os.pread(self._descriptor, length, at)
            starts = [0, *ends[:-1]]
            areas.append([data[start:end] for start, end in zip(starts, ends, strict=True)])
        return [
            Record(uid, flags, texts)
            for uid, flags, texts in zip(chunk.uids, chunk.flags, zip(*areas, strict=True), strict=True)
        ]


@contextlib.contextmanager
def _locked(directory: int) -> Iterator[None]:
    """The right to write. Raises BlockingIOError while somebody else has it, OSError."""
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666, dir_fd=directory)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(lock)


def _head(guid: bytes, uidvalidity: int) -> bytes:
    head = _HEAD.pack(_MAGIC, VERSION, uidvalidity, guid, COLLATION.encode("ascii"), 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(head))


def pack(records: Sequence[Record], areas: int) -> tuple[bytes, bytes, bytes]:
    """The head, the table and the texts of a chunk. records: at least one, by UID."""
    columns = []
    texts: list[bytes] = []
    lengths = []
    for area in range(areas):
        ends = array("I")
        end = 0
        for record in records:
            text = record.areas[area]
            end += len(text)
            ends.append(end)
            texts.append(text)
        columns.append(ends.tobytes())
        lengths.append(end)
    uids = array("I", [record.uid for record in records]).tobytes()
    table = b"".join((uids, bytes([record.flags for record in records]), *columns))
    body = b"".join(texts)
    first, second = (*lengths, 0)[:2]
    checksums = zlib.crc32(table), zlib.crc32(body)
    head = _CHUNK.pack(_CHUNK_MAGIC, len(records), first, second, *checksums, 0)[:-4]
    return head + struct.pack("<I", zlib.crc32(head)), table, body
