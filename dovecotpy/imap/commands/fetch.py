"""FETCH and UID FETCH (RFC 3501 section 6.4.5) with the modifiers of RFC 7162 sections 3.1.4.1 and 3.2.6."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import CONDSTORE, QRESYNC
from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.items import BodyItem, Form, Plan, parse_items
from dovecotpy.imap.partial import PARTIAL, Partial, narrowed, parse_partial
from dovecotpy.imap.registry import State, Table, command
from dovecotpy.imap.text import Decoded, MessageText, whole_text
from dovecotpy.imap.view import View
from dovecotpy.imap.wire import sequence
from dovecotpy.ipc.record import Level
from dovecotpy.message.section import WHOLE, Span
from dovecotpy.message.steps import paused
from dovecotpy.message.structure import BASIC, GLOBAL
from dovecotpy.storage import flags as bits
from dovecotpy.storage.answers import Batch
from dovecotpy.storage.driver import Body, Columns
from dovecotpy.storage.errors import MailboxReplaced, MessageGone, StoreError
from dovecotpy.storage.items import BODY, BODYSTRUCTURE, fields_item
from dovecotpy.storage.mailbox import Operation

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

LINES = 1_000
"""Messages of which columns are rendered in one go."""
GROUP = 64
"""Messages that are marked as read together, just before they are sent."""
SMALL = 32_768
"""Octets of sections up to which a response is put together before it is sent."""

TOGETHER = 65_536
"""Octets up to which a whole message is sent in one piece, and from which on small ones that were put together are sent."""

Rendered = Mapping[bytes, Sequence[bytes | None]]


Spans = Sequence[tuple[int, int]]


class Fetching(NamedTuple):
    """One FETCH as it was asked for."""

    session: "ImapSession"
    view: View
    ranges: sequence.Ranges
    """the set as typed"""
    by_uid: bool
    modifiers: Mapping[bytes, object]


class Modifier(NamedTuple):
    """What may stand in parentheses behind the items (RFC 4466 section 2.4)."""

    parse: Callable[[Arguments], object]
    """its value. Raises Mistaken"""
    begin: Callable[[Fetching], Iterator[bytes]]
    """what is said before the messages. Raises Mistaken"""
    narrow: Callable[[View, Spans, object], Spans] | None = None
    """fewer messages than the set names"""
    adds: frozenset[bytes] = frozenset()
    """items that it asks for"""


MODIFIERS: Table[Modifier] = Table()


@command("FETCH", state=State.SELECTED, expunges=False)
@command("UID FETCH", state=State.SELECTED)
def fetch(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell items of messages; those that are gone meanwhile are left out and said to be gone (RFC 5530)."""
    view = session.selected
    ranges = arguments.sequence_set()
    plan = parse_items(arguments, session.dialect)
    modifiers = _modifiers(arguments, session)
    units = MODIFIERS.ordered(frozenset(modifiers))
    named = arguments.by_uid and not session.dialect.uidonly
    added = frozenset((b"UID",)) if named else frozenset()
    plan = plan._replace(simple=plan.simple.union(added, *(unit.adds for _, unit in units)))
    view.spans(ranges, by_uid=arguments.by_uid)
    if b"MODSEQ" in plan.simple:
        view.need_modseqs()
        view.heard(view.modseq)
    for _, item in plan.items:
        yield from session.enable(item.enables)
    asked = Fetching(session, view, ranges, arguments.by_uid, modifiers)
    for _, unit in units:
        yield from unit.begin(asked)
    spans: Spans = view.spans(ranges, by_uid=arguments.by_uid)
    for name, unit in units:
        if unit.narrow is not None:
            spans = unit.narrow(view, spans, modifiers[name])
    job = _Fetch(session, view, plan)
    if plan.sections and not job.fields:
        yield from job.with_sections(view.uids_of(spans))
    else:
        yield from job.without_sections(spans)
    if job.missing:
        yield from session.complete("Some messages were already expunged.", "EXPUNGEISSUED")
    else:
        yield from session.complete("Fetch completed.")


def _modifiers(arguments: Arguments, session: "ImapSession") -> dict[bytes, object]:
    """What stands behind the items, by name."""
    found: dict[bytes, object] = {}
    if not arguments.more():
        return found
    inner = Arguments(arguments.name, arguments.list(), by_uid=arguments.by_uid)
    arguments.end()
    while inner.more() or not found:
        name = inner.atom()
        unit = MODIFIERS.find(name, session.dialect.disabled)
        if unit is None or name in found:
            raise arguments.wrong(f"Unknown modifier {name.decode('ascii', 'replace')}")
        found[name] = unit.parse(inner)
    return found


