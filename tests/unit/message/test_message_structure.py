"""BODYSTRUCTURE, BODY and ENVELOPE of messages written for the purpose, and the sections of them."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from dovecotpy.message import lines, structure
from dovecotpy.message.envelope import envelope
from dovecotpy.message.header import parse_header
from dovecotpy.message.lines import Octets
from dovecotpy.message.section import Section, Span, resolve
from dovecotpy.message.structure import Part, bodystructure, parse
from tests.strict_imap import check_body, check_envelope, parse_response_data

MIXED = b"""\
From: "Doe, Jane" <jane@example.org>
To: team: joe@example.org, Ann <ann@example.net>;
Cc: a@example.com
Cc: b@example.com
Date: Tue, 14 Nov 2023 08:09:10 +0100
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
 and more
Message-ID: <m1@example.org>
In-Reply-To: <m0@example.org>
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary="out er"

This is the preamble.
--out er
Content-Type: multipart/alternative; boundary=inner
Content-Language: en, de

--inner

first
second
--inner
Content-Type: TEXT/HTML; charset=UTF-8
Content-Transfer-Encoding: Quoted-Printable
Content-ID: <part2@example.org>
Content-Description: the same as HTML

<p>first
--inner--
inner epilogue
--out er
Content-Type: message/rfc822

From: sub@example.org
Subject: inside
Content-Type: multipart/digest; boundary=dig

--dig

Subject: in a digest

text
--dig--

--out er
Content-Type: application/pdf; name*0="long "; name*1="name.pdf"
Content-Disposition: attachment; filename*=utf-8''r%C3%A9sum%C3%A9.pdf
Content-Transfer-Encoding: base64
Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==
Content-Location: http://example.org/x

