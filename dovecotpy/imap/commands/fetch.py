"""FETCH and UID FETCH (RFC 3501 section 6.4.5)."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from dovecotpy.imap import internaldate
from dovecotpy.imap import items as wanted
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.items import BodyItem, Plan, parse_items
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.text import MessageText
from dovecotpy.imap.view import View
from dovecotpy.ipc.record import Level
from dovecotpy.message.section import Span
from dovecotpy.storage import flags as bits
from dovecotpy.storage.driver import Columns
from dovecotpy.storage.errors import MailboxReplaced, MessageGone, StoreError
from dovecotpy.storage.mailbox import Operation
from dovecotpy.storage.source import fields_item

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

LINES = 1_000
"""Messages of which columns are rendered in one go."""
GROUP = 64
"""Messages that are marked as read together, just before they are sent."""
SMALL = 32_768
"""Octets of sections up to which a response is put together before it is sent."""

Rendered = Mapping[bytes, Sequence[bytes | None]]


@command("FETCH", state=State.SELECTED, expunges=False)
@command("UID FETCH", state=State.SELECTED)
def fetch(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell items of messages; those that are gone meanwhile are left out and said to be gone (RFC 5530)."""
    ranges = arguments.sequence_set()
    plan = parse_items(arguments)
    view = session.selected
    spans = view.spans(ranges, by_uid=arguments.by_uid)
    if arguments.by_uid:
        plan = plan._replace(simple=plan.simple | {b"UID"})
    job = _Fetch(session, view, plan)
    if plan.sections and not job.fields:
        yield from job.with_sections(view.uids_of(spans))
    else:
        yield from job.without_sections(spans)
    if job.missing:
        yield from session.complete("Some messages were already expunged.", "EXPUNGEISSUED")
    else:
        yield from session.complete("Fetch completed.")


