"""The form of a mailbox's cache on disk: a head that says what is committed, and chunks of values behind each other.

`dovecotpy.cache` is the head: one record, written in place after the data that it speaks of. `dovecotpy.cache.<generation>` holds the
chunks. A chunk has values of several kinds for up to MAX_COUNT messages, each kind as one section with a checksum of its own, so that
one kind is read without the others. Numbers are little-endian. Parsing raises Unusable and nothing else, whatever the octets are.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

HEAD = "dovecotpy.cache"
LOCK = "dovecotpy.cache.lock"
VERSION = 1
MAX_COUNT = 512
"""Messages of one chunk."""
MAX_KINDS = 32
MAX_SECTION = 1 << 28
"""Octets of one section."""
MAX_VALUE = 65536
"""Octets of one value; a longer one is not kept but noted as OVERSIZE."""
OVERSIZE = b"-"
"""Stands for a value that must be made anew each time. No value that may be oversize has this form."""
PREFIX_SIZE = 16
FIRST_READ = 4096
"""Octets of a chunk that hold prefix, table and UIDs in the usual case."""

_HEAD = struct.Struct("<8sI32sI8sQQ36sI")
"""magic, version, GUID, UIDVALIDITY, generation, committed, synced, boot id, CRC-32 of what precedes"""
HEAD_SIZE = _HEAD.size
_MAGIC = b"DPYCache"
_PREFIX = struct.Struct("<4sHHII")
"""magic, kinds, messages, octets of the whole chunk, CRC-32 of the prefix up to here, table and UIDs"""
_CHUNK_MAGIC = b"DPYK"
_ENTRY = struct.Struct("<III")
"""kind, octets of the section, its CRC-32"""
_SWAP = sys.byteorder == "big"


class Unusable(Exception):
    """Not to be believed; says why."""


class Head(NamedTuple):
    """What is committed."""

    guid: bytes
    uidvalidity: int
    generation: bytes
    """8 octets that name the file with the chunks"""
    committed: int
    """octets of chunks that count, if this boot of the machine wrote them"""
    synced: int
    """octets that count in any case"""
    boot: bytes


class Section(NamedTuple):
    """Where the values of one kind lie in the file."""

    at: int
    length: int
    checksum: int


class Chunk(NamedTuple):
    """One chunk, without its values."""

    uids: "array[int]"
    """type 'I', ascending"""
    sections: dict[int, Section]
    end: int
    """where the next one starts"""


class Values:
    """The values of one kind in one chunk."""

    __slots__ = ("data", "offsets")

    def __init__(self, offsets: "array[int]", data: bytes) -> None:
        self.offsets = offsets
        self.data = data

    def slices(self, start: int, end: int) -> list[bytes]:
        """The values at these places."""
        data, offsets = self.data, self.offsets
        bounds = offsets[start : end + 1]
        return [data[first:last] for first, last in zip(bounds, bounds[1:], strict=False)]


def file_name(generation: bytes) -> str:
    """The file with the chunks of a generation."""
    return f"{HEAD}.{generation.hex()}"


def is_file_name(name: str) -> bool:
    """Whether a file of this name holds chunks of some generation."""
    suffix = name.removeprefix(HEAD + ".")
    return len(suffix) == 16 and suffix != name and not suffix.strip("0123456789abcdef")


def pack_head(head: Head) -> bytes:
    """The record of a head."""
    record = _HEAD.pack(
        _MAGIC,
        VERSION,
        head.guid,
        head.uidvalidity,
        head.generation,
        head.committed,
        head.synced,
        head.boot,
        0,
    )
    return record[:-4] + struct.pack("<I", zlib.crc32(record[:-4]))


def parse_head(record: bytes) -> Head:
    """The head in a record. Raises Unusable."""
    if len(record) != HEAD_SIZE:
        raise Unusable("truncated head")
    magic, version, guid, uidvalidity, generation, committed, synced, boot, checksum = _HEAD.unpack(record)
    if magic != _MAGIC or version != VERSION:
        raise Unusable("another kind of file or version")
    if checksum != zlib.crc32(record[:-4]):
        raise Unusable("checksum of the head does not fit")
    return Head(
        guid.rstrip(b"\0"), uidvalidity, generation, committed, min(synced, committed), boot.rstrip(b"\0")
    )


def pack_chunk(uids: Sequence[int], columns: Sequence[tuple[int, Sequence[bytes]]]) -> bytes:
    """A chunk. uids: ascending, at most MAX_COUNT. columns: each kind with its values, parallel to uids."""
    sections = [(kind, _section(values)) for kind, values in columns]
    table = b"".join([_ENTRY.pack(kind, len(section), zlib.crc32(section)) for kind, section in sections])
    index = table + _octets(array("I", uids))
    length = PREFIX_SIZE + len(index) + sum(len(section) for _, section in sections)
    prefix = _PREFIX.pack(_CHUNK_MAGIC, len(sections), len(uids), length, 0)[:-4]
    checksum = struct.pack("<I", zlib.crc32(index, zlib.crc32(prefix)))
    return b"".join([prefix, checksum, index, *(section for _, section in sections)])


def _section(values: Sequence[bytes]) -> bytes:
    offsets = array("I", accumulate(map(len, values), initial=0))
    return _octets(offsets) + b"".join(values)


def index_size(prefix: bytes) -> int:
    """Octets of a chunk without its sections. Raises Unusable."""
    if len(prefix) < PREFIX_SIZE:
        raise Unusable("truncated chunk")
    magic, kinds, count, _, _ = _PREFIX.unpack_from(prefix)
    if magic != _CHUNK_MAGIC or not 0 < count <= MAX_COUNT or not 0 < kinds <= MAX_KINDS:
        raise Unusable("not a chunk")
    return PREFIX_SIZE + int(kinds) * _ENTRY.size + int(count) * 4


def parse_chunk(data: bytes, at: int, limit: int) -> Chunk:
    """The chunk whose first octets (at least index_size() of them) are data. at: its place; limit: the committed length. Raises Unusable."""
    size = index_size(data)
    _, kinds, count, length, checksum = _PREFIX.unpack_from(data)
    index = data[PREFIX_SIZE:size]
    if len(index) != size - PREFIX_SIZE or at + length > limit:
        raise Unusable("truncated chunk")
    if zlib.crc32(index, zlib.crc32(data[: PREFIX_SIZE - 4])) != checksum:
        raise Unusable("checksum of a chunk does not fit")
    table_size = kinds * _ENTRY.size
    place = at + size
    sections = {}
    for kind, octets, section_checksum in _ENTRY.iter_unpack(index[:table_size]):
        if octets > MAX_SECTION:
            raise Unusable("section too large")
        sections[kind] = Section(place, octets, section_checksum)
        place += octets
    if place != at + length:
        raise Unusable("sections do not fill the chunk")
    uids = _numbers(index[table_size:])
    if any(map(int.__ge__, uids, uids[1:])):
        raise Unusable("UIDs do not ascend")
    return Chunk(uids, sections, at + length)


def parse_section(data: bytes, section: Section, count: int) -> Values:
    """The values in a section's octets. Raises Unusable."""
    if len(data) != section.length or zlib.crc32(data) != section.checksum:
        raise Unusable("checksum of a section does not fit")
    size = (count + 1) * 4
    offsets = _numbers(data[:size])
    if len(offsets) != count + 1 or offsets[0] or offsets[-1] != len(data) - size:
        raise Unusable("offsets do not fit")
    return Values(offsets, data[size:])


def _octets(numbers: "array[int]") -> bytes:
    if _SWAP:
        numbers.byteswap()
    return numbers.tobytes()


def _numbers(octets: bytes) -> "array[int]":
    numbers = array("I")
    numbers.frombytes(octets[: len(octets) & ~3])
    if _SWAP:
        numbers.byteswap()
    return numbers
