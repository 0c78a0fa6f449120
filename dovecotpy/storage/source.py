"""What is read out of messages: ENVELOPE, body structures, true sizes, header fields, keys to sort by, and the text that SEARCH looks into.

A message is read once for everything that its header says, and once more at most for what its body says; the index keeps both.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Protocol

from dovecotpy.message import fields
from dovecotpy.message.envelope import envelope, envelope_steps, kept_envelope
from dovecotpy.message.fields import Fields, Values, opening, scan
from dovecotpy.message.header import Header, header_end, parse_header
from dovecotpy.message.lines import WHOLE, BytesBody, Octets, crlf_size
from dovecotpy.message.preview import preview
from dovecotpy.message.steps import finished, paused
from dovecotpy.message.string import string
from dovecotpy.message.structure import bodystructure_steps, parse_steps, whole_header
from dovecotpy.message.text import (
    BodyText,
    HeaderText,
    body_text,
    header_key,
    message_keys,
    opening_key,
    stored_header_key,
)
from dovecotpy.message.usual import usual_structure, usual_text
from dovecotpy.storage.driver import Body
from dovecotpy.storage.errors import MessageGone
from dovecotpy.storage.index.cachefile import OVERSIZE
from dovecotpy.storage.index.rendered import Rendered
from dovecotpy.storage.items import (
    BODY,
    BODYSTRUCTURE,
    ENVELOPE,
    FIELDS,
    KINDS,
    PREVIEW,
    PREVIEW_LAZY,
    SIZE,
    Choice,
    Item,
    Kind,
)
from dovecotpy.storage.objectid import EMAILID, THREADID, thread_id

Steps = Generator[None, None, "dict[Item, bytes] | None"]
"""Work that yields where it may pause."""

FIRST_READ = 16384
"""Octets in which most header blocks end."""
MAX_HEADER = 1 << 20
ORDINARY = 1 << 16
"""Octets, as stored, of a message that is answered in one go, if its header ends within FIRST_READ."""
FEW_OCTETS = 2048
"""Octets of the kept fields of a message whose ENVELOPE is made together with others': lists of addresses take a microsecond an octet."""
FEW_PARTS = 64
"""Lines that begin like delimiters, of a message that is taken apart in one go."""

_OF_BODY = frozenset((BODY, BODYSTRUCTURE, SIZE, PREVIEW))
_SIZE_ALONE = frozenset((SIZE,))
_OF_PARTS = frozenset((BODY, BODYSTRUCTURE, PREVIEW))


class Beginnings(Protocol):
    """Gives the first octets of messages, as `BoxDriver.beginnings`."""

    def __call__(self, uids: Sequence[int], most: int, *, whole: bool) -> Iterator[bytes]: ...


