"""Records of header fields: what is read fast is what is read with care."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.message import fields
from dovecotpy.message.envelope import envelope, kept_envelope
from dovecotpy.message.fields import (
    KEPT,
    MANY_LINES,
    MAX_FIELDS,
    MAX_LINES,
    MAX_NAME,
    MAX_SHAPES,
    MAX_SPELLINGS,
    Selection,
    opening,
    scan,
)
from dovecotpy.message.header import MAX_FIELD, Header
from dovecotpy.message.text import MAX_KNOWN, opening_key
from tests.corpus import corpus_messages, requires_corpus
from tests.message_openings import check_opening

MESSAGE = (
    b"Received: from a\n\tby b;\n Tue, 14 Nov 2023 08:09:11 +0100\n"
    b"FROM: A <a@example.org>\nTo: b@example.org,\n c@example.org\nSubject: two\nX-Mine: 1\n"
    b"Date: Tue, 14 Nov 2023 08:09:10 +0100\nMessage-ID: <1@example.org>\n\nbody\n\nmore\r\n\r\nmore"
)
NAMES = st.sampled_from(
    [
        *KEPT[:24],
        b"Subject",
        b"FROM",
        b"to",
        b"X-Other",
        b"Received",
        b"subject ",
        b"\tto",
        b"\x0bcc",
        b"",
        b"a b",
    ]
)
VALUES = st.sampled_from(
    [
        b" two words",
        b"  two   words ",
        b"\ta\tb",
        b" =?utf-8?q?=C3=BC?= x",
        b" =?utf-8?b?w7w=?=",
        b' "A B" <a@example.org>, c@example.org',
        b" A <a@example.org>",
        b" g: a@b, c@d;",
        b" <1@example.org> <2@example.org>",
        b" <1@example.org>\n <2@exa mple.org>",
        b' "x',
        b" Tue, 14 Nov 2023 08:09:10 +0100",
        b" Re: x : y",
        b" \xc3\xbc",
        b" \\",
        b"",
        b"x" * 1100,
    ]
)
JUNK = st.one_of(
    st.sampled_from(
        [b"\n", b"\r", b"\r\n", b"\n ", b"\r\n\t", b"\0", b"no field", b"Subject", b" ", b":", b"=?"]
    ),
    st.binary(max_size=6),
)
FIELD = st.builds(lambda name, value: name + b":" + value + b"\n", NAMES, VALUES)
LINES = st.lists(st.one_of(FIELD, FIELD, FIELD, FIELD, JUNK), max_size=14)


@settings(max_examples=600)
@given(LINES, st.booleans(), st.sampled_from([b"\n", b"\r\n", b"\n\n\n", b"", b"\r\n\r\n\n"]))
def test_what_is_read_fast_is_what_is_read_with_care(lines: list[bytes], crlf: bool, tail: bytes) -> None:
    data = b"".join(lines) + tail
    check_opening(data.replace(b"\n", b"\r\n") if crlf else data)


@requires_corpus
def test_the_corpus_is_read_fast_and_as_with_care() -> None:
    every = [check_opening(data[:65536]) for _, data in corpus_messages()]
    declined = sum(each is None for each in every)
    assert declined < len(every) // 10


@pytest.mark.parametrize("data", [MESSAGE, MESSAGE.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")])
def test_an_ordinary_header_is_read_fast(data: bytes) -> None:
    found = check_opening(data)
    assert found is not None
    assert found.get(b"subject") == b"two"
    assert found.get(b"to") == b"b@example.org, c@example.org"
    assert found.get(b"cc") is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n\nbody",
        b"\r\n\r\nbody",
        b"Subject: without end\n",
        b"Subject: a\r\nTo: b\n\nbody",
        b"Subject: a\r\rTo: b\r\n\r\nbody",
        b" blank: first\nTo: b\n\n",
        b"Subject: a\0b\n\n",
        b"Subject\nTo: b\n\n",
        b"Subject : a\n\n",
        b"Subject\n : a\n\n",
        b"From a@example.org Tue Nov 14 08:09:10 2023\nTo: b\n\n",
        b"X-\xfc: a\n\n",
    ],
)
def test_an_odd_header_is_left_to_those_who_look_twice(data: bytes) -> None:
    assert check_opening(data) is None


class TestBounds:
    def test_fields_of_one_record(self) -> None:
        line = b"Keywords: x\n"
        assert check_opening(line * MAX_FIELDS + b"\n") is not None
        assert check_opening(line * (MAX_FIELDS + 1) + b"\n") is None
        header = Header((line * (MAX_FIELDS + 1) + b"\n").replace(b"\n", b"\r\n"))
        assert fields.pack(header) is None

    def test_octets_of_a_header(self) -> None:
        fits = b"Subject: a\n" + b"X: " + b"x" * (MAX_FIELD - 14)
        assert len(fits) == MAX_FIELD
        assert check_opening(fits + b"\n\n") is not None
        assert check_opening(fits + b"x\n\n") is None

    def test_lines_of_which_each_is_looked_at(self) -> None:
        lines = b"".join([b"X-%d: x\n" % number for number in range(MANY_LINES)])
        assert check_opening(lines + b"\n") is not None
        assert check_opening(lines + b"X-More: x\n\n") is None

    def test_spellings_that_are_remembered(self) -> None:
        for number in range(2 * MAX_SPELLINGS):
            assert check_opening(b"X-%d: x\nSubject: %d\n\n" % (number, number)) is not None
        assert len(fields._spellings) <= MAX_SPELLINGS
        long = b"X-" + b"x" * MAX_NAME
        assert check_opening(long + b": x\nSubject: a\n\n") is not None
        assert long + b":" not in fields._spellings

    def test_orders_that_are_remembered(self) -> None:
        selection = Selection([b"subject"])
        for number in range(2 * MAX_SHAPES):
            names = [KEPT[int(digit)] for digit in str(number)]
            data = b"".join([name + b": 2 Jan 2000\n" for name in names])
            found = scan(data[:-1])
            assert found is not None
            assert kept_envelope(found) == envelope(found)
            selection.answer(found.record)
        assert len(fields._shapes) <= MAX_SHAPES
        assert len(fields._sights) <= MAX_SHAPES
        assert len(selection._plans) <= MAX_SHAPES
        before = set(fields._sights)
        assert check_opening(b"X: x\n" * (MAX_LINES + 1) + b"\n") is not None
        assert set(fields._sights) == before

    def test_lines_with_encoded_words_that_are_remembered(self) -> None:
        for number in range(MAX_KNOWN + 2):
            header = b"Subject: =?utf-8?q?=C3=BC?= %d" % number
            assert opening_key(header).key == b"SUBJECT: U\xcc\x88 %d\n" % number


def test_a_header_that_is_too_long_has_no_record() -> None:
    assert fields.pack(Header(b"Subject: a\r\n" + b"X: x\r\n" * MAX_FIELD + b"\r\n")) is None


def test_beginnings_without_the_end_of_their_header_say_nothing() -> None:
    assert opening(MESSAGE[:100]) is None
