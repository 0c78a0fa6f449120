"""Strings of responses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.message.string import MAX_QUOTED, nstring, single_spaced, string
from tests.strict_imap import parse_response_data


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (None, b"NIL"),
        (b"", b'""'),
        (b"plain text", b'"plain text"'),
        (b'say "x"', b'{7}\r\nsay "x"'),
        (b"back\\slash", b"{10}\r\nback\\slash"),
        (b"caf\xc3\xa9", b"{5}\r\ncaf\xc3\xa9"),
        (b"a\rb", b"{3}\r\na\rb"),
        (b"a\r\nb", b"{4}\r\na\r\nb"),
        (b"a\tb", b"{3}\r\na\tb"),
        (b"a\0b", b"{3}\r\na\x80b"),
        (b"x" * MAX_QUOTED, b'"' + b"x" * MAX_QUOTED + b'"'),
        (b"x" * (MAX_QUOTED + 1), b"{1001}\r\n" + b"x" * (MAX_QUOTED + 1)),
    ],
)
def test_quoted_only_what_every_client_reads(value: bytes | None, sent: bytes) -> None:
    assert nstring(value) == sent


@given(st.binary(max_size=1200))
def test_every_value_comes_back(value: bytes) -> None:
    assert parse_response_data(string(value)) == [value.replace(b"\0", b"\x80")]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(b" a  b\t c ", b"a b c"), (b"a\r\n b", b"a b"), (b"", b""), (b"\t", b""), (b"\xa0 x", b"\xa0 x")],
)
def test_single_spaced(value: bytes, shown: bytes) -> None:
    assert single_spaced(value) == shown
