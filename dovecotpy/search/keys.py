"""What SORT and THREAD know of a message's header (RFC 5256, RFC 5957): keys that are compared as they are."""

from __future__ import annotations

import re
from typing import NamedTuple

from dovecotpy.message.address import Address, parse_addresses
from dovecotpy.message.collation import collation_key
from dovecotpy.message.date import parse_date
from dovecotpy.message.encoded_word import decode_words
from dovecotpy.message.fields import Values
from dovecotpy.message.tokens import comment, quoted_string
from dovecotpy.search.subject import base_subject

MAX_REFERENCES = 1000
"""Message ids of one References field that are kept: the last ones, which are the nearest ancestors."""

MAX_SUBJECTS = 2000
"""Subjects of which the key is remembered; then the memory starts anew."""
MAX_KNOWN_SUBJECT = 200
"""Octets of the longest of them."""
_subjects: dict[bytes, tuple[bytes, bool]] = {}

UNKNOWN = -(1 << 62)
"""Stands for a sent date that the header does not tell; INTERNALDATE takes its place."""

_PLAIN_ID = re.compile(rb"<([^<>]+)>")
_USUAL_ID = re.compile(rb"<([^<>@\s\0\"(\\]+@[^<>@\s\0\"(\\]+)>")
"""A message id as most are written: where every angle bracket begins one, nothing else has to be looked for."""
_USUAL = re.compile(
    rb"(?:\"?([A-Za-z0-9]+(?: [A-Za-z0-9]+)*)\"? )?<([A-Za-z0-9+_-][A-Za-z0-9.+_-]*)@([A-Za-z0-9.-]+)>(?:,|$)"
)
"""An address as most are written, of which nothing has to be decoded."""
_BLANKS = b" \t\r\n\0"


class Links(NamedTuple):
    """What THREAD knows of a message."""

    sent: int
    """as sent()"""
    subject: bytes
    """key of the base subject"""
    reply: bool
    """whether the subject says that it is a reply or forwarded"""
    identity: bytes
    """the normalized Message-ID; empty where there is no valid one"""
    references: tuple[bytes, ...]
    """those of References, else the first one of In-Reply-To"""


def _collated(text: str) -> bytes:
    """The collation key of a decoded text; one that could not be decoded comes behind all others (RFC 5255 section 4.6)."""
    key = collation_key(text)
    return b"\xff" + key if "\ufffd" in text else key


def links(header: Values) -> Links:
    """What links a message to others. Never raises."""
    value = header.get(b"subject")
    subject_key, reply = (_subjects.get(value) or _subject(value)) if value else (b"", False)
    identity = _first_id(header.get(b"message-id") or b"")
    references = message_ids(header.get(b"references") or b"")[-MAX_REFERENCES:]
    if not references:
        references = message_ids(header.get(b"in-reply-to") or b"", 1)
    return Links(sent(header), subject_key, reply, identity, tuple(references))


def _first_id(value: bytes) -> bytes:
    """The first valid message id in an unfolded value; empty where there is none."""
    usual = _USUAL_ID.fullmatch(value)
    if usual:
        return usual[1]
    found = message_ids(value, 1)
    return found[0] if found else b""


def sent(header: Values) -> int:
    """Date in seconds since the epoch; UNKNOWN where there is none that can be read."""
    value = header.get(b"date")
    moment = parse_date(value) if value else None
    return moment.timestamp if moment else UNKNOWN


def subject(header: Values) -> bytes:
    """The collation key of the base subject."""
    value = header.get(b"subject")
    return (_subjects.get(value) or _subject(value))[0] if value else b""


def _subject(value: bytes) -> tuple[bytes, bool]:
    """The collation key of the base subject of a value, and whether it is of a reply."""
    text, reply = base_subject(decode_words(value))
    found = _collated(text), reply
    if len(value) <= MAX_KNOWN_SUBJECT:
        if len(_subjects) >= MAX_SUBJECTS:
            _subjects.clear()
        _subjects[value] = found
    return found


def mailbox(value: bytes | None) -> bytes:
    """The collation key of addr-mailbox of the first address of a list; empty where there is none."""
    if not value:
        return b""
    usual = _USUAL.match(value)
    if usual:
        return usual.group(2).upper()
    addresses = parse_addresses(value)
    first = addresses[0].mailbox if addresses else None
    return _collated(decode_words(first)) if first else b""


def displayed(value: bytes | None) -> bytes:
    """The collation key of what people see of the first address of a list (RFC 5957 section 3)."""
    if not value:
        return b""
    usual = _USUAL.match(value)
    if usual:
        return (usual.group(1) or usual.group(2) + b"@" + usual.group(3)).upper()
    addresses = parse_addresses(value)
    return _displayed(addresses[0]) if addresses else b""


def _displayed(address: Address) -> bytes:
    if address.name:
        name = _collated(decode_words(address.name))
        if name:
            return name
    if not address.mailbox:
        return b""
    whole = address.mailbox if address.host is None else address.mailbox + b"@" + address.host
    return _collated(decode_words(whole))


def message_ids(value: bytes, most: int = 1 << 30) -> list[bytes]:
    """The valid message ids in an unfolded value, normalized, in order. most: stop after so many."""
    if b'"' in value or b"(" in value or b"\\" in value:
        return _careful_ids(value, most)
    found = _USUAL_ID.findall(value)
    if len(found) == value.count(b"<"):
        return found if len(found) <= most else found[:most]
    found = []
    for word in _PLAIN_ID.findall(value) if most > 1 else _first_words(value):
        identity = _valid(word.translate(None, _BLANKS))
        if identity:
            found.append(identity)
            if len(found) >= most:
                break
    return found


def _first_words(value: bytes) -> list[bytes]:
    """What stands in the first pair of angle brackets; all of them where that is no message id."""
    first = _PLAIN_ID.search(value)
    if first is None:
        return []
    word = first.group(1)
    return [word] if b"@" in word else _PLAIN_ID.findall(value)


def _valid(identity: bytes) -> bytes:
    """A message id without its brackets, empty unless it has both its sides."""
    at = identity.rfind(b"@")
    return identity if 0 < at < len(identity) - 1 else b""


def _careful_ids(value: bytes, most: int) -> list[bytes]:
    """message_ids() of a value with comments or quoted text, in which brackets mean nothing."""
    found: list[bytes] = []
    pieces: list[bytes] | None = None
    at = 0
    size = len(value)
    while at < size and len(found) < most:
        octet = value[at]
        if octet == 0x28:
            _, at = comment(value, at + 1)
            continue
        if octet == 0x22:
            text, at = quoted_string(value, at + 1)
            if pieces is not None:
                pieces.append(text)
            continue
        if octet == 0x3C:
            pieces = []
        elif octet == 0x3E:
            identity = _valid(b"".join(pieces)) if pieces is not None else b""
            if identity:
                found.append(identity)
            pieces = None
        elif pieces is not None and octet not in _BLANKS:
            pieces.append(value[at : at + 1])
        at += 1
    return found
