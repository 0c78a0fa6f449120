"""SORT against Python's own sorting of naive tuples, and the keys that it compares."""

from __future__ import annotations

import itertools
from array import array
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.message.header import Header, parse_header
from dovecotpy.search import keys
from dovecotpy.search import memory as memory_module
from dovecotpy.search import sort as sort_module
from dovecotpy.search.arrange import sort_messages
from dovecotpy.search.evaluate import Found, Progress
from dovecotpy.search.memory import Memory
from dovecotpy.search.sort import Criterion, Key


class Columns(NamedTuple):
    uids: array[int]
    flags: array[int]
    keywords: array[int]
    modseqs: array[int]
    sizes: array[int]
    dates: array[int]
    keyword_sets: tuple[frozenset[str], ...]


class Source:
    """Headers in memory; counts what is read."""

    def __init__(self, headers: dict[int, bytes], sizes: dict[int, int]) -> None:
        self.data = headers
        self.sizes = sizes
        self.read: list[int] = []

    def headers(self, uids: list[int]) -> list[Header | None]:
        self.read += uids
        return [parse_header(self.data[uid]) if uid in self.data else None for uid in uids]

    def size(self, uid: int) -> int | None:
        return self.sizes.get(uid)


def columns(dates: list[int], sizes: list[int]) -> Columns:
    count = len(dates)
    empty = array("B", bytes(count))
    numbers = array("I", range(1, count + 1))
    return Columns(numbers, empty, empty, empty, array("q", sizes), array("q", dates), (frozenset(),))


def clock() -> float:
    return 0.0


def found(steps: object) -> list[int]:
    *_, last = steps  # type: ignore[misc]
    assert isinstance(last, Found)
    return list(last.uids)


MESSAGE = st.tuples(
    st.integers(0, 3),
    st.integers(0, 3),
    st.sampled_from(["", "Re: b", "b", "B", "[x] c", "\u00e4", "a"]),
    st.sampled_from(
        [
            "",
            "anna@x",
            "Zoe <anna@y>",
            "Bob <bob@x>",
            '"" <carl@x>',
            "Group: bob@x;",
            "=?utf-8?q?=C3=A4?= <d@x>",
        ]
    ),
    st.sampled_from([None, 5, 1, 9]),
)
PROGRAM = st.lists(
    st.builds(Criterion, st.sampled_from(sorted(set(Key) - {Key.RELEVANCY}, key=str)), st.booleans()),
    min_size=1,
    max_size=4,
)
MAILBOX = {
    "": "",
    "anna@x": "ANNA",
    "Zoe <anna@y>": "ANNA",
    "Bob <bob@x>": "BOB",
    '"" <carl@x>': "CARL",
    "Group: bob@x;": "GROUP",
    "=?utf-8?q?=C3=A4?= <d@x>": "D",
}
SHOWN = {
    **MAILBOX,
    "anna@x": "ANNA@X",
    "Zoe <anna@y>": "ZOE",
    '"" <carl@x>': "CARL@X",
    "=?utf-8?q?=C3=A4?= <d@x>": "A\u0308",
}
BASE = {"": "", "Re: b": "B", "b": "B", "B": "B", "[x] c": "C", "\u00e4": "A\u0308", "a": "A"}


@given(st.lists(MESSAGE, max_size=8), PROGRAM)
def test_as_a_sort_of_tuples(
    messages: list[tuple[int, int, str, str, int | None]], program: list[Criterion]
) -> None:
    headers = {}
    plain: dict[int, dict[Key, object]] = {}
    for uid, (arrival, size, subject, address, day) in enumerate(messages, 1):
        lines = [f"Subject: {subject}", f"From: {address}", f"To: {address}", f"Cc: {address}"]
        if day is not None:
            lines.append(f"Date: {day} Jan 1970 00:00:00 +0000")
        headers[uid] = ("\r\n".join(lines) + "\r\n\r\n").encode()
        plain[uid] = {
            Key.ARRIVAL: arrival,
            Key.SIZE: size,
            Key.SUBJECT: BASE[subject].encode(),
            Key.DATE: arrival if day is None else (day - 1) * 86400,
            Key.DISPLAYFROM: SHOWN[address].encode(),
            Key.DISPLAYTO: SHOWN[address].encode(),
            **dict.fromkeys((Key.FROM, Key.TO, Key.CC), MAILBOX[address].encode()),
        }
    table = columns([message[0] for message in messages], [message[1] for message in messages])
    expected = list(plain)
    for criterion in reversed(program):
        expected.sort(key=lambda uid: plain[uid][criterion.key], reverse=criterion.reverse)  # type: ignore[arg-type, return-value]  # noqa: B023
    steps = sort_messages(tuple(program), table, Source(headers, {}), Memory(), table.uids, clock)
    assert found(steps) == expected


def test_long_lists_are_sorted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort_module, "RUN", 10)
    monkeypatch.setattr(sort_module, "MERGED", 7)
    ticks = itertools.count()
    dates = [number * 7919 % 50 for number in range(137)]
    table = columns(dates, dates)
    for reverse in (False, True):
        program = (Criterion(Key.ARRIVAL, reverse),)
        steps = list(
            sort_messages(program, table, Source({}, {}), Memory(), table.uids, lambda: next(ticks) / 10)
        )
        assert sum(isinstance(step, Progress) for step in steps) >= 20
        assert found(iter(steps)) == sorted(table.uids, key=lambda uid: dates[uid - 1], reverse=reverse)