def _nothing(arguments: Arguments) -> object:
    return True


def _changed_since(asked: Fetching) -> Iterator[bytes]:
    asked.view.need_modseqs()
    yield from asked.session.enable(CONDSTORE)


def _only_changed(view: View, spans: Spans, since: object) -> Spans:
    assert isinstance(since, int)
    return view.changed_since(spans, since)


def _vanished(asked: Fetching) -> Iterator[bytes]:
    """The expunges that happened after the modseq, told apart from those that this session knew nothing of yet."""
    since = asked.modifiers.get(b"CHANGEDSINCE")
    if not asked.by_uid or not asked.session.dialect.qresync or not isinstance(since, int):
        raise Mistaken(
            "Error in IMAP command FETCH: VANISHED needs UID FETCH, CHANGEDSINCE and ENABLE QRESYNC"
        )
    asked.view.need_modseqs()
    yield from asked.view.expunges()
    known: sequence.Ranges = []
    if asked.ranges != [sequence.SAVED]:
        known = sequence.settle(asked.ranges, max(asked.view.columns.uidnext - 1, 1))
    yield from asked.view.vanished_earlier(since, known, 0)


def _partial_begins(asked: Fetching) -> Iterator[bytes]:
    if not asked.by_uid:
        raise Mistaken("Error in IMAP command FETCH: PARTIAL needs UID FETCH")
    return iter(())


def _only_part(view: View, spans: Spans, value: object) -> Spans:
    assert isinstance(value, Partial)
    return narrowed(spans, value)


MODIFIERS.add(b"PARTIAL", Modifier(parse_partial, _partial_begins, _only_part), PARTIAL)
MODIFIERS.add(
    b"CHANGEDSINCE",
    Modifier(Arguments.modseq, _changed_since, _only_changed, frozenset((b"MODSEQ",))),
    CONDSTORE,
)
MODIFIERS.add(b"VANISHED", Modifier(_nothing, _vanished), QRESYNC)


STRUCTURES = frozenset((BODY, BODYSTRUCTURE))
GLOBAL_PART = b'"message" "global" '
"""In small letters, how a part of that type is told."""


