"""What is read of usual messages in one go is what the parser says of them, whatever the message is."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dovecotpy.message import usual
from dovecotpy.message.lines import Octets
from dovecotpy.message.steps import finished
from dovecotpy.message.structure import bodystructures, parse
from dovecotpy.message.text import message_keys
from dovecotpy.message.usual import usual_structure, usual_text
from tests.corpus import corpus_messages

FIELDS = [
    b"Content-Type: text/plain; charset=utf-8\n",
    b"Content-Type: text/html;\n\tcharset=iso-8859-1\n",
    b"content-type: Text/Plain; CHARSET=US-ASCII; name=\"a 'b' {1}.txt\"\n",
    b"Content-Type: text/plain; charset=utf-16\n",
    b'Content-Type: application/pdf; name="paper1.pdf"\n',
    b'Content-Type: application/pdf; name="paper2.pdf"\n',
    b"Content-Type: message/rfc822\n",
    b"Content-Type: message/delivery-status\n",
    b"Content-Type: nothing\n",
    b"Content-Type : text/html\n",
    b"Content-Type\n",
    b"Content-Type\x0b: text/html\n",
    b"Content-Transfer-Encoding: quoted-printable\n",
    b"Content-Transfer-Encoding: BASE64\n",
    b"Content-Transfer-Encoding: 8bit\n",
    b"Content-Transfer-Encoding: x y\n",
    b'Content-Disposition: attachment; filename="paper1.pdf"\n',
    b"Content-Disposition: inline;\n filename*0=a;\n filename*1=b\n",
    b"Content-ID: <a@b>\n",
    b'Content-Description: "what" it is\n',
    b"Content-Language: de, en\n",
    b"Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==\n",
    b"Content-Location: here\n",
    b"Contents: content-type: x\n",
    b"Subject: =?utf-8?q?=C3=A9?= a :b\n",
    b"X: a\n\n",
    b" folded\n",
    b"\t\n",
    b"\r\n",
    b"a\rb: c\n",
    b"\0\n",
]
BOUNDARIES = [b"b", b"bb", b"c", b"=_1", b"a b", b"", b"b"]
MULTIPARTS = [
    b'Content-Type: multipart/mixed; boundary="%b"\n',
    b"Content-Type: multipart/alternative;\n\tboundary=%b\n",
    b'content-type: MULTIPART/Related; start=x; Boundary="%b"\n',
    b'Content-Type: multipart/digest; boundary="%b"\n',
    b"Content-Type: multipart/mixed; boundary*=utf-8''%b\nContent-Language: de\n",
    b"Content-Type: multipart/mixed; boundary=x\nContent-Type: multipart/mixed; boundary=%b\n",
]
TEXTS = [
    b"text\n",
    b"two\n\nlines",
    b"caf\xc3\xa9 \xce\xa3\xcf\x83\xef\xac\x81\n",
    b"\xe9\xff\n",
    b"=C3=A9=\n=E9 =3D=\n",
    b"w6kgYg==\n",
    b"\n",
    b"",
    b"\0",
    b"--\n",
    b"--b",
    b"\r",
    b"a\r\nb\r\n",
]


def headers(kinds: list[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(kinds), max_size=4).map(b"".join)


TEXT = st.lists(st.sampled_from(TEXTS), max_size=4).map(b"".join)
LEAVES = st.builds(lambda head, text: head + b"\n" + text, headers(FIELDS), TEXT)


@st.composite
def multiparts(draw: st.DrawFn, parts: st.SearchStrategy[bytes]) -> bytes:
    boundary = draw(st.sampled_from(BOUNDARIES))
    kind = draw(st.sampled_from(MULTIPARTS)) % boundary
    delimiter = b"\n--" + boundary
    ends = st.sampled_from([b"\n", b"\n", b"\n", b" \n", b"x\n", b"", b"--\n", b"\r\n"])
    pieces = [draw(headers(FIELDS)), kind, draw(headers(FIELDS)), b"\n", draw(TEXT)]
    for part in draw(st.lists(parts, max_size=3)):
        pieces += [delimiter, draw(ends), part]
    pieces += draw(st.sampled_from([[delimiter, b"--\n"], [delimiter, b"--"], [], [delimiter, b"\n"]]))
    pieces.append(draw(TEXT))
    return b"".join(pieces)


MESSAGES = st.recursive(LEAVES, multiparts, max_leaves=8)


def lines(keys: bytes) -> list[bytes]:
    """The texts of an area, with one form of line ends: which one a text has is no part of what can be looked for."""
    return keys.replace(b"\r\n", b"\n").split(b"\0")


def told_the_same(data: bytes) -> bool:
    """Whether the message is usual; then both ways must say the same of it."""
    structure, text = usual_structure(data), usual_text(data)
    octets = Octets.of(data)
    if structure is not None:
        assert structure == (*bodystructures(parse(octets)), octets.size)
    if text is not None:
        body = finished(message_keys(octets, 1 << 30))[1]
        assert body is not None
        for short, long in zip(text, body, strict=True):
            assert sorted(lines(short)) == sorted(lines(long))
    return structure is not None and text is not None


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(MESSAGES, st.booleans())
def test_any_message(data: bytes, with_crlf: bool) -> None:
    told_the_same(data.replace(b"\n", b"\r\n") if with_crlf else data)
    told_the_same(data)


def test_the_corpus() -> None:
    messages = [data for _, data in corpus_messages() if len(data) < 1 << 16]
    usual_ones = [told_the_same(data) for data in messages]
    assert sum(usual_ones) > len(messages) // 2


def multipart(boundary: bytes, *parts: bytes) -> bytes:
    head = b"Content-Type: multipart/mixed; boundary=%b\n\n" % boundary
    return head + b"".join([b"--%b\n%b\n" % (boundary, part) for part in parts]) + b"--%b--\n" % boundary


LEAF = b"Content-Type: text/plain\n\nx\n"


@pytest.mark.parametrize(
    "data",
    [
        LEAF,
        b"\ntext\n",
        LEAF.replace(b"\n", b"\r\n"),
        multipart(b"b", LEAF, LEAF),
        multipart(b"b", multipart(b"c", LEAF, LEAF), LEAF),
        multipart(b"b", multipart(b"c", multipart(b"d", LEAF))),
    ],
)
def test_what_is_usual(data: bytes) -> None:
    assert told_the_same(data)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"Subject: no empty line\n",
        b"a: b\n\nlone \r CR\n",
        b"Content-Type: message/rfc822\n\n" + LEAF,
        b"Content-Type: multipart/digest; boundary=b\n\n--b\n\n" + LEAF + b"--b--\n",
        multipart(b"b"),
        multipart(b"b", LEAF)[:-6],
        multipart(b"b", multipart(b"bb", LEAF)),
        multipart(b"bb", multipart(b"b", LEAF)),
        multipart(b"b", b"Content-Type : text/plain\n\nx"),
        multipart(b"b", b"no header"),
        b"Content-Type\n\nx\n",
        b"X: " + b"x" * usual.MAX_HEAD + b"\n\nx\n",
        b"Content-ID: a\n" * (usual.MAX_FIELDS + 1) + b"\nx\n",
        multipart(b"b", *[LEAF] * (usual.MAX_PARTS + 1)),
        multipart(b"b", *[multipart(b"c", *[LEAF] * usual.MAX_PARTS)] * 5),
        multipart(b"b", multipart(b"c", multipart(b"d", multipart(b"e", LEAF)))),
    ],
)
def test_what_the_parser_decides(data: bytes) -> None:
    assert usual_structure(data) is None
    assert usual_text(data) is None
    told_the_same(data)


def test_what_is_remembered_is_bounded() -> None:
    for number in range(2 * usual.MAX_KNOWN):
        told_the_same(multipart(b"b", b"Content-Type: a/b; name=n%d\n\nx" % number))
        told_the_same(b"Content-Type: a/b; name=%b%d\n\nx\n" % (b"n" * 1000, number))
    for memory in (usual._known, usual._keys):
        assert len(memory) <= usual.MAX_KNOWN
        assert max(map(len, memory)) <= usual.MAX_KNOWN_OCTETS
