"""Address lists of header fields (RFC 5322 sections 3.4 and 4.4), read tolerantly and in linear time.

Two steps: the value becomes tokens, then each stretch between separators becomes one address. What cannot be
understood costs its own address only; the rest of the list is kept.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dovecotpy.message.string import single_spaced
from dovecotpy.message.tokens import comment, quoted_string

MISSING_MAILBOX = b"MISSING_MAILBOX"
MISSING_DOMAIN = b"MISSING_DOMAIN"
SYNTAX_ERROR = b"SYNTAX_ERROR"
"""Stand where an address lacks a side: in IMAP a NIL there would mean the start or the end of a group."""

MAX_ADDRESSES = 10000
"""Addresses of one list; what follows is left out."""


class Address(NamedTuple):
    """One address, or a mark of a group: host None with a mailbox starts one, without ends it."""

    name: bytes | None
    route: bytes | None
    mailbox: bytes | None
    host: bytes | None


GROUP_END = Address(None, None, None, None)

_WORD = 0
_QUOTED = 1
_LITERAL = 2
_COMMENT = 3
_SPECIAL = 4

_Token = tuple[int, bytes, bool]
"""Kind, text without its quotes, and whether blanks stood before it."""

_ATOM = re.compile(rb'[^\s\x00()<>\[\]:;@\\,"]+')
_BLANK = re.compile(rb"[\s\x00]+")


def parse_addresses(value: bytes) -> list[Address]:
    """The addresses of an unfolded field value. Never raises."""
    tokens = _tokens(value)
    addresses: list[Address] = []
    pending: list[_Token] = []
    angle = False
    in_group = False
    for token in tokens:
        kind, text, _ = token
        if kind != _SPECIAL:
            pending.append(token)
        elif text == b"," and not (angle and _is_route(pending)):
            _append(addresses, pending)
            pending = []
            angle = False
        elif text == b":" and not angle and not in_group and _is_phrase(pending):
            addresses.append(Address(None, None, _phrase(pending) or b"", None))
            pending = []
            in_group = True
        elif text == b";" and not angle:
            _append(addresses, pending)
            pending = []
            if in_group:
                addresses.append(GROUP_END)
                in_group = False
        else:
            angle = text == b"<" or (angle and text != b">")
            pending.append(token)
        if len(addresses) >= MAX_ADDRESSES:
            pending = []
            break
    _append(addresses, pending)
    if in_group:
        addresses.append(GROUP_END)
    return addresses


def _tokens(value: bytes) -> list[_Token]:
    tokens: list[_Token] = []
    at = 0
    size = len(value)
    blank = False
    while at < size:
        found = _ATOM.match(value, at)
        if found:
            tokens.append((_WORD, found.group(), blank))
            at = found.end()
            blank = False
            continue
        octet = value[at]
        if octet == 0x22:
            text, at = quoted_string(value, at + 1)
            tokens.append((_QUOTED, text, blank))
        elif octet == 0x28:
            text, at = comment(value, at + 1)
            tokens.append((_COMMENT, text, blank))
        elif octet == 0x5B:
            end = value.find(b"]", at)
            end = size if end < 0 else end + 1
            tokens.append((_LITERAL, value[at:end], blank))
            at = end
        elif octet in b"<>@:;,":
            tokens.append((_SPECIAL, value[at : at + 1], blank))
            at += 1
        else:
            found = _BLANK.match(value, at)
            at = found.end() if found else at + 1
            blank = True
            continue
        blank = False
    return tokens


def _is_route(pending: list[_Token]) -> bool:
    """Whether a comma after these tokens stands inside an obsolete route, as in <@a,@b:c@d>."""
    for index in range(len(pending) - 1, -1, -1):
        kind, text, _ = pending[index]
        if kind == _SPECIAL and text == b"<":
            following = pending[index + 1 : index + 2]
            return bool(following) and following[0][:2] == (_SPECIAL, b"@")
        if kind in (_WORD, _LITERAL, _COMMENT) or text == b"@":
            continue
        return False
    return False


def _is_phrase(pending: list[_Token]) -> bool:
    """Whether these tokens can be the name of a group."""
    return all(token[0] in (_WORD, _QUOTED, _COMMENT) for token in pending)


def _append(addresses: list[Address], tokens: list[_Token]) -> None:
    if not tokens:
        return
    address = _address(tokens)
    if address is not None:
        addresses.append(address)


def _address(tokens: list[_Token]) -> Address | None:
    """One address from the tokens between two separators, or None if they are comments only."""
    for index, token in enumerate(tokens):
        if token[0] == _SPECIAL and token[1] == b"<":
            return _angle_address(tokens[:index], tokens[index + 1 :])
    return _bare_address(tokens)


def _angle_address(before: list[_Token], inside: list[_Token]) -> Address:
    for index, token in enumerate(inside):
        if token[0] == _SPECIAL and token[1] == b">":
            inside = inside[:index]
            break
    route, inside = _route([token for token in inside if token[0] != _COMMENT])
    _, mailbox, host = _specification(inside)
    if not host:
        mailbox = _phrase(_before_special(inside)) or b""
        host = SYNTAX_ERROR if len(inside) > 1 and mailbox else MISSING_DOMAIN
    return Address(_phrase(before), route, mailbox or MISSING_MAILBOX, host)


def _bare_address(tokens: list[_Token]) -> Address | None:
    """An address without angle brackets. Words in front of it, or else a comment, are its name."""
    remark = None
    rest = []
    for token in tokens:
        if token[0] == _COMMENT:
            remark = single_spaced(token[1]) or remark
        else:
            rest.append(token)
    if not rest:
        return None
    route, rest = _route(rest)
    if (_SPECIAL, b"@") not in [token[:2] for token in rest]:
        rest = _before_special(rest)
        if len(rest) > 1 or (rest and rest[0][0] == _QUOTED):
            return Address(_phrase(rest), route, MISSING_MAILBOX, MISSING_DOMAIN)
    words, mailbox, host = _specification(rest)
    return Address(words or remark, route, mailbox or MISSING_MAILBOX, host or MISSING_DOMAIN)


def _before_special(tokens: list[_Token]) -> list[_Token]:
    for index, token in enumerate(tokens):
        if token[0] == _SPECIAL:
            return tokens[:index]
    return tokens


def _route(tokens: list[_Token]) -> tuple[bytes | None, list[_Token]]:
    """The obsolete source route `@a,@b:` in front of an address, and what follows it."""
    if tokens and tokens[0][:2] == (_SPECIAL, b"@"):
        for index in range(len(tokens) - 1, 0, -1):
            if tokens[index][:2] == (_SPECIAL, b":"):
                return b"".join([token[1] for token in tokens[:index]]), tokens[index + 1 :]
    return None, tokens


def _specification(tokens: list[_Token]) -> tuple[bytes | None, bytes, bytes]:
    """Words in front, local part and domain of tokens that hold no angle bracket. The first @ divides."""
    start = at = len(_before_special(tokens))
    while start > 1 and _joins(tokens[start - 2], tokens[start - 1]):
        start -= 1
    start = max(start - 1, 0)
    mailbox = b"".join([token[1] for token in tokens[start:at]])
    host = b""
    if at < len(tokens) and tokens[at][1] == b"@":
        end = at + 1
        while (
            end < len(tokens)
            and tokens[end][0] != _SPECIAL
            and (end == at + 1 or _joins(*tokens[end - 1 : end + 1]))
        ):
            end += 1
        host = b"".join([token[1] for token in tokens[at + 1 : end]])
    return _phrase(tokens[:start]), mailbox, host


def _joins(left: _Token, right: _Token) -> bool:
    """Whether two neighbours belong to one local part or domain: no blank between them, or a dot at the blank."""
    return not right[2] or left[1].endswith(b".") or right[1].startswith(b".")


def _phrase(tokens: list[_Token]) -> bytes | None:
    """A display name: its words with one space where blanks or quotes stood, comments left out."""
    pieces: list[bytes] = []
    after_quoted = False
    for kind, text, blank in tokens:
        if kind == _COMMENT:
            continue
        if pieces and (blank or after_quoted or kind == _QUOTED):
            pieces.append(b" ")
        pieces.append(text)
        after_quoted = kind == _QUOTED
    return single_spaced(b"".join(pieces)) or None
