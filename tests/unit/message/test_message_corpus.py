"""Every real message of the corpus: nothing raises, every rendering is valid, every size is that of the octets."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.message import lines
from dovecotpy.message.envelope import envelope
from dovecotpy.message.lines import Octets, crlf
from dovecotpy.message.section import Section, Span, resolve
from dovecotpy.message.structure import bodystructure, parse
from dovecotpy.message.text import body_text, header_text
from tests.corpus import corpus_messages, requires_corpus
from tests.strict_imap import check_body, check_envelope, parse_response_data


def leaves(body: list[Any], path: tuple[int, ...] = ()) -> Iterator[tuple[tuple[int, ...], list[Any]]]:
    """Path and description of each single part of a parsed BODY, numbered as a client does (RFC 3501 section 6.4.5)."""
    if isinstance(body[0], list):
        for number, child in enumerate(itertools.takewhile(lambda each: isinstance(each, list), body), 1):
            yield from leaves(child, (*path, number))
        return
    path = path or (1,)
    yield path, body
    if (body[0].lower(), body[1].lower()) == (b"message", b"rfc822"):
        yield from leaves(body[8], path if isinstance(body[8][0], list) else (*path, 1))


def check_message(message: bytes) -> None:
    octets = Octets.of(message)
    whole = crlf(message)
    assert octets.size == len(whole)
    root = parse(octets)
    assert (root.start, root.body_end) == (0, len(whole))
    check_envelope(parse_response_data(envelope(root.header))[0])
    extended = parse_response_data(bodystructure(root, extended=True))[0]
    check_body(extended, extended=True)
    body = parse_response_data(bodystructure(root, extended=False))[0]
    check_body(body, extended=False)
    for path, single in leaves(body):
        found = resolve(root, Section(path))
        if found is None:
            assert single[6] == 0  # stands for the parts of a multipart that has none
            continue
        assert isinstance(found, Span)
        data = octets.read(found.start, found.end - found.start)
        assert data == whole[found.start : found.end]
        assert len(data) == single[6]
        if single[0].lower() == b"text":
            assert data.count(b"\n") == single[7]
        mime = resolve(root, Section(path, b"MIME"))
        assert isinstance(mime, Span)
    for kind in (b"", b"HEADER", b"TEXT"):
        assert isinstance(resolve(root, Section((), kind)), Span)
    header_text(root.header)
    for piece in body_text(octets, root):
        assert isinstance(piece, str)


@requires_corpus
@pytest.mark.parametrize("shard", range(4))
def test_every_message_of_the_corpus(shard: int) -> None:
    slowest = (0.0, "")
    count = 0
    for number, (name, message) in enumerate(corpus_messages()):
        if number % 4 != shard:
            continue
        start = time.process_time()
        try:
            check_message(message)
        except Exception as error:
            raise AssertionError(f"{name}: {error!r}") from error
        slowest = max(slowest, (time.process_time() - start, name))
        count += 1
    assert count > 1000
    assert slowest[0] < 3, slowest


@requires_corpus
def test_windows_and_memory_see_the_same() -> None:
    for number, (name, message) in enumerate(corpus_messages()):
        if number % 25 or len(message) > 100_000:
            continue
        expected = bodystructure(parse(Octets.of(message)), extended=True)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lines, "WHOLE", 0)
            patch.setattr(lines, "BLOCK", 997)
            assert bodystructure(parse(Octets.of(message)), extended=True) == expected, name


@pytest.fixture(scope="module")
def seeds() -> list[bytes]:
    return [
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\nSubject: x\n"
        b"Content-Type: multipart/alternative; boundary=bb\n\n--bb\n\nx\n--bb--\n--b\n"
        b"Content-Type: text/plain; charset=utf-7; name*0*=utf-8''a; name*1=b\n"
        b"Content-Transfer-Encoding: base64\nContent-Disposition: attachment; filename=x\n\nAAAA\n--b--\n",
        b'From: "a \\" b" (c) <d@e>\nTo: g: h@i, j;\nDate: x\nSubject: =?utf-8?b?w7w=?= =?x?q?_?=\n y\n\nbody\n',
    ]


tokens = st.sampled_from(
    [
        b"\n",
        b"\n\n",
        b"\r",
        b"--b",
        b"--bb",
        b"--",
        b";",
        b'"',
        b"\\",
        b"(",
        b")",
        b":",
        b",",
        b"=?",
        b"?=",
        b"\0",
        b"\xff",
        b" ",
    ]
    + [
        b"Content-Type: ",
        b"multipart/mixed; boundary=b",
        b"message/rfc822",
        b"text/html",
        b"boundary=",
        b"*0*=",
        b"<",
        b"@",
    ]
)


@settings(max_examples=400, deadline=2000)
@given(data=st.data())
def test_mutated_messages(seeds: list[bytes], data: st.DataObject) -> None:
    message = bytearray(data.draw(st.sampled_from(seeds)))
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.integers(0, len(message)))
        remove = data.draw(st.integers(0, 12))
        message[at : at + remove] = data.draw(tokens)
    check_message(bytes(message))


@settings(max_examples=300, deadline=2000)
@given(st.lists(tokens, max_size=60).map(b"".join))
def test_messages_of_pieces(message: bytes) -> None:
    check_message(message)
