"""The keys of SEARCH as a query (RFC 3501 section 6.4.4), with everything resolved that only a session knows."""

from __future__ import annotations

from array import array
from collections.abc import Callable

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Mistaken, Refused
from dovecotpy.imap.view import View
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.tokens import Atom, String, Token
from dovecotpy.message import charset
from dovecotpy.message.date import parse_day
from dovecotpy.search import query as q
from dovecotpy.storage import flags as bits

MAX_NESTING = 32
"""OR, NOT and parentheses inside each other; beyond: BAD."""
MAX_TEXT = 65_536
"""Octets of one text to look for; a literal has no more anyway."""


def parse_keys(arguments: Arguments, view: View) -> q.Query:
    """The query for what is left of SEARCH's arguments. Raises Mistaken; Refused [BADCHARSET]."""
    first = arguments.peek()
    name = b"US-ASCII"
    if isinstance(first, Atom) and first.upper() == b"CHARSET":
        arguments.next()
        name = _charset(arguments)
    return _Reader(arguments.rest(), view, name, arguments.name).all(0)


def parse_criteria(arguments: Arguments, view: View) -> q.Query:
    """The query for what is left of the arguments of SORT and THREAD, which name their charset (RFC 5256).

    Raises as parse_keys.
    """
    name = _charset(arguments)
    return _Reader(arguments.rest(), view, name, arguments.name).all(0)


def _charset(arguments: Arguments) -> bytes:
    name = bytes(arguments.astring())
    if not charset.known(name):
        raise Refused("Unknown charset", "BADCHARSET")
    return name


class _Reader:
    """Takes keys from tokens, one after the other."""

    def __init__(self, tokens: list[Token], view: View, name: bytes, command: bytes) -> None:
        self.tokens = tokens
        self.view = view
        self.charset = name
        self.command = command
        self.at = 0

    def wrong(self, text: str) -> Mistaken:
        """The error for keys that are none."""
        return Mistaken(f"Error in IMAP command {self.command.decode('ascii')}: {text}")

    def all(self, depth: int) -> q.Query:
        terms = []
        while self.at < len(self.tokens):
            terms.append(self.key(depth))
        if not terms:
            raise self.wrong("Missing arguments")
        return terms[0] if len(terms) == 1 else q.And(tuple(terms))

    def key(self, depth: int) -> q.Query:
        """One key. depth: keys that it stands in."""
        if depth > MAX_NESTING:
            raise self.wrong("Too many nested keys.")
        token = self.token()
        if isinstance(token, list):
            return _Reader(token, self.view, self.charset, self.command).all(depth + 1)
        if not isinstance(token, Atom):
            raise self.wrong("Invalid arguments.")
        name = bytes(token.upper())
        if name in _FLAGS:
            return _FLAGS[name]
        if name in _KEYS:
            return _KEYS[name](self)
        if name == b"NOT":
            return q.Not(self.key(depth + 1))
        if name == b"OR":
            return q.Or((self.key(depth + 1), self.key(depth + 1)))
        if name[:1].isdigit() or name[:1] == b"*":
            return self.numbers(name)
        raise self.wrong(f"Unknown argument {name.decode('ascii')}")

    def token(self) -> Token:
        if self.at >= len(self.tokens):
            raise self.wrong("Missing arguments")
        self.at += 1
        return self.tokens[self.at - 1]

    def word(self) -> bytes:
        token = self.token()
        if not isinstance(token, Atom | String):
            raise self.wrong("Invalid arguments.")
        return bytes(token)

    def text(self) -> str:
        """A text to look for, in the charset of the command."""
        word = self.word()
        if len(word) > MAX_TEXT:
            raise self.wrong("Too long argument.")
        if self.charset == b"US-ASCII":
            return charset.decode_text(word)
        try:
            return charset.decode(self.charset, word)
        except UnicodeError:
            raise self.wrong("Text is not of the charset.") from None

    def numbers(self, text: bytes) -> q.Query:
        """Messages by number."""
        spans = self.view.spans(_set(text, "Invalid messageset"), by_uid=False)
        return q.Uids(self.view.uids_of(spans))

    def uids(self) -> q.Query:
        ranges = _set(self.word(), "Invalid UID messageset")
        largest = self.view.uids[-1] if self.view.uids else 0
        return q.UidRanges(tuple(sequence.settle(ranges, largest)))

    def recent(self) -> q.Query:
        return q.Uids(array("I", sorted(self.view.recent)))

    def new(self) -> q.Query:
        return q.And((self.recent(), q.Flag(bits.SEEN, False)))

    def old(self) -> q.Query:
        return q.Not(self.recent())

    def keyword(self) -> q.Query:
        word = self.word()
        if not word.isascii():
            raise self.wrong("Invalid arguments.")
        if word[:1] == b"\\" and word.lower() in bits.BITS:
            return q.Flag(bits.BITS[word.lower()])
        return q.Keyword(word.decode("ascii"))

    def number(self) -> int:
        word = self.word()
        if not word.isdigit() or len(word) > 19:
            raise self.wrong("Invalid arguments.")
        return int(word)

    def day(self) -> int:
        word = self.word()
        day = parse_day(word)
        if day is None:
            raise self.wrong(f"Invalid search date parameter: {word.decode('utf-8', 'replace')}")
        return day

    def header(self) -> q.Query:
        name = self.word()
        return q.Header(name, self.text())


