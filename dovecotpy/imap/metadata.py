"""Entries of METADATA on the wire (RFC 5464)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from dovecotpy.imap.errors import Mistaken, Refused
from dovecotpy.imap.wire.response import string
from dovecotpy.imap.wire.tokens import Atom, String, Token
from dovecotpy.storage.annotations import PRIVATE, SHARED

MAX_NAME = 1_000
"""Octets of an entry's name; beyond: BAD."""
MAX_ENTRIES = 1_000
"""Entries of one command; beyond: NO [LIMIT]."""
_PLAIN = b"abcdefghijklmnopqrstuvwxyz0123456789-._/"
"""Octets of an entry's name that needs no quotes."""
_FORBIDDEN = bytes((*range(0x20), *b"*%", 0x7F))


def entry_name(token: Token, wrong: Mistaken) -> bytes:
    """The name of an entry, in small letters: names are the same in any case (section 3.2). Raises `wrong`."""
    if not isinstance(token, Atom | String):
        raise wrong
    name = bytes(token).lower()
    if (
        not name.startswith((PRIVATE, SHARED))
        or name.endswith(b"/")
        or b"//" in name
        or len(name) > MAX_NAME
        or not name.isascii()
        or name.translate(None, _FORBIDDEN) != name
    ):
        raise wrong
    return name


def entry_names(tokens: Iterable[Token], wrong: Mistaken) -> list[bytes]:
    """Names of entries, each once. Raises `wrong`, also for none; Refused [LIMIT]."""
    names = list(dict.fromkeys(entry_name(token, wrong) for token in tokens))
    if not names:
        raise wrong
    if len(names) > MAX_ENTRIES:
        raise Refused("Too many entries in one command.", "LIMIT")
    return names


def metadata_response(name: bytes, values: Mapping[bytes, bytes | None]) -> bytes:
    """A METADATA response with values (section 4.4.1). name: rendered."""
    pairs = [b"%b %b" % (_entry(entry), _value(value)) for entry, value in values.items()]
    return b"* METADATA %b (%b)\r\n" % (name, b" ".join(pairs))


def _entry(name: bytes) -> bytes:
    return string(name) if name.translate(None, _PLAIN) else name


def _value(value: bytes | None) -> bytes:
    if value is None:
        return b"NIL"
    return b"~{%d}\r\n%b" % (len(value), value) if b"\0" in value else string(value)
