"""Evaluation of a search over the columns of a mailbox and, only where they do not suffice, over messages.

What columns can answer is answered for all messages at once. What is left is asked message by message, cheap
terms first, each message read at most once however many terms look into it. The evaluation is a generator: it
yields Progress whenever SLICE seconds have passed, so that the caller can look at the client, and Found at the end.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Generator, Iterator, Sequence
from itertools import compress
from operator import eq
from typing import NamedTuple, Protocol

from dovecotpy.message.collation import collation_key
from dovecotpy.message.date import DAY, local_midnight, parse_date
from dovecotpy.message.encoded_word import decode_words
from dovecotpy.message.header import Header as MessageHeader
from dovecotpy.message.text import PartHeader, header_text
from dovecotpy.search import query as q

SLICE = 0.05
"""Seconds of work between two yields; the budget of DESIGN section 4 is 0.1."""

ROWS = 50000
"""Messages of which columns are looked at in one go, divided by the number of terms."""


class Columns(Protocol):
    """What of the store's columns is looked at; all sequences are parallel, in ascending UID order."""

    @property
    def uids(self) -> Sequence[int]: ...
    @property
    def flags(self) -> Sequence[int]: ...
    @property
    def keywords(self) -> Sequence[int]: ...
    @property
    def modseqs(self) -> Sequence[int]: ...
    @property
    def sizes(self) -> Sequence[int]: ...
    @property
    def dates(self) -> Sequence[int]: ...
    @property
    def savedates(self) -> Sequence[int]: ...
    @property
    def keyword_sets(self) -> Sequence[frozenset[str]]: ...


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


class Occurrences(NamedTuple):
    """Which messages match one term that looks for text."""

    holding: set[int]
    unknown: set[int]
    """UIDs of messages that must be read to know; neither here nor there: those that do not match, or are gone"""


TextTerm = q.Header | q.Body | q.Text


class TextIndex(Protocol):
    """Knows of many messages at once whether they match a term that looks for text."""

    def occurrences(
        self, term: TextTerm, key: bytes, uids: Sequence[int]
    ) -> Generator[int, None, Occurrences]:
        """What is known about messages. key: the collation key of the term's text. Yields, between two pieces of work, how many are done."""


class Progress(NamedTuple):
    """Still at work: so many of the messages that must be read are done."""

    done: int
    total: int


class Found(NamedTuple):
    """The answer: UIDs in ascending order."""

    uids: array[int]


class _Gone(Exception):
    """The message at hand was expunged by somebody else."""


