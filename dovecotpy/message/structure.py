"""Where the parts of a message lie, and BODY and BODYSTRUCTURE from that (RFC 2045-2046, RFC 3501 section 7.4.2).

The parser looks for delimiters with `find` over the whole text, never line by line. It keeps the delimiters of
all open multiparts: at one place the longest of them wins and among equals the innermost, so that a boundary may be a prefix
of another (RFC 2046 section 5.1.1 asks for the beginning of the line only). Each octet is searched at most once
for each open multipart.
"""

from __future__ import annotations

from collections.abc import Generator

from dovecotpy.message.envelope import envelope_steps
from dovecotpy.message.header import MAX_HEADER, Header
from dovecotpy.message.lines import Octets
from dovecotpy.message.parameters import (
    MESSAGE,
    PLAIN_TEXT,
    ContentType,
    content_type,
    disposition,
    extended_value,
    render,
    token,
)
from dovecotpy.message.source import Source, newlines, source
from dovecotpy.message.steps import finished
from dovecotpy.message.string import string

MAX_NESTING = 100
"""Multiparts and enclosed messages inside each other; what lies deeper is one leaf."""

MAX_PARTS = 10000
"""Parts of one message; the rest of it is one leaf."""

MAX_BOUNDARY = 200
"""Octets; a multipart with a longer boundary is one leaf (RFC 2046 allows 70)."""

MAX_SEARCH = 8
"""How many times its own size a message may be searched, or SMALL_SEARCH octets if that is more; then the rest
is one leaf. Each open multipart searches at most once."""

SMALL_SEARCH = 100 << 20

MAX_HEADERS = 4 << 20
"""Octets of all headers of one message that are kept while it is taken apart; then the rest is one leaf."""

STEP = 4 << 20
"""Octets that are looked at between two pauses."""
LEAST_STEP = 1 << 16
"""Octets that are looked at in one go, however soon a pause is due."""

PART_WORK = 8192
"""What taking one part apart costs, in octets looked at."""

MAX_ENCODINGS = 100
"""Spellings of Content-Transfer-Encoding that are remembered."""

OPAQUE = ContentType(b"application", b"octet-stream", ())
"""What a part is shown as that a bound keeps from being taken apart (RFC 2046 section 4.5.1)."""


class Part:
    """One part: where its header and body lie, in octets of the CRLF form, and what the header says."""

    __slots__ = ("body_end", "body_start", "children", "content_type", "header", "lines", "start")

    def __init__(self, start: int, body_start: int, header: Header, kind: ContentType) -> None:
        self.start = start
        self.body_start = body_start
        """Also the end of the header, which includes the empty line."""
        self.body_end = body_start
        self.header = header
        self.content_type = kind
        self.lines = 0
        """LFs in the body of a text part or an enclosed message; 0 for other parts."""
        self.children: list[Part] = []
        """Of a multipart its parts; of an enclosed message the one message."""

    @property
    def is_multipart(self) -> bool:
        """Whether the children are the parts of a multipart."""
        return self.content_type.kind == b"multipart"

    @property
    def is_message(self) -> bool:
        """Whether the one child is an enclosed message."""
        return self.content_type.kind == b"message" and bool(self.children)

    @property
    def size(self) -> int:
        """Octets of the body as transferred."""
        return self.body_end - self.body_start

    @property
    def encoding(self) -> bytes:
        """Content-Transfer-Encoding in lower case; 7bit where it is missing or no token."""
        return _encoding(self.header)[0]


Steps = Generator[None, None, Part]
BASIC = frozenset((b"rfc822",))
GLOBAL = BASIC | {b"global"}
"""With messages whose headers are UTF-8 (RFC 6532 section 3.7)."""


def parse(octets: Octets) -> Part:
    """The tree of a message. Never raises on its content; raises what reading it raises."""
    return finished(parse_steps(octets))


