"""Content-Transfer-Encoding undone (RFC 2045 section 6), tolerantly and in pieces.

What is no valid encoding never raises: in base64 foreign octets are skipped and a cut last group gives what it
holds; in quoted-printable a broken escape stays as it is written.
"""

from __future__ import annotations

from binascii import a2b_base64, a2b_qp

_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="
_FOREIGN = bytes(octet for octet in range(256) if octet not in _BASE64)


class Identity:
    """7bit, 8bit, binary and anything unknown: octets as they are."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """The decoded octets of one more piece, as far as they are certain."""
        return data

    def finish(self) -> bytes:
        """What was held back."""
        return b""


class Base64(Identity):
    """base64; padding in the middle starts anew, as where several encoded texts were joined."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The decoded octets of one more piece, as far as they are certain."""
        data = self._held + data.translate(None, _FOREIGN)
        pieces = data.split(b"=") if b"=" in data else [data]
        last = pieces.pop()
        keep = len(last) & ~3
        self._held = last[keep:]
        decoded = [_group(piece) for piece in pieces if piece]
        decoded.append(a2b_base64(last[:keep]))
        return b"".join(decoded)

    def finish(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return _group(held)


class QuotedPrintable(Identity):
    """quoted-printable; pieces are cut at line ends so that no escape is split."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """The decoded octets of one more piece, as far as they are certain."""
        data = self._held + data
        cut = data.rfind(b"\n") + 1
        if not cut and len(data) > 4096 and b"=" not in data[-3:]:
            cut = len(data)
        self._held = data[cut:]
        return a2b_qp(data[:cut])

    def finish(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return a2b_qp(held)


def decoder(encoding: bytes) -> Identity:
    """A decoder for Content-Transfer-Encoding. encoding: in lower case."""
    if encoding == b"base64":
        return Base64()
    if encoding == b"quoted-printable":
        return QuotedPrintable()
    return Identity()


def decode(data: bytes, encoding: bytes) -> bytes:
    """All of data decoded. encoding: in lower case. Never raises."""
    undo = decoder(encoding)
    return undo.feed(data) + undo.finish()


def _group(text: bytes) -> bytes:
    """base64 text without padding, of which a last single character says nothing."""
    rest = len(text) & 3
    if rest == 1:
        text = text[:-1]
    elif rest:
        text += b"=" * (4 - rest)
    return a2b_base64(text)
