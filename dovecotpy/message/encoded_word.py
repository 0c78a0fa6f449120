"""Encoded words in header fields (RFC 2047), decoded in linear time whatever the value holds."""

from __future__ import annotations

from binascii import a2b_qp

from dovecotpy.message.charset import decode_text
from dovecotpy.message.transfer import decode as decode_transfer

MAX_CHARSET = 80
"""Octets of a charset name, language included."""

MAX_WORD = 4096
"""Octets of the text of one encoded word (RFC 2047 allows 75 in all)."""

_Word = tuple[bytes, bytes, int]
"""Charset in lower case, decoded octets, and the place after the word."""


def decode_words(value: bytes) -> str:
    """The text of an unfolded field value. Octets outside encoded words are UTF-8, or else ISO 8859-1. Never raises."""
    if b"=?" not in value:
        return _plain(value)
    pieces: list[str] = []
    charset = b""
    octets: list[bytes] = []
    at = 0
    last = value.rfind(b"?=")
    while True:
        start = value.find(b"=?", at, last)
        if start < 0:
            break
        word = _word(value, start)
        between = value[at : start if word else start + 2]
        if word and octets and not between.strip():
            between = b""
        if octets and (between or not word or word[0] != charset):
            pieces.append(decode_text(b"".join(octets), charset))
            octets = []
        if between:
            pieces.append(_plain(between))
        if word:
            charset = word[0]
            octets.append(word[1])
            at = word[2]
        else:
            at = start + 2
    if octets:
        pieces.append(decode_text(b"".join(octets), charset))
    pieces.append(_plain(value[at:]))
    return "".join(pieces)


def _word(value: bytes, start: int) -> _Word | None:
    """The encoded word that starts at start. Its text may hold blanks, which some senders leave in."""
    name_end = value.find(b"?", start + 2, start + 2 + MAX_CHARSET)
    if name_end <= start + 2 or value[name_end + 2 : name_end + 3] != b"?":
        return None
    encoding = value[name_end + 1 : name_end + 2].lower()
    end = value.find(b"?=", name_end + 3, name_end + 3 + MAX_WORD)
    if end < 0 or encoding not in (b"b", b"q"):
        return None
    text = value[name_end + 3 : end]
    if b"=?" in text:
        return None
    octets = a2b_qp(text.replace(b"_", b"=20")) if encoding == b"q" else decode_transfer(text, b"base64")
    name = value[start + 2 : name_end].partition(b"*")[0].lower()
    return name, octets, end + 2


def _plain(octets: bytes) -> str:
    if octets.isascii():
        return octets.decode("ascii")
    return decode_text(octets, b"")