def parse_steps(octets: Octets, header: Header | None = None, enclosed: frozenset[bytes] = BASIC) -> Steps:
    """As `parse`, in steps of no more than about STEP octets of work: pauses with each yield.

    header: what `whole_header` makes of the text, where somebody has it already. enclosed: the subtypes of message
    that are taken apart.
    """
    text = octets.text()
    if text is None:
        yield from octets.measure()
    else:
        header = header or whole_header(text)
        part = _single(octets, text, header, enclosed)
        if part is not None:
            return part
    return (yield from _Parser(source(octets), header, enclosed).message())


def whole_header(text: bytes) -> Header:
    """The header of a message in CRLF form, as the parser sees it."""
    if text.startswith(b"\r\n"):
        return Header(b"\r\n")
    at = text.find(b"\r\n\r\n", 0, MAX_HEADER)
    return Header(text[: at + 4 if at >= 0 else MAX_HEADER])


def _single(octets: Octets, text: bytes, header: Header, enclosed: frozenset[bytes]) -> Part | None:
    """The tree of a message in one part; None if it must be taken apart."""
    body_start = _body_start(text, header)
    value = header.get(b"content-type")
    kind = PLAIN_TEXT if value is None else content_type(value)
    if kind.kind == b"multipart" or (kind.kind == b"message" and kind.subkind in enclosed):
        return None
    part = Part(0, body_start, header, kind)
    part.body_end = len(text)
    if kind.kind == b"text":
        part.lines = octets.newlines_from(body_start)
    return part


def _body_start(text: bytes, header: Header) -> int:
    """Where a message's body begins, whose header may be longer than what is looked at of it."""
    start = len(header.raw)
    if start < MAX_HEADER:
        return start
    at = text.find(b"\r\n\r\n", start - 4)
    return at + 4 if at >= 0 else len(text)


class _Open:
    """The delimiter of an open multipart and what is known of its next place."""

    __slots__ = ("clear", "found", "length", "pattern")

    def __init__(self, boundary: bytes, at: int) -> None:
        self.pattern = b"\r\n--" + boundary
        self.length = len(self.pattern)
        self.found = -1
        self.clear = at
        """None starts between the place where the search began and this one."""


