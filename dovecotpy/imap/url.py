"""The IMAP URLs of CATENATE: relative ones, of a message or a part of one (RFC 4469 section 3, RFC 5092 section 7)."""

from __future__ import annotations

from typing import NamedTuple

from dovecotpy.imap.wire.name import encode

MAX_NUMBER = 0xFFFFFFFF
_HEXADECIMAL = b"0123456789abcdefABCDEF"


class InvalidUrl(Exception):
    """Not a relative URL of a message. Client: NO [BADURL]; log: nothing."""


class MessageUrl(NamedTuple):
    """What a URL names."""

    mailbox: bytes | None
    """its name in modified UTF-7; None: the selected one"""
    uidvalidity: int
    """0: any"""
    uid: int
    section: bytes
    partial: tuple[int, int | None] | None
    """first octet and number of octets, None for all that follow"""


def parse_url(text: bytes) -> MessageUrl:
    """A relative URL such as `/Drafts;UIDVALIDITY=385759045/;UID=20/;SECTION=1.MIME/;PARTIAL=0.1024`. Raises InvalidUrl."""
    if text[:2] == b"//" or not text.isascii():
        raise InvalidUrl
    pieces = text.split(b"/;")
    mailbox: bytes | None = None
    uidvalidity = 0
    if text[:1] == b";":
        pieces[0] = pieces[0][1:]
    else:
        name, semicolon, validity = pieces.pop(0).removeprefix(b"/").partition(b";")
        if semicolon:
            uidvalidity = _number(_value(validity, b"UIDVALIDITY"))
        mailbox = _mailbox(name) if name else None
    if not pieces or (uidvalidity and mailbox is None):
        raise InvalidUrl
    uid = _number(_value(pieces.pop(0), b"UID"))
    section = b""
    partial: tuple[int, int | None] | None = None
    if pieces and pieces[0].upper().startswith(b"SECTION="):
        section = _decoded(_value(pieces.pop(0), b"SECTION"))
        if not section:
            raise InvalidUrl
    if pieces:
        start, dot, count = _value(pieces.pop(0), b"PARTIAL").partition(b".")
        partial = _number(start, least=0), _number(count) if dot else None
    if pieces:
        raise InvalidUrl
    return MessageUrl(mailbox, uidvalidity, uid, section, partial)


def _value(text: bytes, name: bytes) -> bytes:
    found, equals, value = text.partition(b"=")
    if not equals or found.upper() != name:
        raise InvalidUrl
    return value


def _number(text: bytes, *, least: int = 1) -> int:
    if not text.isdigit() or len(text) > 10 or not least <= int(text) <= MAX_NUMBER:
        raise InvalidUrl
    return int(text)


def _mailbox(text: bytes) -> bytes:
    """The name that percent-encoded UTF-8 stands for (RFC 5092 section 8)."""
    try:
        return encode(_decoded(text).decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidUrl from None


def _decoded(text: bytes) -> bytes:
    """Percent-encoding undone (RFC 3986 section 2.1)."""
    first, *rest = text.split(b"%")
    pieces = [first]
    for piece in rest:
        if len(piece) < 2 or piece[:2].translate(None, _HEXADECIMAL):
            raise InvalidUrl
        pieces.append(bytes((int(piece[:2], 16),)) + piece[2:])
    found = b"".join(pieces)
    if found.translate(None, bytes(range(32)) + b"\x7f") != found:
        raise InvalidUrl
    return found
