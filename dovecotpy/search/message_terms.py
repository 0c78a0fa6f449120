"""Terms that are asked message by message, because only the message itself has the answer."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Protocol

from dovecotpy.message.collation import collation_key
from dovecotpy.message.date import parse_date
from dovecotpy.message.encoded_word import decode_words
from dovecotpy.message.header import Header as MessageHeader
from dovecotpy.message.preview import untagged
from dovecotpy.message.text import END, HtmlText, PartHeader, header_text
from dovecotpy.search import query as q
from dovecotpy.search.occurrences import Known
from dovecotpy.search.table import Table

MAX_HTML = 1 << 20
"""Characters of the HTML of one message that are looked at without tags, about."""


class TextSource(Protocol):
    """Where messages come from when columns do not suffice. None: the message is gone; it matches nothing."""

    def header(self, uid: int) -> MessageHeader | None:
        """The parsed header."""

    def decoded_text(self, uid: int) -> Iterator[str] | None:
        """message.text.body_text of the message: pieces to be joined, each part ended by NUL."""

    def object_id(self, item: bytes, uid: int) -> bytes | None:
        """EMAILID or THREADID; None also where there is none."""

    def size(self, uid: int) -> int | None:
        """RFC822.SIZE, asked only where the columns say -1."""


class Gone(Exception):
    """The message at hand was expunged by somebody else."""


Needle = tuple[bool, bytes]
"""Whether it may stand in the MIME header of a part, and the collation key looked for."""


class MessageTerms:
    """One message while terms are asked about it; what was read stays until the next message."""

    __slots__ = (
        "_body",
        "_fields",
        "_header",
        "_header_key",
        "_shown",
        "known",
        "needles",
        "row",
        "source",
        "table",
        "uid",
    )

    def __init__(
        self, table: Table, known: Known, source: TextSource, row: int, needles: frozenset[Needle]
    ) -> None:
        self.table = table
        self.known = known
        self.source = source
        self.row = row
        self.uid = table.columns.uids[row]
        self.needles = needles
        self._header: MessageHeader | None = None
        self._header_key: bytes | None = None
        self._fields: dict[bytes, list[bytes]] = {}
        self._shown: bytes | None = None
        self._body: frozenset[Needle] | None = None

    def matches(self, query: q.Query) -> Generator[None, None, bool]:
        """Whether the message matches; yields between two pieces of work. Raises Gone."""
        if isinstance(query, q.And):
            for term in query.terms:
                if not (yield from self.matches(term)):
                    return False
            return True
        if isinstance(query, q.Or):
            for term in query.terms:
                if (yield from self.matches(term)):
                    return True
            return False
        if isinstance(query, q.Not):
            return not (yield from self.matches(query.term))
        if isinstance(query, (q.Header, q.Body, q.Text)):
            told = self.known.terms.get(id(query))
            if told is not None and self.uid not in told.unknown:
                return self.uid in told.holding
        if isinstance(query, q.Body):
            return (yield from self.in_body((False, self.table.key(query))))
        if isinstance(query, q.Text):
            key = self.table.key(query)
            return key in self.header_key() or (yield from self.in_body((True, key)))
        if isinstance(query, q.Shown):
            if self._shown is None:
                self._shown = yield from self.shown()
            return self.table.key(query) in self._shown
        return self.simple(query)

    def simple(self, query: q.Query) -> bool:
        """matches() for a term that needs the header at most."""
        if isinstance(query, q.Header):
            return self.in_field(query)
        if isinstance(query, (q.SentBefore, q.SentOn, q.SentSince)):
            return self.sent(query)
        if isinstance(query, q.ObjectId):
            return self.source.object_id(query.item, self.uid) == query.value
        if isinstance(query, (q.Larger, q.Smaller)):
            size = self.table.columns.sizes[self.row]
            if size < 0:
                known = self.source.size(self.uid)
                if known is None:
                    raise Gone
                size = known
            return size > query.octets if isinstance(query, q.Larger) else size < query.octets
        return bool(self.table.select(query, (self.row,)))

    def header(self) -> MessageHeader:
        """The message's header. Raises Gone."""
        if self._header is None:
            self._header = self.source.header(self.uid)
            if self._header is None:
                raise Gone
        return self._header

    def header_key(self) -> bytes:
        """The collation key of the whole header, decoded."""
        if self._header_key is None:
            self._header_key = collation_key(header_text(self.header()))
        return self._header_key

    def in_field(self, query: q.Header) -> bool:
        key = self.table.key(query)
        return any(
            key in collation_key(decode_words(value)) for value in self.header().all(query.name.lower())
        )

    def sent(self, query: q.SentBefore | q.SentOn | q.SentSince) -> bool:
        values = self.header().all(b"date")
        moment = parse_date(values[-1]) if values else None
        day = moment.day if moment else self.table.day(self.row)
        if isinstance(query, q.SentBefore):
            return day < query.day
        return day == query.day if isinstance(query, q.SentOn) else day >= query.day

    def in_body(self, needle: Needle) -> Generator[None, None, bool]:
        """Whether a needle occurs in the body. The first question looks for the needles of all questions."""
        if self._body is None:
            self._body = yield from self.scan()
        return needle in self._body

    def shown(self) -> Generator[None, None, bytes]:
        """The collation key of what parts that are HTML show, of MAX_HTML characters at most."""
        text = self.source.decoded_text(self.uid)
        if text is None:
            raise Gone
        pieces: list[str] = []
        size = 0
        for piece in text:
            if isinstance(piece, HtmlText) or pieces and piece == END:
                pieces.append(piece)
                size += len(piece)
                if size >= MAX_HTML:
                    break
            yield
        return collation_key(untagged("".join(pieces)))

    def scan(self) -> Generator[None, None, frozenset[Needle]]:
        """Those of the needles that occur in the body's text."""
        text = self.source.decoded_text(self.uid)
        if text is None:
            raise Gone
        missing = set(self.needles)
        overlap = max((len(key) for _, key in missing), default=1) - 1
        tail = b""
        for piece in text:
            window = tail + collation_key(piece)
            everywhere = not isinstance(piece, PartHeader)
            missing = {
                needle for needle in missing if needle[1] not in window or not (everywhere or needle[0])
            }
            if not missing:
                break
            tail = window[-overlap:] if overlap else b""
            yield
        return self.needles - missing