class _Parser:
    """One walk over a message. `event` and `level` say which delimiter ended what was read last."""

    __slots__ = (
        "budget",
        "counted",
        "event",
        "first",
        "headers",
        "level",
        "open",
        "messages",
        "parts",
        "reached",
        "source",
        "work",
    )

    def __init__(self, source: Source, header: Header | None, messages: frozenset[bytes]) -> None:
        self.source = source
        self.messages = messages
        """the subtypes of message that are taken apart"""
        self.first = header
        """The message's own header, if it is known."""
        self.open: list[_Open] = []
        self.parts = 0
        self.event = source.size
        self.level = -1
        self.counted: list[Part] = []
        self.budget = max(MAX_SEARCH * source.size, SMALL_SEARCH)
        self.headers = 0
        """octets of headers that are kept"""
        self.reached = 0
        """the end of the last part, with the line end of its header that is the delimiter's as well"""
        self.work = 0
        """octets since the last pause, each part as PART_WORK"""

    def message(self) -> Steps:
        part = yield from self.entity(0, 0, PLAIN_TEXT)
        yield from self.count_lines()
        return part

    def seek(self, at: int) -> Generator[None, None, None]:
        """Find the next delimiter that starts at or after at."""
        self.event = self.source.size
        self.level = -1
        length = 0
        for level, opened in enumerate(self.open):
            found = opened.found
            if found < at:
                found = yield from self.search(opened, at)
            if found >= 0 and (found < self.event or (found == self.event and opened.length >= length)):
                self.event = found
                self.level = level
                length = opened.length

    def search(self, opened: _Open, at: int) -> Generator[None, None, int]:
        """Look for a delimiter as far as the nearest one known of the outer multiparts."""
        start = max(at, opened.clear)
        if start > self.event:
            return -1
        found = yield from self.find(opened.pattern, start, self.event + opened.length)
        opened.found = found
        opened.clear = self.event + 1 if found < 0 else found
        self.budget -= opened.clear - start
        return found

    def find(self, pattern: bytes, start: int, end: int) -> Generator[None, None, int]:
        """As bytes.find, in steps."""
        at = start
        overlap = len(pattern) - 1
        while True:
            stop = min(at + max(STEP - self.work, LEAST_STEP), end)
            found = self.source.find(pattern, at, stop)
            self.work += (found if found >= 0 else stop) - at
            if self.work >= STEP:
                self.work = 0
                yield
            if found >= 0 or stop >= end:
                return found
            at = stop - overlap

    def entity(self, start: int, depth: int, default: ContentType) -> Steps:
        """A header and what it announces, up to the next delimiter of an open multipart."""
        self.parts += 1
        self.work += PART_WORK
        if self.parts > MAX_PARTS or self.budget < 0 or self.headers > MAX_HEADERS:
            return (yield from self.rest(start))
        if self.open:
            yield from self.seek(start - 2)
        body_start = yield from self.header_end(start)
        header = self.first or Header(self.source.read(start, min(body_start, start + MAX_HEADER)))
        self.first = None
        self.headers += len(header.raw)
        self.work += 2 * len(header.raw)
        value = header.get(b"content-type")
        part = Part(start, body_start, header, default if value is None else content_type(value))
        kind = part.content_type.kind
        if kind == b"text":
            self.counted.append(part)
        elif kind == b"multipart":
            yield from self.multipart(part, depth)
        elif kind == b"message" and part.content_type.subkind in self.messages:
            yield from self.enclosed(part, depth)
        part.body_end = max(body_start, self.event)
        if part.children:
            part.body_end = max(part.body_end, self.reached)
        self.reached = part.body_end
        if self.level >= 0 and not part.children and start <= self.event < body_start:
            # Nothing follows the header: its last line end is the delimiter's (RFC 2046 section 5.1.1).
            part.body_start = part.body_end = self.event
            part.header = Header(header.raw[: self.event - start])
        return part

    def rest(self, start: int) -> Steps:
        """What follows when a bound of the whole message is passed."""
        self.open.clear()
        yield from self.seek(start)
        part = Part(start, start, Header(b""), OPAQUE)
        part.body_end = self.event
        return part

    def header_end(self, start: int) -> Generator[None, None, int]:
        """After the empty line, whose line end may be that of the delimiter that follows."""
        limit = max(self.event + 2 if self.level >= 0 else self.event, start)
        if limit >= start + 2 and self.source.startswith(b"\r\n", start):
            return start + 2
        at = yield from self.find(b"\r\n\r\n", start, limit)
        return at + 4 if at >= 0 else limit

    def enclosed(self, part: Part, depth: int) -> Generator[None, None, None]:
        if depth >= MAX_NESTING:
            part.content_type = OPAQUE
            return
        self.counted.append(part)
        part.children.append((yield from self.entity(part.body_start, depth + 1, PLAIN_TEXT)))

    def multipart(self, part: Part, depth: int) -> Generator[None, None, None]:
        boundary = boundary_of(part.content_type)
        if depth >= MAX_NESTING or len(boundary) > MAX_BOUNDARY:
            part.content_type = OPAQUE
            return
        if not boundary:
            part.content_type = PLAIN_TEXT
            self.counted.append(part)
            return
        default = MESSAGE if part.content_type.subkind == b"digest" else PLAIN_TEXT
        size = self.source.size
        level = len(self.open)
        at = part.body_start - 2
        opened = _Open(boundary, at)
        self.open.append(opened)
        yield from self.seek(at)
        while self.level == level:
            at = self.event + opened.length
            if self.source.startswith(b"--", at):
                self.open.pop()
                yield from self.seek(at)
                return
            line_end = yield from self.find(b"\r\n", at, size)
            part.children.append(
                (yield from self.entity(size if line_end < 0 else line_end + 2, depth + 1, default))
            )
        del self.open[level:]

    def count_lines(self) -> Generator[None, None, None]:
        """Count the lines of all parts that need it in one pass."""
        if len(self.counted) == 1:
            only = self.counted[0]
            if only.body_end - only.body_start < MAX_HEADER:
                only.lines = newlines(self.source.read(only.body_start, only.body_end))
                return
        places = sorted({place for part in self.counted for place in (part.body_start, part.body_end)})
        counts: dict[int, int] = {}
        count = at = 0
        for place in places:
            while at < place:
                end = min(at + STEP - self.work, place)
                count += self.source.newlines(at, end)
                self.work += end - at
                at = end
                if self.work >= STEP:
                    self.work = 0
                    yield
            counts[place] = count
        for part in self.counted:
            part.lines = counts[part.body_end] - counts[part.body_start]