class _Fetch:
    """One FETCH at work."""

    def __init__(self, session: "ImapSession", view: View, plan: Plan) -> None:
        self.session = session
        self.view = view
        self.plan = plan
        self.items = plan.items
        self.items_when_changed = plan._replace(simple=plan.simple | view.flag_items).items
        self.missing = False
        self._enclosed = GLOBAL if session.dialect.utf8 else BASIC
        """message/global is a message for clients that take UTF-8 (RFC 9051 sections 7.5.2 and 6.4.5.1)."""
        self._wide = session.dialect.utf8 and not STRUCTURES.isdisjoint(name for name, _ in plan.items)
        """Structures may have to be told otherwise than they are kept."""
        self.word = view.fetch_word
        self._stored = {
            name: item.with_options.get(plan.options.get(name, frozenset()), name)
            for name, item in self.items
        }
        """What the store calls the items."""
        self.fields = _field_lists(plan)
        """Sections that the store's caches answer, if they answer all, and what the store calls them."""
        only = plan.sections[0] if len(plan.sections) == 1 else None
        self.whole = only.label if only is not None and _is_whole(only) else None
        """The label of the only section, if that is the message as it is."""

    def without_sections(self, spans: Spans) -> Iterator[bytes]:
        """Items that columns and the store's caches answer."""
        asked = frozenset((*self._asked(spans), *(item for _, item in self.fields)))
        if asked:
            yield from self._batches(self.view.uids_of(spans), asked)
            return
        for start, end in spans:
            for at in range(start, end, LINES):
                yield self._lines(self.view.uids[at : min(at + LINES, end)], {})

    def _asked(self, spans: Spans) -> Iterator[bytes]:
        """The items that the store must be asked for."""
        columns = self.view.columns
        if not self.view.aligned:
            spans = ((0, len(columns.uids)),)
        for name, item in self.items:
            if item.asks_store is not None and any(item.asks_store(columns, *span) for span in spans):
                yield self._stored[name]

    def _batches(self, uids: "array[int]", items: frozenset[bytes]) -> Iterator[bytes]:
        count = 0
        for batch in self.view.mailbox.fetch(uids, items):
            count += len(batch.uids)
            self.session.note_progress(count, len(uids))
            values = (yield from self._widened(batch)) if self._wide else batch.values
            yield self._lines(batch.uids, values)
        if count < len(uids):
            self.missing = True

    def _lines(self, uids: Sequence[int], values: Rendered) -> bytes:
        """The FETCH responses of messages in ascending order, joined."""
        if not uids:
            return b""
        start = self.view.index(uids[0])
        end = start + len(uids)
        if self.view.aligned and start >= 0 and self.view.uids[start:end] == array("I", uids):
            columns = self._columns(start, end, values)
            if not self._misses(columns, values):
                alone = len(values) == 1 and (self.fields or columns[-1][1] in values.values())
                numbers = uids if self.view.dialect.uidonly else range(start + 1, end + 1)
                return (_spliced if alone else _filled)(self.word, numbers, columns)
        return b"".join(
            self._line(uid, {item: column[at] for item, column in values.items()})
            for at, uid in enumerate(uids)
        )

    def _columns(self, start: int, end: int, values: Rendered) -> list[tuple[bytes, Sequence[object]]]:
        """What is asked for of the messages at these places of the columns: label with form, and values."""
        view = self.view
        found: list[tuple[bytes, Sequence[object]]] = []
        for name, item in self.items:
            column: Sequence[object] | None = values.get(self._stored[name])
            if column is None:
                column = item.values(view, view.columns, start, end) if item.values is not None else ()
            found.append((name + b" " + item.form, column))
        for each, fields in self.fields:
            found.append((each.label + b" %b", list(map(_literal_of(each), values[fields]))))
        return found

    def _misses(self, columns: Sequence[tuple[bytes, Sequence[object]]], values: Rendered) -> bool:
        """Whether some message lacks one of its values."""
        return any(
            (self._stored[name] in values or item.may_miss) and None in column
            for (name, item), (_, column) in zip(self.items, columns[: len(self.items)], strict=True)
        ) or any(None in column for _, column in columns[len(self.items) :])

    def _line(self, uid: int, values: Mapping[bytes, bytes | None]) -> bytes:
        """One FETCH response, of a message that may be gone; empty if it cannot be answered."""
        pieces = self._pieces(uid, values)
        if pieces is None:
            self.missing = True
            return b""
        return b"* %d %b (%b)\r\n" % (self._number(uid), self.word, b" ".join(pieces))

    def _number(self, uid: int) -> int:
        return self.view.number(self.view.index(uid))

    def _pieces(
        self, uid: int, values: Mapping[bytes, bytes | None], *, with_flags: bool = False
    ) -> list[bytes] | None:
        """The items of one message but for sections; None if it is gone and they are not known."""
        view = self.view
        found = self._find(uid)
        if found is None or view.index(uid) < 0:
            return None
        columns, place = found
        pieces = []
        for name, item in self.items_when_changed if with_flags else self.items:
            value: object = values.get(self._stored.get(name, name))
            if value is None and item.values is not None:
                value = item.values(view, columns, place, place + 1)[0]
            if value is None:
                return None
            pieces.append((name + b" " + item.form) % value)
        for each, fields in self.fields:
            literal = _literal_of(each)(values.get(fields))
            if literal is None:
                return None
            pieces.append(each.label + b" " + literal)
        return pieces

    def _find(self, uid: int) -> tuple[Columns, int] | None:
        """Where a message stands, also one whose expunge was not told yet."""
        place = self.view.place(uid)
        if place >= 0:
            return self.view.columns, place
        return self.view.ghost(uid)

    # Sections

    def with_sections(self, uids: "array[int]") -> Iterator[bytes]:
        """Items that need the messages themselves, message by message."""
        asked = frozenset(self._stored[name] for name, item in self.items if item.asks_store is not None)
        for start in range(0, len(uids), GROUP):
            group = uids[start : start + GROUP]
            self.session.note_progress(start, len(uids))
            marked = self._mark_seen(group)
            values = (yield from self._values(group, asked)) if asked else {}
            if self.whole is not None:
                yield from self._whole(self.whole, group, values, marked)
                continue
            for uid in group:
                yield from self._message(uid, values.get(uid, {}), told=uid in marked)

    def _widened(self, batch: Batch) -> Generator[bytes, None, Rendered]:
        """The answers of a batch, those about messages with message/global in them anew from the message: what is kept does not show that as one."""
        values = dict(batch.values)
        for item in STRUCTURES.intersection(values):
            column = list(values[item])
            if GLOBAL_PART not in b"".join(filter(None, column)).lower():
                continue
            for at, value in enumerate(column):
                if value is not None and GLOBAL_PART in value.lower():
                    column[at] = yield from self._structure(batch.uids[at], item)
            values[item] = column
        return values

    def _structure(self, uid: int, item: bytes) -> Generator[bytes, None, bytes | None]:
        body = self._body(uid)
        if body is None:
            return None
        text = MessageText(body, self._enclosed)
        try:
            plain, extended = yield from paused(text.structures(), b"")
        finally:
            text.close()
        return extended if item == BODYSTRUCTURE else plain

    def _values(
        self, uids: "array[int]", items: frozenset[bytes]
    ) -> Generator[bytes, None, dict[int, Mapping[bytes, bytes | None]]]:
        """What the store answers, by message; nothing is said meanwhile."""
        found: dict[int, Mapping[bytes, bytes | None]] = {}
        for batch in self.view.mailbox.fetch(uids, items):
            yield b""
            columns = (yield from self._widened(batch)) if self._wide else batch.values
            for at, uid in enumerate(batch.uids):
                found[uid] = {item: column[at] for item, column in columns.items()}
        return found

    def _mark_seen(self, group: "array[int]") -> frozenset[int]:
        """Set \\Seen where this FETCH does; the messages of which that is news for the client."""
        view = self.view
        if not self.plan.sets_seen or not view.writable:
            return frozenset()
        flags = view.columns.flags
        places = ((uid, view.place(uid)) for uid in group)
        unseen = array("I", [uid for uid, place in places if place >= 0 and not flags[place] & bits.SEEN])
        if not unseen:
            return frozenset()
        try:
            view.mailbox.store(unseen, Operation.ADD, bits.SEEN, frozenset())
            view.look()
        except MailboxReplaced:
            raise
        except StoreError as error:
            self.session.log(Level.ERROR, error.log or f"Marking messages as read failed: {error}")
            return frozenset()
        view.told(unseen)
        return frozenset(unseen)

    def _whole(
        self,
        label: bytes,
        group: "array[int]",
        every: Mapping[int, Mapping[bytes, bytes | None]],
        marked: frozenset[int],
    ) -> Iterator[bytes]:
        """Messages as they are, small ones put together."""
        ready: list[bytes] = []
        size = 0
        try:
            for uid in group:
                pieces = self._pieces(uid, every.get(uid, {}), with_flags=uid in marked)
                body = None if pieces is None else self._body(uid)
                if pieces is None or body is None:
                    self.missing = True
                    continue
                pieces.append(label)
                number = self._number(uid)
                if body.size > TOGETHER:
                    yield b"".join(ready)
                    ready, size = [], 0
                    pieces.pop()
                    yield from self._response(number, pieces, body)
                    continue
                try:
                    text = whole_text(body)
                finally:
                    body.close()
                head = b"* %d %b (%b {%d}\r\n" % (number, self.word, b" ".join(pieces), len(text))
                ready += (head, text, b")\r\n")
                size += len(text)
                if size >= TOGETHER:
                    yield b"".join(ready)
                    ready, size = [], 0
        except StoreError:
            yield b"".join(ready)
            raise
        yield b"".join(ready)

    def _body(self, uid: int) -> Body | None:
        try:
            return self.view.mailbox.body(uid)
        except MessageGone:
            return None

    def _response(self, number: int, pieces: list[bytes], body: Body) -> Iterator[bytes]:
        text = MessageText(body, self._enclosed)
        try:
            yield from self._sections(number, pieces, text)
        finally:
            text.close()

    def _message(self, uid: int, values: Mapping[bytes, bytes | None], *, told: bool) -> Iterator[bytes]:
        pieces = self._pieces(uid, values, with_flags=told)
        if pieces is None:
            self.missing = True
            return
        body = self._body(uid)
        if body is None:
            self.missing = True
            return
        yield from self._response(self._number(uid), pieces, body)

    def _sections(self, number: int, pieces: list[bytes], text: MessageText) -> Iterator[bytes]:
        """One FETCH response with sections: nothing of it is sent before all of them were found."""
        found: list[tuple[BodyItem, Value]] = []
        for item in self.plan.sections:
            value: Value
            if item.form is Form.STORED:
                value = yield from paused(text.find(item.section, item.partial), b"")
            else:
                value = yield from paused(text.decoded(item.section, item.partial), b"")
            found.append((item, value))
        head = b"* %d %b (%b" % (number, self.word, b" ".join(pieces))
        if pieces:
            head += b" "
        if sum(map(_size, found)) <= SMALL:
            body = [b"%b %b" % (item.label, _literal(text, item, value)) for item, value in found]
            yield head + b" ".join(body) + b")\r\n"
            return
        self.session.within_literal = True
        separator = head
        for item, value in found:
            if isinstance(value, Decoded) and item.form is Form.DECODED:
                yield b"%b%b %b" % (separator, item.label, _announced(value))
                yield from value.chunks()
            elif isinstance(value, Span):
                yield b"%b%b {%d}\r\n" % (separator, item.label, value.end - value.start)
                yield from text.chunks(value)
            else:
                yield separator + b"%b %b" % (item.label, _literal(text, item, value))
            separator = b" "
        self.session.within_literal = False
        yield b")\r\n"


