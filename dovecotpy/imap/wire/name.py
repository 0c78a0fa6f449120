"""Mailbox names on the wire: modified UTF-7 (RFC 3501 section 5.1.3) and the special name INBOX."""

from __future__ import annotations

import binascii

INBOX = b"INBOX"


class InvalidName(Exception):
    """Not modified UTF-7 in its one canonical form."""


def encode(name: str) -> bytes:
    """A name in modified UTF-7. Raises InvalidName for lone surrogates."""
    pieces: list[bytes] = []
    run: list[str] = []
    for character in name:
        if " " <= character <= "~":
            _end_run(run, pieces)
            pieces.append(b"&-" if character == "&" else character.encode("ascii"))
        else:
            run.append(character)
    _end_run(run, pieces)
    return b"".join(pieces)


def _end_run(run: list[str], pieces: list[bytes]) -> None:
    if not run:
        return
    try:
        wide = "".join(run).encode("utf-16-be")
    except UnicodeEncodeError:
        raise InvalidName(f"not encodable: {run!r}") from None
    coded = binascii.b2a_base64(wide, newline=False).rstrip(b"=").replace(b"/", b",")
    pieces.append(b"&" + coded + b"-")
    run.clear()


def decode(name: bytes) -> str:
    """The name as text. Raises InvalidName unless `encode` gives exactly these octets back."""
    if not name.isascii():
        raise InvalidName("8-bit octets")
    pieces: list[str] = []
    at = 0
    while True:
        start = name.find(b"&", at)
        if start < 0:
            pieces.append(name[at:].decode("ascii"))
            break
        pieces.append(name[at:start].decode("ascii"))
        end = name.find(b"-", start)
        if end < 0:
            raise InvalidName("unterminated shift")
        pieces.append(_decode_run(name[start + 1 : end]))
        at = end + 1
    text = "".join(pieces)
    if encode(text) != name:
        raise InvalidName("not canonical")
    return text


def _decode_run(coded: bytes) -> str:
    if not coded:
        return "&"
    padding = b"=" * (-len(coded) % 4)
    try:
        return binascii.a2b_base64(coded.replace(b",", b"/") + padding).decode("utf-16-be")
    except (binascii.Error, UnicodeDecodeError):
        raise InvalidName("bad base64 or UTF-16") from None


def is_valid(name: bytes) -> bool:
    """Whether a name is canonical modified UTF-7, without control characters."""
    if not name.translate(None, _PLAIN):
        return True
    try:
        text = decode(name)
    except InvalidName:
        return False
    return not any(character < " " or character == "\x7f" for character in text)


_PLAIN = bytes(octet for octet in range(0x20, 0x7F) if octet != 0x26)


def canonical(name: bytes, separator: bytes) -> bytes:
    """The name with INBOX in capitals, alone or as the first level (RFC 3501 section 5.1)."""
    if name[:5].upper() == INBOX and name[5:6] in (b"", separator):
        return INBOX + name[5:]
    return name
