"""The ENVELOPE of a message, ready to send (RFC 3501 and RFC 9051 section 7.5.2)."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping

from dovecotpy.message.address import Address, parse_addresses
from dovecotpy.message.header import MAX_FIELD, Header
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
    return _envelope(values, {name: _addresses(values[name]) for name in _LISTS if name in values})


def envelope_steps(header: Header) -> Generator[None, None, bytes]:
    """As `envelope`, with a pause after each long list of addresses."""
    values = header.usual
    lists = {}
    for name in _LISTS:
        if name in values:
            lists[name] = _addresses(values[name])
            if len(lists[name]) > LONG:
                yield
    return _envelope(values, lists)


def _envelope(values: Mapping[bytes, list[bytes]], lists: Mapping[bytes, bytes]) -> bytes:
    sent_from = lists.get(b"from", b"NIL")
    sender = lists.get(b"sender", b"NIL")
    reply_to = lists.get(b"reply-to", b"NIL")
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        _text(values.get(b"date")),
        _subject(values.get(b"subject")),
        sent_from,
        sent_from if sender == b"NIL" else sender,
        sent_from if reply_to == b"NIL" else reply_to,
        lists.get(b"to", b"NIL"),
        lists.get(b"cc", b"NIL"),
        lists.get(b"bcc", b"NIL"),
        _text(values.get(b"in-reply-to")),
        _text(values.get(b"message-id")),
    )


_LISTS = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
LONG = 16384
"""Octets of a rendered list of addresses after which `envelope_steps` pauses."""


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


def _addresses(values: list[bytes]) -> bytes:
    return addresses(values[0] if len(values) == 1 else b", ".join(values)[:MAX_FIELD])


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
