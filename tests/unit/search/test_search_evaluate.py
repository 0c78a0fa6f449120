"""Searches over a small mailbox, against a plain model of what each key means."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.message.header import Header as MessageHeader
from dovecotpy.message.lines import Octets
from dovecotpy.message.structure import parse
from dovecotpy.message.text import body_text
from dovecotpy.search import evaluate as evaluate_module
from dovecotpy.search import query as q
from dovecotpy.search.evaluate import Found, Progress, evaluate

DAY = 86400
SEEN, DELETED = 8, 4


class Columns(NamedTuple):
    uids: array[int]
    flags: array[int]
    keywords: array[int]
    modseqs: array[int]
    sizes: array[int]
    dates: array[int]
    keyword_sets: tuple[frozenset[str], ...]


class Source:
    """Messages in memory; counts what is read."""

    def __init__(self, messages: dict[int, bytes]) -> None:
        self.messages = messages
        self.headers: list[int] = []
        self.bodies: list[int] = []

    def header(self, uid: int) -> MessageHeader | None:
        self.headers.append(uid)
        message = self.messages.get(uid)
        return None if message is None else parse(Octets.of(message)).header

    def decoded_text(self, uid: int) -> Iterator[str] | None:
        self.bodies.append(uid)
        message = self.messages.get(uid)
        if message is None:
            return None
        octets = Octets.of(message)
        return body_text(octets, parse(octets))

    def size(self, uid: int) -> int | None:
        message = self.messages.get(uid)
        return None if message is None else Octets.of(message).size


MESSAGES = {
    1: b"From: Ann <ann@example.org>\nSubject: =?utf-8?q?Caf=C3=A9?= menu\nDate: Mon, 1 Jan 2024 23:30:00 -0800\n\nCoffee and cake\n",
    3: b"From: bob@example.org\nSubject: hello\nX-Spam:\nDate: Tue, 2 Jan 2024 00:30:00 +0100\n\ncafe and tea\nCAF\xc3\x89\n",
    4: b"From: ann@example.org\nTo: bob@example.org\n\nnothing of note\n",
    9: b"Subject: attachment\nDate: rubbish\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-ID: cid\n\nte\n--b\n\nxt\n--b--\n",
    10: b"Subject: needle\n in the fold\nDate: Wed, 3 Jan 2024 10:00:00 +0000\nContent-Transfer-Encoding: base64\n\nbmVlZGxl\n",
}
UIDS = tuple(MESSAGES)


def columns(sizes: bool = True) -> Columns:
    return Columns(
        array("I", UIDS),
        array("B", [0, SEEN, DELETED, SEEN | DELETED, 0]),
        array("I", [0, 1, 2, 1, 0]),
        array("Q", [5, 6, 7, 8, 9]),
        array("q", [Octets.of(message).size if sizes else -1 for message in MESSAGES.values()]),
        array("q", [19723 * DAY - 1, 19723 * DAY, 19724 * DAY + 5, 19725 * DAY - 1, 19725 * DAY]),
        (frozenset(), frozenset(("$Junk",)), frozenset(("$junk2", "Other"))),
    )


class Clock:
    """Each look at it lasts a millisecond."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        self.time += 0.001
        return self.time


def run(
    query: q.Query, within: tuple[int, ...] = UIDS, sizes: bool = True, source: Source | None = None
) -> list[int]:
    results = list(
        evaluate(
            query,
            columns(sizes),
            source or Source(MESSAGES),
            array("I", within),
            Clock(),
            lambda day: day * DAY,
        )
    )
    assert all(isinstance(result, Progress) for result in results[:-1])
    found = results[-1]
    assert isinstance(found, Found)
    return list(found.uids)


