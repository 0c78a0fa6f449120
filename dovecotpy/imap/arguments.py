"""The arguments of one command, taken one after the other; what does not fit is answered with BAD."""

from __future__ import annotations

from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.tokens import Atom, String, Token

MAX_MODSEQ = (1 << 63) - 1
"""RFC 7162 section 7: mod-sequence-value."""


class Arguments:
    """A command's arguments. Every method that takes one raises Mistaken if there is none of that kind."""

    __slots__ = ("name", "by_uid", "_tokens", "_at")

    def __init__(self, name: bytes, tokens: list[Token], *, by_uid: bool = False) -> None:
        self.name = name
        self.by_uid = by_uid
        """whether the command came with UID in front: sets are of UIDs, answers name them"""
        self._tokens = tokens
        self._at = 0

    def wrong(self, text: str = "Invalid arguments.") -> Mistaken:
        """The error for arguments that do not fit."""
        return Mistaken(f"Error in IMAP command {self.name.decode('ascii')}: {text}")

    def more(self) -> bool:
        """Whether an argument is left."""
        return self._at < len(self._tokens)

    def peek(self) -> Token | None:
        """The next argument, left where it is; None at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    @property
    def left(self) -> int:
        """How many arguments are left."""
        return len(self._tokens) - self._at

    def peek_required(self) -> Token:
        """The next argument, left where it is; there must be one."""
        if not self.more():
            raise self.wrong("Missing arguments")
        return self._tokens[self._at]

    def next(self) -> Token:
        """Any argument."""
        if self._at >= len(self._tokens):
            raise self.wrong("Missing arguments")
        self._at += 1
        return self._tokens[self._at - 1]

    def rest(self) -> list[Token]:
        """All that is left; at least one."""
        if not self.more():
            raise self.wrong("Missing arguments")
        tokens = self._tokens[self._at :]
        self._at = len(self._tokens)
        return tokens

    def astring(self) -> bytes:
        """An atom or a string (RFC 3501: astring; also list-mailbox)."""
        token = self.next()
        if isinstance(token, Atom | String):
            return token
        raise self.wrong()

    def string(self) -> bytes:
        """A quoted string or literal."""
        token = self.next()
        if isinstance(token, String):
            return token
        raise self.wrong()

    def atom(self) -> bytes:
        """An atom, in capitals."""
        token = self.next()
        if isinstance(token, Atom):
            return token.upper()
        raise self.wrong()

    def list(self) -> list[Token]:
        """A parenthesised list."""
        token = self.next()
        if isinstance(token, list):
            return token
        raise self.wrong()

    def number(self, largest: int) -> int:
        """A number from 0 to `largest`."""
        token = self.next()
        if not isinstance(token, Atom) or not token.isdigit() or len(token) > 19 or int(token) > largest:
            raise self.wrong()
        return int(token)

    def modseq(self) -> int:
        """A mod-sequence, or 0 (RFC 7162 section 7: mod-sequence-valzer)."""
        return self.number(MAX_MODSEQ)

    def sequence_set(self) -> sequence.Ranges:
        """A set of message numbers or UIDs, as typed."""
        token = self.next()
        if not isinstance(token, Atom):
            raise self.wrong()
        try:
            return sequence.parse_set(token)
        except sequence.InvalidSet as error:
            text = str(error)
            if self.by_uid and text == "Invalid messageset":
                text = "Invalid UID messageset"
            raise Mistaken(text) from None

    def end(self) -> None:
        """No argument may be left."""
        if self.more():
            raise self.wrong()