def evaluate(
    query: q.Query,
    columns: Columns,
    source: TextSource,
    within: Sequence[int],
    monotonic: Callable[[], float],
    midnight: Callable[[int], int] = local_midnight,
    index: TextIndex | None = None,
) -> Iterator[Progress | Found]:
    """Search the messages named in within (ascending UIDs; those not in columns are left out).

    monotonic: seconds, for the slices. midnight: the moment at which a day number begins by the server's clock.
    index: saves reading messages to look for text.
    Yields Progress any number of times, then Found once. Raises QueryTooDeep, and what the source raises.
    """
    query = q.simplified(query)
    if isinstance(query, q.All) and _same(columns.uids, within):
        yield Found(array("I", within))
        return
    cheap, dear = _split(query)
    if _asks_size(cheap) and min(columns.sizes, default=0) < 0:
        cheap, dear = q.All(), q.And((cheap, dear))
    deadline = monotonic() + SLICE
    candidates: list[int] = []
    table = _Table(columns, midnight)
    step = max(ROWS // _terms(cheap), 1)
    for start in range(0, len(within), step):
        candidates += table.select(cheap, _rows(columns.uids, within[start : start + step]))
        if monotonic() >= deadline:
            yield Progress(0, len(within))
            deadline = monotonic() + SLICE
    if isinstance(dear, q.All):
        yield Found(array("I", map(columns.uids.__getitem__, candidates)))
        return
    known = _Known(table)
    if index is not None:
        dear, candidates = yield from known.narrow(_ordered(dear), candidates, index, monotonic)
        if isinstance(dear, q.All):
            yield Found(array("I", map(columns.uids.__getitem__, candidates)))
            return
    yield from _read(dear, table, known, source, candidates, monotonic)


class _Known:
    """What an index told about terms that look for text."""

    def __init__(self, table: _Table) -> None:
        self.table = table
        self.terms: dict[int, Occurrences] = {}
        """by the identity of the term"""

    def narrow(
        self, query: q.Query, rows: list[int], index: TextIndex, monotonic: Callable[[], float]
    ) -> Generator[Progress, None, tuple[q.Query, list[int]]]:
        """Ask about all terms that look for text. What is left of the query to be asked message by message, and the rows that may match it."""
        terms = query.terms if isinstance(query, q.And) else (query,)
        left: list[q.Query] = []
        for term in terms:
            inner = term.term if isinstance(term, q.Not) else term
            if isinstance(inner, (q.Header, q.Body, q.Text)):
                rows, settled = yield from self._filter(term, inner, rows, index, monotonic)
                if settled:
                    continue
            else:
                for each in _text_terms(term):
                    yield from self._ask(each, rows, index, monotonic)
            left.append(term)
        if not left:
            return q.All(), rows
        return left[0] if len(left) == 1 else q.And(tuple(left)), rows

    def _filter(
        self,
        term: q.Query,
        inner: TextTerm,
        rows: list[int],
        index: TextIndex,
        monotonic: Callable[[], float],
    ) -> Generator[Progress, None, tuple[list[int], bool]]:
        """The rows that match a term or may do so, and whether all of them certainly do."""
        uids = self.table.columns.uids
        found = yield from self._ask(inner, rows, index, monotonic)
        if term is inner:
            possible = found.holding | found.unknown if found.unknown else found.holding
            return [row for row in rows if uids[row] in possible], not found.unknown
        return [row for row in rows if uids[row] not in found.holding], not found.unknown

    def _ask(
        self, term: TextTerm, rows: list[int], index: TextIndex, monotonic: Callable[[], float]
    ) -> Generator[Progress, None, Occurrences]:
        uids = self.table.columns.uids
        asked = uids if len(rows) == len(uids) else [uids[row] for row in rows]
        steps = index.occurrences(term, self.table.key(term), asked)
        deadline = monotonic() + SLICE
        while True:
            try:
                done = next(steps)
            except StopIteration as stop:
                found: Occurrences = stop.value
                break
            if monotonic() >= deadline:
                yield Progress(done, len(rows))
                deadline = monotonic() + SLICE
        self.terms[id(term)] = found
        return found


def _read(
    query: q.Query,
    table: _Table,
    known: _Known,
    source: TextSource,
    rows: list[int],
    monotonic: Callable[[], float],
) -> Iterator[Progress | Found]:
    query = _ordered(query)
    needles = frozenset((isinstance(term, q.Text), table.key(term)) for term in _body_terms(query))
    found = array("I")
    deadline = monotonic() + SLICE
    for done, row in enumerate(rows):
        view = _View(table, known, source, row, needles)
        steps = view.matches(query)
        try:
            while True:
                if monotonic() >= deadline:
                    yield Progress(done, len(rows))
                    deadline = monotonic() + SLICE
                next(steps)
        except StopIteration as stop:
            if stop.value:
                found.append(view.uid)
        except _Gone:
            continue
    yield Found(found)


def _rows(uids: Sequence[int], within: Sequence[int]) -> Sequence[int]:
    """Places in the columns of the UIDs in within, which is not empty; those that are not there are left out."""
    first = bisect_left(uids, within[0])
    last = bisect_right(uids, within[-1], first)
    if _same(uids[first:last], within):
        return range(first, last)
    rows = []
    for uid in within:
        first = bisect_left(uids, uid, first, last)
        if first < last and uids[first] == uid:
            rows.append(first)
    return rows


def _same(uids: Sequence[int], others: Sequence[int]) -> bool:
    """Whether two lists of UIDs are the same."""
    if isinstance(uids, array) and isinstance(others, array):
        return uids == others
    return len(uids) == len(others) and all(map(eq, uids, others))


def _terms(query: q.Query) -> int:
    if isinstance(query, (q.And, q.Or)):
        return 1 + sum(_terms(term) for term in query.terms)
    return 1 + _terms(query.term) if isinstance(query, q.Not) else 1


def _split(query: q.Query) -> tuple[q.Query, q.Query]:
    """What columns can answer, and what is left; the answer is both."""
    if not q.needs_messages(query):
        return query, q.All()
    if isinstance(query, q.And):
        cheap = tuple(term for term in query.terms if not q.needs_messages(term))
        dear = tuple(term for term in query.terms if q.needs_messages(term))
        return q.And(cheap), q.And(dear)
    return q.All(), query


def _cost(query: q.Query) -> int:
    """Rank by what must be read: nothing, the header, the body."""
    if isinstance(query, (q.And, q.Or)):
        return max((_cost(term) for term in query.terms), default=0)
    if isinstance(query, q.Not):
        return _cost(query.term)
    if isinstance(query, (q.Body, q.Text)):
        return 2
    return 1 if q.needs_messages(query) else 0


def _asks_size(query: q.Query) -> bool:
    if isinstance(query, (q.And, q.Or)):
        return any(_asks_size(term) for term in query.terms)
    if isinstance(query, q.Not):
        return _asks_size(query.term)
    return isinstance(query, (q.Larger, q.Smaller))


def _ordered(query: q.Query) -> q.Query:
    """The same search with cheap terms first everywhere."""
    if isinstance(query, (q.And, q.Or)):
        terms = tuple(sorted((_ordered(term) for term in query.terms), key=_cost))
        return q.And(terms) if isinstance(query, q.And) else q.Or(terms)
    return q.Not(_ordered(query.term)) if isinstance(query, q.Not) else query


def _text_terms(query: q.Query) -> list[TextTerm]:
    """All terms that look for text."""
    if isinstance(query, (q.And, q.Or)):
        return [found for term in query.terms for found in _text_terms(term)]
    if isinstance(query, q.Not):
        return _text_terms(query.term)
    return [query] if isinstance(query, (q.Header, q.Body, q.Text)) else []


def _body_terms(query: q.Query) -> list[q.Body | q.Text]:
    """All terms that look into bodies, so that one reading serves them all."""
    return [term for term in _text_terms(query) if isinstance(term, (q.Body, q.Text))]


def _values(column: Sequence[int], rows: Sequence[int]) -> Sequence[int]:
    """What stands in a column at some rows; a slice of it where they follow each other."""
    if isinstance(rows, range):
        return column[rows.start : rows.stop]
    return [column[row] for row in rows]


def _marks(bit: int, wanted: bool) -> bytes:
    """For each octet of flags, whether the bit stands in it as wanted."""
    return bytes((bool(value & bit) is wanted) for value in range(256))


class _Ranges(NamedTuple):
    """Ranges of UIDs, ascending and apart from each other."""

    firsts: list[int]
    lasts: list[int]

    def holds(self, uid: int) -> bool:
        index = bisect_right(self.firsts, uid) - 1
        return index >= 0 and uid <= self.lasts[index]


def _merged(ranges: tuple[tuple[int, int], ...]) -> _Ranges:
    firsts: list[int] = []
    lasts: list[int] = []
    for first, last in sorted((min(pair), max(pair)) for pair in ranges):
        if lasts and first <= lasts[-1] + 1:
            lasts[-1] = max(lasts[-1], last)
        else:
            firsts.append(first)
            lasts.append(last)
    return _Ranges(firsts, lasts)


class _Table:
    """Terms that columns answer, for many rows at once. What a term needs is worked out once, under its identity."""

    __slots__ = ("_having", "_keys", "_ranges", "_uids", "columns", "midnight")

    def __init__(self, columns: Columns, midnight: Callable[[int], int]) -> None:
        self.columns = columns
        self.midnight = midnight
        self._keys: dict[int, bytes] = {}
        self._having: dict[int, frozenset[int]] = {}
        self._ranges: dict[int, _Ranges] = {}
        self._uids: dict[int, frozenset[int]] = {}

    def key(self, query: q.Header | q.Body | q.Text) -> bytes:
        """The collation key of the text that a term looks for."""
        key = self._keys.get(id(query))
        if key is None:
            key = self._keys[id(query)] = collation_key(query.text)
        return key

    def select(self, query: q.Query, rows: Sequence[int]) -> Sequence[int]:
        """Those of the rows that match; order is kept."""
        if isinstance(query, q.All):
            return rows
        if isinstance(query, q.And):
            for term in query.terms:
                rows = self.select(term, rows)
            return rows
        if isinstance(query, q.Or):
            matching: set[int] = set()
            for term in query.terms:
                matching.update(self.select(term, [row for row in rows if row not in matching]))
            return [row for row in rows if row in matching]
        if isinstance(query, q.Not):
            excluded = frozenset(self.select(query.term, rows))
            return [row for row in rows if row not in excluded]
        return self.leaf(query, rows)

    def leaf(self, query: q.Query, rows: Sequence[int]) -> Sequence[int]:
        """select() for a term without terms inside."""
        if isinstance(query, q.Uids):
            return self.listed(query, rows)
        if isinstance(query, q.UidRanges):
            return self.ranges(query, rows)
        columns = self.columns
        if isinstance(query, q.Flag):
            flags = _values(columns.flags, rows)
            if isinstance(flags, array):
                return list(compress(rows, flags.tobytes().translate(_marks(query.bit, query.wanted))))
            bit = query.bit
            return [row for row, each in zip(rows, flags, strict=True) if bool(each & bit) is query.wanted]
        if isinstance(query, q.Keyword):
            return self.keyword(query, rows)
        if isinstance(query, (q.Before, q.On, q.Since)):
            first, after = self.period(query)
            since = list(compress(rows, map(first.__le__, _values(columns.dates, rows))))
            return list(compress(since, map(after.__gt__, _values(columns.dates, since))))
        if isinstance(query, q.ArrivedBy):
            return list(compress(rows, map(query.moment.__ge__, _values(columns.dates, rows))))
        if isinstance(query, q.ArrivedFrom):
            return list(compress(rows, map(query.moment.__le__, _values(columns.dates, rows))))
        if isinstance(query, (q.SavedBefore, q.SavedOn, q.SavedSince)):
            first, after = self.period(query)
            since = list(compress(rows, map(first.__le__, _values(columns.savedates, rows))))
            return list(compress(since, map(after.__gt__, _values(columns.savedates, since))))
        if isinstance(query, q.Larger):
            return list(compress(rows, map(query.octets.__lt__, _values(columns.sizes, rows))))
        if isinstance(query, q.Smaller):
            known = list(compress(rows, map((0).__le__, _values(columns.sizes, rows))))
            return list(compress(known, map(query.octets.__gt__, _values(columns.sizes, known))))
        if isinstance(query, q.ModSequence):
            return list(compress(rows, map(query.at_least.__le__, _values(columns.modseqs, rows))))
        raise TypeError(f"columns cannot answer {query!r}")

    def keyword(self, query: q.Keyword, rows: Sequence[int]) -> Sequence[int]:
        having = self._having.get(id(query))
        if having is None:
            name = query.name.lower()
            sets = enumerate(self.columns.keyword_sets)
            having = frozenset(
                number for number, names in sets if any(name == each.lower() for each in names)
            )
            self._having[id(query)] = having
        if not having:
            return []
        return list(compress(rows, map(having.__contains__, _values(self.columns.keywords, rows))))

    def listed(self, query: q.Uids, rows: Sequence[int]) -> Sequence[int]:
        listed = self._uids.get(id(query))
        if listed is None:
            listed = self._uids[id(query)] = frozenset(query.uids)
        uids = self.columns.uids
        return [row for row in rows if uids[row] in listed]

    def ranges(self, query: q.UidRanges, rows: Sequence[int]) -> Sequence[int]:
        ranges = self._ranges.get(id(query))
        if ranges is None:
            ranges = self._ranges[id(query)] = _merged(query.ranges)
        uids = self.columns.uids
        return [row for row in rows if ranges.holds(uids[row])]

    def day(self, row: int) -> int:
        """The day number of a message's INTERNALDATE by the server's clock."""
        date = self.columns.dates[row]
        day = date // DAY
        if date < self.midnight(day):
            return day - 1
        return day + 1 if date >= self.midnight(day + 1) else day

    def period(
        self, query: q.Before | q.On | q.Since | q.SavedBefore | q.SavedOn | q.SavedSince
    ) -> tuple[int, int]:
        """The first moment that matches and the one after the last."""
        endless = 1 << 62
        if isinstance(query, (q.Before, q.SavedBefore)):
            return -endless, self.midnight(query.day)
        if isinstance(query, (q.Since, q.SavedSince)):
            return self.midnight(query.day), endless
        return self.midnight(query.day), self.midnight(query.day + 1)


_Needle = tuple[bool, bytes]
"""Whether it may stand in the MIME header of a part, and the collation key looked for."""


class _View:
    """One message while terms are asked about it; what was read stays until the next message."""

    __slots__ = (
        "_body",
        "_fields",
        "_header",
        "_header_key",
        "known",
        "needles",
        "row",
        "source",
        "table",
        "uid",
    )

    def __init__(
        self, table: _Table, known: _Known, source: TextSource, row: int, needles: frozenset[_Needle]
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
        self._body: frozenset[_Needle] | None = None

    def matches(self, query: q.Query) -> Generator[None, None, bool]:
        """Whether the message matches; yields between two pieces of work. Raises _Gone."""
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
                    raise _Gone
                size = known
            return size > query.octets if isinstance(query, q.Larger) else size < query.octets
        return bool(self.table.select(query, (self.row,)))

    def header(self) -> MessageHeader:
        """The message's header. Raises _Gone."""
        if self._header is None:
            self._header = self.source.header(self.uid)
            if self._header is None:
                raise _Gone
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

    def in_body(self, needle: _Needle) -> Generator[None, None, bool]:
        """Whether a needle occurs in the body. The first question looks for the needles of all questions."""
        if self._body is None:
            self._body = yield from self.scan()
        return needle in self._body

    def scan(self) -> Generator[None, None, frozenset[_Needle]]:
        """Those of the needles that occur in the body's text."""
        text = self.source.decoded_text(self.uid)
        if text is None:
            raise _Gone
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