@pytest.mark.parametrize(
    ("query", "uids"),
    [
        (q.All(), [1, 3, 4, 9, 10]),
        (q.Flag(SEEN), [3, 9]),
        (q.Flag(SEEN, False), [1, 4, 10]),
        (q.Keyword("$JUNK"), [3, 9]),
        (q.Keyword("other"), [4]),
        (q.Keyword("absent"), []),
        (q.Not(q.Keyword("$junk")), [1, 4, 10]),
        (q.And((q.Flag(SEEN), q.Flag(DELETED))), [9]),
        (q.Or((q.Flag(SEEN), q.Flag(DELETED))), [3, 4, 9]),
        (q.Not(q.Or((q.Flag(SEEN), q.Flag(DELETED)))), [1, 10]),
        (q.And(()), [1, 3, 4, 9, 10]),
        (q.Or(()), []),
        (q.Uids((3, 10, 11)), [3, 10]),
        (q.UidRanges(((9, 4294967295), (2, 3))), [3, 9, 10]),
        (q.UidRanges(((4, 1), (3, 3))), [1, 3, 4]),
        (q.Before(19724), [1, 3]),
        (q.On(19724), [4, 9]),
        (q.Since(19725), [10]),
        (q.ModSequence(8), [9, 10]),
        (q.Larger(122), [1, 9]),
        (q.Smaller(70), [4]),
        (q.SentBefore(19724), [1]),
        (q.SentOn(19724), [3, 4, 9]),
        (q.SentSince(19724), [3, 4, 9, 10]),
        (q.Header(b"Subject", "CAFÉ"), [1]),
        (q.Header(b"subject", "cafe\u0301 M"), [1]),
        (q.Header(b"FROM", "ann"), [1, 4]),
        (q.Header(b"x-spam", ""), [3]),
        (q.Header(b"x-absent", ""), []),
        (q.Header(b"subject", "needle in"), [10]),
        (q.Body("café"), [3]),
        (q.Body("COFFEE AND"), [1]),
        (q.Body("text"), []),
        (q.Body("needle"), [10]),
        (q.Body("hello"), []),
        (q.Text("hello"), [3]),
        (q.Text("Content-ID: cid"), [9]),
        (q.Body("cid"), []),
        (q.And((q.Text("cid"), q.Not(q.Body("cid")))), [9]),
        (q.Text("ann@EXAMPLE"), [1, 4]),
        (q.Text("x-spam:"), [3]),
        (q.Text(""), [1, 3, 4, 9, 10]),
        (q.Not(q.Text("e")), []),
        (q.And((q.Body("and"), q.Not(q.Body("tea")))), [1]),
        (q.Or((q.Body("tea"), q.Header(b"subject", "needle"))), [3, 10]),
    ],
)
def test_each_key(query: q.Query, uids: list[int]) -> None:
    assert run(query) == uids
    assert run(query, sizes=False) == uids
    assert run(query, within=(3, 7, 10)) == [uid for uid in uids if uid in (3, 10)]


def test_bodies_are_read_once_and_only_where_nothing_cheaper_decides() -> None:
    source = Source(MESSAGES)
    query = q.And(
        (q.Body("e"), q.Body("cake"), q.Header(b"from", "ann"), q.Flag(SEEN, False), q.Text("coffee"))
    )
    assert run(query, source=source) == [1]
    assert source.headers == [1, 4, 10]
    assert source.bodies == [1, 4]


def test_columns_alone_read_no_message() -> None:
    source = Source(MESSAGES)
    run(q.Or((q.Flag(SEEN), q.Not(q.Larger(5)))), source=source)
    assert source.headers == source.bodies == []


def test_within_may_name_what_is_not_there() -> None:
    assert run(q.All(), within=(1, 2, 4)) == [1, 4]
    assert run(q.All(), within=(2, 5, 11)) == []
    assert run(q.All(), within=()) == []
    assert run(q.All(), within=(0, 3, 4, 5, 9, 10)) == [3, 4, 9, 10]


def test_ten_thousand_terms() -> None:
    query = q.Or(tuple(q.UidRanges(((uid, uid),)) for uid in range(100, 10_100)))
    many = q.Or((query, q.And((q.Uids(range(1, 5000)), q.Body("needle")))))
    assert run(query) == []
    assert run(many) == [10]


def test_a_message_that_has_gone_matches_nothing() -> None:
    source = Source({uid: message for uid, message in MESSAGES.items() if uid != 3})
    assert run(q.Not(q.Body("zzz")), source=source) == [1, 4, 9, 10]
    assert run(q.Not(q.Header(b"subject", "zzz")), source=source) == [1, 4, 9, 10]
    assert run(q.Larger(0), sizes=False, source=source) == [1, 4, 9, 10]


