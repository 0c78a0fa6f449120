from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.message.lines import Octets
from dovecotpy.message.preview import LIMIT, html_text, preview
from dovecotpy.message.structure import parse
from tests.corpus import corpus_messages, requires_corpus


def shown(message: bytes) -> str:
    octets = Octets.of(message)
    return preview(octets, parse(octets))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"Subject: x\n\nHello  there,\n\n\tfriend.\n", "Hello there, friend."),
        (b"Subject: x\n\n", ""),
        (b"\n> quoted\n> more\nmy answer\n", "my answer"),
        (b"\n> nothing but\n> a quotation\n", "> nothing but > a quotation"),
        (b"Content-Type: text/plain; charset=iso-8859-1\n\ngr\xfcn\n", "grün"),
        (b"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: base64\n\nZ3LDvG4=\n", "grün"),
        (
            b"Content-Type: text/html\n\n<head><title>no</title></head><p>Hello<br>you &amp; me</p>",
            "Hello you & me",
        ),
        (
            b"Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html\n\n<b>html</b>\n"
            b"--b\nContent-Type: text/plain\n\nplain\n--b--\n",
            "plain",
        ),
        (
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Disposition: attachment\n\nattached\n"
            b"--b\n\ninline\n--b--\n",
            "inline",
        ),
        (b"Content-Type: image/png\n\nxyz\n", ""),
        (b"Content-Type: message/rfc822\n\nSubject: inner\n\ninner text\n", "inner text"),
        (b"\n\0\x07 controls \x1b and \xe2\x80\x8b none\n", "controls and none"),
    ],
)
def test_what_is_shown(message: bytes, expected: str) -> None:
    assert shown(message) == expected


def test_it_is_cut_between_words() -> None:
    found = shown(b"\n" + b"four " * 100)
    assert len(found) <= LIMIT
    assert found.endswith("four")
    assert len(shown(b"\n" + b"x" * 1000)) == LIMIT


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ("a<b>b</b>c", "abc"),
        ("<style>p { color: red }</style>x", " x"),
        ("<STYLE>x</head>y</STYLE >z", " z"),
        ("1 < 2 <= 3", "1 < 2 <= 3"),
        ("a<!-- <p> -->b", "ab"),
        ("&#65;&#x42;&eacute;&unknown;&#0;&#1114112;", "ABé&unknown;"),
        ("cut <a href='", "cut "),
        ("<script>never closed", " "),
    ],
)
def test_html(html: str, expected: str) -> None:
    assert html_text(html) == expected


@given(st.text(alphabet="<>/!-&#x;ab style", max_size=300))
def test_any_html(html: str) -> None:
    html_text(html)


@requires_corpus
def test_every_message_of_the_corpus_has_one_within_the_limit() -> None:
    for name, message in corpus_messages():
        found = shown(message)
        assert len(found) <= LIMIT, name
        assert not any(character < " " or "\x7f" <= character < "\xa0" for character in found), name
        found.encode()
