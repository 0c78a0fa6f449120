"""Mailbox names for clients that take UTF-8 (RFC 6855 section 3, RFC 9051 section 5.1).

A name is known by its octets in modified UTF-7. It is shown as UTF-8 if it is canonical and its text is in normal form C; any other name
is shown as it is, so that no two names look the same.
"""

from __future__ import annotations

from collections.abc import Callable
from unicodedata import normalize

from dovecotpy.imap.wire import response
from dovecotpy.imap.wire.name import InvalidName, decode, encode

FORBIDDEN = frozenset(map(chr, (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)))
"""Characters that no new name may have (RFC 6855 section 3)."""


class NotUtf8(Exception):
    """Octets that are no UTF-8. Client: BAD; log: nothing."""


def shown(name: bytes) -> bytes:
    """What a client that takes UTF-8 is shown."""
    if b"&" not in name:
        return name
    try:
        text = decode(name)
    except InvalidName:
        return name
    if normalize("NFC", text) != text or not FORBIDDEN.isdisjoint(text):
        return name
    return text.encode("utf-8")


def stored(given: bytes, exists: Callable[[bytes], bool]) -> bytes:
    """The name that such a client means. exists: whether there is a mailbox of this name. Raises NotUtf8."""
    if given.isascii() and b"&" not in given:
        return given
    try:
        name = encode(normalize("NFC", given.decode("utf-8")))
    except (UnicodeDecodeError, InvalidName):
        raise NotUtf8 from None
    if given.isascii() and shown(given) == given and not exists(name) and exists(given):
        return given
    return name


def pattern(given: bytes) -> bytes:
    """A pattern of LIST in the form that shown names have."""
    if given.isascii():
        return given
    try:
        return normalize("NFC", given.decode("utf-8")).encode("utf-8")
    except UnicodeDecodeError:
        return given


def quoted(name: bytes) -> bytes:
    """A shown name as a string: quoted, 8-bit octets included."""
    if len(name) > response.MAX_QUOTED or any(octet < 0x20 or octet == 0x7F for octet in name):
        return response.string(name)
    try:
        name.decode("utf-8")
    except UnicodeDecodeError:
        return response.string(name)
    return b'"' + name.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
