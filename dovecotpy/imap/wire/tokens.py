"""The arguments of an IMAP command as tokens, line by line, literals apart (RFC 3501 section 9).

`Tokenizer` is fed whole lines and whole literals by the framing in `command.py`. It is linear in its input,
never recurses, and holds no more than the budgets below. It is as tolerant as the reference where clients are
sloppy: several spaces, a space at the end, list wildcards and `]` in atoms, an escaped octet in a quoted
string that needs no escape.
"""

from __future__ import annotations

from typing import TypeAlias

MAX_NESTING = 32
"""Parentheses in parentheses; beyond: BAD."""
MAX_ARGUMENTS = 10_000
"""Tokens of one command, those in lists included; beyond: BAD."""


class Atom(bytes):
    """An unquoted word, as typed: also a number, a flag, NIL, or a piece like `BODY[HEADER.FIELDS` before a
    list.
    """

    __slots__ = ()


class String(bytes):
    """The value of a quoted string or of a literal."""

    __slots__ = ()


class Binary(String):
    """The value of a literal8, which may hold NUL (RFC 3516 section 4.4, RFC 4466 section 4)."""

    __slots__ = ()


class Streamed:
    """Stands where a literal was that went to the session in pieces. `size`: its octets."""

    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size


Token: TypeAlias = "Atom | String | Streamed | list[Token]"


class ParseError(Exception):
    """The arguments are no IMAP. str(error) is the reference's text for it; nothing is logged."""


_ATOM_OCTETS = bytes(octet for octet in range(0x21, 0x7F) if octet not in b'(){"\\')


def is_atom(word: bytes) -> bool:
    """Whether a word may stand unquoted as an argument; a backslash is allowed at its start only (a flag)."""
    return not word.translate(None, _ATOM_OCTETS) or _is_flag(word)


def _is_flag(word: bytes) -> bool:
    return word[:1] == b"\\" and not word[1:].translate(None, _ATOM_OCTETS)


class Tokenizer:
    """Collects the arguments of one command."""

    __slots__ = ("arguments", "count", "_stack", "_utf8", "adjacent")

    def __init__(self, *, utf8: bool = False) -> None:
        self._utf8 = utf8
        """quoted strings must be UTF-8 (RFC 6855 section 3)"""
        self.arguments: list[Token] = []
        self.count = 0
        self._stack: list[list[Token]] = []
        self.adjacent = False
        """an argument ended here: a blank or a parenthesis must come before the next one"""

    @property
    def depth(self) -> int:
        """Lists that are open now."""
        return len(self._stack)

    @property
    def outermost(self) -> list[Token]:
        """The arguments so far, the last of them being a list that is open."""
        return self._stack[0] if self._stack else self.arguments

    @property
    def enclosing(self) -> list[Token]:
        """The list that the innermost open one stands in."""
        return self._stack[-1] if self._stack else []

    def literal(self, value: String | Streamed) -> None:
        """Add a literal's value. Raises ParseError past the budget."""
        self._add(value)
        self.adjacent = True

    def line(self, data: bytes) -> None:
        """Add what stands on one line, without its end and without a literal's announcement. Raises
        ParseError.
        """
        at = 0
        size = len(data)
        while at < size:
            octet = data[at]
            if octet == 0x20:
                at += 1
                self.adjacent = False
            elif octet == 0x29:
                self._close()
                at += 1
            elif self.adjacent and octet != 0x5D:
                raise ParseError("Invalid arguments.")
            elif octet == 0x28:
                self._open()
                at += 1
            elif octet == 0x22:
                at = self._quoted(data, at + 1)
            else:
                at = self._atom(data, at)

    def finish(self) -> list[Token]:
        """The arguments, when the command's last line is in. Raises ParseError for an open list."""
        if self._stack:
            raise ParseError("Missing ')'")
        return self.arguments

    def _add(self, token: Token) -> None:
        self.count += 1
        if self.count > MAX_ARGUMENTS:
            raise ParseError("Too many arguments.")
        self.arguments.append(token)

    def _open(self) -> None:
        if len(self._stack) >= MAX_NESTING:
            raise ParseError("Too many nested lists.")
        inner: list[Token] = []
        self._add(inner)
        self._stack.append(self.arguments)
        self.arguments = inner

    def _close(self) -> None:
        if not self._stack:
            raise ParseError("Unexpected ')'")
        self.arguments = self._stack.pop()
        self.adjacent = True

    def _quoted(self, data: bytes, at: int) -> int:
        end = data.find(b'"', at)
        escape = data.find(b"\\", at, end) if end >= 0 else -1
        if end >= 0 and escape < 0:
            value = data[at:end]
        else:
            value, end = _unescape(data, at)
        if b"\0" in value or b"\r" in value:
            raise ParseError("Invalid characters in string")
        if self._utf8 and not value.isascii():
            try:
                value.decode("utf-8")
            except UnicodeDecodeError:
                raise ParseError("Invalid UTF-8 in string") from None
        self._add(String(value))
        self.adjacent = True
        return end + 1

    def _atom(self, data: bytes, at: int) -> int:
        end = data.find(b" ", at)
        if end < 0:
            end = len(data)
        closing = data.find(b")", at, end)
        if closing >= 0:
            end = closing
        word = data[at:end]
        if not is_atom(word):
            raise ParseError("8bit data in atom" if not word.isascii() else "Invalid characters in atom")
        self._add(Atom(word))
        self.adjacent = True
        return end


def _unescape(data: bytes, at: int) -> tuple[bytes, int]:
    """A quoted string that has escapes: its value, and the place of its closing quote."""
    pieces = []
    while True:
        end = data.find(b'"', at)
        if end < 0:
            raise ParseError("Missing '\"'")
        escape = data.find(b"\\", at, end)
        if escape < 0:
            pieces.append(data[at:end])
            return b"".join(pieces), end
        if escape + 1 >= len(data):
            raise ParseError("Missing '\"'")
        pieces.append(data[at:escape])
        pieces.append(data[escape + 1 : escape + 2])
        at = escape + 2
