"""Header fields, well formed and not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.message import header as header_module
from dovecotpy.message import lines
from dovecotpy.message.header import header_end, parse_header, read_header

RAW = (
    b"From someone@example.org Thu Jan  1 00:00:00 1970\r\n"
    b"Subject: one\r\n"
    b" two\r\n"
    b"\tthree  \r\n"
    b"this is no field\r\n"
    b"X-Empty:\r\n"
    b"TO : a@example.org\r\n"
    b"to: b@example.org\r\n"
    b"\r\n"
)


def test_values_are_unfolded_and_trimmed() -> None:
    header = parse_header(RAW)
    assert header.get(b"subject") == b"one two\tthree"
    assert header.get(b"x-empty") == b""
    assert header.get(b"absent") is None
    assert header.all(b"to") == [b"a@example.org", b"b@example.org"]
    assert header.all(b"absent") == []


def test_entries_cover_every_octet_up_to_the_empty_line() -> None:
    header = parse_header(RAW)
    assert [entry.name for entry in header.entries] == [
        b"From someone@example.org Thu Jan  1 00",
        b"Subject",
        b"",
        b"X-Empty",
        b"TO",
        b"to",
    ]
    assert b"".join(RAW[entry.start : entry.end] for entry in header.entries) == RAW[:-2]
    assert header.raw_value(header.entries[1]) == b" one\r\n two\r\n\tthree  \r\n"


def test_fields_are_the_original_octets() -> None:
    header = parse_header(RAW)
    assert header.fields([b"tO", b"SUBJECT"]) == (
        b"Subject: one\r\n two\r\n\tthree  \r\nTO : a@example.org\r\nto: b@example.org\r\n\r\n"
    )
    assert header.fields([b"absent"]) == b"\r\n"
    assert header.fields([b"to", b"subject", b"x-empty"], exclude=True) == (
        b"From someone@example.org Thu Jan  1 00:00:00 1970\r\nthis is no field\r\n\r\n"
    )


def test_a_header_cut_in_a_line_gets_its_line_end() -> None:
    assert parse_header(b"A: b\r\nC: d").fields([b"c"]) == b"C: d\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"A: b\n\nbody\n\n", 6),
        (b"\nbody", 1),
        (b"A: b\n\r\nbody\n\n", 7),
        (b"A: b\r\n\nbody\r\n\r\n", 7),
        (b"A: b\n \n\t\r\n\n", 11),
        (b"A", 1),
        (b"\r\nbody", 2),
        (b"A: b\r\n\r\nbody", 8),
        (b"A: b\r\n", 6),
        (b"", 0),
        (b"A: b\r\n \r\n\r\n", 11),
    ],
)
def test_only_an_empty_line_ends_the_header(data: bytes, end: int) -> None:
    assert header_end(data) == end


@pytest.mark.parametrize("whole", [0, 1 << 20])
@pytest.mark.parametrize("block", [1, 2, 5, 65536])
@pytest.mark.parametrize(
    ("message", "raw"),
    [
        (b"A: b\nC: d\n\nbody\n\nmore", b"A: b\r\nC: d\r\n\r\n"),
        (b"\nbody\n\n", b"\r\n"),
        (b"A: b", b"A: b"),
        (b"", b""),
        (b"A: " + b"x" * (2 << 20), b"A: " + b"x" * ((1 << 20) - 3)),
    ],
)
def test_reading_the_header_alone(
    message: bytes, raw: bytes, block: int, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines, "WHOLE", whole)
    monkeypatch.setattr(lines, "BLOCK", block if len(message) < 100 else 65536)
    assert read_header(lines.Octets.of(message)).raw == raw


def test_bare_line_feeds_are_understood() -> None:
    assert parse_header(b"A: b\n c\nD: e\n\n").values == {b"a": [b"b c"], b"d": [b"e"]}


def test_a_field_over_the_budget_is_cut_and_the_block_too() -> None:
    long = b"x" * (header_module.MAX_FIELD + 10)
    header = parse_header(b"A: " + long + b"\r\nB: y\r\n" + b"C: z\r\n" * 200_000 + b"Late: field\r\n\r\n")
    value = header.get(b"a")
    assert value is not None
    assert len(value) <= header_module.MAX_FIELD
    assert header.get(b"b") == b"y"
    assert header.get(b"late") is None
    assert len(header.raw) == header_module.MAX_HEADER


@given(st.lists(st.sampled_from([b"A", b":", b" ", b"\t", b"\r\n", b"\n", b"\r", b"\0", b"x"])).map(b"".join))
def test_fields_and_their_complement_hold_each_line_once(raw: bytes) -> None:
    header = parse_header(raw)
    raw = header.raw
    names = {entry.name.lower() for entry in header.entries}
    for name in names:
        with_name = header.fields([name])
        without = header.fields([name], exclude=True)
        total = sum(entry.end - entry.start for entry in header.entries)
        ended = raw.endswith(b"\r\n\r\n") or raw.startswith(b"\r\n")
        unterminated = not raw[: header.entries[-1].end].endswith(b"\n")
        last_wanted = header.entries[-1].name.lower() == name
        added = 2 + (2 if ended else 0) + (2 if unterminated and (last_wanted or ended) else 0)
        assert len(with_name) + len(without) == total + added


@pytest.mark.parametrize(
    ("raw", "without"),
    [
        (b"Subject: a\r\nTo: b\r\n\r\n", b"Subject: a\r\n\r\n"),
        (b"Subject: a\r\nTo: b\r\n", b"Subject: a\r\n"),
        (b"To: b\r\nSubject: a", b"Subject: a"),
        (b"Subject: a\r\nTo: b", b"Subject: a\r\n"),
        (b"To: b\r\nSubject: \0", b"Subject: \0"),
        (b"To: b\r\n", b""),
        (b"\r\n", b"\r\n"),
        (b"", b""),
    ],
)
def test_all_but_some_fields_end_as_the_header_ends(raw: bytes, without: bytes) -> None:
    assert parse_header(raw).fields([b"To"], exclude=True) == without


def test_a_first_line_that_goes_on_before_anything_began_has_no_name() -> None:
    header = parse_header(b" From: a@example.org\r\nSubject: x\r\n\r\n")
    assert header.get(b"from") is None
    assert header.fields([b"From"]) == b"\r\n"
    assert header.fields([b"From", b""]) == b"\r\n"
    assert header.fields([b"Subject"], exclude=True) == b" From: a@example.org\r\n\r\n"
    assert header.fields([b"From"], exclude=True) == header.raw