def boundary_of(kind: ContentType) -> bytes:
    """The boundary of a multipart; empty if there is none."""
    boundary = kind.parameter(b"boundary")
    if not boundary:
        boundary = extended_value(kind.parameter(b"boundary*"))
    return boundary.rstrip(b" \t")


_encodings: dict[bytes, tuple[bytes, bytes]] = {}
_SEVEN_BIT = (b"7bit", b'"7bit"')


def _encoding(header: Header) -> tuple[bytes, bytes]:
    """Content-Transfer-Encoding in lower case, and as in BODYSTRUCTURE."""
    value = header.get(b"content-transfer-encoding")
    if value is None:
        return _SEVEN_BIT
    known = _encodings.get(value)
    if known is None:
        name = token(value) or b"7bit"
        known = (name.lower(), string(name))
        if len(_encodings) < MAX_ENCODINGS:
            _encodings[value] = known
    return known


def bodystructure(part: Part, extended: bool) -> bytes:
    """BODYSTRUCTURE (extended) or BODY of a part, ready to send; valid in every mode. Never raises."""
    plain, whole = bodystructures(part)
    return whole if extended else plain


def bodystructures(part: Part) -> tuple[bytes, bytes]:
    """BODY and BODYSTRUCTURE of a part."""
    return finished(bodystructure_steps(part))


def bodystructure_steps(part: Part) -> Generator[None, None, tuple[bytes, bytes]]:
    """As `bodystructures`, with a pause after each RENDERED parts."""
    if not part.children and part.content_type.kind != b"multipart":
        plain = _PLAIN + b" %d %d" % (part.size, part.lines) if _is_plain(part) else _leaf(part)
        return b"(%b)" % plain, b"(%b%b)" % (plain, _single_extension(part))
    plain_out: list[bytes] = []
    whole_out: list[bytes] = []
    yield from _render(part, plain_out, whole_out)
    return b"".join(plain_out), b"".join(whole_out)


_PLAIN = b'"text" "plain" ("charset" "us-ascii") NIL NIL "7bit"'


def _is_plain(part: Part) -> bool:
    """Whether a message is nothing but text in US-ASCII, which is told in lower case whatever the sender's case."""
    kind = part.content_type
    if kind.subkind != b"plain" or kind.kind != b"text" or len(kind.parameters) != 1:
        return False
    name, value = kind.parameters[0]
    return (
        value.lower() == b"us-ascii"
        and name.lower() == b"charset"
        and _encoding(part.header)[0] == b"7bit"
        and _ANY_DESCRIBING.isdisjoint(part.header.usual)
    )


RENDERED = 256
"""Parts that are rendered between two pauses."""


def _render(part: Part, plain: list[bytes], whole: list[bytes]) -> Generator[None, None, None]:
    """Both forms of a part, put behind what is there."""
    if part.is_multipart:
        yield from _render_multipart(part, plain, whole)
        return
    leaf = _leaf(part)
    if part.children:
        start = b"(%b %b " % (leaf, (yield from envelope_steps(part.children[0].header)))
        plain.append(start)
        whole.append(start)
        yield from _render(part.children[0], plain, whole)
        plain.append(b" %d)" % part.lines)
        whole.append(b" %d%b)" % (part.lines, _single_extension(part)))
        return
    plain.append(b"(%b)" % leaf)
    whole.append(b"(%b%b)" % (leaf, _single_extension(part)))
    if len(plain) % RENDERED == 0:
        yield


