"""One message's octets, and the sections of them that FETCH asks for."""

from __future__ import annotations

from collections.abc import Generator, Iterator

from dovecotpy.imap.errors import Broken
from dovecotpy.message.header import MAX_HEADER, Header, parse_header
from dovecotpy.message.lines import BLOCK, Octets, crlf
from dovecotpy.message.section import Section, Span, resolve
from dovecotpy.message.structure import STEP, Part, parse_steps
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


class MessageText:
    """A message while its sections are fetched. What it needs of the message is read once."""

    __slots__ = ("body", "octets", "_root", "_header_end")

    def __init__(self, body: Body) -> None:
        self.body = body
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

    def _resolve(self, section: Section) -> Generator[None, None, Span | bytes | None]:
        if section.path:
            if self._root is None:
                self._root = yield from parse_steps(self.octets)
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
