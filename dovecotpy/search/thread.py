"""THREAD (RFC 5256): ORDEREDSUBJECT, REFERENCES, and REFS, over columns of keys, pure.

Messages are numbered 0, 1, … in the order of the mailbox; higher nodes are messages that somebody referred to and that are not
among those threaded. Nothing recurses: a chain of replies may be as long as the mailbox.
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any, NamedTuple

from dovecotpy.search.sort import RUN, stable_pass

MAX_ABSENT = 2_000_000
"""Absent messages that one command keeps track of; past it, of each message only the last reference counts."""
MAX_STEPS = 2_000_000
"""Steps from replies to what they reply to while loops are looked for; a link that would need more is not made."""
PIECE = 2_000
"""Messages looked at between two pauses."""
_NOBODY = -1

Steps = Generator[None, None, "Forest"]


class Algorithm(enum.Enum):
    """Threading algorithms by their names in the command."""

    ORDEREDSUBJECT = b"ORDEREDSUBJECT"
    REFERENCES = b"REFERENCES"
    REFS = b"REFS"


class Rows(NamedTuple):
    """The messages to be threaded, as parallel sequences in the order of the mailbox."""

    arrivals: Sequence[int]
    """INTERNALDATE in seconds since the epoch; only REFS looks at it"""
    sent: Sequence[int]
    """sent dates with INTERNALDATE where there is none"""
    subjects: Sequence[bytes]
    """keys of base subjects"""
    replies: Sequence[int]
    """true where a subject says that the message is a reply or forwarded"""
    identities: Iterable[bytes]
    """empty where there is none; looked at once"""
    references: Iterable[tuple[bytes, ...]]
    """looked at once"""


class Forest(NamedTuple):
    """Threads in their order."""

    messages: int
    """nodes from here on are no messages: each is the absent parent of at least two threads' heads"""
    roots: list[int]
    children: dict[int, list[int]]


def thread(algorithm: Algorithm, rows: Rows) -> Steps:
    """The threads of the rows. Yields None between two pieces of work."""
    return _ALGORITHMS[algorithm](rows)


def ordered_subject(rows: Rows) -> Steps:
    """Messages of the same base subject, by sent date."""
    threads: dict[bytes, list[int]] = {}
    for place, subject in enumerate(rows.subjects):
        threads.setdefault(subject, []).append(place)
        if not place % PIECE:
            yield
    sent = rows.sent.__getitem__
    children = {}
    roots = []
    for members in threads.values():
        members = yield from _sorted(members, sent)
        roots.append(members[0])
        if len(members) > 1:
            children[members[0]] = members[1:]
        if not len(roots) % PIECE:
            yield
    roots.sort()
    roots = yield from stable_pass(roots, sent)
    return Forest(len(rows.sent), roots, children)


def _sorted(nodes: list[int], key: Callable[[int], Any]) -> Generator[None, None, list[int]]:
    """stable_pass() that pauses only where there is much to do."""
    if len(nodes) <= RUN:
        nodes.sort(key=key)
        return nodes
    return (yield from stable_pass(nodes, key))


def references(rows: Rows) -> Steps:
    """Replies below what they reply to, threads of the same base subject put together."""
    tree = _Tree(rows)
    yield from tree.link()
    forest = yield from tree.pruned()
    order = _Order(rows.sent, forest)
    roots = yield from order.sorted_roots()
    merged = yield from _Merge(rows, forest, order).run(roots)
    return (yield from order.finish(merged))


def refs(rows: Rows) -> Steps:
    """Replies below what they reply to; the thread with the newest arrival comes last."""
    tree = _Tree(rows)
    yield from tree.link()
    forest = yield from tree.pruned()
    order = _Order(rows.sent, forest)
    roots = yield from order.sorted_roots()
    newest = yield from _newest(rows.arrivals, forest)
    roots = yield from stable_pass(roots, newest.__getitem__)
    return (yield from order.finish(forest._replace(roots=roots), sort_roots=False))


_ALGORITHMS: dict[Algorithm, Callable[[Rows], Steps]] = {
    Algorithm.ORDEREDSUBJECT: ordered_subject,
    Algorithm.REFERENCES: references,
    Algorithm.REFS: refs,
}


