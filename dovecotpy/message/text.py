"""The text of a message as people read it: what SEARCH looks through.

Pieces are cut at line ends; each header block and each part ends with a NUL, which no search string can hold, so
that nothing matches across two of them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

from dovecotpy.message.charset import decode_text, is_wide, settled
from dovecotpy.message.collation import collation_key
from dovecotpy.message.encoded_word import decode_words
from dovecotpy.message.header import MAX_FIELD, MAX_HEADER, Header, header_end, parse_header, unfolded
from dovecotpy.message.lines import Octets
from dovecotpy.message.structure import Part, parse
from dovecotpy.message.transfer import decoder

CHUNK = 1 << 18
"""Octets of a part that are decoded at once."""

MAX_LINE = 1 << 18
"""Octets; text without a line end for longer is cut there."""

END = "\0"
"""Stands after each header block and each part."""


def header_text(header: Header) -> str:
    """All lines of the header, unfolded and decoded; also those that are no fields."""
    return "".join([decode_words(line) + "\n" for line in unfolded(header.raw).split(b"\r\n") if line])


class PartHeader(str):
    """The MIME header of a part, with its END: text of the message, not of its body (TEXT finds it, BODY does not)."""

    __slots__ = ()


class HtmlText(str):
    """A piece of a part that is HTML, as it is written."""

    __slots__ = ()


def body_text(octets: Octets, message: Part) -> Iterator[str]:
    """The text of a message without its own header, decoded, in pieces. Never raises on content.

    That is: text parts, parts such as message/delivery-status, the headers of enclosed messages, and, as PartHeader,
    the MIME headers of the parts.
    """
    waiting = [message]
    while waiting:
        part = waiting.pop()
        if part.is_message:
            yield header_text(part.children[0].header)
            yield END
        elif part.children:
            for child in part.children:
                yield PartHeader(header_text(child.header) + END)
        elif part.content_type.kind in (b"text", b"message"):
            if part.content_type.subkind == b"html":
                yield from map(HtmlText, part_text(octets, part))
            else:
                yield from part_text(octets, part)
            yield END
        waiting.extend(reversed(part.children))


def part_text(octets: Octets, part: Part) -> Iterator[str]:
    """The text of one part, decoded, in pieces. Never raises on content."""
    undo = decoder(part.encoding)
    charset = part.content_type.parameter(b"charset")
    wide = is_wide(charset)
    held = b""
    unsettled = wide
    for chunk in octets.chunks(part.body_start, part.body_end, CHUNK):
        data = held + undo.feed(chunk)
        if unsettled and len(data) >= 4:
            charset = settled(charset, data)
            unsettled = False
        cut = len(data) & ~3 if wide else data.rfind(b"\n") + 1
        if not cut and len(data) > MAX_LINE:
            cut = len(data)
        held = data[cut:]
        if cut:
            yield decode_text(data[:cut], charset)
    yield decode_text(held + undo.finish(), charset)


class HeaderText(NamedTuple):
    """The text of a header as a collation key."""

    key: bytes
    """a line for each field"""
    odd: bool
    """not every line is certainly one field with its own name in front, or all of a field, or one that tells of the body was decoded"""


class BodyText(NamedTuple):
    """The text of a message without its own header, as collation keys."""

    parts: bytes
    """MIME headers of parts: TEXT looks into them, BODY does not"""
    body: bytes


def header_key(header: Header) -> HeaderText:
    """The text of a header for look-ups in many messages at once."""
    raw = unfolded(header.raw)
    if raw.isascii() and b"=?" not in raw and len(raw) < MAX_FIELD and b"\n\r\n" not in raw[:-2]:
        text = raw.upper().replace(b"\r\n", b"\n")
        if text.endswith(b"\n\n"):
            text = text[:-1]
        if not text.startswith(b"\n") and text[-1:] == b"\n" and b"\r" not in text:
            return HeaderText(text, False)
    keys = []
    odd = False
    for line in raw.split(b"\r\n"):
        if not line:
            continue
        if line.isascii() and b"=?" not in line:
            odd = odd or b"\n" in line or b"\r" in line or len(line) > MAX_FIELD
            keys.append(line.upper())
        else:
            key, strange = _known.get(line) or _decoded(line)
            odd = odd or strange
            keys.append(key)
    keys.append(b"")
    return HeaderText(b"\n".join(keys), odd)


MAX_KNOWN = 1000
"""Lines with encoded words of which the key is remembered; then the memory starts anew."""
MAX_KNOWN_LINE = 200
"""Octets of the longest of them."""
_known: dict[bytes, tuple[bytes, bool]] = {}


def opening_key(header: bytes) -> HeaderText:
    """As header_key, of what `fields.opening` gives."""
    if len(header) >= MAX_FIELD or not header.isascii():
        return header_key(Header(header.replace(b"\n", b"\r\n") + b"\r\n\r\n"))
    text = header.replace(b"\n\t", b"\t").replace(b"\n ", b" ")
    at = text.find(b"=?")
    if at < 0:
        return HeaderText(text.upper() + b"\n", False)
    odd = False
    pieces: list[bytes] = []
    start = 0
    while at >= 0:
        begin = text.rfind(b"\n", start, at) + 1 or start
        end = text.find(b"\n", at)
        if end < 0:
            end = len(text)
        line = text[begin:end]
        key, strange = _known.get(line) or _decoded(line)
        odd = odd or strange
        pieces += (text[start:begin].upper(), key)
        start = end
        at = text.find(b"=?", end)
    pieces += (text[start:].upper(), b"\n")
    return HeaderText(b"".join(pieces), odd)


def _decoded(line: bytes) -> tuple[bytes, bool]:
    """The key of a line that is more than ASCII, and whether it is odd."""
    decoded = decode_words(line)
    known = collation_key(decoded), _is_odd(line, decoded)
    if len(line) <= MAX_KNOWN_LINE:
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[line] = known
    return known


def _is_odd(line: bytes, decoded: str) -> bool:
    name = line.partition(b":")[0]
    return not name.isascii() or b"=?" in name or len(line) > MAX_FIELD or "\n" in decoded or "\r" in decoded


def message_keys(
    octets: Octets, most: int, header: HeaderText | None = None
) -> Generator[None, None, tuple[HeaderText, BodyText | None]]:
    """The text of a message as collation keys; no BodyText if one of its parts would have more than `most` octets.

    header: of the message, where it is known. Yields None between two pieces of work. Never raises on content; raises what reading raises.
    """
    message = parse(octets)
    yield
    if header is None:
        header = header_key(message.header)
    parts: list[bytes] = []
    body: list[bytes] = []
    sizes = [0, 0]
    for piece in body_text(octets, message):
        key = collation_key(piece)
        inner = isinstance(piece, PartHeader)
        (parts if inner else body).append(key)
        sizes[inner] += len(key)
        if sizes[inner] > most:
            return header, None
        yield
    return header, BodyText(b"".join(parts), b"".join(body))


def stored_header_key(data: bytes) -> HeaderText | None:
    """The text of the header of a message in its stored form; None if that is not known without parsing the whole message."""
    end = header_end(data)
    if end > MAX_HEADER:
        return None
    header = header_key(parse_header(data[:end]))
    return None if header.odd else header