class Messages:
    """The messages of one mailbox. open_body raises MessageGone."""

    def __init__(
        self,
        open_body: Callable[[int], Body],
        beginnings: Beginnings,
        learn_sizes: Callable[[dict[int, int]], None],
        rendered: Rendered,
        kept: Choice,
    ) -> None:
        self._open_body = open_body
        self._beginnings = beginnings
        self._learn_sizes = learn_sizes
        self._sizes: dict[int, int] = {}
        """true sizes, by UID, of the batch at work; what an interrupted one left may be of another mailbox's messages"""
        self._rendered = rendered
        self._kept = kept
        self._selections: dict[Item, fields.Selection] = {}
        self.email_id: Callable[[int], bytes | None] = _nobody
        """EMAILID of a message, by its UID"""

    # What is at hand

    def look(self) -> None:
        """Take note of what other sessions kept."""
        self._sizes.clear()
        self._rendered.look()

    def at_hand(self, item: Item, uids: "array[int]") -> list[bytes | None]:
        """Answers that need no reading, parallel to uids (ascending); None where there is none."""
        if item.startswith(FIELDS):
            records = self._find(Kind.FIELDS, uids)
            answer = self._selection(item).answer
            return [None if record is None else answer(record) for record in records]
        if item == THREADID:
            records = self._find(Kind.FIELDS, uids)
            return [
                None if record is None else _object(thread_id(fields.unpack(record))) for record in records
            ]
        if item == PREVIEW_LAZY:
            return [value or b"NIL" for value in self._find(Kind.PREVIEW, uids)]
        if item == ENVELOPE:
            return self._envelopes(uids)
        return self._find(KINDS[item], uids)

    def _envelopes(self, uids: "array[int]") -> list[bytes | None]:
        """Those that were kept, and those that kept fields say; the latter are kept from now on."""
        kept = Kind.ENVELOPE in self._kept.of_header
        found: list[bytes | None] = [None] * len(uids)
        if kept:
            found = self._find(Kind.ENVELOPE, uids)
        if None not in found:
            return found
        missing = [place for place, value in enumerate(found) if value is None]
        wanted = uids if len(missing) == len(uids) else array("I", [uids[place] for place in missing])
        made: dict[int, bytes] = {}
        for place, uid, record in zip(missing, wanted, self._find(Kind.FIELDS, wanted), strict=True):
            if record is not None:
                made[uid] = found[place] = kept_envelope(fields.unpack(record))
        if made and kept:
            self._rendered.keep_all(list(made), {Kind.ENVELOPE: list(made.values())})
        return found

    def _find(self, kind: int, uids: "array[int]") -> list[bytes | None]:
        found = self._rendered.find(kind, uids)
        if OVERSIZE in found:
            return [None if value == OVERSIZE else value for value in found]
        return found

    def _selection(self, item: Item) -> fields.Selection:
        selection = self._selections.get(item)
        if selection is None:
            if len(self._selections) >= MAX_SELECTIONS:
                self._selections.clear()
            selection = fields.Selection(item[len(FIELDS) :].split(b" "))
            self._selections[item] = selection
        return selection

    def forget(self, uid: int) -> None:
        """The message is gone."""
        self._rendered.forget(uid)

    def discard(self) -> None:
        """Believe nothing that was kept: everything is read and kept anew."""
        self._rendered.discard()

    def close(self) -> None:
        """Keep what is worth it, give everything back. Idempotent."""
        self._rendered.close()

    # Reading

    def many_at_once(
        self, uids: Sequence[int], items: frozenset[Item]
    ) -> Mapping[Item, Sequence[bytes | None]]:
        """What the beginnings of ordinary messages say, parallel to uids; None for what asks for a look at a single message.

        Who asks calls `settle` before anybody looks at what is known of sizes.
        """
        if PREVIEW in items:
            return {}
        if self._kept.whole or not items.isdisjoint(_OF_PARTS):
            return self._parts_of_many(uids, items)
        columns: dict[Item, Sequence[bytes | None]] = {}
        headers: Sequence[bytes | None]
        if SIZE in items:
            columns[SIZE], headers = self._measured(uids)
        else:
            headers = [opening(data) for data in self._beginnings(uids, FIRST_READ, whole=False)]
        if items != _SIZE_ALONE:
            scanned = [None if header is None else scan(header) for header in headers]
            if ENVELOPE in items:
                scanned = [None if each is None or each.size > FEW_OCTETS else each for each in scanned]
            self._columns_of(uids, scanned, items, columns)
        return columns

    def _parts_of_many(
        self, uids: Sequence[int], items: frozenset[Item]
    ) -> Mapping[Item, Sequence[bytes | None]]:
        columns: dict[Item, list[bytes | None]] = {item: [None] * len(uids) for item in items}
        bodies = self._beginnings(uids, ORDINARY + 1, whole=True)
        for place, (uid, data) in enumerate(zip(uids, bodies, strict=True)):
            answers = self._parts_at_once(uid, BytesBody(data), items) if data else None
            if answers is not None:
                for item, column in columns.items():
                    column[place] = answers.get(item)
        return columns

    def _measured(self, uids: Sequence[int]) -> tuple[list[bytes | None], list[bytes | None]]:
        """True sizes, and headers for `scan`."""
        sizes: list[bytes | None] = []
        headers: list[bytes | None] = []
        for uid, data in zip(uids, self._beginnings(uids, ORDINARY + 1, whole=True), strict=True):
            if not data:
                sizes.append(None)
                headers.append(None)
                continue
            size = self._sizes[uid] = crlf_size(data)
            sizes.append(b"%d" % size)
            headers.append(opening(data))
        return sizes, headers

    def _columns_of(
        self,
        uids: Sequence[int],
        scanned: Sequence[Fields | None],
        items: frozenset[Item],
        columns: dict[Item, Sequence[bytes | None]],
    ) -> None:
        """Put in what is asked for of headers, and keep what they say."""
        known = [each for each in scanned if each is not None]
        records = [each.record for each in known]
        made: dict[Item, Sequence[bytes]] = {}
        for item in items:
            if item == ENVELOPE:
                made[item] = list(map(kept_envelope, known))
            elif item == THREADID:
                made[item] = [_object(thread_id(each)) for each in known]
            elif item.startswith(FIELDS):
                made[item] = list(map(self._selection(item).answer, records))
        there = uids
        if len(known) < len(uids):
            there = [uid for uid, each in zip(uids, scanned, strict=True) if each is not None]
        self._keep(there, records, made.get(ENVELOPE))
        for item, values in made.items():
            if len(known) == len(uids):
                columns[item] = values
            else:
                each_one = iter(values)
                columns[item] = [None if each is None else next(each_one) for each in scanned]

    def _keep(self, uids: Sequence[int], records: Sequence[bytes], envelopes: Sequence[bytes] | None) -> None:
        """Keep what headers say, as far as it was made."""
        kept: dict[int, Sequence[bytes]] = {}
        if Kind.FIELDS in self._kept.of_header:
            kept[Kind.FIELDS] = records
        if envelopes is not None and Kind.ENVELOPE in self._kept.of_header:
            kept[Kind.ENVELOPE] = envelopes
        if kept and uids:
            self._rendered.keep_all(uids, kept)

    def at_once(self, uid: int, items: frozenset[Item]) -> dict[Item, bytes] | None:
        """As `render`, of an ordinary message; None if its size or form asks for steps, nothing in it if the message is gone.

        Who asks calls `settle` before anybody looks at what is known of sizes. Raises StoreError.
        """
        try:
            body = self._open_body(uid)
        except MessageGone:
            return {}
        try:
            size = body.size
            of_body = self._kept.whole or not items.isdisjoint(_OF_BODY)
            if size > ORDINARY or PREVIEW in items:
                return None
            data = body.read(0, size if of_body else FIRST_READ)
            stored_crlf = body.crlf
        finally:
            body.close()
        if self._kept.whole or not items.isdisjoint(_OF_PARTS):
            return self._parts_at_once(uid, BytesBody(data, stored_crlf), items)
        if of_body or size == len(data):
            self._sizes[uid] = size if stored_crlf else crlf_size(data)
        end = header_end(data)
        if end >= len(data) < size:
            return None
        answers = {} if items == _SIZE_ALONE else self._header_at_once(uid, parse_header(data[:end]), items)
        if of_body:
            answers[SIZE] = b"%d" % self._sizes[uid]
        return answers

    def _parts_at_once(self, uid: int, body: BytesBody, items: frozenset[Item]) -> dict[Item, bytes] | None:
        usual = None if body.crlf else usual_structure(body.data)
        if usual is not None:
            return self._usual_at_once(uid, body.data, usual, items)
        octets = Octets(body)
        text = octets.text() or b""
        header = whole_header(text)
        if len(header.raw) > FIRST_READ or text.count(b"\r\n--") > FEW_PARTS:
            return None
        answers = self._header_at_once(uid, header, items)
        part = finished(parse_steps(octets, header))
        self._sizes[uid] = octets.size
        answers.update(self._of_body(uid, octets.size, finished(bodystructure_steps(part))))
        return answers

    def _usual_at_once(
        self, uid: int, data: bytes, structure: tuple[bytes, bytes, int], items: frozenset[Item]
    ) -> dict[Item, bytes]:
        """What a usual message says, with its header only where that is asked for."""
        plain, extended, octets = structure
        self._sizes[uid] = octets
        answers = self._of_body(uid, octets, (plain, extended))
        if self._kept.whole or not items <= _OF_BODY:
            answers.update(self._header_at_once(uid, parse_header(data[: header_end(data)]), items))
        return answers

    def _header_at_once(self, uid: int, header: Header, items: frozenset[Item]) -> dict[Item, bytes]:
        record = fields.pack(header) or OVERSIZE
        return self._told(uid, header, record, envelope(header) if ENVELOPE in items else None, items)

    def settle(self) -> None:
        """Tell what was learnt of sizes."""
        if self._sizes:
            sizes, self._sizes = self._sizes, {}
            self._learn_sizes(sizes)

    def finish(self) -> None:
        """A command that read messages is at its end: what was learnt is for other sessions too."""
        self._rendered.settle()

    def _learn_size(self, uid: int, size: int) -> None:
        self._learn_sizes({uid: size})

    def render(self, uid: int, items: frozenset[Item]) -> Steps:
        """Answers from the message itself, ready to send; None if it is gone. Raises StoreError."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            if self._kept.whole or not items.isdisjoint(_OF_BODY):
                return (yield from self._render_whole(uid, body, items))
            header = self._header(uid, body)
            return (yield from self._of_header(uid, header, items))
        finally:
            body.close()

    def _of_header(self, uid: int, header: Header, items: frozenset[Item]) -> Steps:
        """Keep everything that the header says; what is asked for of it."""
        record = fields.pack(header) or OVERSIZE
        rendered = (yield from envelope_steps(header)) if ENVELOPE in items else None
        return self._told(uid, header, record, rendered, items)

    def _told(
        self, uid: int, header: Header, record: bytes, rendered: bytes | None, items: frozenset[Item]
    ) -> dict[Item, bytes]:
        self._keep((uid,), (record,), None if rendered is None else (rendered,))
        answers = {} if rendered is None else {ENVELOPE: rendered}
        if THREADID in items:
            answers[THREADID] = _object(thread_id(header))
        for item in items:
            if item.startswith(FIELDS):
                answers[item] = (
                    header.fields(item[len(FIELDS) :].split(b" "))
                    if record == OVERSIZE
                    else self._selection(item).answer(record)
                )
        return answers

    def _render_whole(self, uid: int, body: Body, items: frozenset[Item]) -> Steps:
        octets = Octets(body)
        if items == _SIZE_ALONE and not self._kept.whole:
            yield from octets.measure()
            self._learn_size(uid, octets.size)
            return {SIZE: b"%d" % octets.size}
        if not self._kept.whole and items.isdisjoint(_OF_PARTS):
            if octets.text() is None:
                yield from octets.measure()
            self._learn_size(uid, octets.size)
            answers = (yield from self._of_header(uid, self._header(uid, body), items)) or {}
            answers[SIZE] = b"%d" % octets.size
            return answers
        part = yield from parse_steps(octets)
        self._learn_size(uid, octets.size)
        answers = (yield from self._of_header(uid, part.header, items)) or {}
        forms = yield from bodystructure_steps(part)
        answers.update(self._of_body(uid, octets.size, forms, keep=items != {PREVIEW}))
        if PREVIEW in items:
            answers[PREVIEW] = string(preview(octets, part).encode())
            self._rendered.keep((Kind.PREVIEW,), uid, [answers[PREVIEW]])
        return answers

    def _of_body(
        self, uid: int, octets: int, forms: tuple[bytes, bytes], *, keep: bool = True
    ) -> dict[Item, bytes]:
        """Keep what the body says; all of it."""
        plain, extended = forms
        size = b"%d" % octets
        values = {Kind.BODY: plain, Kind.BODYSTRUCTURE: extended, Kind.SIZE: size}
        kinds = self._kept.of_body
        if kinds and keep:
            self._rendered.keep(kinds, uid, [values[kind] for kind in kinds])
        return {BODY: plain, BODYSTRUCTURE: extended, SIZE: size}

    def _header(self, uid: int, body: Body) -> Header:
        data = body.read(0, FIRST_READ)
        if len(data) == body.size:
            self._learn_size(uid, Octets.of(data).size)
        end = header_end(data)
        if end >= len(data) and body.size > len(data):
            data = body.read(0, MAX_HEADER)
            end = header_end(data)
        return parse_header(data[:end])

    # What search asks

    def object_id(self, item: bytes, uid: int) -> bytes | None:
        """EMAILID or THREADID; None if there is none, or the message is gone."""
        if item == EMAILID:
            return self.email_id(uid)
        header = self.header(uid)
        return None if header is None else thread_id(header)

    def header(self, uid: int) -> Header | None:
        """The parsed header, all of it; None if the message is gone."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            return self._header(uid, body)
        finally:
            body.close()

    def headers(self, uids: Sequence[int]) -> list[Values | None]:
        """Headers that have the fields of message.header.USUAL at least, parallel to uids; None where a message is gone.

        From what is kept where that is possible; what had to be read is kept. Raises StoreError.
        """
        self.look()
        ascending = array("I", sorted(set(uids)))
        found: dict[int, Values | None] = {}
        missing = []
        for uid, record in zip(ascending, self._find(Kind.FIELDS, ascending), strict=True):
            if record is None:
                missing.append(uid)
            else:
                found[uid] = fields.unpack(record)
        if missing:
            found.update(self._read_headers(missing))
        return [found[uid] for uid in uids]

    def _read_headers(self, uids: Sequence[int]) -> Iterator[tuple[int, Values | None]]:
        """Headers that nobody read before."""
        known: dict[int, bytes] = {}
        for uid, data in zip(uids, self._beginnings(uids, FIRST_READ, whole=False), strict=True):
            header = opening(data)
            scanned = None if header is None else scan(header)
            if scanned is None:
                yield uid, self._read_header(uid)
            else:
                known[uid] = scanned.record
                yield uid, scanned
        self._keep(list(known), list(known.values()), None)

    def _read_header(self, uid: int) -> Header | None:
        header = self.header(uid)
        if header is not None:
            finished(self._of_header(uid, header, frozenset()))
        return header

    def decoded_text(self, uid: int) -> Iterator[str] | None:
        """The text of a message, decoded, in pieces, empty ones for a pause; None if it is gone."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        return self._text(body)

    def _text(self, body: Body) -> Iterator[str]:
        try:
            octets = Octets(body)
            part = yield from paused(parse_steps(octets), "")
            yield from body_text(octets, part)
        finally:
            body.close()

    def header_keys(self, uids: Sequence[int]) -> Iterator[HeaderText | None]:
        """The texts of headers as collation keys, parallel to uids; None where a message is gone. Raises StoreError."""
        for uid, data in zip(uids, self._beginnings(uids, FIRST_READ, whole=False), strict=True):
            header = opening(data)
            yield self.header_key(uid) if header is None else opening_key(header)

    def header_key(self, uid: int) -> HeaderText | None:
        """The text of a header as a collation key; None if the message is gone. Raises StoreError."""
        header = self.header(uid)
        return None if header is None else header_key(header)

    def text_keys(
        self, uid: int, most: int, *, with_header: bool
    ) -> Generator[None, None, tuple[HeaderText | None, BodyText | None] | None]:
        """As message_keys, the header's only if it is asked for or at hand; None if the message is gone. Raises StoreError."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            if body.size > min(most, WHOLE):
                return (yield from message_keys(Octets(body), most))
            data = body.read(0, body.size)
            header = stored_header_key(data) if with_header else None
            text = None if body.crlf else usual_text(data)
            if text is not None and (header is not None or not with_header):
                return header, text if len(text.body) <= most >= len(text.parts) else None
            return (yield from message_keys(Octets(BytesBody(data, body.crlf)), most, header))
        finally:
            body.close()

    def size(self, uid: int) -> int | None:
        """RFC822.SIZE by reading; None if the message is gone."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            size = Octets(body).size
        finally:
            body.close()
        self._learn_size(uid, size)
        return size


MAX_SELECTIONS = 64
"""Lists of header fields that are remembered; then the memory starts anew."""


def _object(value: bytes | None) -> bytes:
    """An object id ready to send (RFC 8474 section 7)."""
    return b"NIL" if value is None else b"(" + value + b")"


def _nobody(uid: int) -> None:
    return None
