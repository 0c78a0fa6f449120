"""BODY, BODYSTRUCTURE and size of the usual message in one go, from its stored octets: the same answers as `structure` gives, or none.

Usual is a single part, or a multipart of few parts some of which are such multiparts again, all delimited as they should be. The text is split at the
delimiters; an octet is looked at once for each multipart around it, and MAX_DEPTH bounds those. Whatever else there is, the answer is None and the
parser in `structure` decides:

* a CR that ends no line; a header without an empty line, or longer than MAX_HEAD;
* a field about content without a colon or with a blank before it, for what it means depends on the other lines;
* enclosed messages, multipart/digest, multiparts without a boundary, a part or an end;
* more than MAX_PARTS parts in a multipart, more than MAX_DEPTH multiparts inside each other;
* a boundary that begins with that of a multipart around it, or the other way round: which one a line is, depends on both.
"""

from __future__ import annotations

import re

from dovecotpy.message.header import Header
from dovecotpy.message.parameters import PLAIN_TEXT, ContentType, content_type
from dovecotpy.message.structure import MAX_BOUNDARY, Part, boundary_of, multipart_ends, single_ends

MAX_HEAD = 16384
"""Octets of the message's header, as stored."""
MAX_PARTS = 64
"""Parts of one multipart."""
MAX_DEPTH = 3
"""Multiparts inside each other."""
MAX_FIELDS = 16
"""Fields of one header that speak of its content."""
MAX_KNOWN = 500
"""Headers whose meaning is remembered; then the memory starts anew."""
MAX_KNOWN_OCTETS = 200
"""Octets of a header that is remembered, only its fields about the content counted for the message's own."""

_CONTENT = b"\ncontent-"
_BLANKS = (b" ", b"\t")
_USUAL_MULTIPART = re.compile(
    rb"Content-Type:[ \t]*multipart/([A-Za-z-]+);[ \t]*(?:\n[ \t]+)?(boundary)="
    rb"(?:\"([0-9A-Za-z'()+_,./:=?-]{1,70})\"|([0-9A-Za-z'+_.-]{1,70}))\n",
    re.IGNORECASE,
)


class _Leaf:
    """What a header says of a part without parts: the answer but for the numbers."""

    __slots__ = ("alone", "begin", "extension", "is_text")

    def __init__(self, is_text: bool, begin: bytes, alone: bytes, extension: bytes) -> None:
        self.is_text = is_text
        self.begin = begin
        self.alone = alone
        """begin, of a message that has no other part"""
        self.extension = extension


class _Multipart:
    """What a header says of a multipart."""

    __slots__ = ("delimiter", "plain", "whole")

    def __init__(self, boundary: bytes, plain: bytes, whole: bytes) -> None:
        self.delimiter = b"\n--" + boundary
        self.plain = plain
        """what stands behind the parts in BODY"""
        self.whole = whole
        """what stands behind them in BODYSTRUCTURE"""


class _Unusual(Exception):
    """The other parser decides."""


_known: dict[bytes, _Leaf] = {}


def usual_structure(data: bytes) -> tuple[bytes, bytes, int] | None:
    """BODY and BODYSTRUCTURE, ready to send, and the octets of a message in CRLF form; None if it is not usual.

    data: the whole message as stored, lines ended by LF or CRLF. Never raises.
    """
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\r" in data:
            return None
    start = 1 if data.startswith(b"\n") else data.find(b"\n\n", 0, MAX_HEAD) + 2
    if start < 2 and not data.startswith(b"\n"):
        return None
    head = data[:start]
    try:
        fields = _content_fields(head)
        shape = _known.get(fields) or _shape(fields)
        if isinstance(shape, _Leaf):
            body = data[start:]
            octets = len(body.replace(b"\n", b"\r\n"))
            size = octets + len(head.replace(b"\n", b"\r\n"))
            line = (
                b"%b %d %d" % (shape.alone, octets, octets - len(body))
                if shape.is_text
                else b"%b %d" % (shape.alone, octets)
            )
            return b"(%b)" % line, b"(%b%b)" % (line, shape.extension), size
        plain: list[bytes] = []
        whole: list[bytes] = []
        lines = _parts(data[start - 1 :], shape, (), plain, whole)
    except _Unusual:
        return None
    size = len(data) + lines - 1 + len(head.replace(b"\n", b"\r\n")) - start
    return b"".join(plain), b"".join(whole), size


