"""What is read out of messages: ENVELOPE, body structures, true sizes, header fields, keys to sort by, and the text that SEARCH looks into.

A message is read once for everything that its header says, and once more at most for what its body says; the index keeps both.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import NamedTuple

from dovecotpy.message import fields
from dovecotpy.message.date import parse_date
from dovecotpy.message.envelope import envelope, envelope_steps
from dovecotpy.message.header import Header, header_end, parse_header
from dovecotpy.message.lines import WHOLE, BytesBody, Octets, crlf_size
from dovecotpy.message.preview import preview
from dovecotpy.message.steps import finished, paused
from dovecotpy.message.string import string
from dovecotpy.message.structure import bodystructure_steps, parse_steps, whole_header
from dovecotpy.message.text import BodyText, HeaderText, body_text, header_key, message_keys, stored_keys
from dovecotpy.storage.driver import Body
from dovecotpy.storage.errors import MessageGone
from dovecotpy.storage.index.cachefile import OVERSIZE
from dovecotpy.storage.index.rendered import Kinds, Rendered
from dovecotpy.storage.objectid import EMAILID, THREADID, thread_id

Item = bytes
Steps = Generator[None, None, "dict[Item, bytes] | None"]
"""Work that yields where it may pause."""

ENVELOPE = b"ENVELOPE"
BODY = b"BODY"
BODYSTRUCTURE = b"BODYSTRUCTURE"
SIZE = b"RFC822.SIZE"
PREVIEW = b"PREVIEW"
PREVIEW_LAZY = b"PREVIEW LAZY"
"""As PREVIEW, or NIL where that would have to be worked out first (RFC 8970 section 4)."""
FIELDS = b"HEADER.FIELDS "
"""Begins the item of some header fields; see `fields_item`."""
FIRST_READ = 16384
"""Octets in which most header blocks end."""
MAX_HEADER = 1 << 20
ORDINARY = 1 << 16
"""Octets, as stored, of a message that is answered in one go, if its header ends within FIRST_READ."""
FEW_PARTS = 64
"""Lines that begin like delimiters, of a message that is taken apart in one go."""

_ENVELOPE, _FIELDS, _DATE = 1, 2, 3
_BODY, _BODYSTRUCTURE, _SIZE = 20, 21, 22
_PREVIEW = 30
_KIND = {
    ENVELOPE: _ENVELOPE,
    BODY: _BODY,
    BODYSTRUCTURE: _BODYSTRUCTURE,
    SIZE: _SIZE,
    PREVIEW: _PREVIEW,
}
_NAMES = {
    "imap.envelope": _ENVELOPE,
    "date.sent": _DATE,
    "imap.body": _BODY,
    "imap.bodystructure": _BODYSTRUCTURE,
    "mime.parts": _BODYSTRUCTURE,
    "size.virtual": _SIZE,
}
"""What mail_cache_fields and mail_never_cache_fields call it."""
_OF_BODY = frozenset((BODY, BODYSTRUCTURE, SIZE, PREVIEW))
_SIZE_ALONE = frozenset((SIZE,))
_OF_PARTS = frozenset((BODY, BODYSTRUCTURE, PREVIEW))
_WHOLE = frozenset((_BODY, _BODYSTRUCTURE, _SIZE))
_MOMENT = struct.Struct("<qh")
NO_DATE = -(1 << 63)


def fields_item(names: Sequence[bytes]) -> Item | None:
    """What to ask `Messages` for to have these header fields; None if they are not all kept. names: in any case."""
    lowered = sorted({name.lower() for name in names})
    return FIELDS + b" ".join(lowered) if all(name in fields.NUMBERS for name in lowered) else None


class Choice(NamedTuple):
    """Which values are kept, by the settings."""

    of_header: Kinds
    of_body: Kinds
    whole: bool
    """The body is looked at as soon as the header is."""

    @property
    def keys(self) -> bool:
        """Keys that SORT and THREAD go by are kept: fields and dates are."""
        return _FIELDS in self.of_header and _DATE in self.of_header


class Caching(NamedTuple):
    """What the settings say about what is kept on disk."""

    kept: Choice
    sync: bool
    """it may be synced"""
    least: int
    """messages that a mailbox has before anything is kept"""


def choice(wanted: Sequence[str], never: Sequence[str]) -> Choice:
    """By mail_cache_fields and mail_never_cache_fields. What a header says is kept in any case."""
    excluded = {_NAMES[name] for name in never if name in _NAMES}
    if any(name[4:].lower().encode() in fields.NUMBERS for name in never if name.startswith("hdr.")):
        excluded.add(_FIELDS)
    return Choice(
        tuple(kind for kind in (_ENVELOPE, _FIELDS, _DATE) if kind not in excluded),
        tuple(kind for kind in (_BODY, _BODYSTRUCTURE, _SIZE) if kind not in excluded),
        any(_NAMES.get(name) in _WHOLE for name in wanted),
    )


class Messages:
    """The messages of one mailbox. open_body raises MessageGone."""

    def __init__(
        self,
        open_body: Callable[[int], Body],
        learn_sizes: Callable[[dict[int, int]], None],
        rendered: Rendered,
        kept: Choice,
    ) -> None:
        self._open_body = open_body
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
            records = self._find(_FIELDS, uids)
            answer = self._selection(item).answer
            return [None if record is None else answer(record) for record in records]
        if item == THREADID:
            records = self._find(_FIELDS, uids)
            return [
                None if record is None else _object(thread_id(fields.unpack(record))) for record in records
            ]
        if item == PREVIEW_LAZY:
            return [value or b"NIL" for value in self._find(_PREVIEW, uids)]
        if item == ENVELOPE and _ENVELOPE not in self._kept.of_header:
            records = self._find(_FIELDS, uids)
            return [None if record is None else envelope(fields.unpack(record)) for record in records]
        return self._find(_KIND[item], uids)

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

    def _header_at_once(self, uid: int, header: Header, items: frozenset[Item]) -> dict[Item, bytes]:
        record = fields.pack(header) or OVERSIZE
        return self._told(uid, header, record, envelope(header), items)

    def settle(self) -> None:
        """Tell what was learnt of sizes."""
        if self._sizes:
            sizes, self._sizes = self._sizes, {}
            self._learn_sizes(sizes)

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
        return self._told(uid, header, record, (yield from envelope_steps(header)), items)

    def _told(
        self, uid: int, header: Header, record: bytes, rendered: bytes, items: frozenset[Item]
    ) -> dict[Item, bytes]:
        values = {_ENVELOPE: rendered, _FIELDS: record, _DATE: _moment(header)}
        kinds = self._kept.of_header
        if kinds:
            self._rendered.keep(kinds, uid, [values[kind] for kind in kinds])
        answers = {ENVELOPE: rendered}
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
            self._rendered.keep((_PREVIEW,), uid, [answers[PREVIEW]])
        return answers

    def _of_body(
        self, uid: int, octets: int, forms: tuple[bytes, bytes], *, keep: bool = True
    ) -> dict[Item, bytes]:
        """Keep what the body says; all of it."""
        plain, extended = forms
        size = b"%d" % octets
        values = {_BODY: plain, _BODYSTRUCTURE: extended, _SIZE: size}
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

    def headers(self, uids: Sequence[int]) -> list[Header | None]:
        """Headers that have the fields of message.header.USUAL at least, parallel to uids; None where a message is gone.

        From what is kept where that is possible; what had to be read is kept. Raises StoreError.
        """
        self.look()
        ascending = array("I", sorted(set(uids)))
        records = dict(zip(ascending, self._find(_FIELDS, ascending), strict=True))
        found: list[Header | None] = []
        for uid in uids:
            record = records[uid]
            found.append(self._read_header(uid) if record is None else fields.unpack(record))
        return found

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

    def header_key(self, uid: int) -> HeaderText | None:
        """The text of a header as a collation key; None if the message is gone. Raises StoreError."""
        header = self.header(uid)
        return None if header is None else header_key(header)

    def text_keys(
        self, uid: int, most: int
    ) -> Generator[None, None, tuple[HeaderText, BodyText | None] | None]:
        """As message_keys; None if the message is gone. Raises StoreError."""
        try:
            body = self._open_body(uid)
        except MessageGone:
            return None
        try:
            if body.size <= min(most, WHOLE):
                data = body.read(0, body.size)
                header, text = stored_keys(data)
                if header is not None and text is not None:
                    return header, text
                return (yield from message_keys(Octets(BytesBody(data, body.crlf)), most, header))
            return (yield from message_keys(Octets(body), most))
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


def _moment(header: Header) -> bytes:
    """The last Date field's moment and zone, packed."""
    values = header.usual.get(b"date")
    moment = parse_date(values[-1]) if values else None
    return _MOMENT.pack(NO_DATE, 0) if moment is None else _MOMENT.pack(*moment)


def _object(value: bytes | None) -> bytes:
    """An object id ready to send (RFC 8474 section 7)."""
    return b"NIL" if value is None else b"(" + value + b")"


def _nobody(uid: int) -> None:
    return None
