"""A search as a tree of small immutable values (RFC 3501 section 6.4.4).

The protocol's parser builds it, with everything resolved that only a session knows: sequence numbers and
\\Recent become `Uids`, flag names become the bits of the store, charsets are decoded, dates are day numbers
(`message.date.parse_day`). NEW is And((recent, Flag(SEEN, False))), OLD is Not(recent), UNSEEN is Flag(SEEN, False).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

MAX_NESTING = 100
"""And, Or and Not inside each other; the wire parser refuses far less. A deeper query raises QueryTooDeep."""


class QueryTooDeep(ValueError):
    """More nesting than MAX_NESTING. Client: BAD."""


class All(NamedTuple):
    """Every message."""


class And(NamedTuple):
    """Messages that match every term; without terms, all."""

    terms: tuple[Query, ...]


class Or(NamedTuple):
    """Messages that match any term; without terms, none."""

    terms: tuple[Query, ...]


class Not(NamedTuple):
    """Messages that do not match."""

    term: Query


class Flag(NamedTuple):
    """Messages with a system flag set, or not set where wanted is False. bit: of storage.flags."""

    bit: int
    wanted: bool = True


class Keyword(NamedTuple):
    """KEYWORD; UNKEYWORD is Not of it. Case does not matter."""

    name: str


class Uids(NamedTuple):
    """Messages of an explicit list: a sequence set, the session's \\Recent, a saved result. Ascending."""

    uids: Sequence[int]


class UidRanges(NamedTuple):
    """UID with its set: ranges (first, last), both included, last may be 4294967295."""

    ranges: tuple[tuple[int, int], ...]


class Header(NamedTuple):
    """A field of this name whose decoded value holds text; an empty text asks only for the field."""

    name: bytes
    text: str


class Body(NamedTuple):
    """BODY: text parts, delivery reports and the like, headers of enclosed messages."""

    text: str


class Text(NamedTuple):
    """TEXT: as Body, or the message's own header, or the MIME header of a part."""

    text: str


class Shown(NamedTuple):
    """The text of parts that are HTML, without tags: no index is asked."""

    text: str


class Before(NamedTuple):
    """INTERNALDATE before the day by the server's clock."""

    day: int


class On(NamedTuple):
    """INTERNALDATE on the day."""

    day: int


class Since(NamedTuple):
    """INTERNALDATE on the day or later."""

    day: int


class ArrivedBy(NamedTuple):
    """INTERNALDATE not after a moment in seconds since the epoch (OLDER, RFC 5032)."""

    moment: int


class ArrivedFrom(NamedTuple):
    """INTERNALDATE not before a moment (YOUNGER)."""

    moment: int


class SentBefore(NamedTuple):
    """Date field before the day, as written there; a message without a readable one has that of INTERNALDATE."""

    day: int


class SentOn(NamedTuple):
    """Date field on the day."""

    day: int


class SentSince(NamedTuple):
    """Date field on the day or later."""

    day: int


class Larger(NamedTuple):
    """More octets than this (RFC822.SIZE)."""

    octets: int


class Smaller(NamedTuple):
    """Fewer octets than this."""

    octets: int


class SavedBefore(NamedTuple):
    """Date of saving before the day by the server's clock (RFC 8514)."""

    day: int


class SavedOn(NamedTuple):
    """Date of saving on the day."""

    day: int


class SavedSince(NamedTuple):
    """Date of saving on the day or later."""

    day: int


class ObjectId(NamedTuple):
    """EMAILID or THREADID is this one (RFC 8474)."""

    item: bytes
    value: bytes


class ModSequence(NamedTuple):
    """A modseq of at least this (RFC 7162 section 3.1.5)."""

    at_least: int


Query: TypeAlias = (
    All
    | And
    | Or
    | Not
    | Flag
    | Keyword
    | Uids
    | UidRanges
    | Header
    | Body
    | Text
    | Shown
    | Before
    | On
    | Since
    | ArrivedBy
    | ArrivedFrom
    | SentBefore
    | SentOn
    | SentSince
    | Larger
    | Smaller
    | SavedBefore
    | SavedOn
    | SavedSince
    | ObjectId
    | ModSequence
)


def simplified(query: Query) -> Query:
    """The same search with nested And, Or and double Not merged. Raises QueryTooDeep."""
    return _simplified(query, MAX_NESTING)


def _simplified(query: Query, depth: int) -> Query:
    if depth == 0:
        raise QueryTooDeep("search key nested too deeply")
    if isinstance(query, Not):
        term = _simplified(query.term, depth - 1)
        return term.term if isinstance(term, Not) else Not(term)
    if isinstance(query, And):
        terms: list[Query] = []
        for term in query.terms:
            term = _simplified(term, depth - 1)
            terms.extend(term.terms if isinstance(term, And) else (term,))
        return terms[0] if len(terms) == 1 else And(tuple(terms))
    if isinstance(query, Or):
        terms = []
        for term in query.terms:
            term = _simplified(term, depth - 1)
            terms.extend(term.terms if isinstance(term, Or) else (term,))
        return terms[0] if len(terms) == 1 else Or(tuple(terms))
    return query


def needs_messages(query: Query) -> bool:
    """Whether a message has to be read to answer this, apart from sizes that are not known yet."""
    if isinstance(query, (And, Or)):
        return any(needs_messages(term) for term in query.terms)
    if isinstance(query, Not):
        return needs_messages(query.term)
    return isinstance(query, (Header, Body, Text, Shown, SentBefore, SentOn, SentSince, ObjectId))


def needs_text(query: Query) -> bool:
    """Whether text is looked for."""
    if isinstance(query, (And, Or)):
        return any(needs_text(term) for term in query.terms)
    if isinstance(query, Not):
        return needs_text(query.term)
    return isinstance(query, (Header, Body, Text))
