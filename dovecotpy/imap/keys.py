"""The keys of SEARCH as a query (RFC 3501 section 6.4.4), with everything resolved that only a session knows."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import TypeAlias

from dovecotpy import clock
from dovecotpy.imap.arguments import MAX_MODSEQ, Arguments
from dovecotpy.imap.dialect import CONDSTORE, OBJECTID, SAVEDATE, UTF8
from dovecotpy.imap.errors import Mistaken, Refused
from dovecotpy.imap.fuzzy import FUZZY, Fuzzy, loosened
from dovecotpy.imap.registry import Table, extension
from dovecotpy.imap.view import View
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.tokens import Atom, ParseError, String, Token, Tokenizer
from dovecotpy.message import charset
from dovecotpy.message.date import parse_day
from dovecotpy.search import query as q
from dovecotpy.storage import flags as bits

WITHIN = extension("WITHIN")
FILTERS = extension("FILTERS", requires=("METADATA",))
MAX_FILTERS = 64
"""Filters put into one command, those that others name included; beyond: NO [UNDEFINED-FILTER], as for a filter that names itself."""
_FILTER_NAME = bytes(octet for octet in range(0x21, 0x7F) if octet not in b'(){%*"\\]/')
MAX_NESTING = 32
"""OR, NOT and parentheses inside each other; beyond: BAD."""
MAX_INTERVAL = 0xFFFFFFFF
"""Seconds of OLDER and YOUNGER (RFC 3501 section 9: nz-number)."""
MAX_TEXT = 65_536
"""Octets of one text to look for; a literal has no more anyway."""


def parse_keys(arguments: Arguments, view: View) -> q.Query:
    """The query for what is left of SEARCH's arguments. Raises Mistaken; Refused [BADCHARSET]."""
    first = arguments.peek()
    name = b"US-ASCII"
    if isinstance(first, Atom) and first.upper() == b"CHARSET":
        if UTF8 in view.dialect.enabled:
            raise arguments.wrong("CHARSET is not allowed once UTF8=ACCEPT is enabled.")
        arguments.next()
        name = _charset(arguments)
    return _Reader(arguments.rest(), view, name, arguments.name).all(0)


def tokens_of(value: bytes) -> list[Token]:
    """The keys of a filter as tokens. Raises ParseError."""
    tokenizer = Tokenizer()
    tokenizer.line(value)
    return tokenizer.finish()


def filter_keys(value: bytes, view: View, command: bytes) -> q.Query:
    """The query for the keys of a filter by themselves. Raises ParseError, Mistaken, Refused."""
    return _Reader(tokens_of(value), view, b"UTF-8", command).all(0)


def is_filter_name(name: bytes) -> bool:
    """Whether a filter can have this name (RFC 5466 section 3.1)."""
    return bool(name) and not name.translate(None, _FILTER_NAME)


def asks_modseq(query: q.Query) -> bool:
    """Whether MODSEQ is among the keys, so that the answer has the highest one (RFC 7162 section 3.1.5)."""
    if isinstance(query, (q.And, q.Or)):
        return any(asks_modseq(term) for term in query.terms)
    if isinstance(query, q.Not):
        return asks_modseq(query.term)
    return isinstance(query, q.ModSequence)


class Numbers(q.Uids):
    """Messages that were named by number."""

    __slots__ = ()


def names_numbers(query: q.Query) -> bool:
    """Whether messages are named by number: then no number may move before the answer (RFC 7162 section
    3.2.10.2).
    """
    if isinstance(query, (q.And, q.Or)):
        return any(names_numbers(term) for term in query.terms)
    if isinstance(query, q.Not):
        return names_numbers(query.term)
    return isinstance(query, Numbers)


def parse_criteria(arguments: Arguments, view: View) -> q.Query:
    """The query for what is left of the arguments of SORT and THREAD, which name their charset (RFC 5256).

    Raises as parse_keys.
    """
    name = _charset(arguments)
    return _Reader(arguments.rest(), view, name, arguments.name).all(0)


def _charset(arguments: Arguments) -> bytes:
    name = bytes(arguments.astring())
    if arguments.more() and not charset.known(name):
        raise Refused("Unknown charset", "BADCHARSET")
    return name