def _parts(
    text: bytes, shape: _Multipart, around: tuple[bytes, ...], plain: list[bytes], whole: list[bytes]
) -> int:
    """Put a multipart behind what is there; the LFs of its text, which begins with the one before its body. Raises _Unusual."""
    delimiter = shape.delimiter
    if len(around) >= MAX_DEPTH:
        raise _Unusual
    for other in around:
        if other.startswith(delimiter) or delimiter.startswith(other):
            raise _Unusual
    plain.append(b"(")
    whole.append(b"(")
    pieces = text.split(delimiter, MAX_PARTS + 1)
    lines = len(pieces) - 1 + pieces[0].count(b"\n")
    for number in range(1, min(len(pieces), MAX_PARTS + 2)):
        piece = pieces[number]
        if piece.startswith(b"--"):
            if number == 1:
                break
            plain.append(shape.plain)
            whole.append(shape.whole)
            return lines + sum([each.count(b"\n") for each in pieces[number:]])
        head_start = piece.find(b"\n") + 1
        start = piece.find(b"\n\n", head_start - 1) + 2
        if not head_start or start < 2:
            break
        head = piece[head_start:start]
        lines += piece.count(b"\n", 0, start)
        inner = _known.get(head) or _shape_of_part(head)
        if isinstance(inner, _Leaf):
            size = len(piece) - start
            octets = len(piece[start:].replace(b"\n", b"\r\n"))
            lines += octets - size
            line = (
                b"(%b %d %d" % (inner.begin, octets, octets - size)
                if inner.is_text
                else b"(%b %d" % (inner.begin, octets)
            )
            plain.append(line + b")")
            whole.append(b"%b%b)" % (line, inner.extension))
        else:
            lines += _parts(piece[start - 1 :], inner, (*around, delimiter), plain, whole) - 1
    raise _Unusual


def _content_fields(head: bytes) -> bytes:
    """The fields about the content, one behind another. head: with its empty line. Raises _Unusual."""
    lower = b"\n" + head.lower()
    at = lower.find(_CONTENT)
    found = b""
    count = 0
    while at >= 0:
        end = lower.find(b"\n", at + 1)
        while lower[end + 1 : end + 2] in _BLANKS:
            end = lower.find(b"\n", end + 1)
        found += head[at:end]
        count += 1
        if count > MAX_FIELDS:
            raise _Unusual
        at = lower.find(_CONTENT, end)
    return found


def _shape_of_part(head: bytes) -> _Leaf | _Multipart:
    """As _shape, of a part's whole header."""
    shape = _shape(_content_fields(head))
    if isinstance(shape, _Leaf):
        _remember(head, shape)
    return shape


def _remember(key: bytes, shape: _Leaf) -> None:
    if len(key) <= MAX_KNOWN_OCTETS:
        if len(_known) >= MAX_KNOWN:
            _known.clear()
        _known[key] = shape


def _shape(fields: bytes) -> _Leaf | _Multipart:
    """What fields about the content say. Raises _Unusual."""
    usual = _USUAL_MULTIPART.fullmatch(fields)
    if usual:
        subtype, name, quoted, plain = usual.groups()
        if subtype.lower() != b"digest":
            boundary = quoted or plain
            return _Multipart(
                boundary,
                b' "%b")' % subtype,
                b' "%b" ("%b" "%b") NIL NIL NIL)' % (subtype, name, boundary),
            )
    raw = fields.replace(b"\n", b"\r\n")
    for line in raw.replace(b"\r\n\t", b"\t").replace(b"\r\n ", b" ").split(b"\r\n")[:-1]:
        name, colon, _ = line.partition(b":")
        if not colon or name != name.rstrip():
            raise _Unusual
    header = Header(raw)
    value = header.get(b"content-type")
    kind = PLAIN_TEXT if value is None else content_type(value)
    if kind.kind == b"multipart":
        return _any_multipart(header, kind)
    if kind.kind == b"message" and kind.subkind == b"rfc822":
        raise _Unusual
    leaf = _Leaf(kind.kind == b"text", *single_ends(Part(0, 0, header, kind)))
    _remember(fields, leaf)
    return leaf


def _any_multipart(header: Header, kind: ContentType) -> _Multipart:
    boundary = boundary_of(kind)
    if not boundary or len(boundary) > MAX_BOUNDARY or kind.subkind == b"digest":
        raise _Unusual
    return _Multipart(boundary, *multipart_ends(Part(0, 0, header, kind)))
