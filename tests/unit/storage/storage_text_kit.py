"""A mailbox of very different messages, and what a search finds in it by reading every one of them."""

from __future__ import annotations

import functools
from collections.abc import Iterable

from dovecotpy.message.collation import collation_key
from dovecotpy.message.encoded_word import decode_words
from dovecotpy.message.header import MAX_FIELD
from dovecotpy.message.lines import Octets
from dovecotpy.message.structure import parse
from dovecotpy.message.text import PartHeader, body_text, header_text
from dovecotpy.search import query as q
from dovecotpy.search.evaluate import Found
from dovecotpy.storage.mailbox import Mailbox

MESSAGES = [
    b"From: Anna <anna@example.org>\nSubject: first of all\n\nplain words\nand more\n",
    b"Subject: =?utf-8?q?caf=C3=A9?= now\nX-Note: Subject: not this\n\n",
    "Subject: gr\u00fc\u00dfe\nContent-Type: text/plain; charset=utf-8\n\nStra\u00dfe \u2460 \uff21\n".encode(),
    b"Subject: folded\n over lines\nContent-Transfer-Encoding: base64\n\nbmVlZGxl\n",
    b"Content-Type: text/plain; charset=iso-2022-jp\nSubject: japan\n\n\x1b$B%F%9%H\x1b(B ascii\n",
    b"Subject: parts\nContent-Type: multipart/mixed; boundary=b\n\npreamble\n--b\nContent-Description: hidden\n\nshown\n--b\nContent-Type:"
    b" image/png\n\nneedle\n--b--\n",
    b"Subject: html\nContent-Type: text/html\n\n<p>needle</p>\n",
    b"Content-Type: message/rfc822\nSubject: outer\n\nSubject: inner needle\n\nwithin\n",
    b"Subject : spaced name\nsubject: second one\n\nx\n",
    b"Subject: =?utf-8?q?a=0ASubject:_forged?=\nTo: z\n\n",
    b"=?utf-8?q?Subject:?= pretended\nFrom: q\n\n",
    b"Subject: \xff\xfe bad octets\nCc: \xe9t\xe9\n\nlatin \xe9t\xe9\n",
    b"Subject: no end of header",
    b"\nno header at all, needle\n",
    b"Subject: long\nX-Long: " + b"a" * (MAX_FIELD + 10) + b"needle\n\nbody\n",
    b"Subject: qp\nContent-Transfer-Encoding: quoted-printable\n\nnee=\ndle =E9\n",
    b"Subject: nul\n\nnee\0dle\n",
    b"Content-Type: application/pdf\nSubject: pdf\n\nneedle\n",
    b"Content-Type: text/plain\nContent-Type: image/png\nSubject: twice\n\nneedle\n",
    b"",
]
NEEDLES = [
    "needle",
    "NEEDLE",
    "plain words",
    "caf\u00e9",
    "CAFE",
    "stra\u00dfe",
    "1",
    "a",
    "\u00e9",
    "ne",
    "shown",
    "hidden",
    "forged",
    "pretended",
    "over",
]
NEEDLES += [
    " ",
    "words\r\nand",
    "not this",
    "second",
    "spaced",
    "folded over",
    "z",
    "\u30c6\u30b9\u30c8",
    "",
    "f first",
    "Subject",
    ":",
    "b",
    "nee",
]
FIELDS = [b"subject", b"Cc", b"x-note", b"X-Long", b"from", b"=?utf-8?q?Subject", b"absent"]


def terms(text: str) -> list[q.Query]:
    """Every kind of term that looks for a text."""
    return [q.Body(text), q.Text(text), *(q.Header(name, text) for name in FIELDS)]


@functools.lru_cache(maxsize=20_000, typed=True)
def matches(message: bytes, term: q.Query) -> bool:
    """Whether a message matches, by decoding all of it and looking."""
    octets = Octets.of(message)
    part = parse(octets)
    if isinstance(term, q.Header):
        values = part.header.all(term.name.lower())
        return any(collation_key(term.text) in collation_key(decode_words(value)) for value in values)
    assert isinstance(term, (q.Body, q.Text))
    key = collation_key(term.text)
    pieces = list(body_text(octets, part))
    body = "".join("\0" if isinstance(piece, PartHeader) else piece for piece in pieces)
    inner = "\0".join(piece for piece in pieces if isinstance(piece, PartHeader))
    if isinstance(term, q.Body):
        return bool(pieces) and key in collation_key(body)
    return any(key in collation_key(text) for text in (header_text(part.header), body, inner))


def found(mailbox: Mailbox, query: q.Query, within: Iterable[int] | None = None) -> list[int]:
    """UIDs that a search tells."""
    mailbox.refresh()
    uids = mailbox.columns().uids
    *_, last = mailbox.search(query, uids if within is None else list(within), 0.05)
    assert isinstance(last, Found)
    return list(last.uids)
