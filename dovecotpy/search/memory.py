"""What SORT and THREAD remember of a mailbox while it is open, and hand on to later sessions: keys, orders and threads, pure."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from dovecotpy.search import orders, packed
from dovecotpy.search.keys import Links
from dovecotpy.search.orders import Order, Threaded
from dovecotpy.search.packed import NOTHING, Packed, Unusable, name_of
from dovecotpy.search.thread import Algorithm

MAX_KEPT = 200_000
"""Keys that are kept in memory; past it all are forgotten and taken from headers again."""
MAX_ORDERED = 400_000
"""Messages of all orders that are kept in memory; past it all are forgotten and looked for on the shelf again."""
PART = 8192
"""Links that are put together so that they take little room."""
MAX_SHARED = 65_536
"""Texts of which it is remembered that they are known already."""
FEW = 64
"""One new key in so many, or fewer: not worth writing all of them anew."""
_ORDER = "order-"
_THREAD = "thread-"


class Shelf(Protocol):
    """Where keys, orders and threads outlast a session, as octets, under names."""

    def load(self, kind: str) -> bytes | None: ...

    def save(self, kind: str, payload: bytes) -> bool:
        """Whether it is kept."""


class Known:
    """Keys under one name: those of the shelf, and those that were learnt since."""

    __slots__ = ("_links", "_parts", "_shared", "learnt", "shelved")

    def __init__(self, shelved: Packed = NOTHING, *, links: bool = False) -> None:
        """links: that is what the keys are."""
        self.shelved = shelved
        self.learnt: dict[int, Any] = {}
        self._links = links
        self._parts: list[Packed] = []
        """links learnt before"""
        self._shared: dict[bytes, bytes] = {}

    def __len__(self) -> int:
        return len(self.shelved.uids) + self.fresh

    @property
    def fresh(self) -> int:
        """Keys that the shelf does not have."""
        return len(self.learnt) + sum(len(part.uids) for part in self._parts)

    def __getitem__(self, uid: int) -> Any:
        for part in (self.shelved, *self._parts):
            place = part.place(uid)
            if place >= 0:
                return part.keys[place]
        return self.learnt[uid]

    def learn(self, uid: int, key: Any) -> None:
        """The key of a message. Equal texts take room once, many links little room."""
        if isinstance(key, bytes):
            if len(self._shared) >= MAX_SHARED:
                self._shared.clear()
            key = self._shared.setdefault(key, key)
        self.learnt[uid] = key
        if self._links and len(self.learnt) >= PART:
            self._compact()

    def _compact(self) -> None:
        uids = array("I", sorted(self.learnt))
        columns = packed.link_columns([self.learnt[uid] for uid in uids])
        if columns is not None:
            self._parts.append(Packed(uids, columns))
            self.learnt = {}

    def missing(self, uids: "array[int]") -> set[int]:
        """Messages of which no key is known."""
        if not self.learnt and self.shelved.uids == uids:
            return set()
        return set(uids).difference(self.shelved.uids, *[part.uids for part in self._parts], self.learnt)

    def taken(self, uids: "array[int]") -> Sequence[Any]:
        """The keys of messages, all of which are known; not to be changed."""
        if self.shelved.uids == uids:
            return self.shelved.keys
        if self._links:
            return self._taken_links(uids)
        if len(uids) * 4 < len(self.shelved.uids):
            return [self[uid] for uid in uids]
        every = dict(zip(self.shelved.uids, self.shelved.keys, strict=True))
        every.update(self.learnt)
        return list(map(every.__getitem__, uids))

    def _taken_links(self, uids: "array[int]") -> Sequence[Any]:
        if self.learnt and self._parts:
            self._compact()
        parts = [part for part in (self.shelved, *self._parts) if part.uids]
        if not self.learnt and sum((part.uids for part in parts), array("I")) == uids:
            try:
                return packed.LinkColumns.joined([part.keys for part in parts])  # type: ignore[misc]
            except OverflowError:
                return [self[uid] for uid in uids]
        return [self[uid] for uid in uids]

    def kept(self, shelved: Packed) -> None:
        """The shelf has these now."""
        self.shelved = shelved
        self.learnt = {}
        self._parts = []


class Memory:
    """What was taken from headers while a mailbox is open, or before that by others. Without a shelf: while it is open."""

    def __init__(self, shelf: Shelf | None = None) -> None:
        self._shelf = shelf
        self._known: dict[Any, Known] = {}
        self._orders: dict[Any, Order] = {}
        self._saved: dict[str, int] = {}
        """how many keys, or which messages' order, the shelf has"""

    # Keys

    def of(self, name: Any) -> Known:
        """What is known under a name."""
        known = self._known.get(name)
        if known is None:
            if sum(map(len, self._known.values())) > MAX_KEPT:
                self._known.clear()
            shelved = self._loaded(name_of(name), lambda data: packed.unpack(name_of(name), data))
            known = self._known[name] = Known(shelved or NOTHING, links=name is Links)
        return known

    def save(self, name: Any, known: Known, uids: "array[int]", learnt: int) -> None:
        """Put the keys of the messages that are there on the shelf, if so many were learnt that it is worth it."""
        if self._shelf is None or learnt * FEW <= len(known.shelved.uids):
            return
        missing = known.missing(uids)
        there = array("I", [uid for uid in uids if uid not in missing]) if missing else uids
        kind = name_of(name)
        keys = known.taken(there)
        data = packed.pack(kind, there, keys)
        if data is not None and self._shelf.save(kind, data):
            known.kept(Packed(there, keys) if name is Links else packed.unpack(kind, data))

    def release(self, name: Any) -> None:
        """Keys under this name are not needed soon: where the shelf has most of them, they need no memory."""
        known = self._known.get(name)
        if known is not None and known.fresh * FEW <= len(known.shelved.uids):
            del self._known[name]

    def forget(self, uid: int) -> None:
        """The message is gone."""
        for known in self._known.values():
            known.learnt.pop(uid, None)

    # Orders and threads

    def order(self, name: Any) -> Order | None:
        """The last order of a whole mailbox by the keys of this name, of whichever messages."""
        order = self._orders.get(name)
        if order is None:
            order = self._loaded(_ORDER + name_of(name), orders.unpack)
        return order

    def keep_order(self, name: Any, order: Order, changes: int) -> None:
        """Keep an order. changes: messages that came or went since the one that `order` gave."""
        held = sum(len(each.uids) for other, each in self._orders.items() if other != name)
        if held + len(order.uids) > MAX_ORDERED:
            self._orders.clear()
        kind = _ORDER + name_of(name)
        self._saved[kind] = self._saved.get(kind, 0) + changes
        if self._shelf is not None and self._saved[kind] * FEW > len(order.uids):
            self._shelf.save(kind, orders.pack(order))
            self._saved[kind] = 0
        self._orders[name] = order

    def threads(self, algorithm: Algorithm) -> Threaded | None:
        """The last threads of a whole mailbox, of whichever messages."""
        threaded: Threaded | None = self._loaded(_thread_kind(algorithm), orders.unpack_threads)
        return threaded

    def keep_threads(self, algorithm: Algorithm, threaded: Threaded) -> None:
        """Keep threads, where there is a shelf."""
        if self._shelf is not None:
            self._shelf.save(_thread_kind(algorithm), orders.pack_threads(threaded))

    def _loaded(self, kind: str, unpack: Callable[[bytes], Any]) -> Any:
        data = self._shelf.load(kind) if self._shelf is not None else None
        try:
            return None if data is None else unpack(data)
        except Unusable:
            return None


def _thread_kind(algorithm: Algorithm) -> str:
    return _THREAD + algorithm.value.decode("ascii").lower()