def _set(text: bytes, message: str) -> sequence.Ranges:
    try:
        return sequence.parse_set(text)
    except sequence.InvalidSet:
        raise Mistaken(message) from None


def _field(name: bytes) -> Callable[[_Reader], q.Query]:
    return lambda reader: q.Header(name, reader.text())


_FLAGS: dict[bytes, q.Query] = {
    b"ALL": q.All(),
    b"ANSWERED": q.Flag(bits.ANSWERED),
    b"DELETED": q.Flag(bits.DELETED),
    b"DRAFT": q.Flag(bits.DRAFT),
    b"FLAGGED": q.Flag(bits.FLAGGED),
    b"SEEN": q.Flag(bits.SEEN),
    b"UNANSWERED": q.Flag(bits.ANSWERED, False),
    b"UNDELETED": q.Flag(bits.DELETED, False),
    b"UNDRAFT": q.Flag(bits.DRAFT, False),
    b"UNFLAGGED": q.Flag(bits.FLAGGED, False),
    b"UNSEEN": q.Flag(bits.SEEN, False),
}
_KEYS: dict[bytes, Callable[[_Reader], q.Query]] = {
    b"BCC": _field(b"bcc"),
    b"BEFORE": lambda reader: q.Before(reader.day()),
    b"BODY": lambda reader: q.Body(reader.text()),
    b"CC": _field(b"cc"),
    b"FROM": _field(b"from"),
    b"HEADER": _Reader.header,
    b"KEYWORD": _Reader.keyword,
    b"LARGER": lambda reader: q.Larger(reader.number()),
    b"NEW": _Reader.new,
    b"OLD": _Reader.old,
    b"ON": lambda reader: q.On(reader.day()),
    b"RECENT": _Reader.recent,
    b"SENTBEFORE": lambda reader: q.SentBefore(reader.day()),
    b"SENTON": lambda reader: q.SentOn(reader.day()),
    b"SENTSINCE": lambda reader: q.SentSince(reader.day()),
    b"SINCE": lambda reader: q.Since(reader.day()),
    b"SMALLER": lambda reader: q.Smaller(reader.number()),
    b"SUBJECT": _field(b"subject"),
    b"TEXT": lambda reader: q.Text(reader.text()),
    b"TO": _field(b"to"),
    b"UID": _Reader.uids,
    b"UNKEYWORD": lambda reader: q.Not(reader.keyword()),
}
