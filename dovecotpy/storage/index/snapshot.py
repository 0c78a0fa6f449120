"""`dovecotpy.index` in the INDEX directory: the columns of a mailbox as they were at one modseq, and behind them the log of what changed since.

One file, so that no reader can pair a snapshot with another's log: a new snapshot is written to a temporary name and renamed, the log
behind it is empty then and grows in place (`index/log.py`). It may be deleted at any time.

Layout: magic, version, length and CRC-32 of the head; the head with all that is small and a directory of the columns; the columns, each in
one run of packed numbers of the writing machine, which the magic names, or, where all values are the same, as that value alone; expunged
ranges; arrivals; the log. A column is checked by a CRC-32 for each segment of 8,192 messages when it is read, so that nothing is read for an opening
but what is asked for. For each segment the highest modseq stands in the head, so that what changed since one is found without reading all.

`dovecotpy.index.names` (where each message was) belongs to it by a generation; without it a listing finds the names again.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dovecotpy.storage import files
from dovecotpy.storage.columns import MODSEQS, TYPES, UIDS
from dovecotpy.storage.index.log import pack_sets, unpack_sets
from dovecotpy.storage.state import BOOT

NAME = "dovecotpy.index"
RECENT = "dovecotpy.recent"
VERSION = 3
MAGIC = b"DPYI" + (b"\x01" if sys.byteorder == "little" else b"\x02")
SEGMENT = 8192
FIRST_READ = 1 << 16
"""Octets read at once at an opening: all of a small mailbox."""
MAX_HEAD = 1 << 24
MAX_MODSEQ = 1 << 63
"""RFC 7162 section 7."""
_PREFIX = struct.Struct("<5sBxxI")
_LENGTH = struct.Struct("<I")
_HEAD = struct.Struct("<8s8s36s32sIIQQQQ8sHHIIIIQQ")
_COLUMN = struct.Struct("<BxxxIqQ")
_RECENT = struct.Struct("<IQI")
_RAW, _SAME = 0, 1


class Unusable(Exception):
    """Not to be believed; says why."""


class Head(NamedTuple):
    """What is small, of a snapshot."""

    history: bytes
    """which numbering of modseqs: another one begins where the old one was lost"""
    generation: bytes
    """which file"""
    boot: bytes
    guid: bytes
    uidvalidity: int
    uidnext: int
    modseq: int
    least: int
    """what vanished after this modseq is known"""
    reserved: tuple[int, int]
    """modseqs that may be given: the first, and the one behind the last"""
    names: bytes
    """generation of the names file"""
    stamp: bytes
    """as the driver gave it; empty if the mailbox was not known for certain, or in another boot of the machine"""
    sets: tuple[frozenset[str], ...]
    messages: int

    @property
    def of_this_boot(self) -> bool:
        """Whether every number that was given since is known."""
        return bool(BOOT) and self.boot == BOOT.encode()


class Snapshot:
    """An open snapshot. Takes over the descriptor; reads what is asked for. Raises Unusable, OSError, also later."""

    __slots__ = (
        "_arrivals",
        "_columns",
        "_crcs",
        "_data",
        "_expunges",
        "_maxima",
        "descriptor",
        "head",
        "identity",
        "log",
    )

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.identity = (0, 0)
        """device and inode, once the tail was read"""
        try:
            self._data = os.pread(descriptor, FIRST_READ, 0)
            self._read_head()
        except (struct.error, ValueError) as error:
            raise Unusable(f"malformed: {error}") from error

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def _read_head(self) -> None:
        data = self._data
        if len(data) < _PREFIX.size + _LENGTH.size:
            raise Unusable("truncated")
        magic, version, checksum = _PREFIX.unpack_from(data)
        if magic != MAGIC:
            raise Unusable("not an index of this machine")
        if version != VERSION:
            raise Unusable(f"version {version} is not {VERSION}")
        length = _LENGTH.unpack_from(data, _PREFIX.size)[0]
        if length > MAX_HEAD:
            raise Unusable("malformed: the head is too large")
        start = _PREFIX.size + _LENGTH.size
        body = data[start : start + length]
        if len(body) < length:
            body += os.pread(self.descriptor, length - len(body), start + len(body))
        if len(body) != length or zlib.crc32(body, length) != checksum:
            raise Unusable("checksum does not fit")
        self._parse(body)

    def _parse(self, body: bytes) -> None:
        history, generation, boot, guid, validity, uidnext, modseq, least, first, end, names, *rest = (
            _HEAD.unpack_from(body)
        )
        stamped, _, words, count, expunges, arrivals, expunges_at, self.log = rest
        at = _HEAD.size
        stamp, at = body[at : at + stamped], at + stamped
        sets, at = unpack_sets(body[at : at + words]), at + words
        owner = boot.rstrip(b"\0")
        if max(modseq, least, end) >= MAX_MODSEQ:
            raise Unusable("malformed: a modseq is too large")
        self.head = Head(
            history,
            generation,
            owner,
            guid.rstrip(b"\0"),
            validity,
            uidnext,
            modseq,
            least,
            (first, end),
            names if any(names) else b"",
            stamp if BOOT and owner == BOOT.encode() else b"",
            sets,
            count,
        )
        self._columns: list[tuple[int, int, int]] = []
        for _ in TYPES:
            kind, _, value, place = _COLUMN.unpack_from(body, at)
            self._columns.append((kind, value, place))
            at += _COLUMN.size
        segments = -(-count // SEGMENT)
        self._crcs: list[Sequence[int]] = []
        for kind, _, _ in self._columns:
            self._crcs.append(struct.unpack_from(f"<{segments}I", body, at) if kind == _RAW else ())
            at += 4 * segments if kind == _RAW else 0
        self._maxima = struct.unpack_from(f"<{segments}Q", body, at)
        at += 8 * segments
        crcs = struct.unpack_from("<II", body, at)
        self._expunges = expunges_at, expunges, crcs[0]
        self._arrivals = expunges_at + expunges * 16, arrivals, crcs[1]

    def _read(self, place: int, length: int) -> bytes:
        if place + length <= len(self._data):
            return self._data[place : place + length]
        pieces = []
        while length:
            data = os.pread(self.descriptor, min(length, 1 << 24), place)
            if not data:
                raise Unusable("truncated")
            pieces.append(data)
            place += len(data)
            length -= len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def column(self, number: int) -> "array[int]":
        """A column, new each time."""
        try:
            return self._column(number)
        except (OverflowError, ValueError) as error:
            raise Unusable(f"malformed: {error}") from error

    def _column(self, number: int) -> "array[int]":
        count = self.head.messages
        kind, value, place = self._columns[number]
        if kind == _SAME:
            if number == UIDS and count > 1:
                raise Unusable("malformed: UIDs that are the same")
            return array(TYPES[number], [value]) * count
        column = array(TYPES[number])
        size = column.itemsize
        if place + count * size <= len(self._data):
            column.frombytes(self._data[place : place + count * size])
        else:
            if place + count * size > os.fstat(self.descriptor).st_size:
                raise Unusable("truncated")
            column = array(TYPES[number], [0]) * count
            read = os.preadv(self.descriptor, [memoryview(column)], place)
            if read != count * size:
                column = array(TYPES[number])
                column.frombytes(self._read(place, count * size))
        view = memoryview(column).cast("B")
        for segment, checksum in enumerate(self._crcs[number]):
            if zlib.crc32(view[segment * SEGMENT * size : (segment + 1) * SEGMENT * size]) != checksum:
                raise Unusable("checksum does not fit")
        return column

    def changed_since(self, modseq: int) -> list[tuple[int, int]]:
        """UIDs, ascending, with their modseqs, where those are above one."""
        try:
            return self._changed_since(modseq)
        except (OverflowError, ValueError) as error:
            raise Unusable(f"malformed: {error}") from error

    def _changed_since(self, modseq: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []
        for segment, highest in enumerate(self._maxima):
            if highest > modseq:
                pairs = zip(self._part(UIDS, segment), self._part(MODSEQS, segment), strict=True)
                found += [pair for pair in pairs if pair[1] > modseq]
        return found

    def _part(self, number: int, segment: int) -> "array[int]":
        """One segment of a column."""
        kind, value, place = self._columns[number]
        count = min(SEGMENT, self.head.messages - segment * SEGMENT)
        if kind == _SAME:
            return array(TYPES[number], [value]) * count
        column = array(TYPES[number])
        data = self._read(place + segment * SEGMENT * column.itemsize, count * column.itemsize)
        if zlib.crc32(data) != self._crcs[number][segment]:
            raise Unusable("checksum does not fit")
        column.frombytes(data)
        return column

    def expunges(self) -> list[tuple[int, int, int]]:
        """Modseq, first and last UID of what vanished, ascending."""
        place, count, checksum = self._expunges
        data = self._read(place, count * 16)
        if zlib.crc32(data) != checksum:
            raise Unusable("checksum does not fit")
        return [(modseq, first, last) for modseq, first, last in struct.iter_unpack("<QII", data)]

    def arrivals(self) -> list[tuple[int, int]]:
        """Modseq and first UID of what arrived, ascending."""
        place, count, checksum = self._arrivals
        data = self._read(place, count * 12)
        if zlib.crc32(data) != checksum:
            raise Unusable("checksum does not fit")
        return [(modseq, first) for modseq, first in struct.iter_unpack("<QI", data)]

    def tail(self, place: int) -> bytes:
        """What stands from a place behind the columns on. Raises Unusable where there is no such place."""
        ahead, self._data = self._data, self._data[: self.log] if self.log <= len(self._data) else b""
        there = os.fstat(self.descriptor)
        self.identity = (there.st_dev, there.st_ino)
        end = there.st_size
        if end < place:
            raise Unusable("truncated")
        if end == place:
            return b""
        if end <= len(ahead):
            return ahead[place:end]
        try:
            return self._read(place, end - place)
        except Unusable:
            return b""


def open_snapshot(directory: int) -> Snapshot | None:
    """The snapshot of an INDEX directory; None where there is none. Raises Unusable, OSError."""
    mode = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(NAME, mode | os.O_RDWR, dir_fd=directory)
    except FileNotFoundError:
        return None
    except OSError:
        descriptor = os.open(NAME, mode | os.O_RDONLY, dir_fd=directory)
    return Snapshot(descriptor)


def write(
    directory: int,
    head: Head,
    column: Callable[[int], "array[int]"],
    expunges: Sequence[tuple[int, int, int]],
    arrivals: Sequence[tuple[int, int]],
) -> None:
    """Put a snapshot in place, with an empty log. Columns are asked for one at a time. Raises OSError; nothing is left behind then."""
    with files.replacing(directory, NAME) as descriptor:
        _write(descriptor, head, column, expunges, arrivals)


def _write(
    descriptor: int,
    head: Head,
    column: Callable[[int], "array[int]"],
    expunges: Sequence[tuple[int, int, int]],
    arrivals: Sequence[tuple[int, int]],
) -> None:
    words = pack_sets(head.sets)
    segments = -(-head.messages // SEGMENT)
    fixed = _PREFIX.size + _LENGTH.size + _HEAD.size + len(head.stamp) + len(words)
    most = fixed + len(TYPES) * (_COLUMN.size + 4 * segments) + 8 * segments + 8
    place = -(-most // 4096) * 4096 if head.messages > SEGMENT else most
    described, checksums = [], []
    maxima: list[int] = []
    pieces: list[bytes] = []
    for number, kind in enumerate(TYPES):
        part = column(number)
        if len(part) != head.messages or part.typecode != kind:
            raise ValueError("columns differ")
        if number == MODSEQS:
            maxima = [max(part[at : at + SEGMENT]) for at in range(0, len(part), SEGMENT)]
        first = part[0] if part else 0
        data = part.tobytes()
        size = part.itemsize
        if not part or (first == part[-1] and data == data[:size] * head.messages):
            described.append(_COLUMN.pack(_SAME, 0, first, 0))
            continue
        described.append(_COLUMN.pack(_RAW, 0, 0, place))
        checksums.append(struct.pack(f"<{segments}I", *_checksums(data, size)))
        if head.messages > SEGMENT:
            _write_at(descriptor, data, place)
        else:
            pieces.append(data)
        place += len(data)
    gone = b"".join([struct.pack("<QII", *row) for row in expunges])
    came = b"".join([struct.pack("<QI", *row) for row in arrivals])
    body = b"".join(
        (
            _HEAD.pack(
                head.history,
                head.generation,
                head.boot,
                head.guid,
                head.uidvalidity,
                head.uidnext,
                head.modseq,
                head.least,
                *head.reserved,
                head.names,
                len(head.stamp),
                0,
                len(words),
                head.messages,
                len(expunges),
                len(arrivals),
                place,
                place + len(gone) + len(came),
            ),
            head.stamp,
            words,
            *described,
            *checksums,
            struct.pack(f"<{segments}Q", *maxima),
            struct.pack("<II", zlib.crc32(gone), zlib.crc32(came)),
        )
    )
    front = _PREFIX.pack(MAGIC, VERSION, zlib.crc32(body, len(body))) + _LENGTH.pack(len(body)) + body
    if head.messages > SEGMENT:
        _write_at(descriptor, gone + came, place)
        _write_at(descriptor, front, 0)
    else:
        padding = bytes(most - len(front))
        _write_at(descriptor, b"".join((front, padding, *pieces, gone, came)), 0)


def _checksums(data: bytes, size: int) -> list[int]:
    view, step = memoryview(data), SEGMENT * size
    return [zlib.crc32(view[at : at + step]) for at in range(0, len(data), step)]


def _write_at(descriptor: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, place)
        view = view[written:]
        place += written


def _checked(data: bytes) -> memoryview:
    if len(data) < _PREFIX.size:
        raise Unusable("truncated")
    magic, version, checksum = _PREFIX.unpack_from(data)
    if magic != MAGIC or version != VERSION:
        raise Unusable("of another version")
    body = memoryview(data)[_PREFIX.size :]
    if zlib.crc32(body) != checksum:
        raise Unusable("checksum does not fit")
    return body


def read_recent(directory: int, uidvalidity: int) -> int | None:
    """The UID from which on no session claimed \\Recent yet; None: not known."""
    try:
        data, _ = files.read(directory, RECENT)
    except OSError:
        return None
    if len(data) != _RECENT.size:
        return None
    validity, uid, checksum = _RECENT.unpack(data)
    if validity != uidvalidity or checksum != zlib.crc32(data[: _RECENT.size - 4]):
        return None
    return int(uid)


def start_recent(directory: int, uidvalidity: int, uid: int) -> None:
    """Note from where on messages are unclaimed, where nothing is noted yet. Needs no lock, and never replaces what a claim wrote. Raises OSError."""
    temporary = f"{RECENT}.tmp.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(temporary, files.CREATE, 0o666, dir_fd=directory)
    try:
        os.pwrite(descriptor, _packed_recent(uidvalidity, uid), 0)
        os.link(temporary, RECENT, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
    except FileExistsError:
        return
    finally:
        os.close(descriptor)
        os.unlink(temporary, dir_fd=directory)


def write_recent(directory: int, uidvalidity: int, uid: int) -> None:
    """Note that every message below a UID is claimed. Under the mailbox's lock. Raises OSError."""
    mode = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(RECENT, mode, 0o666, dir_fd=directory)
    try:
        if os.fstat(descriptor).st_size > _RECENT.size:
            os.ftruncate(descriptor, _RECENT.size)
        os.pwrite(descriptor, _packed_recent(uidvalidity, uid), 0)
    finally:
        os.close(descriptor)


def _packed_recent(uidvalidity: int, uid: int) -> bytes:
    data = struct.pack("<IQ", uidvalidity, uid)
    return data + struct.pack("<I", zlib.crc32(data))