class _Tree:
    """Steps 1 to 3 of REFERENCES: parents, then the forest without messages that are not there."""

    def __init__(self, rows: Rows) -> None:
        self.count = len(rows.sent)
        self.rows = rows
        self.nodes: dict[bytes, int] = {}
        self.parents: list[int] = [_NOBODY] * self.count
        self.offspring: list[int] = [0] * self.count
        """how many children each node has"""
        self.steps = MAX_STEPS

    def link(self) -> Generator[None, None, None]:
        """Step 1."""
        nodes = self.nodes
        for place, identity in enumerate(self.rows.identities):
            if identity:
                nodes.setdefault(identity, place)
        yield
        for place, identities in enumerate(self.rows.references):
            if identities:
                self._link(place, identities)
            elif self.parents[place] != _NOBODY:
                self._cut(place)
            if not place % PIECE or len(identities) > PIECE // 10:
                yield

    def _link(self, place: int, identities: tuple[bytes, ...]) -> None:
        parents = self.parents
        if len(parents) - self.count > MAX_ABSENT:
            identities = identities[-1:]
        above = _NOBODY
        for identity in identities:
            node = self.nodes.get(identity)
            if node is None:
                node = self.nodes[identity] = len(parents)
                parents.append(_NOBODY)
                self.offspring.append(0)
            if above != _NOBODY and parents[node] == _NOBODY and not self._above(node, above):
                self._attach(node, above)
            above = node
        if parents[place] == above:
            return
        if parents[place] != _NOBODY:
            self._cut(place)
        if not self._above(place, above):
            self._attach(place, above)

    def _attach(self, node: int, parent: int) -> None:
        self.parents[node] = parent
        self.offspring[parent] += 1

    def _cut(self, node: int) -> None:
        self.offspring[self.parents[node]] -= 1
        self.parents[node] = _NOBODY

    def _above(self, node: int, below: int) -> bool:
        """Whether a node is the other one or an ancestor of it; True also where finding out would take too long."""
        if node == below:
            return True
        if not self.offspring[node]:
            return False
        parents = self.parents
        steps = self.steps
        while below != _NOBODY and below != node and steps:
            below = parents[below]
            steps -= 1
        self.steps = steps
        return below != _NOBODY

    def pruned(self) -> Steps:
        """Steps 2 and 3: every message below the nearest one of its ancestors that is there."""
        count = self.count
        parents = self.parents
        for place in range(count):
            parents[place] = self._nearest(parents[place])
            if not place % PIECE:
                yield
        children: dict[int, list[int]] = {}
        for place in range(count):
            if parents[place] != _NOBODY:
                children.setdefault(parents[place], []).append(place)
        yield
        roots = []
        for place in range(count):
            parent = parents[place]
            if parent == _NOBODY:
                roots.append(place)
            elif parent >= count:
                siblings = children[parent]
                if len(siblings) == 1:
                    del children[parent]
                    roots.append(place)
                elif siblings[0] == place:
                    roots.append(parent)
        return Forest(count, roots, children)

    def _nearest(self, node: int) -> int:
        """The first message from a node upwards, else the highest node. What is passed points there from now on."""
        count = self.count
        parents = self.parents
        if node < count:
            return node
        passed = []
        while node >= count and parents[node] != _NOBODY:
            passed.append(node)
            node = parents[node]
        for each in passed:
            parents[each] = node
        return node


class _Order:
    """Siblings by sent date, then by their place in the mailbox; what is no message stands where its first child does."""

    def __init__(self, sent: Sequence[int], forest: Forest) -> None:
        self.sent = sent
        self.forest = forest
        self.heads: dict[int, int] = {}

    def head(self, node: int) -> int:
        """The message itself, or the first child of what is none."""
        if node < self.forest.messages:
            return node
        found = self.heads.get(node)
        if found is None:
            sent = self.sent
            found = self.heads[node] = min(self.forest.children[node], key=lambda child: (sent[child], child))
        return found

    def sorted(self, nodes: list[int]) -> Generator[None, None, list[int]]:
        """Siblings in order."""
        sent = self.sent
        if nodes and max(nodes) < self.forest.messages:
            nodes.sort()
            return (yield from _sorted(nodes, sent.__getitem__))
        return (yield from _sorted(nodes, lambda node: (sent[self.head(node)], self.head(node))))

    def sorted_roots(self) -> Generator[None, None, list[int]]:
        """Step 4."""
        return (yield from self.sorted(self.forest.roots[:]))

    def finish(self, forest: Forest, *, sort_roots: bool = True) -> Steps:
        """Step 6."""
        done = 0
        for node, siblings in forest.children.items():
            if len(siblings) > 1:
                forest.children[node] = yield from self.sorted(siblings)
            done += len(siblings)
            if done > PIECE:
                done = 0
                yield
        if sort_roots:
            self.heads.clear()
            return forest._replace(roots=(yield from self.sorted(forest.roots)))
        return forest


