"""Strings of IMAP responses (RFC 3501 section 4.3), in one form valid for every client mode.

A value goes out quoted only if it is short, printable US-ASCII without quote and backslash; everything else
is a literal, so that no rendering depends on UTF8=ACCEPT or on the protocol revision.
"""

from __future__ import annotations

MAX_QUOTED = 1000
"""Octets; a longer value is a literal, as some clients read lines into fixed buffers."""

QUOTABLE = bytes(range(0x20, 0x7F)).replace(b'"', b"").replace(b"\\", b"")
"""Octets of a quoted string without escapes."""
_NUL_SUBSTITUTE = b"\x80"


def string(value: bytes) -> bytes:
    """A quoted string or a literal. NUL, which no string may hold, becomes 0x80."""
    if len(value) <= MAX_QUOTED and not value.translate(None, QUOTABLE):
        return b'"%b"' % value
    if 0 in value:
        value = value.replace(b"\0", _NUL_SUBSTITUTE)
    return b"{%d}\r\n%b" % (len(value), value)


def nstring(value: bytes | None) -> bytes:
    """string(value), or NIL for None."""
    return b"NIL" if value is None else string(value)


_BLANKS = bytes(0x20 if octet in (9, 10, 13) else octet for octet in range(256))


def single_spaced(value: bytes) -> bytes:
    """The value trimmed, each inner run of blanks and line ends one space (what people read, not what is signed)."""
    if b"\t" in value or b"\n" in value or b"\r" in value:
        value = value.translate(_BLANKS)
    if b"  " in value:
        return b" ".join([word for word in value.split(b" ") if word])
    return value.strip(b" ")
