"""Sections of odd messages: where they lie."""

from __future__ import annotations

from dovecotpy.message.lines import BytesBody, Octets
from dovecotpy.message.section import Section, Span, resolve
from dovecotpy.message.structure import parse


def test_the_part_that_stands_for_an_empty_multipart_is_empty_text() -> None:
    root = parse(Octets(BytesBody(b"Content-Type: multipart/mixed; boundary=b\r\n\r\nnothing\r\n")))
    for kind in (b"", b"MIME"):
        found = resolve(root, Section((1,), kind))
        assert isinstance(found, Span) and found.start == found.end
    assert resolve(root, Section((2,))) is None
    assert resolve(root, Section((1, 1))) is None


def test_the_line_end_behind_the_header_of_a_part_without_body_is_the_delimiters() -> None:
    text = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: y\r\n\r\n--b\r\nX: z\r\n--b\r\n\r\n--b\r\n--b\r\n"
        b"X: w\r\n\r\n\r\n--b--\r\n"
    )
    root = parse(Octets(BytesBody(text, crlf=True)))
    headers = []
    for number in range(1, 6):
        header, body = resolve(root, Section((number,), b"MIME")), resolve(root, Section((number,)))
        assert isinstance(header, Span) and isinstance(body, Span)
        assert body.start == body.end == header.end
        headers.append(text[header.start : header.end])
    assert headers == [b"X: y\r\n", b"X: z", b"", b"", b"X: w\r\n\r\n"]