class _Merge:
    """Step 5 of REFERENCES: one thread for each base subject."""

    def __init__(self, rows: Rows, forest: Forest, order: _Order) -> None:
        self.rows = rows
        self.messages = forest.messages
        self.children = forest.children
        self.order = order
        self.fresh = max(forest.messages, max(forest.children, default=0) + 1)
        self.table: dict[bytes, int] = {}

    def run(self, roots: list[int]) -> Steps:
        """The forest after merging; its roots are in no order."""
        subjects = [self.rows.subjects[self.order.head(node)] for node in roots]
        yield
        for node, subject in zip(roots, subjects, strict=True):
            if subject:
                self._note(node, subject)
        yield
        kept: dict[int, None] = dict.fromkeys(roots)
        for number, (node, subject) in enumerate(zip(roots, subjects, strict=True)):
            if subject and node in kept and self.table[subject] != node:
                self._merge(node, subject, kept)
            if not number % PIECE:
                yield
        return Forest(self.messages, list(kept), self.children)

    def _absent(self, node: int) -> bool:
        return node >= self.messages

    def _note(self, node: int, subject: bytes) -> None:
        noted = self.table.setdefault(subject, node)
        if noted == node or self._absent(noted):
            return
        if self._absent(node) or (self.rows.replies[noted] and not self.rows.replies[node]):
            self.table[subject] = node

    def _merge(self, node: int, subject: bytes, kept: dict[int, None]) -> None:
        noted = self.table[subject]
        children = self.children
        if self._absent(noted) and self._absent(node):
            children[noted] += children.pop(node)
        elif self._absent(noted):
            children[noted].append(node)
        elif self.rows.replies[node] and not self.rows.replies[noted]:
            children.setdefault(noted, []).append(node)
        else:
            fresh = self.fresh
            self.fresh += 1
            children[fresh] = [noted, node]
            self.table[subject] = fresh
            del kept[noted]
            kept[fresh] = None
        del kept[node]


def _newest(arrivals: Sequence[int], forest: Forest) -> Generator[None, None, dict[int, int]]:
    """The newest INTERNALDATE in each thread, by its root."""
    newest: dict[int, int] = {}
    children = forest.children
    seen = 0
    for root in forest.roots:
        latest = arrivals[root] if root < forest.messages else _EARLIEST
        waiting = children.get(root, [])[:]
        while waiting:
            node = waiting.pop()
            latest = max(latest, arrivals[node])
            waiting += children.get(node, ())
            seen += 1
            if not seen % PIECE:
                yield
        newest[root] = latest
    yield
    return newest


_EARLIEST = -(1 << 63)


def render(forest: Forest, numbers: Sequence[int]) -> Generator[bytes, None, None]:
    """The thread-lists of a THREAD response in pieces. numbers: of each message, what the client knows it by."""
    children = forest.children
    pieces: list[bytes] = []
    for root in forest.roots:
        if root not in children:
            pieces.append(b"(%d)" % numbers[root])
        else:
            yield from _render(root, forest, numbers, pieces)
        if len(pieces) > PIECE:
            yield b"".join(pieces)
            pieces.clear()
    yield b"".join(pieces)


_CLOSE = -1


def _render(
    root: int, forest: Forest, numbers: Sequence[int], pieces: list[bytes]
) -> Generator[bytes, None, None]:
    """Add one thread. The stack holds heads of sub-threads that are still to come, and ends of those that are open."""
    children = forest.children
    waiting = array("q", [_CLOSE, root])
    pieces.append(b"(")
    nested = False
    while waiting:
        node = waiting.pop()
        if node == _CLOSE:
            pieces.append(b")")
            nested = True
            continue
        if nested:
            pieces.append(b"(")
            nested = False
        below = children.get(node)
        if node < forest.messages:
            pieces.append(b"%d " % numbers[node] if below else b"%d" % numbers[node])
        if below and len(below) == 1:
            waiting.append(below[0])
        elif below:
            pieces.append(b"(")
            for child in reversed(below):
                waiting.append(_CLOSE)
                waiting.append(child)
        if len(pieces) > PIECE:
            yield b"".join(pieces)
            pieces.clear()