def test_nesting_is_bounded() -> None:
    query: q.Query = q.Flag(SEEN)
    for _ in range(60):
        query = q.Not(query)
    assert run(query) == [3, 9]
    for _ in range(100_000):
        query = q.Not(query)
    with pytest.raises(q.QueryTooDeep):
        run(query)


def test_a_needle_across_two_pieces_is_found() -> None:
    class Pieces(Source):
        def decoded_text(self, uid: int) -> Iterator[str]:
            return iter(["xx straßen", "bahn", "hof ", "\0", "bahn", "\0"])

    source = Pieces(MESSAGES)
    assert run(q.Body("STRAßENBAHNHOF"), source=source) == list(UIDS)
    assert run(q.Body("hof bahn"), source=source) == []
    assert run(q.And((q.Body("n"), q.Body("straßenbahnhof"))), source=source) == list(UIDS)


def test_work_is_interrupted_in_time() -> None:
    count = 2_000
    many = Columns(
        array("I", range(1, count + 1)),
        array("B", [0]) * count,
        array("I", [0]) * count,
        array("Q", [1]) * count,
        array("q", [-1]) * count,
        array("q", [0]) * count,
        (frozenset(),),
    )
    clock = Clock()
    last, longest, progress = 0.0, 0.0, 0
    source = Source(dict.fromkeys(range(1, count + 1), MESSAGES[1]))
    for result in evaluate(q.Body("cake"), many, source, many.uids, clock):
        longest = max(longest, clock.time - last)
        last = clock.time
        if isinstance(result, Found):
            assert len(result.uids) == count
        else:
            assert 0 <= result.done < result.total == count
            progress += 1
    assert progress > 10
    assert longest <= 2 * evaluate_module.SLICE


def test_a_large_message_is_interrupted_too() -> None:
    class Large(Source):
        def decoded_text(self, uid: int) -> Iterator[str]:
            return itertools.chain(itertools.repeat("nothing here\n", 1000), ["needle"])

    results = list(evaluate(q.Body("needle"), columns(), Large(MESSAGES), array("I", [1]), Clock()))
    assert len(results) > 10
    assert results[-1] == Found(array("I", [1]))


leaves = st.sampled_from(
    [
        q.All(),
        q.Flag(SEEN),
        q.Flag(DELETED, False),
        q.Keyword("$junk"),
        q.Uids((3, 9)),
        q.UidRanges(((4, 9),)),
        q.Larger(80),
    ]
    + [
        q.Smaller(90),
        q.On(19724),
        q.SentSince(19724),
        q.Header(b"from", "ann"),
        q.Body("e"),
        q.Body("and"),
        q.Text("bob"),
    ]
)
queries = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda terms: q.And(tuple(terms))),
        st.lists(inner, max_size=4).map(lambda terms: q.Or(tuple(terms))),
        inner.map(q.Not),
    ),
    max_leaves=12,
)


def model(query: q.Query) -> frozenset[int]:
    if isinstance(query, q.And):
        return frozenset(UIDS).intersection(*(model(term) for term in query.terms))
    if isinstance(query, q.Or):
        return frozenset().union(*(model(term) for term in query.terms))
    if isinstance(query, q.Not):
        return frozenset(UIDS) - model(query.term)
    return frozenset(run(query))


@settings(max_examples=300)
@given(queries, st.sets(st.sampled_from(UIDS)), st.booleans())
def test_and_or_not_are_those_of_sets(query: q.Query, within: set[int], sizes: bool) -> None:
    assert run(query, tuple(sorted(within)), sizes) == sorted(model(query) & within)


def test_a_million_messages_by_columns_in_slices() -> None:
    count = 1_000_000
    many = Columns(
        array("I", range(1, count + 1)),
        array("B", bytes(range(16)) * (count // 16)),
        array("I", [0]) * count,
        array("Q", [1]) * count,
        array("q", [100]) * count,
        array("q", [0]) * count,
        (frozenset(),),
    )
    results = list(
        evaluate(q.And((q.Flag(SEEN), q.Not(q.Flag(DELETED)))), many, Source({}), many.uids, Clock())
    )
    assert isinstance(results[-1], Found)
    assert len(results[-1].uids) == count // 4
