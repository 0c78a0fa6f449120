"""The text of a message as people read it: what SEARCH looks through.

Pieces are cut at line ends; each header block and each part ends with a NUL, which no search string can hold, so
that nothing matches across two of them.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

from dovecotpy.message.charset import ascii_compatible, decode_text, is_wide, settled
from dovecotpy.message.collation import collation_key
from dovecotpy.message.encoded_word import decode_words
from dovecotpy.message.header import MAX_FIELD, MAX_HEADER, Header, header_end, parse_header, unfolded
from dovecotpy.message.lines import Octets
from dovecotpy.message.parameters import content_type
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
            decoded = decode_words(line)
            odd = odd or _is_odd(line, decoded)
            keys.append(collation_key(decoded))
    keys.append(b"")
    return HeaderText(b"\n".join(keys), odd)


def _is_odd(line: bytes, decoded: str) -> bool:
    name = line.partition(b":")[0]
    if not name.isascii() or b"=?" in name or len(line) > MAX_FIELD:
        return True
    return "\n" in decoded or "\r" in decoded or name.upper().startswith(_OF_THE_BODY)


_OF_THE_BODY = b"CONTENT-T"
_ENCODING = b"\nCONTENT-TRANSFER-ENCODING:"
_TYPE = b"\nCONTENT-TYPE:"
_AS_IT_IS = frozenset((b"7BIT", b"8BIT", b"BINARY"))
MAX_TYPES = 200
"""Values of Content-Type that are remembered."""
_types: dict[bytes, bool] = {}


def plain_key(key: bytes, body: bytes) -> bytes | None:
    """The key of a body that is text in ASCII with nothing to decode, as most are; None for any other.

    key: the HeaderText of the message. body: as stored; its line ends stay what they are.
    """
    if not body.isascii():
        return None
    key = b"\n" + key
    fields = 0
    at = key.find(_ENCODING)
    if at >= 0:
        fields += 1
        value = key[at + len(_ENCODING) : key.index(b"\n", at + 1)].strip()
        if value not in _AS_IT_IS:
            return None
    at = key.find(_TYPE)
    if at >= 0:
        fields += 1
        if not _is_plain_text(key[at + len(_TYPE) : key.index(b"\n", at + 1)].strip()):
            return None
    if key.count(_OF_THE_BODY) != fields:
        return None
    return body.upper()


def _is_plain_text(value: bytes) -> bool:
    known = _types.get(value)
    if known is None:
        kind = content_type(value)
        charset = kind.parameter(b"charset")
        known = kind.kind == b"text" and (not charset or ascii_compatible(charset))
        if len(_types) >= MAX_TYPES:
            _types.clear()
        _types[value] = known
    return known


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


def stored_keys(data: bytes) -> tuple[HeaderText | None, BodyText | None]:
    """As message_keys, for a whole message in its stored form, without parsing its body: that only of plain text in ASCII.

    None for what is not known without parsing the whole message.
    """
    end = header_end(data)
    if end > MAX_HEADER:
        return None, None
    header = header_key(parse_header(data[:end]))
    if header.odd:
        return None, None
    body = plain_key(header.key, data[end:])
    return header, None if body is None else BodyText(b"", body)
