"""Where the parts of a message lie, and BODY and BODYSTRUCTURE from that (RFC 2045-2046, RFC 3501 section 7.4.2).

The parser looks for delimiters with `find` over the whole text, never line by line. It keeps the delimiters of
all open multiparts: at one place the longest of them wins and among equals the innermost, so that a boundary may be a prefix
of another (RFC 2046 section 5.1.1 asks for the beginning of the line only). Each octet is searched at most once
for each open multipart.
"""

from __future__ import annotations

from dovecotpy.message.envelope import envelope
from dovecotpy.message.header import MAX_HEADER, Header
from dovecotpy.message.lines import Octets
from dovecotpy.message.parameters import (
    MESSAGE,
    PLAIN_TEXT,
    ContentType,
    Parameters,
    content_type,
    disposition,
    token,
)
from dovecotpy.message.string import string

MAX_NESTING = 100
"""Multiparts and enclosed messages inside each other; what lies deeper is one leaf."""

MAX_PARTS = 10000
"""Parts of one message; the rest is one leaf."""

MAX_BOUNDARY = 200
"""Octets; a multipart with a longer boundary is one leaf (RFC 2046 allows 70)."""

WINDOW = 1 << 18
"""Octets read at once when a large message is searched."""

OPAQUE = ContentType(b"application", b"octet-stream", (), b"application", b"octet-stream")
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
        return _encoding(self.header).lower()


def parse(octets: Octets) -> Part:
    """The tree of a message. Never raises on its content; raises what reading it raises."""
    text = octets.text()
    return _Parser(_Text(text) if text is not None else _Windows(octets)).message()


class _Text:
    """A message in memory."""

    __slots__ = ("cut", "data", "find", "size")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.find = data.find

    def read(self, start: int, end: int) -> bytes:
        return self.data[start:end]

    def newlines(self, places: list[int]) -> list[int]:
        """LFs before each place. places: ascending."""
        data = self.data
        counts = []
        count = at = 0
        for place in places:
            if place > at:
                piece = data[at:place]
                count += len(piece.replace(b"\n", b"\r\n")) - len(piece)  # four times as fast as bytes.count
                at = place
            counts.append(count)
        return counts


class _Windows:
    """A large message, read in windows."""

    __slots__ = ("octets", "size")

    def __init__(self, octets: Octets) -> None:
        self.octets = octets
        self.size = octets.size

    def read(self, start: int, end: int) -> bytes:
        return self.octets.read(start, end - start)

    def find(self, pattern: bytes, start: int, end: int | None = None) -> int:
        """As bytes.find."""
        if end is None or end > self.size:
            end = self.size
        overlap = len(pattern) - 1
        at = start
        tail = b""
        for piece in self.octets.chunks(start, end, WINDOW):
            window = tail + piece
            found = window.find(pattern)
            if found >= 0:
                return at - len(tail) + found
            at += len(piece)
            tail = window[-overlap:] if overlap else b""
        return -1

    def newlines(self, places: list[int]) -> list[int]:
        """LFs before each place. places: ascending."""
        counts = []
        count = at = 0
        for place in places:
            for piece in self.octets.chunks(at, place, WINDOW):
                count += piece.count(b"\n")
            at = max(at, place)
            counts.append(count)
        return counts


class _Open:
    """The delimiter of an open multipart and what is known of its next place."""

    __slots__ = ("clear", "found", "pattern")

    def __init__(self, boundary: bytes, at: int) -> None:
        self.pattern = b"\r\n--" + boundary
        self.found = -1
        self.clear = at
        """No occurrence starts before this place (from where the search began)."""


