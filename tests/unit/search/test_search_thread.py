"""THREAD against the algorithms as RFC 5256 writes them down, on objects and by recursion; the RFC's own examples; hostile mailboxes."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.search import sort as sort_module
from dovecotpy.search import thread as thread_module
from dovecotpy.search.thread import Algorithm, Forest, Rows, render, thread


def finished(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def threads(algorithm: Algorithm, rows: Rows, numbers: Sequence[int] | None = None) -> str:
    forest = finished(thread(algorithm, rows))
    return b"".join(render(forest, numbers or range(1, len(rows.sent) + 1))).decode()


# What the RFC says, on objects


class Node:
    def __init__(self, number: int | None, identity: object) -> None:
        self.number = number
        self.identity = identity
        self.parent: Node | None = None
        self.children: list[Node] = []

    def within(self, other: Node) -> bool:
        """Whether this is the other one or below it."""
        return self is other or (self.parent is not None and self.parent.within(other))

    def detach(self) -> None:
        if self.parent is not None:
            self.parent.children.remove(self)
            self.parent = None

    def attach(self, parent: Node) -> None:
        self.parent = parent
        parent.children.append(self)


class Letter:
    """One message: its links, and what to sort by."""

    def __init__(
        self, sent: int, arrival: int, subject: str, reply: bool, identity: str, references: tuple[str, ...]
    ) -> None:
        self.sent, self.arrival, self.subject, self.reply = sent, arrival, subject, reply
        self.identity, self.references = identity, references


def linked(letters: list[Letter]) -> list[Node]:
    """Steps 1 to 3: what is at the top."""
    table: dict[object, Node] = {}
    messages = []
    for number, letter in enumerate(letters):
        identity: object = (
            letter.identity if letter.identity and letter.identity not in table else ("unique", number)
        )
        node = table[identity] = Node(number, identity)
        messages.append(node)
    for letter, node in zip(letters, messages, strict=True):
        chain = []
        for reference in letter.references:
            if reference not in table:
                table[reference] = Node(None, reference)
            chain.append(table[reference])
        for above, below in zip(chain, chain[1:], strict=False):
            if below.parent is None and not above.within(below):
                below.attach(above)
        node.detach()
        if chain and not chain[-1].within(node):
            node.attach(chain[-1])
    root = Node(None, "root")
    for node in table.values():
        if node.parent is None:
            node.attach(root)
    prune(root, root)
    return root.children


def prune(node: Node, root: Node) -> None:
    for child in node.children[:]:
        prune(child, root)
    for child in node.children[:]:
        if child.number is not None:
            continue
        if not child.children:
            child.detach()
        elif node is not root or len(child.children) == 1:
            child.detach()
            for grandchild in child.children[:]:
                grandchild.detach()
                grandchild.attach(node)


def by_sent(nodes: list[Node], letters: list[Letter]) -> list[Node]:
    def key(node: Node) -> tuple[int, int]:
        if node.number is None:
            return key(by_sent(node.children, letters)[0])
        return letters[node.number].sent, node.number

    return sorted(nodes, key=key)


def head(node: Node, letters: list[Letter]) -> Letter:
    number = node.number if node.number is not None else by_sent(node.children, letters)[0].number
    assert number is not None
    return letters[number]


def merged(top: list[Node], letters: list[Letter]) -> list[Node]:
    """Step 5."""
    table: dict[str, Node] = {}
    for node in top:
        subject = head(node, letters).subject
        if not subject:
            continue
        noted = table.get(subject)
        if (
            noted is None
            or noted.number is not None
            and (node.number is None or (letters[noted.number].reply and not letters[node.number].reply))
        ):
            table[subject] = node
    result = list(top)
    for node in top:
        subject = head(node, letters).subject
        if not subject or table[subject] is node or node not in result:
            continue
        noted = table[subject]
        result.remove(node)
        if noted.number is None and node.number is None:
            noted.children += node.children
        elif noted.number is None:
            noted.children.append(node)
        else:
            assert node.number is not None
            if letters[node.number].reply and not letters[noted.number].reply:
                noted.children.append(node)
            else:
                dummy = Node(None, object())
                dummy.children = [noted, node]
                result.remove(noted)
                result.append(dummy)
                table[subject] = dummy
    return result


def shown(node: Node, letters: list[Letter]) -> str:
    """A thread without its outer parentheses."""
    own = "" if node.number is None else str(node.number + 1)
    below = by_sent(node.children, letters)
    if not below:
        return own
    if len(below) == 1:
        return f"{own} {shown(below[0], letters)}".strip()
    return f"{own} {''.join(f'({shown(child, letters)})' for child in below)}".strip()


def newest(node: Node, letters: list[Letter]) -> int:
    own = [] if node.number is None else [letters[node.number].arrival]
    return max(own + [newest(child, letters) for child in node.children])


def by_the_letter(algorithm: Algorithm, letters: list[Letter]) -> str:
    if algorithm is Algorithm.ORDEREDSUBJECT:
        groups: dict[str, list[int]] = {}
        for number in sorted(
            range(len(letters)), key=lambda number: (letters[number].subject, letters[number].sent, number)
        ):
            groups.setdefault(letters[number].subject, []).append(number)
        top = []
        for first, *rest in groups.values():
            node = Node(first, None)
            node.children = [Node(number, None) for number in rest]
            top.append(node)
        top = by_sent(top, letters)
    else:
        top = by_sent(linked(letters), letters)
        if algorithm is Algorithm.REFERENCES:
            top = by_sent(merged(top, letters), letters)
        else:
            top.sort(key=lambda node: newest(node, letters))
    return "".join(f"({shown(node, letters)})" for node in top)


IDENTITY = st.sampled_from(["a", "b", "c", "d", "e", "f"])
LETTER = st.builds(
    Letter,
    st.integers(0, 5),
    st.integers(0, 5),
    st.sampled_from(["", "s", "t"]),
    st.booleans(),
    st.one_of(st.just(""), IDENTITY),
    st.lists(IDENTITY, max_size=4).map(tuple),
)


def rows(letters: list[Letter]) -> Rows:
    return Rows(
        [letter.arrival for letter in letters],
        [letter.sent for letter in letters],
        [letter.subject.encode() for letter in letters],
        bytes(letter.reply for letter in letters),
        [letter.identity.encode() for letter in letters],
        [tuple(each.encode() for each in letter.references) for letter in letters],
    )


@pytest.mark.parametrize("algorithm", list(Algorithm))
@given(letters=st.lists(LETTER, max_size=9))
def test_as_the_rfc_says(algorithm: Algorithm, letters: list[Letter]) -> None:
    assert threads(algorithm, rows(letters)) == by_the_letter(algorithm, letters)


@given(letters=st.lists(LETTER, max_size=9))
def test_pieces_make_no_difference(letters: list[Letter]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thread_module, "PIECE", 1)
        patch.setattr(thread_module, "RUN", 2)
        patch.setattr(sort_module, "RUN", 2)
        patch.setattr(sort_module, "MERGED", 1)
        for algorithm in Algorithm:
            assert threads(algorithm, rows(letters)) == by_the_letter(algorithm, letters)


# The examples of RFC 5256


def test_a_thread_that_splits_twice() -> None:
    forest = Forest(100, [2, 3], {3: [6], 6: [4, 44], 4: [23], 44: [7], 7: [96]})
    assert b"".join(render(forest, range(100))) == b"(2)(3 6 (4 23)(44 7 96))"


def test_siblings_whose_parent_does_not_match() -> None:
    assert b"".join(render(Forest(100, [100], {100: [3, 5]}), range(100))) == b"((3)(5))"


def test_no_threads() -> None:
    for algorithm in Algorithm:
        assert threads(algorithm, rows([])) == ""


# Hostile mailboxes


def seconds(algorithm: Algorithm, table: Rows) -> tuple[float, str]:
    started = time.process_time()
    text = threads(algorithm, table)
    return time.process_time() - started, text


def chain(count: int, order: Sequence[int], references: Any) -> Rows:
    """Messages in an order, each with the references that a function gives."""
    return Rows(
        range(count),
        range(count),
        [b"s%d" % number for number in order],
        bytes(count),
        [b"%d" % number for number in order],
        [references(number) for number in order],
    )


@pytest.mark.parametrize("backwards", [False, True])
def test_a_chain_of_a_hundred_thousand(backwards: bool) -> None:
    count = 100_000
    order = range(count - 1, -1, -1) if backwards else range(count)
    table = chain(count, order, lambda number: (b"%d" % (number - 1),) if number else ())
    for algorithm in (Algorithm.REFERENCES, Algorithm.REFS):
        took, text = seconds(algorithm, table)
        assert text.count("(") == 1
        assert text.count(" ") == count - 1
        assert took < 20


def test_everybody_refers_to_everybody() -> None:
    count = 300
    everybody = tuple(b"%d" % number for number in range(count))
    took, text = seconds(Algorithm.REFERENCES, chain(count, range(count), lambda number: everybody))
    assert sorted(map(int, text.replace("(", " ").replace(")", " ").split())) == list(range(1, count + 1))
    assert took < 10


def test_oneself_and_circles() -> None:
    table = chain(4, range(4), lambda number: (b"%d" % number, b"%d" % ((number + 1) % 4), b"%d" % number))
    assert sorted(threads(Algorithm.REFS, table).replace("(", " ").replace(")", " ").split()) == [
        "1",
        "2",
        "3",
        "4",
    ]


def test_ten_thousand_references_in_one_header() -> None:
    many = tuple(b"r%d" % number for number in range(10_000))
    took, text = seconds(Algorithm.REFERENCES, chain(3, range(3), lambda number: many))
    assert text == "((1)(2)(3))"
    assert took < 5


def test_absent_messages_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_module, "MAX_ABSENT", 3)
    table = chain(3, range(3), lambda number: tuple(b"r%d.%d" % (number, each) for each in range(4)))
    tree = thread_module._Tree(table)
    finished(tree.link())
    assert len(tree.parents) == 3 + 4 + 1 + 1
    assert threads(Algorithm.REFS, table) == "(1)(2)(3)"


def test_looking_for_loops_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trees of two hung below a deep chain, so that each look goes all the way up."""
    monkeypatch.setattr(thread_module, "MAX_STEPS", 100_000)
    depth = 2_000
    pairs = 2_000
    order = range(depth + 2 * pairs)

    def references(number: int) -> tuple[bytes, ...]:
        if number < depth:
            return (b"%d" % (number - 1),) if number else ()
        pair, second = divmod(number - depth, 2)
        if second:
            return (b"%d" % (depth - 1), b"%d" % (depth + 2 * pair), b"x")
        return ()

    def with_child(number: int) -> tuple[bytes, ...]:
        pair = (number - depth) // 2
        return (b"%d" % (depth + 2 * pair),)

    first = chain(
        len(order), order, lambda number: references(number) if number < depth else with_child(number)
    )
    took, text = seconds(Algorithm.REFS, first)
    assert took < 10
    took, text = seconds(Algorithm.REFS, chain(len(order), order, references))
    assert took < 10
    assert len(text.replace("(", " ").replace(")", " ").split()) == len(order)


def test_a_root_with_a_hundred_thousand_replies() -> None:
    count = 100_000
    took, text = seconds(
        Algorithm.REFERENCES, chain(count, range(count), lambda number: (b"0",) if number else ())
    )
    assert text.startswith("(1 (2)(3)")
    assert took < 20