def _is_whole(item: BodyItem) -> bool:
    return item.section == WHOLE and not item.partial and item.form is Form.STORED


Value = Span | Decoded | bytes | None


def _field_lists(plan: Plan) -> list[tuple[BodyItem, bytes]]:
    """The sections of a plan as items of the store, if each is a list of header fields that it keeps."""
    found = []
    for each in plan.sections:
        section = each.section
        item = None
        if section.kind == b"HEADER.FIELDS" and not section.path and not each.sets_seen:
            item = fields_item(section.fields)
        if item is None:
            return []
        found.append((each, item))
    return found


def _literal_of(item: BodyItem) -> Callable[[bytes | None], bytes | None]:
    """Makes a literal of a section's octets; NUL, which no literal may hold, as 0x80. None stays None."""
    start, count = item.partial or (0, None)
    end = None if count is None else start + count

    def literal(octets: bytes | None) -> bytes | None:
        if octets is None:
            return None
        if end is not None:
            octets = octets[start:end]
        if b"\0" in octets:
            octets = octets.replace(b"\0", b"\x80")
        return b"{%d}\r\n%b" % (len(octets), octets)

    return literal


def _size(found: tuple[BodyItem, Value]) -> int:
    item, value = found
    if isinstance(value, Decoded):
        return value.size if item.form is Form.DECODED else 0
    if isinstance(value, Span):
        return value.end - value.start
    return len(value) if value else 0


