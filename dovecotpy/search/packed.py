"""Keys of many messages as one string of octets, so that the next session has them without looking at headers, pure.

A string: the number of messages, their UIDs, and the keys as columns: moments of 64 bits; texts as where each one ends, then all of them
behind each other; of links also each message id once and the numbers of those that a message refers to. Numbers are little-endian.
"""

from __future__ import annotations

import marshal
import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

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
    """Keys, parallel to uids (ascending), as octets; None where they are too many or too long."""
    pieces = [octets_of(array("I", (len(uids),))), octets_of(array("I", uids))]
    try:
        _PACK.get(name, _pack_texts)(pieces, keys)
    except OverflowError:  # the texts are longer than 32 bits tell
        return None
    return b"".join(pieces) if sum(map(len, pieces)) <= MAX_OCTETS else None


class Packed(NamedTuple):
    """Keys in little room."""

    uids: "array[int]"
    """in the order in which they were packed, which is ascending"""
    keys: Sequence[Any]
    """parallel to uids"""

    def place(self, uid: int) -> int:
        """Where the key of a message is; -1 if it is not here."""
        place = bisect_left(self.uids, uid)
        return place if place < len(self.uids) and self.uids[place] == uid else -1


NOTHING = Packed(array("I"), ())


class Texts(Sequence[bytes]):
    """Texts behind each other, cut out when somebody asks for them."""

    __slots__ = ("_bounds", "_data")

    def __init__(self, ends: "array[int]", data: bytes) -> None:
        self._bounds = array("I", (0,)) + ends
        self._data = data

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __getitem__(self, place: Any) -> Any:
        return self._data[self._bounds[place] : self._bounds[place + 1]]

    def __iter__(self) -> Iterator[bytes]:
        return map(self._data.__getitem__, map(slice, self._bounds, self._bounds[1:]))


def unpack(name: str, data: bytes) -> Packed:
    """Keys of messages. Raises Unusable, whatever the octets are."""
    source = Source(data)
    try:
        count = source.numbers("I", 1)[0]
        uids = source.numbers("I", count)
        keys = _UNPACK.get(name, _unpack_texts)(source, count)
    except IndexError as error:
        raise Unusable("a number that means nothing") from error
    source.end()
    if any(map(int.__ge__, uids, uids[1:])):
        raise Unusable("UIDs do not ascend")
    return Packed(uids, keys)


class Source:
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

    def end(self) -> None:
        """Raises Unusable if there is more."""
        if self.at != len(self.data):
            raise Unusable("more than there should be")

    def numbers(self, kind: str, count: int) -> "array[int]":
        """So many numbers of a type of array. Raises Unusable."""
        numbers = array(kind)
        numbers.frombytes(self.octets(count * numbers.itemsize))
        if _SWAP:
            numbers.byteswap()
        return numbers


def octets_of(numbers: "array[int]") -> bytes:
    """Numbers as they are written."""
    if _SWAP:
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _ends(sizes: Iterable[int]) -> bytes:
    return octets_of(array("I", accumulate(sizes)))


def _pack_moments(pieces: list[bytes], keys: Sequence[int]) -> None:
    pieces.append(octets_of(array("q", keys)))


def _unpack_moments(source: Source, count: int) -> Sequence[int]:
    return source.numbers("q", count)


def _pack_texts(pieces: list[bytes], keys: Sequence[bytes]) -> None:
    pieces.append(_ends(map(len, keys)))
    pieces.append(b"".join(keys))


def _unpack_texts(source: Source, count: int) -> Texts:
    ends = source.numbers("I", count)
    return Texts(ends, source.octets(ends[-1] if ends else 0))


class LinkColumns(Sequence[Links]):
    """Links of many messages in little room, put together when somebody asks for them."""

    __slots__ = ("_bounds", "_known", "_named", "_own", "replies", "sent", "subjects")

    def __init__(self, source: Source, count: int) -> None:
        self.sent = source.numbers("q", count)
        self.subjects = _unpack_texts(source, count)
        self.replies = source.octets(count)
        self._known = _unpack_texts(source, source.numbers("I", 1)[0])
        self._own = source.numbers("I", count)
        ends = source.numbers("I", count)
        self._named = source.numbers("I", ends[-1] if ends else 0)
        self._bounds = array("I", (0,)) + ends
        if max(chain(self._own, self._named), default=-1) >= len(self._known):
            raise Unusable("a number that means nothing")

    def __len__(self) -> int:
        return len(self.sent)

    def __getitem__(self, place: Any) -> Any:
        return Links(
            self.sent[place],
            self.subjects[place],
            bool(self.replies[place]),
            self._known[self._own[place]],
            self.references_of(place),
        )

    def references_of(self, place: int) -> tuple[bytes, ...]:
        """What a message refers to."""
        named = self._named[self._bounds[place] : self._bounds[place + 1]]
        return tuple(map(self._known.__getitem__, named))

    def identified(self) -> tuple[Iterable[bytes], Iterable[tuple[bytes, ...]]]:
        """Message ids, and what the messages refer to, in order; equal ones take room once."""
        known = list(self._known)
        named, bounds = self._named, self._bounds
        references = (
            tuple([known[number] for number in named[start:end]]) if start < end else ()
            for start, end in zip(bounds, bounds[1:], strict=False)
        )
        return map(known.__getitem__, self._own), references


def link_columns(keys: Sequence[Links]) -> LinkColumns | None:
    """Links in little room; None where they are too many or too long."""
    if isinstance(keys, LinkColumns):
        return keys
    data = pack("links", range(len(keys)), keys)
    return None if data is None else unpack("links", data).keys  # type: ignore[return-value]


class Frozen(Sequence[Any]):
    """Keys of messages by UID, each as one string of octets until somebody asks for it."""

    __slots__ = ("_frozen", "_uids")

    def __init__(self, frozen: Mapping[int, bytes], uids: Sequence[int]) -> None:
        self._frozen = frozen
        self._uids = uids

    def __len__(self) -> int:
        return len(self._uids)

    def __getitem__(self, place: Any) -> Any:
        return thawed(self._frozen[self._uids[place]])


def frozen(links: Links) -> bytes:
    """Links as one string of octets."""
    return marshal.dumps(tuple(links))


def thawed(octets: bytes) -> Links:
    """Links that were made frozen() by this process."""
    return Links._make(marshal.loads(octets))


def _pack_links(pieces: list[bytes], keys: Sequence[Links]) -> None:
    _pack_moments(pieces, array("q", [each.sent for each in keys]))
    _pack_texts(pieces, [each.subject for each in keys])
    pieces.append(bytes([each.reply for each in keys]))
    known: dict[bytes, int] = {}
    own = array("I", [known.setdefault(each.identity, len(known)) for each in keys])
    named, ends = array("I"), array("I")
    for each in keys:
        named.extend([known.setdefault(identity, len(known)) for identity in each.references])
        ends.append(len(named))
    pieces.append(octets_of(array("I", (len(known),))))
    _pack_texts(pieces, list(known))
    pieces.append(octets_of(own))
    pieces.append(octets_of(ends))
    pieces.append(octets_of(named))


_PACK: dict[str, Callable[[list[bytes], Sequence[Any]], None]] = {"date": _pack_moments, "links": _pack_links}
_UNPACK: dict[str, Callable[[Source, int], Sequence[Any]]] = {
    "date": _unpack_moments,
    "links": LinkColumns,
}
