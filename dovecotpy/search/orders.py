"""A whole mailbox in the order of one key, and threaded: answers that outlast a session, as octets, pure.

Keys come from headers, which never change, so that an order holds for ever for the messages that it names; when others came or went it is
brought up to date from the keys of a few messages. Where a header tells no date, INTERNALDATE counts instead; which of them counted, and a
checksum of them, are kept beside.
"""

from __future__ import annotations

import re
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from itertools import accumulate, compress
from operator import ne
from typing import Any, NamedTuple

from dovecotpy.search.evaluate import Columns
from dovecotpy.search.packed import Source, Unusable, octets_of
from dovecotpy.search.sort import stable_pass

FEW_CAME = 64
"""New messages that an order takes in one by one, beside one in SHARE; when more came it is made anew."""
SHARE = 64
PIECE = 64
"""New messages taken in between two pauses."""
MAX_STEP = 32_768
"""Octets of a threaded answer that are numbered anew in one go."""


class Dated(NamedTuple):
    """The messages whose INTERNALDATE an answer depends on."""

    uids: "array[int]"
    """type 'I', ascending"""
    checksum: int

    def hold(self, uids: "array[int]", columns: Columns) -> bool:
        """Whether they are all there still, with the same dates. uids: those of the columns."""
        if not self.uids:
            return True
        if self.uids != uids and not set(self.uids).issubset(uids):
            return False
        return self.checksum == _checksum(self.uids, uids, columns.dates)


class Order(NamedTuple):
    """All messages of a mailbox by one key, ascending."""

    uids: "array[int]"
    """type 'I', ascending: what places mean"""
    places: "array[int]"
    """type 'I': in the order of the key; messages of equal keys in that of the mailbox"""
    firsts: bytes
    """parallel to places: 1 where the key differs from the one before, else 0"""
    dated: Dated


class Threaded(NamedTuple):
    """All messages of a mailbox in threads."""

    uids: "array[int]"
    dated: Dated
    rendered: bytes
    """thread-lists (RFC 5256 section 5) in which a message is called by its place, from 1 on"""


def dated(meant: "array[int]", uids: "array[int]", columns: Columns) -> Dated:
    """What is to be remembered of the dates of these messages, all of which are in the columns. uids: those of the columns."""
    return Dated(meant, _checksum(meant, uids, columns.dates) if meant else 0)


def _checksum(meant: "array[int]", uids: "array[int]", dates: Sequence[int]) -> int:
    if meant == uids:
        return zlib.crc32(array("q", dates))
    return zlib.crc32(array("q", [dates[bisect_left(uids, uid)] for uid in meant]))


def make(uids: "array[int]", keys: Sequence[Any], counted: Dated) -> Generator[None, None, Order]:
    """The order of messages by their keys, parallel to uids. Yields None between two pieces of work."""
    order = yield from stable_pass(list(range(len(uids))), keys.__getitem__)
    ordered = list(map(keys.__getitem__, order))
    firsts = b"\1" + bytes(map(ne, ordered[1:], ordered)) if ordered else b""
    return Order(uids, array("I", order), firsts, counted)


def few(order: Order, uids: "array[int]") -> Sequence[int] | None:
    """Messages (ascending) that an order lacks; None if they are so many that it is not worth bringing it up to date."""
    before = order.uids
    came: Sequence[int]
    if uids[: len(before)] == before:
        came = uids[len(before) :]
    else:
        came = sorted(set(uids).difference(before))
    return came if len(came) <= FEW_CAME + len(before) // SHARE else None


def renew(
    order: Order, uids: "array[int]", came: Sequence[int], key_of: Callable[[int], Any], counted: Dated
) -> Generator[None, None, Order]:
    """An order for other messages. came: those it lacks. key_of: of a message, by its UID. Yields None between two pieces of work."""
    places, firsts = _moved(order, uids)

    def key_at(place: int) -> tuple[Any, int]:
        return key_of(uids[place]), place

    for number, uid in enumerate(came, 1):
        key, place = wanted = key_at(bisect_left(uids, uid))
        at = bisect_left(places, wanted, key=key_at)
        before = at > 0 and key_of(uids[places[at - 1]]) == key
        if at < len(places):
            firsts[at] = key_of(uids[places[at]]) != key
        places.insert(at, place)
        firsts.insert(at, not before)
        if not number % PIECE:
            yield
    return Order(uids, array("I", places), bytes(firsts), counted)


