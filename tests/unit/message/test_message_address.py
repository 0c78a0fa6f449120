"""Address lists: the grammar, what people write instead, and what attackers do."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.message.address import MAX_ADDRESSES, parse_addresses
from dovecotpy.message.envelope import addresses
from tests.strict_imap import check_envelope, parse_response_data

MISSING = b"MISSING_DOMAIN"
NOBODY = b"MISSING_MAILBOX"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"user@example.org", [(None, None, b"user", b"example.org")]),
        (b"<user@example.org>", [(None, None, b"user", b"example.org")]),
        (b"Joe Q. Public <j.q@example.org>", [(b"Joe Q. Public", None, b"j.q", b"example.org")]),
        (b'"Public, Joe" <joe@example.org>', [(b"Public, Joe", None, b"joe", b"example.org")]),
        (b'"a \\"b\\" c" <x@y>', [(b'a "b" c', None, b"x", b"y")]),
        (b'Pete "the  Rock" X <p@y>', [(b"Pete the Rock X", None, b"p", b"y")]),
        (b"pete@silly.test (A \\(nice) chap)", [(b"A (nice", None, b"pete", b"silly.test")]),
        (b"pete(his account)@silly.test(his host)", [(b"his host", None, b"pete", b"silly.test")]),
        (b"a@b, c@d", [(None, None, b"a", b"b"), (None, None, b"c", b"d")]),
        (b",, a@b ,,c@d,", [(None, None, b"a", b"b"), (None, None, b"c", b"d")]),
        (b"john . doe @ example . org", [(None, None, b"john.doe", b"example.org")]),
        (b'"quoted local"@example.org', [(None, None, b"quoted local", b"example.org")]),
        (b"user@[192.0.2.1]", [(None, None, b"user", b"[192.0.2.1]")]),
        (b"<@a.org,@b.org:user@c.org>", [(None, b"@a.org,@b.org", b"user", b"c.org")]),
        (b"=?utf-8?q?J=C3=B6rg?= <j@x>", [(b"=?utf-8?q?J=C3=B6rg?=", None, b"j", b"x")]),
        (b"J\xc3\xb6rg <j@x>", [(b"J\xc3\xb6rg", None, b"j", b"x")]),
        (b"", []),
        (b"(only a comment)", []),
        (
            b"A Group: Ed <ed@x.org>, joe@y.org; last@z.org",
            [
                (None, None, b"A Group", None),
                (b"Ed", None, b"ed", b"x.org"),
                (None, None, b"joe", b"y.org"),
                (None, None, None, None),
                (None, None, b"last", b"z.org"),
            ],
        ),
        (
            b"undisclosed-recipients:;",
            [(None, None, b"undisclosed-recipients", None), (None, None, None, None)],
        ),
        (b"open group: a@b", [(None, None, b"open group", None), (None, None, b"a", b"b"), (None,) * 4]),
    ],
)
def test_grammar(value: bytes, expected: list[tuple[bytes | None, ...]]) -> None:
    assert [tuple(address) for address in parse_addresses(value)] == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"root", [(None, None, b"root", MISSING)]),
        (b"john at example.org", [(b"john at example.org", None, NOBODY, MISSING)]),
        (b"john at example.org (John Doe)", [(b"john at example.org", None, NOBODY, MISSING)]),
        (b"John Doe <>", [(b"John Doe", None, NOBODY, MISSING)]),
        (b"John Doe john@example.org", [(b"John Doe", None, b"john", b"example.org")]),
        (b"a@b c@d, e@f", [(None, None, b"a", b"b"), (None, None, b"e", b"f")]),
        (b"a@b@c", [(None, None, b"a", b"b")]),
        (b"<two words>", [(None, None, b"two words", b"SYNTAX_ERROR")]),
        (b"John <john@example.org", [(b"John", None, b"john", b"example.org")]),
        (b'"unterminated <a@b>', [(b"unterminated <a@b>", None, NOBODY, MISSING)]),
        (b"@example.org", [(None, None, NOBODY, b"example.org")]),
        (b"user@", [(None, None, b"user", MISSING)]),
    ],
)
def test_what_people_write_instead(value: bytes, expected: list[tuple[bytes | None, ...]]) -> None:
    assert [tuple(address) for address in parse_addresses(value)] == expected


@pytest.mark.parametrize(
    "value",
    [
        b"a@b",
        b'"Some One" <a.b@c.d>',
        b"Some  One <a.b@c.d>",
        b"S. One <a-b@c.d>",
        b"<a@b>",
        b'"" <a@b>',
        b"Some One<a@b>",
    ],
)
def test_the_fast_path_renders_what_the_parser_finds(value: bytes) -> None:
    expected = [list(address) for address in parse_addresses(value)]
    assert parse_response_data(addresses(value)) == [expected]


pieces = st.sampled_from(
    [
        b"a",
        b"b c",
        b"@",
        b"<",
        b">",
        b",",
        b";",
        b":",
        b'"',
        b"\\",
        b"(",
        b")",
        b"[",
        b"]",
        b".",
        b" ",
        b"\0",
        b"\xff",
        b"\r",
    ]
)


@given(st.lists(pieces, max_size=40).map(b"".join))
def test_anything_renders_as_a_valid_list(value: bytes) -> None:
    rendered = parse_response_data(addresses(value))[0]
    check_envelope([None, None, rendered, None, None, None, None, None, None, None])


@pytest.mark.parametrize(
    "unit",
    [
        b"(",
        b'"',
        b"<",
        b"<@",
        b"@a,",
        b"a:",
        b"a;",
        b"\\",
        b"[",
        b"a@b,",
        b"a ",
        b"a.",
        b'""',
        b"()",
        b"<@a,",
    ],
)
def test_hostile_repetition_takes_linear_time(unit: bytes) -> None:
    value = unit * (65536 // len(unit))
    start = time.process_time()
    found = parse_addresses(value)
    assert time.process_time() - start < 2
    assert len(found) <= MAX_ADDRESSES + 1
