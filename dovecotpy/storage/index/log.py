"""The log of a mailbox's index: what changed since the snapshot that it stands behind in `dovecotpy.index`.

A record is what one session noted under the index lock: CRC-32, length, modseq, then parts (length, kind, content). The CRC begins with
the generation of the file and the place of the record, so that neither what a killed writer left behind nor an older file's bytes
can pass for a record. What does not fit ends the log; the next writer begins there.

Numbers are the writing machine's, which the magic of the file names.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dovecotpy.storage.columns import MODSEQS, TYPES

MAX_RECORD = 1 << 28
"""Octets of one record; whoever has more to say writes a new snapshot."""
_HEAD = struct.Struct("<IIQ")
_PART = struct.Struct("<IB3x")
_CRC = struct.Struct("<I")
_ONE = struct.Struct("<IIQIB3xIB")
"""a record of nothing but the flags of one message"""
_KIND = _HEAD.size + 4
_BOX = struct.Struct("<II")
_RESERVED = struct.Struct("<QQ")
_ARRIVED, _ALTERED, _WORDS, _VANISHED, _SETS, _BOX_PART, _STAMP, _RESERVED_PART, _LEARNT = range(1, 10)
_NAMES = 8


class Altered(NamedTuple):
    """Other flags of some messages, parallel columns. words: empty where the keywords stay."""

    uids: Sequence[int]
    flags: Sequence[int]
    words: Sequence[int]


class Record(NamedTuple):
    """What one session noted at once."""

    modseq: int = 0
    """of all changes in it; 0: none of them has one"""
    arrived: "Sequence[array[int]]" = ()
    """a column each, that of the modseqs empty; no columns: nobody came"""
    altered: Altered | None = None
    vanished: Sequence[tuple[int, int]] = ()
    """ranges of UIDs, ascending"""
    sets: Sequence[frozenset[str]] = ()
    """keyword sets that got the next numbers"""
    box: tuple[int, int] = (0, 0)
    """UIDVALIDITY and next UID; zeros: as before"""
    stamp: bytes | None = None
    """the store was seen in this state, and everything in it is noted; None: nothing new about that"""
    names: bytes = b""
    """with a stamp: the generation of the names file"""
    reserved: tuple[int, int] = (0, 0)
    """modseqs that may be given from now on: the first, and the one behind the last; zeros: as before"""
    learnt: Sequence[tuple[int, Sequence[int], Sequence[int]]] = ()
    """column, UIDs, values"""


def pack(record: Record, generation: bytes, place: int) -> bytes:
    """A record as it stands at a place of a file."""
    parts = []

    def add(kind: int, *pieces: bytes) -> None:
        data = b"".join(pieces)
        parts.append(_PART.pack(len(data), kind) + data)

    if record.reserved[1]:
        add(_RESERVED_PART, _RESERVED.pack(*record.reserved))
    if record.sets:
        add(_SETS, pack_sets(record.sets))
    if record.altered is not None:
        add(_ALTERED, array("I", record.altered.uids).tobytes(), bytes(record.altered.flags))
        if record.altered.words:
            add(_WORDS, array("I", record.altered.words).tobytes())
    if record.vanished:
        add(_VANISHED, array("I", [uid for pair in record.vanished for uid in pair]).tobytes())
    if record.arrived:
        add(
            _ARRIVED, *[column.tobytes() for number, column in enumerate(record.arrived) if number != MODSEQS]
        )
    if record.box[0]:
        add(_BOX_PART, _BOX.pack(*record.box))
    for number, uids, values in record.learnt:
        add(_LEARNT, bytes([number]), array("I", uids).tobytes(), array("q", values).tobytes())
    if record.stamp is not None:
        add(_STAMP, record.names.ljust(_NAMES, b"\0"), record.stamp)
    body = b"".join(parts)
    data = _HEAD.pack(0, _HEAD.size + len(body), record.modseq) + body
    return _CRC.pack(zlib.crc32(memoryview(data)[_CRC.size :], _seed(generation) ^ place)) + data[_CRC.size :]


def _seed(generation: bytes) -> int:
    return zlib.crc32(generation)


def unpack(data: bytes, generation: bytes, place: int) -> Iterator[tuple[Record, int]]:
    """The records that begin at a place of a file, each with the place behind it. What does not fit ends them."""
    at = 0
    view = memoryview(data)
    seed = _seed(generation)
    while len(data) - at >= _HEAD.size:
        checksum, length, modseq = _HEAD.unpack_from(data, at)
        if not _HEAD.size <= length <= len(data) - at:
            return
        if zlib.crc32(view[at + _CRC.size : at + length], seed ^ (place + at)) != checksum:
            return
        if length == _ONE.size and data[at + _KIND] == _ALTERED:
            *_, uid, flags = _ONE.unpack_from(data, at)
            record = Record(modseq, (), Altered((uid,), (flags,), ()))
        else:
            try:
                record = _parse(modseq, view[at + _HEAD.size : at + length])
            except (struct.error, ValueError):
                return
        at += length
        yield record, place + at


def _parse(modseq: int, body: memoryview) -> Record:
    """Raises struct.error, ValueError."""
    fields: dict[str, object] = {}
    learnt: list[tuple[int, Sequence[int], Sequence[int]]] = []
    at = 0
    while at < len(body):
        length, kind = _PART.unpack_from(body, at)
        at += _PART.size
        data = body[at : at + length]
        if len(data) != length:
            raise ValueError("truncated")
        at += length
        if kind == _ALTERED:
            uids, flags = _parallel(data, "IB")
            fields["altered"] = Altered(uids, flags, array("I"))
        elif kind == _WORDS:
            fields["altered"] = _with_words(fields.get("altered"), data)
        elif kind == _ARRIVED:
            columns = _parallel(data, TYPES[:MODSEQS] + TYPES[MODSEQS + 1 :])
            fields["arrived"] = [*columns[:MODSEQS], array("Q"), *columns[MODSEQS:]]
        elif kind == _VANISHED:
            bounds = _array("I", data)
            fields["vanished"] = list(zip(bounds[::2], bounds[1::2], strict=True))
        elif kind == _SETS:
            fields["sets"] = unpack_sets(bytes(data))
        elif kind == _BOX_PART:
            fields["box"] = _BOX.unpack(data)
        elif kind == _RESERVED_PART:
            fields["reserved"] = _RESERVED.unpack(data)
        elif kind == _STAMP:
            fields["names"] = bytes(data[:_NAMES]) if any(data[:_NAMES]) else b""
            fields["stamp"] = bytes(data[_NAMES:])
        elif kind == _LEARNT:
            learnt.append((data[0], *_parallel(data[1:], "Iq")))  # type: ignore[arg-type]
            if data[0] >= len(TYPES):
                raise ValueError("no such column")
    return Record(modseq, learnt=learnt, **fields)  # type: ignore[arg-type]


def _with_words(altered: object, data: memoryview) -> Altered:
    words = _array("I", data)
    if not isinstance(altered, Altered) or len(words) != len(altered.uids):
        raise ValueError("keywords of nothing")
    return altered._replace(words=words)


def _array(kind: str, data: memoryview) -> "array[int]":
    column = array(kind)
    column.frombytes(data)
    return column


def _parallel(data: memoryview, kinds: str) -> "list[array[int]]":
    """Columns of equal length, one behind the other. Raises ValueError."""
    width = sum(array(kind).itemsize for kind in kinds)
    count, rest = divmod(len(data), width)
    if rest or not count:
        raise ValueError("columns differ")
    columns = []
    at = 0
    for kind in kinds:
        size = count * array(kind).itemsize
        columns.append(_array(kind, data[at : at + size]))
        at += size
    return columns


def pack_sets(sets: Sequence[frozenset[str]]) -> bytes:
    """Keyword sets, one a line."""
    return "\n".join("\0".join(sorted(each)) for each in sets).encode("utf-8", "surrogateescape")


def unpack_sets(data: bytes) -> tuple[frozenset[str], ...]:
    """As `pack_sets` wrote them. Raises ValueError."""
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    return tuple(frozenset(filter(None, line.split("\0"))) for line in lines)