class _Parser:
    """One walk over a message. `event` and `level` say which delimiter ended what was read last."""

    __slots__ = ("counted", "event", "level", "open", "parts", "source")

    def __init__(self, source: _Text | _Windows) -> None:
        self.source = source
        self.open: list[_Open] = []
        self.parts = 0
        self.event = source.size
        self.level = -1
        self.counted: list[Part] = []

    def message(self) -> Part:
        part = self.entity(0, 0, PLAIN_TEXT)
        self.count_lines()
        return part

    def seek(self, at: int) -> None:
        """Find the next delimiter that starts at or after at."""
        self.event = self.source.size
        self.level = -1
        length = 0
        for level, opened in enumerate(self.open):
            if opened.found < at:
                self.search(opened, at, level)
            if opened.found >= 0 and opened.found >= at:
                closer = opened.found < self.event
                if closer or (opened.found == self.event and len(opened.pattern) >= length):
                    self.event = opened.found
                    self.level = level
                    length = len(opened.pattern)

    def search(self, opened: _Open, at: int, level: int) -> None:
        """Look for a delimiter as far as the nearest one known of the outer multiparts."""
        start = max(at, opened.clear)
        if start > self.event:
            return
        opened.found = self.source.find(
            opened.pattern, start, min(self.event + len(opened.pattern), self.source.size)
        )
        opened.clear = self.event + 1 if opened.found < 0 else opened.found

    def entity(self, start: int, depth: int, default: ContentType) -> Part:
        """A header and what it announces, up to the next delimiter of an open multipart."""
        source = self.source
        self.parts += 1
        self.seek(max(start - 2, 0) if self.open else start)
        end = self.event
        if self.parts > MAX_PARTS:
            return self.leaf(start, end)
        body_start = self.header_end(start, end)
        header = Header(source.read(start, min(body_start, start + MAX_HEADER)))
        part = Part(start, body_start, header, _content_type(header, default))
        kind = part.content_type.kind
        if kind == b"multipart":
            self.multipart(part, depth)
        elif kind == b"message" and part.content_type.subkind == b"rfc822":
            self.enclosed(part, depth)
        elif kind == b"text":
            self.counted.append(part)
        part.body_end = max(body_start, self.event)
        return part

    def leaf(self, start: int, end: int) -> Part:
        """The rest of a message that has too many parts."""
        part = Part(start, start, Header(b""), OPAQUE)
        part.body_end = max(start, end)
        return part

    def header_end(self, start: int, end: int) -> int:
        source = self.source
        limit = end + 2 if self.level >= 0 else end
        if source.read(start, min(start + 2, limit)) == b"\r\n":
            return start + 2
        at = source.find(b"\r\n\r\n", start, max(limit, start))
        return at + 4 if at >= 0 else max(limit, start)

    def enclosed(self, part: Part, depth: int) -> None:
        if depth >= MAX_NESTING:
            part.content_type = OPAQUE
            return
        self.counted.append(part)
        part.children.append(self.entity(part.body_start, depth + 1, PLAIN_TEXT))

    def multipart(self, part: Part, depth: int) -> None:
        boundary = _boundary(part.content_type.parameters)
        if depth >= MAX_NESTING or len(boundary) > MAX_BOUNDARY:
            part.content_type = OPAQUE
            return
        if not boundary:
            part.content_type = PLAIN_TEXT
            self.counted.append(part)
            return
        default = MESSAGE if part.content_type.subkind == b"digest" else PLAIN_TEXT
        level = len(self.open)
        at = part.body_start - 2
        opened = _Open(boundary, at)
        self.open.append(opened)
        self.seek(at)
        while self.level == level and self.parts <= MAX_PARTS:
            at = self.event + len(opened.pattern)
            if self.source.read(at, at + 2) == b"--":
                self.open.pop()
                self.seek(at)
                return
            line_end = self.source.find(b"\r\n", at)
            if self.parts >= MAX_PARTS:
                self.open.pop()
            part.children.append(
                self.entity(self.source.size if line_end < 0 else line_end + 2, depth + 1, default)
            )
        del self.open[level:]

    def count_lines(self) -> None:
        """Count the lines of all parts that need it in one pass."""
        places = sorted({place for part in self.counted for place in (part.body_start, part.body_end)})
        counts = dict(zip(places, self.source.newlines(places), strict=True))
        for part in self.counted:
            part.lines = counts[part.body_end] - counts[part.body_start]


def _content_type(header: Header, default: ContentType) -> ContentType:
    value = header.get(b"content-type")
    return default if value is None else content_type(value)


def _boundary(parameters: Parameters) -> bytes:
    for name, value in parameters:
        if name.lower() == b"boundary":
            return value.rstrip(b" \t")
    return b""


