"""One message's octets, and the sections of them that FETCH asks for."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from itertools import chain

from dovecotpy.imap.errors import Broken, Refused
from dovecotpy.message.header import MAX_HEADER, Header, parse_header
from dovecotpy.message.lines import BLOCK, WHOLE, Octets, crlf
from dovecotpy.message.section import Section, Span, part_at, resolve
from dovecotpy.message.structure import BASIC, STEP, Part, bodystructure_steps, parse_steps
from dovecotpy.message.transfer import decoder
from dovecotpy.storage.driver import Body
from dovecotpy.storage.errors import StoreError

CHUNK = 2 * BLOCK
"""Octets of a literal in one piece: a block of a large message, however short its lines, goes out as it was converted."""
WINDOW = 65536
"""Octets read at once to find the end of a large message's header."""


def whole_text(body: Body) -> bytes:
    """All of a small message as a literal may hold it: lines end with CRLF, NUL is 0x80. Raises StoreError."""
    text = body.read(0, body.size)
    if not body.crlf:
        text = crlf(text)
    return text.replace(b"\0", b"\x80") if b"\0" in text else text


ENCODINGS = frozenset((b"", b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable"))
"""Content-Transfer-Encodings that can be undone."""


class Decoded:
    """A body without its transfer encoding, or a range of that: decoded once to be measured, and again to be sent,
    unless it is short.
    """

    __slots__ = ("size", "has_nul", "_octets", "_span", "_encoding", "_partial", "_kept")

    def __init__(self, octets: Octets, span: Span, encoding: bytes, partial: tuple[int, int | None]) -> None:
        self.size = 0
        self.has_nul = False
        self._octets = octets
        self._span = span
        self._encoding = encoding
        self._partial = partial
        self._kept: list[bytes] | None = [] if span.end - span.start <= WHOLE else None

    def measure(self) -> Iterator[None]:
        """Find out size and whether there is a NUL; pauses with each yield. Raises StoreError."""
        kept: list[bytes] = []
        for piece in self._pieces():
            self.size += len(piece)
            self.has_nul = self.has_nul or b"\0" in piece
            if self._kept is not None:
                kept.append(piece)
            else:
                yield
        if self._kept is not None:
            self._kept = kept

    def chunks(self) -> Iterator[bytes]:
        """The octets. Raises Broken if they cannot be had any more: their number was told already."""
        left = self.size
        try:
            for piece in self._pieces() if self._kept is None else self._kept:
                left -= len(piece)
                yield piece
        except (StoreError, OSError, EOFError) as error:
            raise Broken(f"Message could not be read: {error}") from error
        if left:
            raise Broken("Message is not as long as it was")

    def _pieces(self) -> Iterator[bytes]:
        skip, most = self._partial
        undo = decoder(self._encoding)
        at = 0
        for piece in chain(
            map(undo.feed, self._octets.chunks(self._span.start, self._span.end)),
            (undo.finish() for _ in (0,)),
        ):
            start = max(skip - at, 0)
            end = len(piece) if most is None else min(len(piece), skip + most - at)
            at += len(piece)
            if start < end:
                yield piece[start:end]
            if most is not None and at >= skip + most:
                return


class MessageText:
    """A message while its sections are fetched. What it needs of the message is read once.

    enclosed: the subtypes of message that are taken apart.
    """

    __slots__ = ("body", "octets", "_enclosed", "_root", "_header_end")

    def __init__(self, body: Body, enclosed: frozenset[bytes] = BASIC) -> None:
        self.body = body
        self._enclosed = enclosed
        self.octets = Octets(body)
        self._root: Part | None = None
        self._header_end = -1

    def close(self) -> None:
        """Give the message back to the store."""
        self.body.close()

    def find(
        self, section: Section, partial: tuple[int, int] | None
    ) -> Generator[None, None, Span | bytes | None]:
        """Where a section's octets lie, or the octets, or None if there is no such part; pauses with each yield. Raises StoreError."""
        found = yield from self._resolve(section)
        if found is None or partial is None:
            return found
        start, count = partial
        if isinstance(found, bytes):
            return found[start : start + count]
        first = min(found.start + start, found.end)
        return Span(first, min(first + count, found.end))

    def structures(self) -> Generator[None, None, tuple[bytes, bytes]]:
        """BODY and BODYSTRUCTURE; pauses with each yield."""
        if self._root is None:
            self._root = yield from parse_steps(self.octets, enclosed=self._enclosed)
        return (yield from bodystructure_steps(self._root))

    def decoded(
        self, section: Section, partial: tuple[int, int] | None
    ) -> Generator[None, None, "Decoded | None"]:
        """A part's body without its transfer encoding, or None if there is no such part; pauses with each yield.

        Raises Refused [UNKNOWN-CTE], StoreError.
        """
        encoding = b""
        found = yield from self._resolve(section)
        if section.path and self._root is not None:
            part = part_at(self._root, section.path)
            if part is not None and (not part.children or part.content_type.subkind == b"global"):
                encoding = part.encoding
        if encoding not in ENCODINGS:
            raise Refused("Unknown Content-Transfer-Encoding.", "UNKNOWN-CTE")
        if not isinstance(found, Span):
            return None
        decoded = Decoded(self.octets, found, encoding, partial or (0, None))
        yield from decoded.measure()
        return decoded

    def _resolve(self, section: Section) -> Generator[None, None, Span | bytes | None]:
        if section.path:
            if self._root is None:
                self._root = yield from parse_steps(self.octets, enclosed=self._enclosed)
            return resolve(self._root, section)
        if section.kind == b"":
            yield from self.octets.measure()
            return Span(0, self.octets.size)
        end = yield from self._end_of_header()
        if section.kind == b"HEADER":
            return Span(0, end)
        if section.kind == b"TEXT":
            yield from self.octets.measure()
            return Span(end, self.octets.size)
        return self._header(end).fields(section.fields, exclude=section.kind == b"HEADER.FIELDS.NOT")

    def _header(self, end: int) -> Header:
        return parse_header(self.octets.read(0, min(end, MAX_HEADER)))

    def _end_of_header(self) -> Generator[None, None, int]:
        """The place after the empty line that ends the header; the message's end if there is none."""
        if self._header_end >= 0:
            return self._header_end
        tail = b"\r\n"
        at = 0
        end = -1
        while end < 0:
            piece = self.octets.read(at, WINDOW)
            if not piece:
                end = at
                break
            window = tail + piece
            found = window.find(b"\r\n\r\n")
            if found >= 0:
                end = at - len(tail) + found + 4
            at += len(piece)
            tail = window[-3:]
            if at % STEP < WINDOW:
                yield
        self._header_end = end
        return end

    def whole(self, span: Span) -> bytes:
        """The octets of a short span. Raises Broken if they cannot be had."""
        return b"".join(self.chunks(span))

    def chunks(self, span: Span) -> Iterator[bytes]:
        """Exactly the octets of a span, in pieces; NUL, which no literal may hold, as 0x80.

        Raises Broken if they cannot be had any more: their number was told already.
        """
        left = span.end - span.start
        try:
            for chunk in self.octets.chunks(span.start, span.end, CHUNK):
                left -= len(chunk)
                yield chunk.replace(b"\0", b"\x80") if b"\0" in chunk else chunk
        except (StoreError, OSError, EOFError) as error:
            raise Broken(f"Message could not be read: {error}") from error
        if left:
            raise Broken("Message is shorter than it was")
