"""Building responses: whole lines with CRLF, from values that cannot break them (RFC 3501 section 7)."""

from __future__ import annotations

from collections.abc import Iterable

MAX_QUOTED = 1_000
"""Octets of a value that goes out as a quoted string; longer ones go out as a literal."""
_QUOTED_SAFE = bytes(octet for octet in range(0x20, 0x7F) if octet not in b'"\\')
_PRINTABLE = bytes(octet if 0x20 <= octet < 0x7F else 0x3F for octet in range(256))


def string(value: bytes) -> bytes:
    """A string: quoted where that is allowed, else a literal. NUL, which neither may hold, becomes 0x80."""
    if len(value) <= MAX_QUOTED and not value.translate(None, _QUOTED_SAFE):
        return b'"' + value + b'"'
    if len(value) <= MAX_QUOTED and value.isascii() and not _has_control(value):
        return b'"' + value.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
    return b"{%d}\r\n%b" % (len(value), value.replace(b"\0", b"\x80"))


def _has_control(value: bytes) -> bool:
    return b"\r" in value or b"\n" in value or b"\0" in value


def nstring(value: bytes | None) -> bytes:
    """A string, or NIL."""
    return b"NIL" if value is None else string(value)


def parenthesised(words: Iterable[bytes]) -> bytes:
    """Words as a list."""
    return b"(" + b" ".join(words) + b")"


def text_of(text: str) -> bytes:
    """Human-readable text: printable ASCII in one line, whatever a stranger put into it; never empty.

    It never ends like the announcement of a literal, which clients look for at the end of any line.
    """
    line = text.encode("ascii", "replace").translate(_PRINTABLE)
    return line + b"." if not line or line[-1:] == b"}" else line


def status(tag: bytes, condition: bytes, text: str, code: str | None = None) -> bytes:
    """`tag OK [CODE] text`; a tag of `*` makes it untagged.

    condition: OK, NO, BAD, BYE or PREAUTH. code: the response code without brackets.
    """
    if code is None:
        return b"%b %b %b\r\n" % (tag, condition, text_of(text))
    return b"%b %b [%b] %b\r\n" % (tag, condition, code.encode("ascii"), text_of(text))


def untagged(condition: bytes, text: str, code: str | None = None) -> bytes:
    """`* OK [CODE] text`."""
    return status(b"*", condition, text, code)


def continuation(text: bytes = b"OK") -> bytes:
    """`+ text`: go on."""
    return b"+ " + text + b"\r\n"
