"""Names for clients that take UTF-8."""

from __future__ import annotations

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.imap.names import FORBIDDEN, NotUtf8, quoted, shown, stored
from dovecotpy.imap.wire.name import encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


def nowhere(name: bytes) -> bool:
    return False


@given(TEXT)
def test_what_is_shown_is_understood(text: str) -> None:
    name = encode(normalize("NFC", text))
    if FORBIDDEN.isdisjoint(normalize("NFC", text)):
        assert stored(shown(name), nowhere) == name
        assert stored(text.encode(), nowhere) == name


@given(st.binary(max_size=40) | st.text("&AOk-,1 ", max_size=20).map(str.encode))
def test_any_name_of_the_store_can_be_named_by_what_is_shown(name: bytes) -> None:
    seen = shown(name)
    if not seen.isascii() and seen == name:
        return  # octets that are no name in modified UTF-7
    assert stored(seen, lambda other: other == name) == name


def test_names_that_look_alike_are_shown_apart() -> None:
    composed, decomposed = encode("caf\xe9"), encode("cafe\u0301")
    assert shown(composed) == "caf\xe9".encode()
    assert shown(decomposed) == decomposed
    assert shown(b"R&AOk") == b"R&AOk"
    assert shown(encode("a\u2028")) == encode("a\u2028")


@pytest.mark.parametrize("given_name", [b"\xe9", b"\xff\xfe", b"a\xc3"])
def test_what_is_no_utf8(given_name: bytes) -> None:
    with pytest.raises(NotUtf8):
        stored(given_name, nowhere)


def test_quotes() -> None:
    assert quoted('a"b\\\xe9'.encode()) == '"a\\"b\\\\\xe9"'.encode()
    assert quoted(b"\xe9") == b"{1}\r\n\xe9"
    assert quoted(b"a\nb") == b"{3}\r\na\nb"
