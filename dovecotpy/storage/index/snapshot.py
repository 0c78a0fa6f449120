"""The snapshot of a mailbox: `dovecotpy.index` (columns) in the INDEX directory; where each message was is in `names`.

It is written to a temporary name and renamed, and believed only if the checksum fits. It may be deleted at any time. Names
belong to a snapshot by their generation.

Layout: magic, version, CRC-32 of what follows; fixed head; stamp, boot id, keyword sets; columns, each as packed little-endian
machine numbers of the writing machine, which the magic names.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from array import array
from typing import NamedTuple

from dovecotpy.storage import files
from dovecotpy.storage.driver import Columns
from dovecotpy.storage.state import BOOT

NAME = "dovecotpy.index"
RECENT = "dovecotpy.recent"
VERSION = 2
MAGIC = b"DPYI" + (b"\x01" if sys.byteorder == "little" else b"\x02")
MAX_FILE = 1 << 32
_PREFIX = struct.Struct("<5sBxxI")
_HEAD = struct.Struct("<IIQ32s8sIIIII")
_RECENT = struct.Struct("<IQI")
_TYPES = ("I", "B", "I", "Q", "q", "q", "q")


class Unusable(Exception):
    """Not to be believed; says why."""


class Snapshot(NamedTuple):
    """What a mailbox was when it was written."""

    columns: Columns
    guid: bytes
    stamp: bytes
    """as the driver gave it; empty if the mailbox was not known for certain, or in another boot of the machine"""
    generation: bytes
    """of the names that belong to it"""


def write(directory: int, snapshot: Snapshot) -> None:
    """Put a snapshot in place. Raises OSError."""
    columns = snapshot.columns
    arrays = (
        columns.uids,
        columns.flags,
        columns.keywords,
        columns.modseqs,
        columns.sizes,
        columns.dates,
        columns.savedates,
    )
    words = "\n".join("\0".join(sorted(each)) for each in columns.keyword_sets).encode(
        "utf-8", "surrogateescape"
    )
    boot = BOOT.encode()
    head = _HEAD.pack(
        columns.uidvalidity,
        columns.uidnext,
        columns.modseq,
        snapshot.guid,
        snapshot.generation,
        len(columns.uids),
        len(snapshot.stamp),
        len(boot),
        len(words),
        len(columns.keyword_sets),
    )
    body = b"".join((head, snapshot.stamp, boot, words, *(each.tobytes() for each in arrays)))
    prefix = _PREFIX.pack(MAGIC, VERSION, zlib.crc32(body))
    files.replace(directory, NAME, prefix + body, sync=False)


def read(directory: int) -> Snapshot | None:
    """The snapshot; None where there is none. Raises Unusable, OSError."""
    try:
        data, _ = files.read(directory, NAME)
    except FileNotFoundError:
        return None
    body = _checked(data)
    try:
        return _parse(body)
    except (struct.error, ValueError) as error:
        raise Unusable(f"malformed: {error}") from error


def _checked(data: bytes) -> memoryview:
    if len(data) < _PREFIX.size:
        raise Unusable("truncated")
    magic, version, checksum = _PREFIX.unpack_from(data)
    if magic != MAGIC:
        raise Unusable("not an index of this machine")
    if version != VERSION:
        raise Unusable(f"version {version} is not {VERSION}")
    body = memoryview(data)[_PREFIX.size :]
    if zlib.crc32(body) != checksum:
        raise Unusable("checksum does not fit")
    return body


def _parse(body: memoryview) -> Snapshot:
    uidvalidity, uidnext, modseq, guid, generation, count, *lengths, sets = _HEAD.unpack_from(body)
    at = _HEAD.size
    pieces = []
    for length in lengths:
        pieces.append(bytes(body[at : at + length]))
        at += length
    stamp, boot, words = pieces
    arrays: list[array[int]] = []
    for kind in _TYPES:
        column = array(kind)
        end = at + count * column.itemsize
        column.frombytes(body[at:end])
        if len(column) != count:
            raise Unusable("truncated")
        arrays.append(column)
        at = end
    keyword_sets = tuple(
        frozenset(filter(None, line.split("\0")))
        for line in words.decode("utf-8", "surrogateescape").split("\n")
    )
    if len(set(keyword_sets)) != sets or max(arrays[2], default=0) >= sets:
        raise Unusable("keywords do not fit")
    if not BOOT or boot != BOOT.encode():
        stamp = b""
    uids, flags, keywords, modseqs, sizes, dates, savedates = arrays
    columns = Columns(
        modseq, uidvalidity, uidnext, uids, flags, keywords, modseqs, sizes, dates, savedates, keyword_sets
    )
    return Snapshot(columns, guid.rstrip(b"\0"), stamp, generation)


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