class _Reader:
    """Takes keys from tokens, one after the other."""

    def __init__(
        self, tokens: list[Token], view: View, name: bytes, command: bytes, filters: list[bytes] | None = None
    ) -> None:
        self.tokens = tokens
        self.filters: list[bytes] = [] if filters is None else filters
        """names of the filters that were put in so far, in the whole command"""
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
            return self.inner(token).all(depth + 1)
        if not isinstance(token, Atom):
            raise self.wrong("Invalid arguments.")
        name = bytes(token.upper())
        if name in _FLAGS:
            return _FLAGS[name]
        key = KEYS.find(name, self.view.dialect.disabled)
        if key is not None:
            return key(self)
        if name == b"NOT":
            return q.Not(self.key(depth + 1))
        if name == b"OR":
            return q.Or((self.key(depth + 1), self.key(depth + 1)))
        if name == b"FILTER" and self.view.dialect.offers(FILTERS):
            return self.filter(depth)
        if name == b"FUZZY" and self.view.dialect.offers(FUZZY):
            key_behind = self.key(depth + 1)
            return Fuzzy((key_behind, loosened(key_behind)))
        if name[:1].isdigit() or name[:1] == b"*" or name == b"$":
            return self.numbers(name)
        raise self.wrong(f"Unknown argument {name.decode('ascii')}")

    def inner(self, tokens: list[Token]) -> _Reader:
        """A reader for keys that stand by themselves."""
        return _Reader(tokens, self.view, self.charset, self.command, self.filters)

    def filter(self, depth: int) -> q.Query:
        """Put the keys of a filter in the place of its name, if they are whole by themselves (RFC 5466 section 3.1)."""
        name = self.word().lower()
        if not is_filter_name(name):
            raise self.wrong("Invalid filter name.")
        if self.charset.upper() not in (b"UTF-8", b"US-ASCII"):
            raise Mistaken("FILTER needs the charset UTF-8.", "BADCHARSET")
        self.filters.append(name)
        undefined = Refused("There is no such filter.", f"UNDEFINED-FILTER {name.decode('ascii')}")
        value = self.view.filter_value(name)
        if value is None or len(self.filters) > MAX_FILTERS:
            raise undefined
        try:
            tokens = tokens_of(value)
            self.inner(tokens_of(value)).all(depth)
        except (ParseError, Mistaken):
            raise undefined from None
        self.tokens = [*self.tokens[: self.at], *tokens, *self.tokens[self.at :]]
        return self.key(depth + 1)

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
        self.view.dialect.need_numbers()
        ranges = _set(text, "Invalid messageset")
        uids = self.view.uids_of(self.view.spans(ranges, by_uid=False))
        return q.Uids(uids) if ranges == [sequence.SAVED] else Numbers(uids)

    def uids(self) -> q.Query:
        ranges = _set(self.word(), "Invalid UID messageset")
        if ranges == [sequence.SAVED]:
            return q.Uids(self.view.saved)
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

    def moment(self) -> int:
        """So many seconds ago (RFC 5032 section 2)."""
        seconds = self.number()
        if not 0 < seconds <= MAX_INTERVAL:
            raise self.wrong("Invalid interval.")
        return int(clock.now()) - seconds

    def modseq(self) -> q.Query:
        """MODSEQ, whose entry says nothing here: a message has one modseq for all of it (RFC 7162 section 3.1.5)."""
        self.view.need_modseqs()
        if self.at < len(self.tokens) and isinstance(self.tokens[self.at], String):
            if not self.word().startswith(b"/flags/"):
                raise self.wrong("Invalid MODSEQ entry name.")
            if self.word().lower() not in (b"priv", b"shared", b"all"):
                raise self.wrong("Invalid MODSEQ entry type.")
        number = self.number()
        if number > MAX_MODSEQ:
            raise self.wrong("Invalid MODSEQ value.")
        return q.ModSequence(number)

    def object_id(self, item: bytes) -> q.Query:
        """EMAILID or THREADID (RFC 8474 section 6); what cannot be an id is the id of nothing."""
        return q.ObjectId(item, self.word())

    def saved(self, kind: Callable[[int], q.Query], instead: Callable[[int], q.Query]) -> q.Query:
        """By the date of saving, or by INTERNALDATE where the mailbox keeps none (RFC 8514 section 4.3)."""
        return (kind if self.view.keeps_savedates else instead)(self.day())

    def savedate_supported(self) -> q.Query:
        return q.All() if self.view.keeps_savedates else q.Uids(array("I"))

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
Key: TypeAlias = Callable[[_Reader], q.Query]
KEYS: Table[Key] = Table()
"""The keys that take something, or that only a session can answer."""
KEYS.add(b"BCC", _field(b"bcc"))
KEYS.add(b"BEFORE", lambda reader: q.Before(reader.day()))
KEYS.add(b"BODY", lambda reader: q.Body(reader.text()))
KEYS.add(b"CC", _field(b"cc"))
KEYS.add(b"FROM", _field(b"from"))
KEYS.add(b"HEADER", _Reader.header)
KEYS.add(b"KEYWORD", _Reader.keyword)
KEYS.add(b"LARGER", lambda reader: q.Larger(reader.number()))
KEYS.add(b"NEW", _Reader.new)
KEYS.add(b"OLD", _Reader.old)
KEYS.add(b"ON", lambda reader: q.On(reader.day()))
KEYS.add(b"RECENT", _Reader.recent)
KEYS.add(b"SENTBEFORE", lambda reader: q.SentBefore(reader.day()))
KEYS.add(b"SENTON", lambda reader: q.SentOn(reader.day()))
KEYS.add(b"SENTSINCE", lambda reader: q.SentSince(reader.day()))
KEYS.add(b"SINCE", lambda reader: q.Since(reader.day()))
KEYS.add(b"SMALLER", lambda reader: q.Smaller(reader.number()))
KEYS.add(b"SUBJECT", _field(b"subject"))
KEYS.add(b"TEXT", lambda reader: q.Text(reader.text()))
KEYS.add(b"TO", _field(b"to"))
KEYS.add(b"UID", _Reader.uids)
KEYS.add(b"UNKEYWORD", lambda reader: q.Not(reader.keyword()))
KEYS.add(b"OLDER", lambda reader: q.ArrivedBy(reader.moment()), WITHIN)
KEYS.add(b"YOUNGER", lambda reader: q.ArrivedFrom(reader.moment()), WITHIN)
KEYS.add(b"MODSEQ", _Reader.modseq, CONDSTORE)
KEYS.add(b"EMAILID", lambda reader: reader.object_id(b"EMAILID"), OBJECTID)
KEYS.add(b"THREADID", lambda reader: reader.object_id(b"THREADID"), OBJECTID)
KEYS.add(b"SAVEDBEFORE", lambda reader: reader.saved(q.SavedBefore, q.Before), SAVEDATE)
KEYS.add(b"SAVEDON", lambda reader: reader.saved(q.SavedOn, q.On), SAVEDATE)
KEYS.add(b"SAVEDSINCE", lambda reader: reader.saved(q.SavedSince, q.Since), SAVEDATE)
KEYS.add(b"SAVEDATESUPPORTED", _Reader.savedate_supported, SAVEDATE)
