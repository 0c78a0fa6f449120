"""Keys of many messages as one string of octets, so that the next session has them without looking at headers, pure.

A string: the number of messages, their UIDs, and the keys as columns: moments of 64 bits; texts as where each one ends, then all of them
behind each other; of links also each message id once and the numbers of those that a message refers to. Numbers are little-endian.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, repeat
from typing import Any

from dovecotpy.search.keys import Links
from dovecotpy.search.sort import Key

MAX_OCTETS = 1 << 26
"""Octets of one string; more keys than fit are not packed."""
_SWAP = sys.byteorder == "big"


class Unusable(Exception):
    """These octets are not what pack() made."""


def name_of(reader: Any) -> str:
    """What the keys of a reader are called: a sort key, or Links."""
    return reader.value.decode().lower() if isinstance(reader, Key) else "links"


def pack(name: str, uids: Sequence[int], keys: Sequence[Any]) -> bytes | None:
    """Keys, parallel to uids, as octets; None where they are too many or too long."""
    pieces = [_octets(array("I", (len(uids),))), _octets(array("I", uids))]
    try:
        _PACK.get(name, _pack_texts)(pieces, keys)
    except OverflowError:  # the texts are longer than 32 bits tell
        return None
    return b"".join(pieces) if sum(map(len, pieces)) <= MAX_OCTETS else None


def unpack(name: str, data: bytes) -> dict[int, Any]:
    """Keys by UID. Raises Unusable, whatever the octets are."""
    source = _Source(data)
    try:
        count = source.numbers("I", 1)[0]
        uids = source.numbers("I", count)
        keys = _UNPACK.get(name, _unpack_texts)(source, count)
    except IndexError as error:
        raise Unusable("a number that means nothing") from error
    if source.at != len(data):
        raise Unusable("more than there should be")
    return dict(zip(uids, keys, strict=True))


class _Source:
    """Octets from the front to the back."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def octets(self, size: int) -> bytes:
        """So many. Raises Unusable."""
        end = self.at + size
        if end > len(self.data):
            raise Unusable("truncated")
        taken = self.data[self.at : end]
        self.at = end
        return taken

    def numbers(self, kind: str, count: int) -> "array[int]":
        """So many numbers of a type of array. Raises Unusable."""
        numbers = array(kind)
        numbers.frombytes(self.octets(count * numbers.itemsize))
        if _SWAP:
            numbers.byteswap()
        return numbers


def _octets(numbers: "array[int]") -> bytes:
    if _SWAP:
        numbers.byteswap()
    return numbers.tobytes()


def _ends(sizes: Iterable[int]) -> bytes:
    return _octets(array("I", accumulate(sizes)))


def _pack_moments(pieces: list[bytes], keys: Sequence[int]) -> None:
    pieces.append(_octets(array("q", keys)))


def _unpack_moments(source: _Source, count: int) -> Sequence[int]:
    return source.numbers("q", count)


def _pack_texts(pieces: list[bytes], keys: Sequence[bytes]) -> None:
    pieces.append(_ends(map(len, keys)))
    pieces.extend(keys)


def _unpack_texts(source: _Source, count: int) -> list[bytes]:
    ends = source.numbers("I", count)
    data = source.octets(ends[-1] if ends else 0)
    return [data[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)] if ends else []


def _pack_links(pieces: list[bytes], keys: Sequence[Links]) -> None:
    _pack_moments(pieces, [each.sent for each in keys])
    _pack_texts(pieces, [each.subject for each in keys])
    pieces.append(bytes([each.reply for each in keys]))
    known: dict[bytes, int] = {}
    own = array("I", [known.setdefault(each.identity, len(known)) for each in keys])
    named = array("I")
    for each in keys:
        named.extend([known.setdefault(identity, len(known)) for identity in each.references])
    pieces.append(_octets(array("I", (len(known),))))
    _pack_texts(pieces, list(known))
    pieces.append(_octets(own))
    pieces.append(_ends(len(each.references) for each in keys))
    pieces.append(_octets(named))


def _unpack_links(source: _Source, count: int) -> list[Links]:
    moments = source.numbers("q", count)
    subjects = _unpack_texts(source, count)
    replies = map(bool, source.octets(count))
    known = _unpack_texts(source, source.numbers("I", 1)[0])
    own = map(known.__getitem__, source.numbers("I", count))
    ends = source.numbers("I", count)
    named = [known[number] for number in source.numbers("I", ends[-1] if ends else 0)]
    starts = array("I", (0,)) + ends[:-1]
    references = [tuple(named[start:end]) for start, end in zip(starts, ends, strict=False)]
    rows = zip(moments, subjects, replies, own, references, strict=True)
    return list(map(tuple.__new__, repeat(Links), rows))  # as Links._make, without a call of Python for each


_PACK: dict[str, Callable[[list[bytes], Sequence[Any]], None]] = {"date": _pack_moments, "links": _pack_links}
_UNPACK: dict[str, Callable[[_Source, int], Sequence[Any]]] = {
    "date": _unpack_moments,
    "links": _unpack_links,
}
