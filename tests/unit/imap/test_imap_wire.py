"""Sequence sets, mailbox names, list patterns and strings of responses."""

from __future__ import annotations

import fnmatch
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.imap.wire import name, pattern, response, sequence
from tests.strict_imap import parse_response_data


@pytest.mark.parametrize(
    ("text", "ranges"),
    [
        (b"1", [(1, 1)]),
        (b"*", [(9, 9)]),
        (b"2:4", [(2, 4)]),
        (b"4:2", [(2, 4)]),
        (b"*:4", [(4, 9)]),
        (b"15:*", [(9, 15)]),
        (b"2,4:7,9,12:*", [(2, 2), (4, 7), (9, 12)]),
        (b"1,2,3", [(1, 3)]),
        (b"5:7,6:9,1", [(1, 1), (5, 9)]),
        (b"4294967295", [(4294967295, 4294967295)]),
    ],
)
def test_sets(text: bytes, ranges: sequence.Ranges) -> None:
    assert sequence.settle(sequence.parse_set(text), 9) == ranges


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"0",
        b"1:0",
        b",",
        b"1,",
        b":",
        b"1:",
        b"1:2:3",
        b"**",
        b"x",
        b"-1",
        b"+1",
        b"1 ",
        b"4294967296",
        b"\xb2",
    ],
)
def test_no_sets(text: bytes) -> None:
    with pytest.raises(sequence.InvalidSet):
        sequence.parse_set(text)


def test_range_budget() -> None:
    most = b",".join(b"%d" % (2 * number) for number in range(1, sequence.MAX_RANGES + 1))
    assert len(sequence.parse_set(most)) == sequence.MAX_RANGES
    with pytest.raises(sequence.InvalidSet, match="Too many"):
        sequence.parse_set(most + b",1")


@given(st.sets(st.integers(1, 60)))
def test_rendered_sets_come_back(numbers: set[int]) -> None:
    ordered = sorted(numbers)
    ranges = sequence.ranges_of(ordered)
    assert [number for low, high in ranges for number in range(low, high + 1)] == ordered
    if ordered:
        assert sequence.settle(sequence.parse_set(sequence.render(ranges)), 1) == ranges
        assert sequence.render_numbers(ordered) == sequence.render(ranges)


def test_rendered_numbers_keep_their_order() -> None:
    assert sequence.render_numbers([7, 8, 3, 4, 4, 9]) == b"7:8,3:4,4,9"
    assert sequence.render_numbers([]) == b""


@pytest.mark.parametrize(
    ("text", "wire"),
    [
        ("INBOX", b"INBOX"),
        ("~peter/mail/台北/日本語", b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"),
        ("&", b"&-"),
        ("a&b&c", b"a&-b&-c"),
        ("Résumé", b"R&AOk-sum&AOk-"),
        ("\U0001f4e7", b"&2D3c5w-"),
        ("\t", b"&AAk-"),
    ],
)
def test_modified_utf7(text: str, wire: bytes) -> None:
    assert name.encode(text) == wire
    assert name.decode(wire) == text


@pytest.mark.parametrize(
    "wire", [b"&", b"a&b", b"&AOk", b"&*-", b"&AOk-&AOk-", b"&AGE-", b"&2D0-", b"&AOl-", b"\xe9", b"&A-"]
)
def test_not_canonical(wire: bytes) -> None:
    with pytest.raises(name.InvalidName):
        name.decode(wire)
    assert not name.is_valid(wire)


def test_control_characters_are_no_names() -> None:
    assert not name.is_valid(b"&AAk-")
    assert not name.is_valid(b"a\tb")
    assert name.is_valid(b"a b")


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_modified_utf7_comes_back(text: str) -> None:
    assert name.decode(name.encode(text)) == text


@given(st.binary(max_size=12))
def test_decoding_is_canonical_or_refused(data: bytes) -> None:
    try:
        text = name.decode(data)
    except name.InvalidName:
        return
    assert name.encode(text) == data


def test_inbox_in_any_case() -> None:
    assert name.canonical(b"iNbOx", b".") == b"INBOX"
    assert name.canonical(b"inbox.sub", b".") == b"INBOX.sub"
    assert name.canonical(b"inbox.sub", b"/") == b"inbox.sub"
    assert name.canonical(b"inboxes", b".") == b"inboxes"


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        (b"*", [b"a", b"a.b", b""], []),
        (b"%", [b"a", b""], [b"a.b", b"."]),
        (b"a.%", [b"a.", b"a.b"], [b"a", b"a.b.c"]),
        (b"%.%", [b"a.b", b"."], [b"a", b"a.b.c"]),
        (b"*%", [b"a", b"a.b.c"], []),
        (b"%*", [b"a", b"a.b.c"], []),
        (b"a*c", [b"ac", b"abc", b"a.b.c"], [b"a", b"acd"]),
        (b"inbox", [b"INBOX"], [b"inboxes"]),
        (b"InBoX.%", [b"INBOX.sub"], [b"INBOX"]),
        (b"IN%", [b"INBOX"], []),
        (b"x", [b"x"], [b"X", b""]),
    ],
)
def test_patterns(text: bytes, matching: list[bytes], others: list[bytes]) -> None:
    compiled = pattern.Pattern(text, b".")
    assert [each for each in matching if not compiled.matches(each)] == []
    assert [each for each in others if compiled.matches(each)] == []


@settings(max_examples=500)
@given(st.text("ab.*%", max_size=10), st.text("ab.", max_size=12))
def test_patterns_against_regular_expressions(text: str, candidate: str) -> None:
    expression = "".join({"*": ".*", "%": "[^.]*"}.get(each, re.escape(each)) for each in text)
    expected = re.fullmatch(expression, candidate) is not None
    assert pattern.Pattern(text.encode(), b".").matches(candidate.encode()) is expected
    if "%" not in text and "." not in candidate:
        assert fnmatch.fnmatchcase(candidate, text) is expected


def test_no_pattern_is_slow() -> None:
    started = time.perf_counter()
    compiled = pattern.Pattern(b"*a%" * (pattern.MAX_PATTERN // 3) + b"c", b".")
    assert not compiled.matches(b"a" * 5000 + b"b")
    assert time.perf_counter() - started < 1


def test_parents() -> None:
    assert pattern.parents(b"a.b.c", b".") == [b"a", b"a.b"]
    assert pattern.parents(b"a", b".") == []


@given(st.binary(max_size=40) | st.binary(min_size=990, max_size=1010))
def test_strings_are_strict(value: bytes) -> None:
    parsed = parse_response_data(response.string(value))
    assert parsed == [value.replace(b"\0", b"\x80")]


def test_nil() -> None:
    assert response.nstring(None) == b"NIL"
    assert response.nstring(b"NIL") == b'"NIL"'


@given(st.text())
def test_text_of_a_status_is_one_printable_line(text: str) -> None:
    line = response.status(b"a1", b"NO", text, "LIMIT")
    assert re.fullmatch(rb"a1 NO \[LIMIT\] [\x20-\x7e]+\r\n", line)
