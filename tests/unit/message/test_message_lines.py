"""The CRLF form: whole, in pieces, by position."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.message import lines
from dovecotpy.message.lines import BytesBody, Octets, crlf, crlf_size

octets_with_line_ends = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"bc", b"\0", b"\xff"])).map(
    b"".join
)


def reference(data: bytes) -> bytes:
    out = bytearray()
    for index, octet in enumerate(data):
        if octet == 10 and (index == 0 or data[index - 1] != 13):
            out.append(13)
        out.append(octet)
    return bytes(out)


@given(octets_with_line_ends)
def test_each_bare_lf_gets_a_cr_and_nothing_else_changes(data: bytes) -> None:
    assert crlf(data) == reference(data)
    assert crlf_size(data) == len(reference(data))
    assert crlf(crlf(data)) == crlf(data)


def test_lone_cr_is_an_ordinary_octet() -> None:
    assert crlf(b"a\rb\r\r\nc\n") == b"a\rb\r\r\nc\r\n"


class Trickle(BytesBody):
    """Gives a few octets at a time, as a network store may, and counts what is asked of it."""

    __slots__ = ("largest", "total")

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.largest = most
        self.total = 0

    def read(self, at: int, n: int) -> bytes:
        piece = super().read(at, min(n, self.largest))
        self.total += len(piece)
        return piece


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "BLOCK", 4)
    monkeypatch.setattr(lines, "WHOLE", 8)


@settings(max_examples=300, suppress_health_check=[])
@given(
    data=octets_with_line_ends, start=st.integers(0, 40), length=st.integers(0, 40), chunk=st.integers(1, 9)
)
def test_any_range_of_a_message_read_in_blocks(data: bytes, start: int, length: int, chunk: int) -> None:
    whole = reference(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines, "BLOCK", 4)
        patch.setattr(lines, "WHOLE", 8)
        octets = Octets(Trickle(data, 3))
        assert octets.read(start, length) == whole[start : start + length]
        pieces = list(octets.chunks(start, start + length, chunk))
        assert b"".join(pieces) == whole[start : start + length]
        assert all(0 < len(piece) <= chunk for piece in pieces)
        assert octets.size == len(whole)
        assert octets.read(0, octets.size) == whole


def test_a_stored_crlf_form_is_passed_through(small_blocks: None) -> None:
    octets = Octets(BytesBody(b"a\r\nbc\r\n\xff\r\r\nlonger\r\n", crlf=True))
    assert octets.size == 19
    assert octets.read(2, 100) == b"\nbc\r\n\xff\r\r\nlonger\r\n"
    assert list(octets.chunks(5, 11, 4)) == [b"\r\n\xff\r", b"\r\n"]


def test_a_crlf_across_two_blocks_is_one_line_end(small_blocks: None) -> None:
    octets = Octets(BytesBody(b"abc\r\ndef\ng\rh\r\n"))
    assert octets.read(0, 99) == b"abc\r\ndef\r\ng\rh\r\n"
    assert octets.size == 15


def test_a_message_that_is_shorter_than_told_raises(small_blocks: None) -> None:
    body = BytesBody(b"0123456789\n")
    body.size = 20
    with pytest.raises(EOFError):
        _ = Octets(body).size


def test_a_large_message_is_not_held_in_memory() -> None:
    line = b"x" * 71 + b"\n"
    body = Trickle(line * 100_000, lines.BLOCK)
    octets = Octets(body)
    assert octets.text() is None
    assert octets.size == 73 * 100_000
    assert body.total == body.size
    assert octets.read(73 * 99_999, 100) == line[:-1] + b"\r\n"
    assert body.total <= body.size + lines.BLOCK
    assert max(map(len, octets.chunks(0, octets.size))) <= lines.BLOCK
