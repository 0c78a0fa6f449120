"""What BODY[section] names (RFC 3501 section 6.4.5): a stretch of the message, or octets made from its header."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dovecotpy.message.header import Header
from dovecotpy.message.parameters import PLAIN_TEXT
from dovecotpy.message.structure import Part


class Section(NamedTuple):
    """A parsed section specification."""

    path: tuple[int, ...] = ()
    """Part numbers, each from 1."""
    kind: bytes = b""
    """Empty, or HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, MIME, TEXT."""
    fields: tuple[bytes, ...] = ()
    """Names for HEADER.FIELDS and HEADER.FIELDS.NOT, in any case."""


WHOLE = Section()
"""The message as it is."""


class Span(NamedTuple):
    """Octets from start up to end of the CRLF form of the message."""

    start: int
    end: int


def resolve(message: Part, section: Section) -> Span | bytes | None:
    """Where the section lies, or its octets where they must be put together, or None if there is no such part.

    message: the root from structure.parse.
    """
    if not section.path:
        part = message
        if section.kind == b"":
            return Span(part.start, part.body_end)
        if section.kind == b"MIME":
            return None
    else:
        found = part_at(message, section.path)
        if found is None:
            return None
        if section.kind == b"":
            return Span(found.body_start, found.body_end)
        if section.kind == b"MIME":
            return Span(found.start, found.body_start)
        if not found.is_message:
            return None
        part = found.children[0]
    return _of_message(part, section)


def _of_message(message: Part, section: Section) -> Span | bytes | None:
    if section.kind == b"HEADER":
        return Span(message.start, message.body_start)
    if section.kind == b"TEXT":
        return Span(message.body_start, message.body_end)
    if section.kind == b"HEADER.FIELDS":
        return message.header.fields(section.fields)
    if section.kind == b"HEADER.FIELDS.NOT":
        return message.header.fields(section.fields, exclude=True)
    return None


def part_at(message: Part, path: Sequence[int]) -> Part | None:
    """The part with these numbers, or None. A message that is no multipart has one part, its own body."""
    part = message
    enclosing = True
    for number in path:
        if part.is_message and not enclosing:
            part = part.children[0]
            enclosing = True
        if part.is_multipart:
            if not part.children and number == 1:
                part = _empty(part)
            elif not 1 <= number <= len(part.children):
                return None
            else:
                part = part.children[number - 1]
        elif number != 1 or not enclosing:
            return None
        enclosing = False
    return part


def _empty(multipart: Part) -> Part:
    """What BODYSTRUCTURE shows as the one part of a multipart that has none."""
    return Part(multipart.body_end, multipart.body_end, Header(b""), PLAIN_TEXT)