def _moved(order: Order, uids: "array[int]") -> tuple[list[int], bytearray]:
    """An order without messages that are gone, with the places that the others have now."""
    before = order.uids
    if uids[: len(before)] == before:
        return list(order.places), bytearray(order.firsts)
    place_of = dict(zip(uids, range(len(uids)), strict=True))
    moved = list(map(place_of.get, map(before.__getitem__, order.places)))
    there = [place is not None for place in moved]
    groups = list(compress(accumulate(order.firsts), there))
    firsts = bytearray(b"\1") + bytes(map(ne, groups[1:], groups)) if groups else bytearray()
    return [place for place in moved if place is not None], firsts


def backwards(order: Order) -> "array[int]":
    """Places in descending order of the key; messages of equal keys in the order of the mailbox still."""
    count = len(order.places)
    places = order.places[::-1]
    start = order.firsts.find(b"\1\0")
    while start >= 0:
        end = order.firsts.find(b"\1", start + 1)
        if end < 0:
            end = count
        places[count - end : count - start] = order.places[start:end]
        start = order.firsts.find(b"\1\0", end)
    return places


def ranks(order: Order) -> "array[int]":
    """Of each place a number that compares as its key does."""
    found = array("I", order.places)
    for place, rank in zip(order.places, accumulate(order.firsts), strict=True):
        found[place] = rank
    return found


def within(places: "array[int]", chosen: Sequence[int]) -> "array[int]":
    """Those places that were chosen, as they follow each other."""
    if len(chosen) == len(places):
        return places
    marks = bytearray(len(places))
    for place in chosen:
        marks[place] = 1
    return array("I", compress(places, map(marks.__getitem__, places)))


def pack(order: Order) -> bytes:
    """An order as octets."""
    return b"".join((_head(order.uids, order.dated), octets_of(order.places), order.firsts))


def unpack(data: bytes) -> Order:
    """The order in octets that pack() made. Raises Unusable, whatever they are."""
    source = Source(data)
    uids, counted = _read_head(source)
    places = source.numbers("I", len(uids))
    firsts = source.octets(len(uids))
    source.end()
    if uids and (max(places) >= len(uids) or max(firsts) > 1):
        raise Unusable("places of no message")
    return Order(uids, places, firsts, counted)


def pack_threads(threaded: Threaded) -> bytes:
    """Threads as octets."""
    return _head(threaded.uids, threaded.dated) + threaded.rendered


def unpack_threads(data: bytes) -> Threaded:
    """The threads in octets that pack_threads() made. Raises Unusable, whatever they are."""
    source = Source(data)
    uids, counted = _read_head(source)
    rendered = source.octets(len(data) - source.at)
    if rendered.translate(None, b"0123456789 ()"):
        raise Unusable("no threads")
    places = _places(rendered)
    if len(places) != len(uids) or (places and not 0 < min(places) <= max(places) <= len(uids)):
        raise Unusable("places of no message")
    return Threaded(uids, counted, rendered)


def _head(uids: "array[int]", counted: Dated) -> bytes:
    numbers = array("I", (len(uids), len(counted.uids), counted.checksum))
    return b"".join((octets_of(numbers), octets_of(uids), octets_of(counted.uids)))


def _read_head(source: Source) -> tuple["array[int]", Dated]:
    count, meant, checksum = source.numbers("I", 3)
    uids = source.numbers("I", count)
    return uids, Dated(source.numbers("I", meant), checksum)


def renumbered(rendered: bytes, numbers: Sequence[int]) -> Generator[bytes, None, None]:
    """Thread-lists in which messages are called by these numbers instead of by their places, in pieces."""
    start = 0
    while start < len(rendered):
        end = start + MAX_STEP
        while rendered[end : end + 1].isdigit():
            end += 1
        piece = rendered[start:end]
        yield _NUMBER.sub(b"%d", piece) % tuple([numbers[place - 1] for place in _places(piece)])
        start = end


def _places(rendered: bytes) -> list[int]:
    return list(map(int, rendered.translate(_BLANKS).split()))


_NUMBER = re.compile(rb"[0-9]+")
_BLANKS = bytes.maketrans(b"()", b"  ")
