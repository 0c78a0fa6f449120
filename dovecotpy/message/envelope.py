"""The ENVELOPE of a message, ready to send (RFC 3501 and RFC 9051 section 7.5.2)."""

from __future__ import annotations

import re

from dovecotpy.message.address import Address, parse_addresses
from dovecotpy.message.header import Header
from dovecotpy.message.string import nstring, single_spaced, string

CACHE = 1024
"""Address fields whose rendering is remembered; then the memory starts anew."""

MAX_CACHED = 200
"""Octets of the longest field value remembered."""

_rendered: dict[bytes, bytes] = {}

_SIMPLE = re.compile(
    rb'(?:"([^"\\\x00-\x1f\x7f-\xff]{1,200})" ?|([A-Za-z0-9!#$%&\'*+/=?^_`{|}~-][A-Za-z0-9!#$%&\'*+/=?^_`{|}~ .-]{0,200}))?'
    rb"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,200})@([A-Za-z0-9.-]{1,200})>"
)
_BARE = re.compile(rb"([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,200})@([A-Za-z0-9.-]{1,200})")


def envelope(header: Header) -> bytes:
    """The parenthesised list of ten items, strings quoted or literal, never with bare CR, LF or NUL.

    Raises nothing: a field that is missing or cannot be read gives NIL in its place. Sender and Reply-To fall
    back on From; a repeated address field counts as one list, of any other repeated field the last counts.
    """
    values = header.usual
    sent_from = _addresses(values.get(b"from"))
    sender = _addresses(values.get(b"sender"))
    reply_to = _addresses(values.get(b"reply-to"))
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _text(values.get(b"date")),
        _subject(values.get(b"subject")),
        sent_from,
        sent_from if sender == b"NIL" else sender,
        sent_from if reply_to == b"NIL" else reply_to,
        _addresses(values.get(b"to")),
        _addresses(values.get(b"cc")),
        _addresses(values.get(b"bcc")),
        _text(values.get(b"in-reply-to")),
        _text(values.get(b"message-id")),
    )


def addresses(value: bytes) -> bytes:
    """The address list of an unfolded field value, ready to send: NIL or a parenthesised list."""
    rendered = _rendered.get(value)
    if rendered is not None:
        return rendered
    rendered = _simple(value) or _general(value)
    if len(value) <= MAX_CACHED:
        if len(_rendered) >= CACHE:
            _rendered.clear()
        _rendered[value] = rendered
    return rendered


def _text(values: list[bytes] | None) -> bytes:
    return b"NIL" if values is None else string(values[-1])


def _subject(values: list[bytes] | None) -> bytes:
    return b"NIL" if values is None else string(single_spaced(values[-1]))


def _addresses(values: list[bytes] | None) -> bytes:
    if values is None:
        return b"NIL"
    return addresses(values[0] if len(values) == 1 else b", ".join(values))


def _simple(value: bytes) -> bytes:
    """The rendering of one address in the usual spelling, or nothing."""
    found = _BARE.fullmatch(value)
    if found:
        return b'((NIL NIL "%b" "%b"))' % found.groups()
    found = _SIMPLE.fullmatch(value)
    if not found:
        return b""
    quoted, words, mailbox, host = found.groups()
    name = single_spaced(quoted or words or b"")
    return b'((%b NIL "%b" "%b"))' % (string(name) if name else b"NIL", mailbox, host)


def _general(value: bytes) -> bytes:
    rendered = b"".join([_address(address) for address in parse_addresses(value)])
    return b"(%b)" % rendered if rendered else b"NIL"


def _address(address: Address) -> bytes:
    return b"(%b %b %b %b)" % (
        nstring(address.name),
        nstring(address.route),
        nstring(address.mailbox),
        nstring(address.host),
    )
