"""`dovecotpy.index.names` in the INDEX directory: where each message was, by UID, so that one is found with a few reads.

A base, written whole to a temporary name and renamed: head; chunks of up to CHUNK messages (UIDs as 32-bit numbers, then the paths
with NULs between them); a directory of the chunks (first UID, place, CRC-32 of each), whose own CRC-32 stands in the head. Behind the
base, segments of the same form with what changed since, each with the place of the segment that it follows and a CRC-32; an empty path
says that a message is gone. Sessions beside each other add segments under an flock; a segment never changes, so each session goes
on from the one that it knows.

A generation names a state of it all: which base, and which segment was the last. Numbers are the writing machine's, which the magic
names. What is damaged or missing is Lost: a listing finds the names again. Nothing here is ever mapped into memory.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
import time
import zlib
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

from dovecotpy.storage import files
from dovecotpy.storage.driver import Blocks, Lost

NAME = "dovecotpy.index.names"
CHUNK = 128
"""Messages of a chunk."""
WRITTEN = 64 * CHUNK
"""Messages that are written at once."""
FOLD_LEAST = 1 << 18
"""Octets of segments before a new base is written, or FOLD_SHARE of the base if that is more."""
FOLD_SHARE = 4
MAX_SEGMENTS = 64
"""Segments that one look-up may have to read."""
MAX_FILE = 0xFFFF0000
TRIES = 10
PAUSE = 0.002
_MAGIC = b"DPYN" + (b"\x01" if sys.byteorder == "little" else b"\x02")
_VERSION = 3
_HEAD = struct.Struct("<5sBxx4sIQQI")
"""magic, version, id, chunks, place and end of the directory, CRC-32 of it with all before it here"""
_SEGMENT = struct.Struct("<4sIIIII")
"""id, place of the segment before (0: the base), how many there are, messages, octets of paths, CRC-32"""
_GENERATION = struct.Struct("<4sI")
_CHECKSUM = struct.Struct("<I")


class Block(NamedTuple):
    """Messages and their paths, parallel, by rising UID."""

    uids: "array[int]"
    paths: list[str]

    def find(self, uid: int) -> str | None:
        """A message's path; None if it is not among these."""
        place = bisect_left(self.uids, uid)
        return self.paths[place] if place < len(self.uids) and self.uids[place] == uid else None