def _announced(value: Decoded) -> bytes:
    """The beginning of a literal, or of a literal8 where a literal cannot hold it (RFC 3516 section 4.3)."""
    return (b"~{%d}\r\n" if value.has_nul else b"{%d}\r\n") % value.size


def _literal(text: MessageText, item: BodyItem, value: Value) -> bytes:
    if item.form is Form.DECODED_SIZE:
        return b"%d" % (value.size if isinstance(value, Decoded) else 0)
    if value is None:
        return b"NIL"
    if isinstance(value, Decoded):
        return _announced(value) + b"".join(value.chunks())
    octets = text.whole(value) if isinstance(value, Span) else value.replace(b"\0", b"\x80")
    return b"{%d}\r\n%b" % (len(octets), octets)


def _filled(word: bytes, numbers: Sequence[int], columns: Sequence[tuple[bytes, Sequence[object]]]) -> bytes:
    """The responses of many messages: one format, filled in at C speed."""
    line = b"* %d " + word + b" (" + b" ".join([form for form, _ in columns]) + b")\r\n"
    return line * len(numbers) % _rows(numbers, columns)


def _spliced(word: bytes, numbers: Sequence[int], columns: Sequence[tuple[bytes, Sequence[object]]]) -> bytes:
    """As _filled, faster where the values of the last column are long and the others are not: they are not looked into."""
    forms = b" ".join([form for form, _ in columns])
    line = b"* %d " + word + b" (" + forms.removesuffix(b"%b") + b"\0"
    heads = (line * len(numbers) % _rows(numbers, columns[:-1])).split(b"\0")
    if len(heads) != len(numbers) + 1 or not forms.endswith(b"%b"):
        return _filled(word, numbers, columns)
    pieces: list[object] = [b")\r\n"] * (3 * len(numbers))
    pieces[0::3] = heads[:-1]
    pieces[1::3] = columns[-1][1]
    return b"".join(pieces)  # type: ignore[arg-type]


def _rows(numbers: Sequence[int], columns: Sequence[tuple[bytes, Sequence[object]]]) -> tuple[object, ...]:
    """Number and values of the first message, then of the next."""
    step = 1 + len(columns)
    values: list[object] = [None] * (step * len(numbers))
    values[0::step] = numbers
    for at, (_, column) in enumerate(columns, 1):
        values[at::step] = column
    return tuple(values)
