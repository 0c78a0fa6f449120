"""Lexical pieces that structured header fields share: quoted strings, comments, blanks (RFC 5322 section 3.2).

Each function takes a value and a place and moves forward only, so every reader built on them is linear.
"""

from __future__ import annotations

import re

_QUOTED_RUN = re.compile(rb'[^"\\]*')
_COMMENT_RUN = re.compile(rb"[^()\\]*")
_BLANK_RUN = re.compile(rb"[\s\x00]*")
_ESCAPED = re.compile(rb"\\(.?)", re.DOTALL)


def quoted_string(value: bytes, at: int) -> tuple[bytes, int]:
    """The text of the quoted string whose first octet after the quote is at at, unescaped, and the place after it.

    An unterminated one reaches to the end.
    """
    start = at
    size = len(value)
    while at < size:
        at = _QUOTED_RUN.match(value, at).end()  # type: ignore[union-attr]  # matches everywhere
        if at >= size:
            break
        if value[at] == 0x22:
            return unescaped(value[start:at]), at + 1
        at += 2
    return unescaped(value[start:]), size


def comment(value: bytes, at: int) -> tuple[bytes, int]:
    """The text of the comment whose first octet after the parenthesis is at at, inner ones included, and the place after it.

    An unterminated one reaches to the end.
    """
    start = at
    size = len(value)
    depth = 1
    while at < size:
        at = _COMMENT_RUN.match(value, at).end()  # type: ignore[union-attr]  # matches everywhere
        if at >= size:
            break
        octet = value[at]
        if octet == 0x5C:
            at += 2
            continue
        depth += 1 if octet == 0x28 else -1
        if depth == 0:
            return unescaped(value[start:at]), at + 1
        at += 1
    return unescaped(value[start:]), size


def skip_blanks(value: bytes, at: int) -> int:
    """The first place from at on that is neither blank nor comment."""
    size = len(value)
    while at < size:
        at = _BLANK_RUN.match(value, at).end()  # type: ignore[union-attr]  # matches everywhere
        if at >= size or value[at] != 0x28:
            return at
        _, at = comment(value, at + 1)
    return at


def unescaped(text: bytes) -> bytes:
    """The text with each quoted pair replaced by its second octet."""
    return _ESCAPED.sub(rb"\1", text) if b"\\" in text else text