AAECAwQF
--out er--
epilogue
"""

ENVELOPE = (
    b'("Tue, 14 Nov 2023 08:09:10 +0100" "=?utf-8?q?Gr=C3=BC=C3=9Fe?= and more" '
    b'(("Doe, Jane" NIL "jane" "example.org")) (("Doe, Jane" NIL "jane" "example.org")) '
    b'(("Doe, Jane" NIL "jane" "example.org")) '
    b'((NIL NIL "team" NIL)(NIL NIL "joe" "example.org")("Ann" NIL "ann" "example.net")(NIL NIL NIL NIL)) '
    b'((NIL NIL "a" "example.com")(NIL NIL "b" "example.com")) NIL "<m0@example.org>" "<m1@example.org>")'
)

INNER_ENVELOPE = (
    b'(NIL "inside" ((NIL NIL "sub" "example.org")) ((NIL NIL "sub" "example.org")) '
    b'((NIL NIL "sub" "example.org")) NIL NIL NIL NIL NIL)'
)
DIGESTED = b'(NIL "in a digest" NIL NIL NIL NIL NIL NIL NIL NIL)'

BODY = (
    b'((("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 13 1)'
    b'("TEXT" "HTML" ("charset" "UTF-8") "<part2@example.org>" "the same as HTML" "Quoted-Printable" 8 0) "alternative")'
    b'("message" "rfc822" NIL NIL NIL "7bit" 136 ' + INNER_ENVELOPE + b" "
    b'(("message" "rfc822" NIL NIL NIL "7bit" 28 ' + DIGESTED + b" "
    b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 0) 2) "digest") 10)'
    b'("application" "pdf" ("name" "long name.pdf") NIL NIL "base64" 8) "mixed")'
)

EXTENDED = (
    b'((("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 13 1 NIL NIL NIL NIL)'
    b'("TEXT" "HTML" ("charset" "UTF-8") "<part2@example.org>" "the same as HTML" "Quoted-Printable" 8 0 NIL NIL NIL NIL)'
    b' "alternative" ("boundary" "inner") NIL ("en" "de") NIL)'
    b'("message" "rfc822" NIL NIL NIL "7bit" 136 ' + INNER_ENVELOPE + b" "
    b'(("message" "rfc822" NIL NIL NIL "7bit" 28 ' + DIGESTED + b" "
    b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 4 0 NIL NIL NIL NIL) 2 NIL NIL NIL NIL)'
    b' "digest" ("boundary" "dig") NIL NIL NIL) 10 NIL NIL NIL NIL)'
    b'("application" "pdf" ("name" "long name.pdf") NIL NIL "base64" 8 "Q2hlY2sgSW50ZWdyaXR5IQ==" '
    b'("attachment" ("filename*" "utf-8\'\'r%C3%A9sum%C3%A9.pdf")) NIL "http://example.org/x")'
    b' "mixed" ("boundary" "out er") NIL NIL NIL)'
)


def tree(message: bytes) -> tuple[Octets, Part]:
    octets = Octets.of(message)
    return octets, parse(octets)


def shown(message: bytes, extended: bool = True) -> bytes:
    rendered = bodystructure(tree(message)[1], extended)
    check_body(parse_response_data(rendered)[0], extended)
    return rendered


def cut(message: bytes, section: Section) -> bytes | None:
    octets, part = tree(message)
    found = resolve(part, section)
    return octets.read(found.start, found.end - found.start) if isinstance(found, Span) else found


@pytest.mark.parametrize("message", [MIXED, MIXED.replace(b"\n", b"\r\n")], ids=["lf", "crlf"])
def test_a_message_with_everything(message: bytes) -> None:
    _, part = tree(message)
    assert envelope(part.header) == ENVELOPE
    assert shown(message, extended=False) == BODY
    assert shown(message, extended=True) == EXTENDED


def test_the_same_in_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "WHOLE", 0)
    monkeypatch.setattr(lines, "BLOCK", 7)
    assert shown(MIXED) == EXTENDED
    assert shown(MIXED.replace(b"\n", b"\r\n")) == EXTENDED


SECTIONS = [
    ((1,), b"", b"--inner\r\n\r\nfirst\r\nsecond\r\n--inner"),
    ((1, 1), b"", b"first\r\nsecond"),
    ((1, 1), b"MIME", b"\r\n"),
    ((1, 2), b"", b"<p>first"),
    (
        (1, 2),
        b"MIME",
        b"Content-Type: TEXT/HTML; charset=UTF-8\r\nContent-Transfer-Encoding: Quoted-Printable\r\n",
    ),
    ((1, 3), b"", None),
    ((1, 1, 1), b"", None),
    ((1,), b"HEADER", None),
    ((1,), b"TEXT", None),
    ((2,), b"", b"From: sub@example.org\r\nSubject: inside\r\n"),
    ((2,), b"MIME", b"Content-Type: message/rfc822\r\n\r\n"),
    (
        (2,),
        b"HEADER",
        b"From: sub@example.org\r\nSubject: inside\r\nContent-Type: multipart/digest; boundary=dig\r\n\r\n",
    ),
    ((2,), b"TEXT", b"--dig\r\n\r\nSubject: in a digest\r\n\r\ntext\r\n--dig--\r\n"),
    ((2, 1), b"", b"Subject: in a digest\r\n\r\ntext"),
    ((2, 1), b"MIME", b"\r\n"),
    ((2, 1), b"HEADER", b"Subject: in a digest\r\n\r\n"),
    ((2, 1), b"TEXT", b"text"),
    ((2, 1, 1), b"", b"text"),
    ((2, 1, 1), b"MIME", b"Subject: in a digest\r\n\r\n"),
    ((2, 1, 2), b"", None),
    ((2, 1, 1, 1), b"", None),
    ((3,), b"", b"AAECAwQF"),
    ((3,), b"HEADER", None),
    ((4,), b"", None),
    ((), b"MIME", None),
]


@pytest.mark.parametrize(("path", "kind", "start"), SECTIONS)
def test_sections(path: tuple[int, ...], kind: bytes, start: bytes | None) -> None:
    found = cut(MIXED, Section(path, kind))
    if start is None:
        assert found is None
    else:
        assert found is not None
        assert found.startswith(start)


def test_sections_of_the_message_itself() -> None:
    whole = MIXED.replace(b"\n", b"\r\n")
    header, text = cut(MIXED, Section((), b"HEADER")), cut(MIXED, Section((), b"TEXT"))
    assert header is not None
    assert text is not None
    assert cut(MIXED, Section()) == header + text == whole
    assert text.startswith(b"This is the preamble.\r\n")


def test_header_fields_of_both_levels() -> None:
    assert cut(MIXED, Section((), b"HEADER.FIELDS", (b"CC", b"message-id"))) == (
        b"Cc: a@example.com\r\nCc: b@example.com\r\nMessage-ID: <m1@example.org>\r\n\r\n"
    )
    assert (
        cut(MIXED, Section((2,), b"HEADER.FIELDS.NOT", (b"content-type", b"from")))
        == b"Subject: inside\r\n\r\n"
    )
    assert cut(MIXED, Section((3,), b"HEADER.FIELDS", (b"from",))) is None


def test_a_message_that_is_no_multipart_is_its_own_part_1() -> None:
    message = b"Subject: x\nContent-Type: text/plain; charset=utf-8\n\nbody\n"
    assert shown(message) == b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 6 1 NIL NIL NIL NIL)'
    assert cut(message, Section((1,))) == b"body\r\n"
    assert (
        cut(message, Section((1,), b"MIME"))
        == b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
    )
    for path, kind in (((2,), b""), ((1, 1), b""), ((1,), b"HEADER"), ((1,), b"TEXT")):
        assert cut(message, Section(path, kind)) is None


def test_a_message_that_is_an_enclosed_message() -> None:
    message = b"Content-Type: message/rfc822\n\nSubject: inner\n\nbody"
    assert cut(message, Section((1,))) == b"Subject: inner\r\n\r\nbody"
    assert cut(message, Section((1,), b"HEADER")) == b"Subject: inner\r\n\r\n"
    assert cut(message, Section((1, 1))) == b"body"
    assert cut(message, Section((1, 1, 1))) is None
    assert b'"message" "rfc822" NIL NIL NIL "7bit" 22 ' in shown(message)


PLAIN = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" %d %d NIL NIL NIL NIL)'


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"", PLAIN % (0, 0)),
        (b"\n", PLAIN % (0, 0)),
        (b"\nbody without header\n", PLAIN % (21, 1)),
        (b"Subject: header without body", PLAIN % (0, 0)),
        (b"Subject: x\n\na\nb", PLAIN % (4, 1)),
        (b"content-type: TEXT/PLAIN; CHARSET=US-ASCII\ncontent-transfer-encoding: 7BIT\n\nx", PLAIN % (1, 0)),
        (b"Content-Type: \n\nx\n", PLAIN % (3, 1)),
        (b"Content-Type: text\n\nx\n", PLAIN % (3, 1)),
        (b"Content-Type: multipart/mixed\n\nx\n", PLAIN % (3, 1)),
        (
            b"Content-Type: text; charset=utf-8\n\nx\n",
            b'("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 3 1 NIL NIL NIL NIL)',
        ),
        (
            b'Content-Type: image/x-\xff; a="b\\"c"\nContent-Transfer-Encoding: base64 (or so)\n\nx',
            b'("image" {3}\r\nx-\xff ("a" {3}\r\nb"c) NIL NIL "base64" 1 NIL NIL NIL NIL)',
        ),
        (
            b"Content-Type: multipart/mixed; boundary=b\n\nno delimiter\n",
            b'(("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0 NIL NIL NIL NIL)'
            b' "mixed" ("boundary" "b") NIL NIL NIL)',
        ),
        (
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b--\n",
            b"(" + PLAIN % (0, 0) + PLAIN % (0, 0) + b' "mixed" ("boundary" "b") NIL NIL NIL)',
        ),
        (
            b"Content-Type: multipart/mixed; boundary=b\n\n--b\nX: y\n--b",
            b"(" + PLAIN % (0, 0) + PLAIN % (0, 0) + b' "mixed" ("boundary" "b") NIL NIL NIL)',
        ),
    ],
)
def test_odd_messages(message: bytes, expected: bytes) -> None:
    assert shown(message) == expected


def test_an_inner_boundary_may_be_a_prefix_of_the_outer_and_the_other_way_round() -> None:
    for outer, inner in ((b"ab", b"abc"), (b"abc", b"ab"), (b"ab", b"ab")):
        message = (
            b"Content-Type: multipart/mixed; boundary=%b\n\n--%b\nContent-Type: multipart/mixed; boundary=%b\n\n"
            b"--%b\n\none\n--%b\n\ntwo\n--%b--\n--%b\n\nthree\n--%b--\n"
        ) % (outer, outer, inner, inner, inner, inner, outer, outer)
        part = tree(message)[1]
        assert [len(child.children) for child in part.children] == [2, 0], (outer, inner)
        assert part.children[1].size == 5


@pytest.mark.parametrize(
    "parameter",
    [
        b"boundary*=us-ascii'en'%3Dx%20y",
        b'boundary*0="=x"; boundary*1=" y"',
        b"boundary*0*=''%3D; boundary*1=x%20y",
    ],
)
def test_a_boundary_in_the_spelling_of_rfc_2231(parameter: bytes) -> None:
    message = b"Content-Type: multipart/mixed; %b\n\n--=x y\n\none\n--=x y--\n" % parameter
    assert [child.size for child in tree(message)[1].children] == [3]


def test_an_outer_delimiter_ends_everything_inside() -> None:
    message = (
        b"Content-Type: multipart/mixed; boundary=out\n\n--out\nContent-Type: message/rfc822\n\n"
        b"Content-Type: multipart/mixed; boundary=in\n\n--in\n\nnever closed\n--out\n\nnext\n--out--\n"
    )
    octets, part = tree(message)
    enclosed, following = part.children
    assert octets.read(following.body_start, following.size) == b"next"
    assert enclosed.children[0].children[0].size == len("never closed")
    assert enclosed.body_end == enclosed.children[0].children[0].body_end


def nested(depth: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%05d\n\n--b%05d\n" % (n, n) for n in range(depth)
    )
    return head + b"\ncore\n" + b"".join(b"--b%05d--\n" % n for n in reversed(range(depth)))


def depth_of(part: Part) -> int:
    return 1 + max((depth_of(child) for child in part.children), default=0)


def test_nesting_is_bounded_and_the_rest_is_a_leaf() -> None:
    assert depth_of(tree(nested(structure.MAX_NESTING))[1]) == structure.MAX_NESTING + 1
    for message in (nested(10_000), b"Content-Type: message/rfc822\n\n" * 10_000):
        start = time.process_time()
        part = tree(message)[1]
        assert depth_of(part) == structure.MAX_NESTING + 1
        rendered = bodystructure(part, extended=True)
        assert time.process_time() - start < 2
        check_body(parse_response_data(rendered)[0], extended=True)
        assert b'("application" "octet-stream" NIL NIL NIL "7bit" ' in rendered


def test_the_number_of_parts_is_bounded_and_the_rest_is_a_leaf() -> None:
    message = b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\nx\n" * 100_000 + b"--b--\n"
    start = time.process_time()
    octets, part = tree(message)
    rendered = bodystructure(part, extended=True)
    assert time.process_time() - start < 5
    assert len(part.children) == structure.MAX_PARTS
    assert part.children[-2].size == 1
    assert part.children[-1].body_end == part.body_end == octets.size
    check_body(parse_response_data(rendered)[0], extended=True)


def test_a_boundary_over_the_budget_makes_a_leaf() -> None:
    for length, children in ((structure.MAX_BOUNDARY, 1), (structure.MAX_BOUNDARY + 1, 0)):
        boundary = b"x" * length
        message = b"Content-Type: multipart/mixed; boundary=%b\n\n--%b\n\na\n--%b--\n" % (
            boundary,
            boundary,
            boundary,
        )
        assert len(tree(message)[1].children) == children


def test_a_search_over_the_budget_makes_a_leaf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(structure, "SMALL_SEARCH", 0)
    monkeypatch.setattr(structure, "MAX_SEARCH", 10)
    filler = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%03d\n\n--b%03d\n" % (n, n) for n in range(90)
    )
    part = tree(filler + b"\n" + b"x" * 1_000_000)[1]
    assert 9 <= depth_of(part) <= 13
    check_body(parse_response_data(bodystructure(part, True))[0], extended=True)


def test_a_huge_header_is_found_but_not_read_whole() -> None:
    message = b"X: " + b"y" * 10_000_000 + b"\nSubject: too far\n\nbody"
    start = time.process_time()
    octets, part = tree(message)
    assert time.process_time() - start < 2
    assert octets.read(part.body_start, 10) == b"body"
    assert len(part.header.raw) == 1 << 20
    check_envelope(parse_response_data(envelope(part.header))[0])


HOSTILE = [
    b"Content-Type: multipart/mixed; boundary=-\n\n" + b"---" * 300_000,
    b"Content-Type: multipart/mixed; boundary=-\n\n" + b"---\n" * 250_000,
    b"Content-Type: multipart/mixed; boundary=b\n\n" + b"\n--a" * 250_000,
    b"Content-Type: multipart/mixed; boundary=b\n\n--b\n" + b"A: b\n" * 200_000,
    nested(99)[:-1] + b"\n--c" * 250_000,
    b"".join(
        b"Content-Type: multipart/mixed; boundary=%b\n\n--%b\n" % (b"b" * n, b"b" * n)
        for n in range(99, 0, -1)
    )
    * 30,
    b"Content-Type: a/b" + b"; x=y" * 13_000 + b"\n\n",
    b"Content-Type: a/b" + b'; x="' * 13_000 + b"\n\n",
    b"Content-Type: a/b" + b"; x*%d*=y" % 1 * 6_000 + b"\n\n",
    b"Content-Type: a/b;" + b"(" * 60_000 + b"\n\n",
    b"Content-Disposition: a;" + b";" * 60_000 + b"\nContent-Language: " + b"," * 60_000 + b"\n\n",
    b"".join(b"To: " + b"(" * 60_000 + b"\n" for _ in range(15)) + b"\n",
    b"A:\n" * 350_000 + b"\n",
    b" \n" * 500_000 + b"\n",
    b"\r" * 1_000_000,
    b"\n" * 1_000_000,
    b"\0" * 1_000_000,
]


@pytest.mark.parametrize("message", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_messages_take_bounded_time(message: bytes) -> None:
    start = time.process_time()
    octets, part = tree(message)
    rendered = bodystructure(part, extended=True)
    described = envelope(part.header)
    assert time.process_time() - start < 3
    check_body(parse_response_data(rendered)[0], extended=True)
    check_envelope(parse_response_data(described)[0])
    assert part.body_end == octets.size


def test_of_a_repeated_field_the_last_counts_and_address_fields_are_joined() -> None:
    header = parse_header(b"Subject: one\r\nSubject: two\r\nTo: a@b\r\nTo: c@d\r\nSender:\r\nFrom: e@f\r\n")
    assert envelope(header) == (
        b'(NIL "two" ((NIL NIL "e" "f")) ((NIL NIL "e" "f")) ((NIL NIL "e" "f"))'
        b' ((NIL NIL "a" "b")(NIL NIL "c" "d")) NIL NIL NIL NIL)'
    )


def test_an_envelope_of_nothing() -> None:
    assert envelope(parse_header(b"")) == b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"
    assert envelope(parse_header(b"Subject:\r\n")).startswith(b'(NIL "" NIL')


class Made:
    """A large message that is made while it is read: a head, then lines, then a tail."""

    crlf = False

    def __init__(self, head: bytes, lines_between: int, tail: bytes) -> None:
        self.head = head
        self.line = b"x" * 63 + b"\n"
        self.tail = tail
        self.middle = lines_between * len(self.line)
        self.size = len(head) + self.middle + len(tail)

    def read(self, at: int, n: int) -> bytes:
        n = min(n, self.size - at, 1 << 20)
        pieces = [self.head[at : at + n]] if at < len(self.head) else []
        first, last = max(at - len(self.head), 0), min(at + n - len(self.head), self.middle)
        if first < last:
            skip = first % len(self.line)
            pieces.append((self.line * ((last - first) // len(self.line) + 2))[skip : skip + last - first])
        if at + n > len(self.head) + self.middle:
            start = max(at - len(self.head) - self.middle, 0)
            pieces.append(self.tail[start : at + n - len(self.head) - self.middle])
        return b"".join(pieces)


def test_a_large_message_needs_little_memory() -> None:
    head = b"Subject: large\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain; charset=utf-8\n\n"
    body = Made(head, 500_000, b"--b\nContent-Type: application/pdf\n\nend\n--b--\n")
    assert body.size > 30_000_000
    octets = Octets(body)
    tracemalloc.start()
    try:
        part = parse(octets)
        rendered = bodystructure(part, extended=False)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000
    assert rendered == (
        b'(("text" "plain" ("charset" "utf-8") NIL NIL "7bit" 32499998 499999)'
        b'("application" "pdf" NIL NIL NIL "7bit" 3) "mixed")'
    )
    assert octets.read(part.children[1].body_start, 3) == b"end"