def _render_multipart(part: Part, plain: list[bytes], whole: list[bytes]) -> Generator[None, None, None]:
    plain.append(b"(")
    whole.append(b"(")
    if part.children:
        for child in part.children:
            yield from _render(child, plain, whole)
    else:
        plain.append(_EMPTY)
        whole.append(_EMPTY_EXTENDED)
    plain_end, whole_end = multipart_ends(part)
    plain.append(plain_end)
    whole.append(whole_end)


def multipart_ends(part: Part) -> tuple[bytes, bytes]:
    """What stands behind the parts of a multipart in BODY and in BODYSTRUCTURE."""
    kind = part.content_type
    subtype = string(kind.subtype)
    return b" %b)" % subtype, b" %b %b%b)" % (subtype, render(kind.parameters), _extension(part.header))


_EMPTY = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)'
_EMPTY_EXTENDED = _EMPTY[:-1] + b" NIL NIL NIL NIL)"
"""Stands for the parts of a multipart that has none: the grammar asks for at least one."""


def single_ends(part: Part) -> tuple[bytes, bytes, bytes]:
    """Of a part without parts: what stands before its size, the same if it is the whole message, and what stands behind its numbers in BODYSTRUCTURE."""
    begin = _begin(part)
    return begin, _PLAIN if _is_plain(part) else begin, _single_extension(part)


def _leaf(part: Part) -> bytes:
    """What every single part begins with: up to its size, and for text its lines."""
    begin = b"%b %d" % (_begin(part), part.size)
    if part.content_type.kind == b"text" and not part.children:
        return b"%b %d" % (begin, part.lines)
    return begin


def _begin(part: Part) -> bytes:
    values = part.header.usual
    described = _NOT_DESCRIBED
    if not _DESCRIBING.isdisjoint(values):
        described = (_text(values.get(b"content-id")), _text(values.get(b"content-description")))
    return b"%b %b %b %b" % (part.content_type.rendered, *described, _encoding(part.header)[1])


_DESCRIBING = frozenset((b"content-id", b"content-description"))
_ANY_DESCRIBING = _DESCRIBING | {
    b"content-md5",
    b"content-disposition",
    b"content-language",
    b"content-location",
}
_NOT_DESCRIBED = (b"NIL", b"NIL")


def _single_extension(part: Part) -> bytes:
    """What stands behind a single part in BODYSTRUCTURE."""
    values = part.header.usual
    if _ADDED.isdisjoint(values):
        return b" NIL NIL NIL NIL"
    return b" %b%b" % (_text(values.get(b"content-md5")), _extension(part.header))


def _text(values: list[bytes] | None) -> bytes:
    return string(values[0]) if values else b"NIL"


def _extension(header: Header) -> bytes:
    """Disposition, language and location, each with a space before it."""
    values = header.usual
    if _EXTENSION.isdisjoint(values):
        return b" NIL NIL NIL"
    return b" %b %b %b" % (
        _disposition(values.get(b"content-disposition")),
        _language(values.get(b"content-language")),
        _text(values.get(b"content-location")),
    )


_EXTENSION = frozenset((b"content-disposition", b"content-language", b"content-location"))
_ADDED = _EXTENSION | {b"content-md5"}


def _disposition(values: list[bytes] | None) -> bytes:
    found = disposition(values[0]) if values else None
    return b"(%b %b)" % (string(found[0]), render(found[1])) if found else b"NIL"


def _language(values: list[bytes] | None) -> bytes:
    tags = [tag.strip() for tag in values[0].split(b",")] if values else []
    tags = [string(tag) for tag in tags if tag]
    return b"(%b)" % b" ".join(tags) if tags else b"NIL"