class Names:
    """The names of one generation, read as they are asked for. directory: of the index, kept by the caller."""

    __slots__ = (
        "_chunk",
        "_crcs",
        "_descriptor",
        "_directory",
        "_firsts",
        "_number",
        "_places",
        "_segments",
        "generation",
    )

    def __init__(self, directory: int, generation: bytes) -> None:
        self._directory = directory
        self.generation = generation
        self._descriptor = -1
        self._firsts: array[int] = array("I")
        self._places: array[int] = array("Q")
        self._crcs: array[int] = array("I")
        self._segments: list[Block] = []
        self._chunk: Block | None = None
        self._number = -1

    def find(self, uid: int) -> str | None:
        """The path of one message; None where none is remembered. Raises Lost."""
        self._open()
        for segment in self._segments:
            path = segment.find(uid)
            if path is not None:
                return path or None
        number = bisect_right(self._firsts, uid) - 1
        return self._read_chunk(number).find(uid) if number >= 0 else None

    def several(self, uids: Sequence[int]) -> dict[int, str]:
        """The paths of many messages, as far as any is remembered, empty where one is gone; UIDs ascending. Raises Lost."""
        self._open()
        found: dict[int, str] = {}
        at = bisect_left(uids, self._firsts[0]) if self._firsts else len(uids)
        while at < len(uids):
            number = bisect_right(self._firsts, uids[at]) - 1
            last = number + 1 == len(self._firsts)
            end = len(uids) if last else bisect_left(uids, self._firsts[number + 1], at)
            block, wanted = self._read_chunk(number), frozenset(uids[at:end])
            found.update(pair for pair in zip(block.uids, block.paths, strict=True) if pair[0] in wanted)
            at = end
        wanted = frozenset(uids)
        for segment in reversed(self._segments):
            found.update(pair for pair in zip(segment.uids, segment.paths, strict=True) if pair[0] in wanted)
        return found

    def all(self) -> Iterator[tuple[int, str]]:
        """Every message with its path, by rising UID. Raises Lost."""
        self._open()
        return self.merged({})

    def merged(self, moved: Mapping[int, str]) -> Iterator[tuple[int, str]]:
        """As `all`, with further changes: an empty path takes a message out. Raises Lost."""
        self._open()
        changes: dict[int, str] = {}
        for segment in reversed(self._segments):
            changes.update(zip(segment.uids, segment.paths, strict=True))
        changes.update(moved)
        order = sorted(changes)
        done = 0
        for number in range(len(self._firsts)):
            chunk = self._read_chunk(number)
            last = chunk.uids[-1]
            end = bisect_right(order, last, done)
            if end == done:
                yield from zip(chunk.uids, chunk.paths, strict=True)
                continue
            mixed = dict(zip(chunk.uids, chunk.paths, strict=True))
            mixed.update((uid, changes[uid]) for uid in order[done:end])
            done = end
            yield from ((uid, mixed[uid]) for uid in sorted(mixed) if mixed[uid])
        yield from ((uid, changes[uid]) for uid in order[done:] if changes[uid])

    # The file

    def _open(self) -> None:
        if self._descriptor >= 0:
            return
        try:
            self._descriptor = os.open(NAME, files.READ, dir_fd=self._directory)
            self._read_base()
            self._read_segments()
        except (OSError, struct.error) as error:
            self.close()
            raise Lost(str(error)) from error
        except Lost:
            self.close()
            raise

    def _read_base(self) -> None:
        head = os.pread(self._descriptor, _HEAD.size, 0)
        magic, version, identity, chunks, place, end, checksum = _HEAD.unpack(head)
        if magic != _MAGIC or version != _VERSION or identity != self.generation[:4]:
            raise Lost("of another generation")
        size = os.fstat(self._descriptor).st_size
        if not _HEAD.size <= place <= end <= size or end - place != chunks * 16:
            raise Lost("malformed")
        listed = self._read(place, end)
        if zlib.crc32(listed, zlib.crc32(head[: -_CHECKSUM.size])) != checksum:
            raise Lost("checksum does not fit")
        self._firsts.frombytes(listed[: chunks * 4])
        self._crcs.frombytes(listed[chunks * 4 : chunks * 8])
        self._places.frombytes(listed[chunks * 8 :])
        self._places.append(place)

    def _read_segments(self) -> None:
        """Those that lead to this generation, the newest first."""
        identity, at = _GENERATION.unpack(self.generation)
        while at:
            head = os.pread(self._descriptor, _SEGMENT.size, at)
            owner, before, depth, count, length, checksum = _SEGMENT.unpack(head)
            if (
                owner != identity
                or before >= at
                or depth > MAX_SEGMENTS
                or len(self._segments) >= MAX_SEGMENTS
            ):
                raise Lost("malformed")
            end = at + _SEGMENT.size + count * 4 + length
            if end > os.fstat(self._descriptor).st_size:
                raise Lost("truncated")
            data = self._read(at + _SEGMENT.size, end)
            if zlib.crc32(data, zlib.crc32(head[: -_CHECKSUM.size])) != checksum:
                raise Lost("checksum does not fit")
            self._segments.append(_parse(data, count))
            at = before

    def _read_chunk(self, number: int) -> Block:
        if number == self._number and self._chunk is not None:
            return self._chunk
        data = self._read(self._places[number], self._places[number + 1])
        if zlib.crc32(data) != self._crcs[number] or len(data) < _CHECKSUM.size:
            raise Lost("checksum does not fit")
        count = _CHECKSUM.unpack_from(data)[0]
        self._chunk, self._number = _parse(data[_CHECKSUM.size :], count), number
        return self._chunk

    def _read(self, start: int, end: int) -> bytes:
        pieces = []
        while start < end:
            try:
                data = os.pread(self._descriptor, min(end - start, 1 << 20), start)
            except OSError as error:
                raise Lost(str(error)) from error
            if not data:
                raise Lost("truncated")
            pieces.append(data)
            start += len(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def room(self) -> tuple[int, int]:
        """Octets of segments that may stand behind the base, and where the base ends. Raises Lost."""
        self._open()
        end = self._places[-1] + len(self._firsts) * 16
        return max(FOLD_LEAST, end // FOLD_SHARE), end

    @property
    def depth(self) -> int:
        """How many segments lead here. Raises Lost."""
        self._open()
        return len(self._segments)

    def close(self) -> None:
        """Give the descriptor back; it opens again when needed. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._firsts, self._places, self._crcs = array("I"), array("Q"), array("I")
        self._segments, self._chunk, self._number = [], None, -1


def keep(
    directory: int,
    generation: bytes,
    moved: Mapping[int, str] | None,
    everything: Callable[[], Iterable[tuple[int, str]]],
) -> bytes:
    """Write down names; the generation that they are.

    generation: what the changes in `moved` (UID to path, empty where it is gone) are to. moved None: `everything`, by any order of
    UIDs, replaces whatever there was. Raises OSError.
    """
    if moved is not None and generation:
        if not moved:
            return generation
        names = Names(directory, generation)
        try:
            return _append(directory, names, moved) or _write(directory, names.merged(moved))
        except Lost:
            return _write(directory, _in_turn(everything()))
        finally:
            names.close()
    return _write(directory, _in_turn(everything()))


def _append(directory: int, names: Names, moved: Mapping[int, str]) -> bytes:
    """Put a segment behind all others; nothing if it is time for a new base. Raises Lost, OSError."""
    room, end = names.room()
    if names.depth >= MAX_SEGMENTS:
        return b""
    uids = array("I", sorted(moved))
    paths = os.fsencode("\0".join([moved[uid] for uid in uids]))
    identity, before = _GENERATION.unpack(names.generation)
    data = uids.tobytes() + paths
    descriptor = os.open(NAME, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory)
    try:
        if not _lock(descriptor):
            return b""
        if os.pread(descriptor, _HEAD.size, 0)[8:12] != identity:
            raise Lost("of another generation")
        at = os.fstat(descriptor).st_size
        if at + len(data) - end > room or at + len(data) > MAX_FILE:
            return b""
        head = _SEGMENT.pack(identity, before, names.depth + 1, len(uids), len(paths), 0)[: -_CHECKSUM.size]
        data = b"".join((head, _CHECKSUM.pack(zlib.crc32(data, zlib.crc32(head))), data))
        if os.pwrite(descriptor, data, at) != len(data):
            raise OSError(f"{NAME} was written in part")
    finally:
        os.close(descriptor)
    return _GENERATION.pack(identity, at)


def _lock(descriptor: int) -> bool:
    """A holder that does not let go costs a new base."""
    for _ in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(PAUSE)
        except OSError:
            return False
    return False


def _write(directory: int, named: Iterable[tuple[int, str]]) -> bytes:
    """A new base in place of the file. named: by rising UID. Raises Lost, OSError; nothing is left behind then."""
    identity = os.urandom(4)
    with files.replacing(directory, NAME) as descriptor:
        _write_base(descriptor, identity, named)
    files.sweep_temporary(directory, "dovecotpy.")
    return _GENERATION.pack(identity, 0)


def _write_base(descriptor: int, identity: bytes, named: Iterable[tuple[int, str]]) -> None:
    firsts, crcs, places = array("I"), array("I"), array("Q")
    at = _HEAD.size
    os.lseek(descriptor, at, os.SEEK_SET)
    for uids, paths in named.parts if isinstance(named, Blocks) else _in_blocks(named):
        pieces = []
        for start in range(0, len(uids), CHUNK):
            numbers, part = uids[start : start + CHUNK], paths[start : start + CHUNK]
            head = _CHECKSUM.pack(len(numbers)) + numbers.tobytes()
            data = head + os.fsencode("\0".join(part))
            firsts.append(numbers[0])
            crcs.append(zlib.crc32(data))
            places.append(at)
            pieces.append(data)
            at += len(data)
        files.write_all(descriptor, b"".join(pieces))
    if at > MAX_FILE:
        raise OSError(f"{NAME} would be too large")
    listed = firsts.tobytes() + crcs.tobytes() + places.tobytes()
    files.write_all(descriptor, listed)
    end = at + len(listed)
    head = _HEAD.pack(_MAGIC, _VERSION, identity, len(firsts), at, end, 0)[: -_CHECKSUM.size]
    os.pwrite(descriptor, head + _CHECKSUM.pack(zlib.crc32(listed, zlib.crc32(head))), 0)


def _in_turn(named: Iterable[tuple[int, str]]) -> Iterable[tuple[int, str]]:
    return named if isinstance(named, Blocks) else sorted(named)


def _in_blocks(named: Iterable[tuple[int, str]]) -> Iterator[tuple["array[int]", list[str]]]:
    rest = iter(named)
    while pairs := list(islice(rest, WRITTEN)):
        yield array("I", [uid for uid, _ in pairs]), [path for _, path in pairs]


def _parse(data: bytes, count: int) -> Block:
    uids: array[int] = array("I")
    uids.frombytes(data[: count * 4])
    paths = os.fsdecode(data[count * 4 :]).split("\0") if count else []
    if len(uids) != count or len(paths) != count:
        raise Lost("malformed")
    return Block(uids, paths)
