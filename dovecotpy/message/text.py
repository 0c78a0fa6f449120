"""The text of a message as people read it: what SEARCH looks through.

Pieces are cut at line ends; each header block and each part ends with a NUL, which no search string can hold, so
that nothing matches across two of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from dovecotpy.message.charset import decode_text, is_wide, settled
from dovecotpy.message.encoded_word import decode_words
from dovecotpy.message.header import Header, unfolded
from dovecotpy.message.lines import Octets
from dovecotpy.message.structure import Part
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
