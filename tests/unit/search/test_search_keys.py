"""Keys of header fields."""

from __future__ import annotations

from binascii import b2a_base64

from dovecotpy.message.header import parse_header
from dovecotpy.search.keys import subject

WORDS = {
    1: (b"utf-8", "D0C0D0BDD0B4D180D0B5D0B9"),
    2: (b"utf-8", "D181D095D0A0D093D095D099"),
    3: (b"utf-8", "D092D0B0D181D0B8D0BBD0B8FFB9"),
    4: (b"koi8-r", "E1CCC5CBD3C5CA"),
}
"""The strings of the example of RFC 5255 section 4.6."""


def test_texts_that_cannot_be_decoded_come_last() -> None:
    found = {}
    for number, (name, text) in WORDS.items():
        word = b"=?" + name + b"?B?" + b2a_base64(bytes.fromhex(text)).strip() + b"?="
        found[subject(parse_header(b"Subject: " + word + b"\r\n\r\n"))] = number
    assert [found[key] for key in sorted(found)] == [4, 2, 3, 1]