def test_headers_are_read_once_and_only_if_they_are_needed() -> None:
    table = columns([3, 2, 1], [1, 2, -1])
    source = Source({uid: b"Subject: %d\r\nFrom: %d@x\r\n\r\n" % (uid, uid) for uid in (1, 2, 3)}, {3: 0})
    memory = Memory()
    assert found(sort_messages((Criterion(Key.SIZE),), table, source, memory, table.uids, clock)) == [3, 1, 2]
    assert source.read == []
    program = (Criterion(Key.SUBJECT, True), Criterion(Key.SIZE))
    assert found(sort_messages(program, table, source, memory, table.uids, clock)) == [3, 2, 1]
    assert found(sort_messages(program, table, source, memory, [1, 3], clock)) == [3, 1]
    assert found(sort_messages(program, table, source, memory, table.uids, clock)) == [3, 2, 1]
    assert source.read == [1, 2, 3]


def test_what_is_forgotten_is_read_again() -> None:
    table = columns([3, 2, 1], [1, 2, 3])
    source = Source({uid: b"Subject: %d\r\n\r\n" % uid for uid in (1, 2, 3)}, {})
    memory = Memory()
    program = (Criterion(Key.SUBJECT, True),)
    assert found(sort_messages(program, table, source, memory, [1, 2], clock)) == [2, 1]
    memory.forget(2)
    assert found(sort_messages(program, table, source, memory, [1, 2], clock)) == [2, 1]
    assert source.read == [1, 2, 2]


def test_messages_that_are_gone_are_left_out() -> None:
    table = columns([1, 2, 3], [1, 2, 3])
    source = Source({1: b"\r\n", 3: b"\r\n"}, {})
    assert found(
        sort_messages((Criterion(Key.DATE, True),), table, source, Memory(), [1, 2, 3, 9], clock)
    ) == [3, 1]
    assert found(sort_messages((Criterion(Key.ARRIVAL, True),), table, source, Memory(), [9], clock)) == []


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "MAX_KEPT", 2)
    memory = Memory()
    memory.of(Key.TO).learnt.update({1: 1, 2: 2, 3: 3})
    assert len(memory.of(Key.CC)) == 0
    assert len(memory.of(Key.TO)) == 0


@pytest.mark.parametrize(
    ("value", "identities"),
    [
        (b"", []),
        (b"<a@b>", [b"a@b"]),
        (b"<a@b> <c@d>\r\n <e@f>", [b"a@b", b"c@d", b"e@f"]),
        (b'<"a"@b> <a@b>', [b"a@b", b"a@b"]),
        (b'<"a b\\"c"@d>', [b'a b"c@d']),
        (b'<"<x@y>"@d>', [b"<x@y>@d"]),
        (b"(a comment <x@y> (and <y@z>)) <a@b>", [b"a@b"]),
        (b"<a @ b>", [b"a@b"]),
        (b"<nothing> <> <@> <a@> <@b> <c@d>", [b"c@d"]),
        (b"a@b <unclosed@c", []),
        (b"<<a@b>>", [b"a@b"]),
        (b"Your mail of Monday <a@b> (joe@example.org)", [b"a@b"]),
        (b"<A@b><a@b>", [b"A@b", b"a@b"]),
    ],
)
def test_message_ids(value: bytes, identities: list[bytes]) -> None:
    assert keys.message_ids(value) == identities
    assert keys.message_ids(value, 1) == identities[:1]


@given(
    st.lists(st.sampled_from([b"<", b">", b"@", b"a", b'"', b"(", b")", b"\\", b" "]), max_size=20).map(
        b"".join
    )
)
def test_message_ids_of_anything(value: bytes) -> None:
    for identity in keys.message_ids(value):
        assert 0 < identity.rfind(b"@") < len(identity) - 1
    assert keys.message_ids(value, 1) == keys.message_ids(value)[:1]


@pytest.mark.parametrize(
    ("value", "mailbox", "shown"),
    [
        (b"", b"", b""),
        (b"Joe <joe@example.org>", b"JOE", b"JOE"),
        (b'"Doe, Joe" <joe@example.org>', b"JOE", b"DOE, JOE"),
        (b"joe@example.org (Joe)", b"JOE", b"JOE"),
        (b"<joe@example.org>, b@c", b"JOE", b"JOE@EXAMPLE.ORG"),
        (b"=?utf-8?q?J=C3=B6?= <joe@example.org>", b"JOE", "JO\u0308".encode()),
        (b"friends: a@b, c@d;", b"FRIENDS", b"FRIENDS"),
        ("J\u00f6 <a@b>".encode(), b"A", "JO\u0308".encode()),
    ],
)
def test_first_addresses(value: bytes, mailbox: bytes, shown: bytes) -> None:
    assert keys.mailbox(value) == mailbox
    assert keys.displayed(value) == shown
