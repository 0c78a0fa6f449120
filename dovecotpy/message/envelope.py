"""The ENVELOPE of a message, ready to send (RFC 3501 and RFC 9051 section 7.5.2)."""

from __future__ import annotations

import re
from collections.abc import Generator, Mapping
from typing import NamedTuple

from dovecotpy.message.address import Address, parse_addresses
from dovecotpy.message.fields import MAX_SHAPES, NUMBERS, Fields, Shape, Values, value_of
from dovecotpy.message.header import MAX_FIELD
from dovecotpy.message.string import MAX_QUOTED, QUOTABLE, nstring, single_spaced, string

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


def envelope(header: Values) -> bytes:
    """The parenthesised list of ten items, strings quoted or literal, never with bare CR, LF or NUL.

    Raises nothing: a field that is missing or cannot be read gives NIL in its place. Sender and Reply-To fall
    back on From; a repeated address field counts as one list, of any other repeated field the last counts.
    """
    values = header.usual
    return _envelope(values, {name: _addresses(values[name]) for name in _LISTS if name in values})


def envelope_steps(header: Values) -> Generator[None, None, bytes]:
    """As `envelope`, with a pause after each long list of addresses."""
    values = header.usual
    lists = {}
    for name in _LISTS:
        if name in values:
            lists[name] = _addresses(values[name])
            if len(lists[name]) > LONG:
                yield
    return _envelope(values, lists)


class _Form(NamedTuple):
    """What the order of a message's fields says about its envelope."""

    form: bytes
    """with NIL where nothing will stand"""
    texts: list[int]
    """places of what is no list of addresses, as far as it is there"""
    before: int
    """how many of them stand before the lists"""
    lists: list[int]
    """places of lists of addresses, that of From in place of those that are not there"""


_LISTS = (b"from", b"sender", b"reply-to", b"to", b"cc", b"bcc")
_LIST_NUMBERS = tuple(NUMBERS[name] for name in _LISTS)
_TEXT_NUMBERS = tuple(NUMBERS[name] for name in (b"date", b"subject", b"in-reply-to", b"message-id"))
_PLAIN = QUOTABLE + b"\n"
_forms: dict[bytes, _Form | None] = {}
_lines: dict[bytes, bytes] = {}


def kept_envelope(fields: Fields) -> bytes:
    """As `envelope`, fast where all of it is short, printable and written with single blanks."""
    shape = fields.shape
    try:
        form = _forms[shape.numbers]
    except KeyError:
        form = _learn(shape)
    if form is None:
        return envelope(fields)
    lines = fields.lines
    texts = [lines[place].partition(b":")[2].strip() for place in form.texts]
    joined = b"\n".join(texts)
    if len(joined) > MAX_QUOTED or b"  " in joined or joined.translate(None, _PLAIN):
        return envelope(fields)
    lists = [_lines.get(lines[place]) or _list(lines[place]) for place in form.lists]
    if b"NIL" in lists:
        return envelope(fields)
    return form.form % (*texts[: form.before], *lists, *texts[form.before :])


def _list(line: bytes) -> bytes:
    """The address list in a field."""
    rendered = addresses(value_of(line))
    if len(line) <= MAX_CACHED:
        if len(_lines) >= CACHE:
            _lines.clear()
        _lines[line] = rendered
    return rendered


def _learn(shape: Shape) -> _Form | None:
    """What a shape says; None where that depends on more."""
    form = None
    if not any(map(shape.repeats, _LIST_NUMBERS)):
        texts = [shape.last.get(number, -1) for number in _TEXT_NUMBERS]
        lists = [shape.last.get(number, -1) for number in _LIST_NUMBERS]
        lists[1:3] = [lists[0] if place < 0 else place for place in lists[1:3]]
        columns = [b"NIL" if place < 0 else b'"%b"' for place in texts]
        columns[2:2] = [b"NIL" if place < 0 else b"%b" for place in lists]
        form = _Form(
            b"(" + b" ".join(columns) + b")",
            [place for place in texts if place >= 0],
            sum(place >= 0 for place in texts[:2]),
            [place for place in lists if place >= 0],
        )
    if len(_forms) >= MAX_SHAPES:
        _forms.clear()
    _forms[shape.numbers] = form
    return form


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