def _encoding(header: Header) -> bytes:
    value = header.get(b"content-transfer-encoding")
    return (token(value) if value is not None else None) or b"7bit"


def bodystructure(part: Part, extended: bool) -> bytes:
    """BODYSTRUCTURE (extended) or BODY of a part, ready to send; valid in every mode. Never raises."""
    if _is_plain(part):
        return b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" %d %d%b)' % (
            part.size,
            part.lines,
            b" NIL NIL NIL NIL" if extended else b"",
        )
    out: list[bytes] = []
    _render(part, extended, out)
    return b"".join(out)


_DESCRIBING = frozenset(
    (
        b"content-id",
        b"content-description",
        b"content-md5",
        b"content-disposition",
        b"content-language",
        b"content-location",
    )
)


def _is_plain(part: Part) -> bool:
    """Whether a part is ordinary text with nothing said about it; such a one is shown in lower case."""
    kind = part.content_type
    if kind.subkind != b"plain" or kind.kind != b"text" or len(kind.parameters) != 1:
        return False
    name, value = kind.parameters[0]
    return (
        value.lower() == b"us-ascii"
        and name.lower() == b"charset"
        and _encoding(part.header).lower() == b"7bit"
        and _DESCRIBING.isdisjoint(part.header.values)
    )


def _render(part: Part, extended: bool, out: list[bytes]) -> None:
    out.append(b"(")
    if part.is_multipart:
        _render_multipart(part, extended, out)
    else:
        _render_single(part, extended, out)
    out.append(b")")


def _render_multipart(part: Part, extended: bool, out: list[bytes]) -> None:
    if part.children:
        for child in part.children:
            _render(child, extended, out)
    else:
        out.append(_EMPTY_EXTENDED if extended else _EMPTY)
    out.append(b" " + string(part.content_type.subtype))
    if extended:
        out.append(b" " + _parameters(part.content_type.parameters))
        out.append(_extension(part.header))


_EMPTY = b'("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 0 0)'
_EMPTY_EXTENDED = _EMPTY[:-1] + b" NIL NIL NIL NIL)"
"""Stands for the parts of a multipart that has none: the grammar asks for at least one."""


def _render_single(part: Part, extended: bool, out: list[bytes]) -> None:
    kind = part.content_type
    values = part.header.values
    out.append(
        b"%b %b %b %b %b %b %d"
        % (
            b'"message"' if part.is_message else string(kind.type),
            b'"rfc822"' if part.is_message else string(kind.subtype),
            _parameters(kind.parameters),
            _text(values.get(b"content-id")),
            _text(values.get(b"content-description")),
            string(_encoding(part.header)),
            part.size,
        )
    )
    if part.is_message:
        out.append(b" %b " % envelope(part.children[0].header))
        _render(part.children[0], extended, out)
        out.append(b" %d" % part.lines)
    elif kind.kind == b"text":
        out.append(b" %d" % part.lines)
    if extended:
        out.append(b" " + _text(values.get(b"content-md5")))
        out.append(_extension(part.header))


def _text(values: list[bytes] | None) -> bytes:
    return string(values[0]) if values else b"NIL"


def _parameters(parameters: Parameters) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in parameters])


def _extension(header: Header) -> bytes:
    """Disposition, language and location, each with a space before it."""
    values = header.values
    if (
        b"content-disposition" not in values
        and b"content-language" not in values
        and b"content-location" not in values
    ):
        return b" NIL NIL NIL"
    return b" %b %b %b" % (
        _disposition(values.get(b"content-disposition")),
        _language(values.get(b"content-language")),
        _text(values.get(b"content-location")),
    )


def _disposition(values: list[bytes] | None) -> bytes:
    found = disposition(values[0]) if values else None
    return b"(%b %b)" % (string(found[0]), _parameters(found[1])) if found else b"NIL"


def _language(values: list[bytes] | None) -> bytes:
    tags = [tag.strip() for tag in values[0].split(b",")] if values else []
    tags = [string(tag) for tag in tags if tag]
    if not tags:
        return b"NIL"
    return b"(%b)" % b" ".join(tags)
