"""Keys of many messages as one string of octets, so that the next session has them without looking at headers, pure.

A string: the number of messages, their UIDs, and the keys as columns: moments of 64 bits; texts as where each one ends, then all of them
behind each other; of links also each message id once and the numbers of those that a message refers to. Numbers are little-endian.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import Any, NamedTuple

from dovecotpy.search.keys import Links
from dovecotpy.search.sort import Key

MAX_OCTETS = 1 << 26
"""Octets of one string; more keys than fit are not packed."""
FEW_IDS = 50_000
"""Message ids that are cut out all at once, which is faster; more of them only as they are needed."""
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

    def __init__(self, bounds: "array[int]", data: bytes) -> None:
        """bounds: 0, and where each text ends."""
        self._bounds = bounds
        self._data = data

    @classmethod
    def of(cls, texts: Sequence[bytes]) -> Texts:
        """Texts that are at hand. Raises OverflowError where they are longer than 32 bits tell."""
        return cls(array("I", accumulate(map(len, texts), initial=0)), b"".join(texts))

    @classmethod
    def joined(cls, parts: Sequence[Texts]) -> Texts:
        """Several behind each other. Raises OverflowError."""
        bounds = array("I", (0,))
        for part in parts:
            bounds.extend(array("I", map(bounds[-1].__add__, part._bounds[1:])))
        return cls(bounds, b"".join([part._data for part in parts]))

    def pieces(self) -> list[bytes]:
        """What is written."""
        return [octets_of(self._bounds[1:]), self._data]

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


def _pack_moments(pieces: list[bytes], keys: Sequence[int]) -> None:
    pieces.append(octets_of(array("q", keys)))


def _unpack_moments(source: Source, count: int) -> Sequence[int]:
    return source.numbers("q", count)


def _pack_texts(pieces: list[bytes], keys: Sequence[bytes]) -> None:
    pieces.extend((keys if isinstance(keys, Texts) else Texts.of(keys)).pieces())


def _unpack_texts(source: Source, count: int) -> Texts:
    ends = source.numbers("I", count)
    return Texts(array("I", (0,)) + ends, source.octets(ends[-1] if ends else 0))


class LinkColumns(Sequence[Links]):
    """Links of many messages in little room, put together when somebody asks for them."""

    __slots__ = ("_bounds", "_known", "_named", "_own", "replies", "sent", "subjects")

    def __init__(
        self,
        sent: "array[int]",
        subjects: Texts,
        replies: bytes,
        known: Texts,
        own: "array[int]",
        bounds: "array[int]",
        named: "array[int]",
    ) -> None:
        """known: message ids; own, and named between two bounds: numbers in them."""
        self.sent = sent
        self.subjects = subjects
        self.replies = replies
        self._known = known
        self._own = own
        self._bounds = bounds
        self._named = named

    @classmethod
    def of(cls, keys: Iterable[Links]) -> LinkColumns:
        """Links that may be as they are. Raises OverflowError."""
        sent, own, bounds, named = array("q"), array("I"), array("I", (0,)), array("I")
        subjects: list[bytes] = []
        replies = bytearray()
        known: dict[bytes, int] = {}
        for moment, subject, reply, identity, references in keys:
            sent.append(moment)
            subjects.append(subject)
            replies.append(reply)
            own.append(known.setdefault(identity, len(known)))
            named.extend([known.setdefault(each, len(known)) for each in references])
            bounds.append(len(named))
        return cls(sent, Texts.of(subjects), bytes(replies), Texts.of(list(known)), own, bounds, named)

    @classmethod
    def joined(cls, parts: Sequence[LinkColumns]) -> LinkColumns:
        """Several behind each other. Raises OverflowError."""
        if len(parts) == 1:
            return parts[0]
        sent, own, bounds, named = array("q"), array("I"), array("I", (0,)), array("I")
        count = 0
        for part in parts:
            before = len(named)
            sent.extend(part.sent)
            own.extend(array("I", map(count.__add__, part._own)))
            bounds.extend(array("I", map(before.__add__, part._bounds[1:])))
            named.extend(array("I", map(count.__add__, part._named)))
            count += len(part._known)
        subjects = Texts.joined([part.subjects for part in parts])
        replies = b"".join([part.replies for part in parts])
        return cls(sent, subjects, replies, Texts.joined([part._known for part in parts]), own, bounds, named)

    @classmethod
    def read(cls, source: Source, count: int) -> LinkColumns:
        """Of so many messages. Raises Unusable."""
        sent = source.numbers("q", count)
        subjects = _unpack_texts(source, count)
        replies = source.octets(count)
        known = _unpack_texts(source, source.numbers("I", 1)[0])
        own = source.numbers("I", count)
        ends = source.numbers("I", count)
        named = source.numbers("I", ends[-1] if ends else 0)
        if max(chain(own, named), default=-1) >= len(known):
            raise Unusable("a number that means nothing")
        return cls(sent, subjects, replies, known, own, array("I", (0,)) + ends, named)

    def pieces(self) -> list[bytes]:
        """What `read` reads."""
        return [
            octets_of(self.sent),
            *self.subjects.pieces(),
            self.replies,
            octets_of(array("I", (len(self._known),))),
            *self._known.pieces(),
            octets_of(self._own),
            octets_of(self._bounds[1:]),
            octets_of(self._named),
        ]

    def __len__(self) -> int:
        return len(self.sent)

    def __getitem__(self, place: Any) -> Any:
        named = self._named[self._bounds[place] : self._bounds[place + 1]]
        return Links(
            self.sent[place],
            self.subjects[place],
            bool(self.replies[place]),
            self._known[self._own[place]],
            tuple(map(self._known.__getitem__, named)),
        )

    def identified(self) -> tuple[Iterable[bytes], Iterable[tuple[bytes, ...]]]:
        """Message ids, and what the messages refer to, in order."""
        known: Sequence[bytes] = self._known
        if len(known) <= FEW_IDS:
            known = list(known)
        named, bounds = self._named, self._bounds
        references = (
            tuple([known[number] for number in named[start:end]]) if start < end else ()
            for start, end in zip(bounds, bounds[1:], strict=False)
        )
        return map(known.__getitem__, self._own), references


def link_columns(keys: Sequence[Links]) -> LinkColumns | None:
    """Links in little room; None where they are too many or too long."""
    try:
        return keys if isinstance(keys, LinkColumns) else LinkColumns.of(keys)
    except OverflowError:
        return None


def _pack_links(pieces: list[bytes], keys: Sequence[Links]) -> None:
    pieces.extend((keys if isinstance(keys, LinkColumns) else LinkColumns.of(keys)).pieces())


_PACK: dict[str, Callable[[list[bytes], Sequence[Any]], None]] = {"date": _pack_moments, "links": _pack_links}
_UNPACK: dict[str, Callable[[Source, int], Sequence[Any]]] = {
    "date": _unpack_moments,
    "links": LinkColumns.read,
}