class _Fetch:
    """One FETCH at work."""

    def __init__(self, session: "ImapSession", view: View, plan: Plan) -> None:
        self.session = session
        self.view = view
        self.plan = plan
        self.missing = False
        self._dated: Columns | None = None
        self._date_column: Sequence[int] = ()
        self.rendered = [item for item in wanted.RENDERED if item in plan.simple]
        self.fields = _field_lists(plan)
        """Sections that the store's caches answer, if they answer all, and what the store calls them."""

    def without_sections(self, spans: Sequence[tuple[int, int]]) -> Iterator[bytes]:
        """Items that columns and the store's caches answer."""
        items = frozenset((*self.rendered, *(item for _, item in self.fields)))
        if wanted.SIZE in self.plan.simple and self._size_unknown(spans):
            items |= {wanted.SIZE}
        if items:
            uids = self.view.uids_of(spans)
            yield from self._batches(uids, items)
            return
        for start, end in spans:
            for at in range(start, end, LINES):
                yield self._lines(self.view.uids[at : min(at + LINES, end)], {})

    def _size_unknown(self, spans: Sequence[tuple[int, int]]) -> bool:
        sizes = self.view.columns.sizes
        if not self.view.aligned:
            return bool(sizes) and min(sizes) < 0
        return any(min(sizes[start:end]) < 0 for start, end in spans)

    def _batches(self, uids: "array[int]", items: frozenset[bytes]) -> Iterator[bytes]:
        count = 0
        for batch in self.view.mailbox.fetch(uids, items):
            count += len(batch.uids)
            yield self._lines(batch.uids, batch.values)
        if count < len(uids):
            self.missing = True

    def _lines(self, uids: Sequence[int], values: Rendered) -> bytes:
        """The FETCH responses of messages in ascending order, joined."""
        if not uids:
            return b""
        complete = not any(None in column for column in values.values())
        start = self.view.index(uids[0])
        end = start + len(uids)
        if complete and self.view.aligned and start >= 0 and self.view.uids[start:end] == array("I", uids):
            columns = self._columns(start, end, values)
            names = b" ".join(name + (b" %d" if name == b"UID" else b" %b") for name, _ in columns)
            return _join(b"* %d FETCH (" + names + b")\r\n", range(start + 1, end + 1), columns)
        return b"".join(
            self._line(uid, {item: column[at] for item, column in values.items()})
            for at, uid in enumerate(uids)
        )

    def _columns(self, start: int, end: int, values: Rendered) -> list[tuple[bytes, Sequence[object]]]:
        """What is asked for of the messages at these places of the columns, in the order of the answer."""
        simple, view, columns = self.plan.simple, self.view, self.view.columns
        found: list[tuple[bytes, Sequence[object]]] = []
        if b"UID" in simple:
            found.append((b"UID", columns.uids[start:end]))
        if b"FLAGS" in simple:
            found.append((b"FLAGS", view.render.many(columns, start, end, view.recent)))
        if b"INTERNALDATE" in simple:
            found.append((b"INTERNALDATE", list(map(internaldate.render, self._dates(columns)[start:end]))))
        if wanted.SIZE in simple:
            sizes = values.get(wanted.SIZE) or list(map(b"%d".__mod__, columns.sizes[start:end]))
            found.append((wanted.SIZE, sizes))
        found.extend((item, values[item]) for item in self.rendered)
        found.extend((each.label, list(map(_literal_of(each), values[item]))) for each, item in self.fields)
        return found

    def _line(self, uid: int, values: Mapping[bytes, bytes | None]) -> bytes:
        """One FETCH response, of a message that may be gone; empty if it cannot be answered."""
        pieces = self._pieces(uid, values)
        if pieces is None:
            self.missing = True
            return b""
        return b"* %d FETCH (%b)\r\n" % (self.view.index(uid) + 1, b" ".join(pieces))

    def _pieces(
        self, uid: int, values: Mapping[bytes, bytes | None], *, with_flags: bool = False
    ) -> list[bytes] | None:
        """The items of one message but for sections; None if it is gone and they are not known."""
        simple, view = self.plan.simple, self.view
        found = self._find(uid)
        if found is None or view.index(uid) < 0:
            return None
        columns, place = found
        pieces = []
        if b"UID" in simple:
            pieces.append(b"UID %d" % uid)
        if b"FLAGS" in simple or with_flags:
            pieces.append(b"FLAGS " + view.flags_at(place, columns))
        if b"INTERNALDATE" in simple:
            pieces.append(b"INTERNALDATE " + internaldate.render(self._dates(columns)[place]))
        if wanted.SIZE in simple:
            known = values.get(wanted.SIZE) or self._size(columns.sizes[place])
            if known is None:
                return None
            pieces.append(b"RFC822.SIZE " + known)
        for item in self.rendered:
            value = values.get(item)
            if value is None:
                return None
            pieces.append(item + b" " + value)
        for each, item in self.fields:
            value = values.get(item)
            if value is None:
                return None
            pieces.append(each.label + b" " + _literal_of(each)(value))
        return pieces

    def _find(self, uid: int) -> tuple[Columns, int] | None:
        """Where a message stands, also one whose expunge was not told yet."""
        place = self.view.place(uid)
        if place >= 0:
            return self.view.columns, place
        return self.view.ghost(uid)

    def _dates(self, columns: Columns) -> Sequence[int]:
        """The column of dates, asked for once: the store may have to look them up."""
        if self._dated is not columns:
            self._dated = columns
            self._date_column = columns.dates
        return self._date_column

    @staticmethod
    def _size(size: int) -> bytes | None:
        return b"%d" % size if size >= 0 else None

    # Sections

    def with_sections(self, uids: "array[int]") -> Iterator[bytes]:
        """Items that need the messages themselves, message by message."""
        items = frozenset(self.rendered)
        for start in range(0, len(uids), GROUP):
            group = uids[start : start + GROUP]
            marked = self._mark_seen(group)
            needed = items
            if wanted.SIZE in self.plan.simple:
                needed = needed | {wanted.SIZE}
            values = self._values(group, needed) if needed else {}
            for uid in group:
                yield from self._message(uid, values.get(uid, {}), told=uid in marked)

    def _values(self, uids: "array[int]", items: frozenset[bytes]) -> dict[int, Mapping[bytes, bytes | None]]:
        return {
            uid: {item: column[at] for item, column in batch.values.items()}
            for batch in self.view.mailbox.fetch(uids, items)
            for at, uid in enumerate(batch.uids)
        }

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

    def _message(self, uid: int, values: Mapping[bytes, bytes | None], *, told: bool) -> Iterator[bytes]:
        pieces = self._pieces(uid, values, with_flags=told)
        if pieces is None:
            self.missing = True
            return
        try:
            text = MessageText(self.view.mailbox.body(uid))
        except MessageGone:
            self.missing = True
            return
        try:
            yield from self._sections(self.view.index(uid) + 1, pieces, text)
        finally:
            text.close()

    def _sections(self, number: int, pieces: list[bytes], text: MessageText) -> Iterator[bytes]:
        """One FETCH response with sections: nothing of it is sent before all of them were found."""
        found = [(item, text.find(item.section, item.partial)) for item in self.plan.sections]
        head = b"* %d FETCH (%b" % (number, b" ".join(pieces))
        if pieces:
            head += b" "
        if sum(map(_size, found)) <= SMALL:
            body = [b"%b %b" % (item.label, _literal(text, value)) for item, value in found]
            yield head + b" ".join(body) + b")\r\n"
            return
        self.session.within_literal = True
        separator = head
        for item, value in found:
            if isinstance(value, Span):
                yield b"%b%b {%d}\r\n" % (separator, item.label, value.end - value.start)
                yield from text.chunks(value)
            else:
                yield separator + b"%b %b" % (item.label, _literal(text, value))
            separator = b" "
        self.session.within_literal = False
        yield b")\r\n"


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


def _literal_of(item: BodyItem) -> Callable[[bytes | None], bytes]:
    """Makes a literal of a section's octets; NUL, which no literal may hold, as 0x80."""
    start, count = item.partial or (0, None)
    end = None if count is None else start + count

    def literal(octets: bytes | None) -> bytes:
        if octets is None:
            return b"NIL"
        if end is not None:
            octets = octets[start:end]
        if b"\0" in octets:
            octets = octets.replace(b"\0", b"\x80")
        return b"{%d}\r\n%b" % (len(octets), octets)

    return literal


def _size(found: tuple[BodyItem, Span | bytes | None]) -> int:
    value = found[1]
    if isinstance(value, Span):
        return value.end - value.start
    return len(value) if value else 0


def _literal(text: MessageText, value: Span | bytes | None) -> bytes:
    if value is None:
        return b"NIL"
    octets = text.whole(value) if isinstance(value, Span) else value.replace(b"\0", b"\x80")
    return b"{%d}\r\n%b" % (len(octets), octets)


def _join(line: bytes, numbers: Sequence[int], columns: Sequence[tuple[bytes, Sequence[object]]]) -> bytes:
    """One format over many messages, filled in at C speed."""
    step = 1 + len(columns)
    count = len(numbers)
    values: list[object] = [None] * (step * count)
    values[0::step] = numbers
    for at, (_, column) in enumerate(columns, 1):
        values[at::step] = column
    return (line * count) % tuple(values)
