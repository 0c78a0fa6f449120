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
from binascii import a2b_qp

from dovecotpy.message.charset import ascii_compatible
from dovecotpy.message.collation import collation_key, collation_key_of
from dovecotpy.message.header import Header
from dovecotpy.message.parameters import PLAIN_TEXT, ContentType, content_type
from dovecotpy.message.structure import MAX_BOUNDARY, Part, boundary_of, multipart_ends, single_ends
from dovecotpy.message.text import BodyText, header_text
from dovecotpy.message.transfer import decode

MAX_HEAD = 16384
"""Octets of the message's header, as stored."""
MAX_PARTS = 64
"""Parts of one multipart."""
MAX_WALK = 200
"""Parts of one message at the beginning of a multipart."""
MAX_DEPTH = 3
"""Multiparts inside each other."""
MAX_FIELDS = 16
"""Fields of one header that speak of its content."""
MAX_QUOTED = 19
"""Pieces that quotation marks cut a header into, of which what is quoted is looked at apart."""
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
    """What a header says of a part without parts: the answer but for the numbers, and how its text is read."""

    __slots__ = ("alone", "begin", "encoding", "extension", "is_text", "readable")

    def __init__(
        self, ends: tuple[bytes, bytes, bytes], is_text: bool, encoding: bytes, readable: int
    ) -> None:
        self.begin, self.alone, self.extension = ends
        """what stands before the numbers, the same for a message that has no other part, and what stands behind"""
        self.is_text = is_text
        self.encoding = encoding
        self.readable = readable


_SILENT, _ASCII, _UTF8, _UNUSUAL = range(4)
"""Text of a part: not looked at; if it is ASCII; if it is UTF-8; by the other parser."""
_IS_UTF8 = frozenset((b"", b"utf-8", b"us-ascii"))


def _readable(kind: ContentType) -> int:
    if kind.kind not in (b"text", b"message"):
        return _SILENT
    charset = kind.parameter(b"charset")
    if charset and not ascii_compatible(charset):
        return _UNUSUAL
    return _UTF8 if charset.lower() in _IS_UTF8 else _ASCII


class _Multipart:
    """What a header says of a multipart."""

    __slots__ = ("delimiter", "plain", "whole")

    def __init__(self, boundary: bytes, plain: bytes, whole: bytes) -> None:
        self.delimiter = b"\n--" + boundary
        self.plain = plain
        """what stands behind the parts in BODY"""
        self.whole = whole
        """what stands behind them in BODYSTRUCTURE"""


class _Begin:
    """Begins a multipart."""


_BEGIN = _Begin()
_Walk = list[tuple[_Leaf | _Multipart | _Begin, bytes, bytes]]
"""Parts in the order of the message: a leaf, its header, its body; _BEGIN and the header of a multipart; a multipart at its end."""


class _Unusual(Exception):
    """The other parser decides."""


_known: dict[bytes, _Leaf] = {}
_keys: dict[bytes, bytes] = {}


def usual_structure(data: bytes) -> tuple[bytes, bytes, int] | None:
    """BODY and BODYSTRUCTURE, ready to send, and the octets of a message in CRLF form; None if it is not usual.

    data: the whole message as stored, lines ended by LF or CRLF. Never raises.
    """
    try:
        head, shape, text = _taken_apart(data)
        size = len(head.replace(b"\n", b"\r\n"))
        if isinstance(shape, _Leaf):
            octets = len(text.replace(b"\n", b"\r\n")) - 2
            line = b"%b %d" % (shape.alone, octets)
            if shape.is_text:
                line = b"%b %d" % (line, octets - len(text) + 1)
            return b"(%b)" % line, b"(%b%b)" % (line, shape.extension), size + octets
        walk: _Walk = []
        size += len(text) - 2 + _walk(text, shape, (), head, walk)
    except _Unusual:
        return None
    plain, whole, lines = _rendered(walk)
    return plain, whole, size + lines


def _rendered(walk: _Walk) -> tuple[bytes, bytes, int]:
    """BODY, BODYSTRUCTURE and the LFs of the parts without parts."""
    plain = []
    whole = []
    lines = 0
    for shape, _, body in walk:
        if isinstance(shape, _Leaf):
            octets = len(body.replace(b"\n", b"\r\n"))
            lines += octets - len(body)
            if shape.is_text:
                line = b"(%b %d %d" % (shape.begin, octets, octets - len(body))
            else:
                line = b"(%b %d" % (shape.begin, octets)
            plain.append(line + b")")
            whole.append(b"%b%b)" % (line, shape.extension))
        elif isinstance(shape, _Multipart):
            plain.append(shape.plain)
            whole.append(shape.whole)
        else:
            plain.append(b"(")
            whole.append(b"(")
    return b"".join(plain), b"".join(whole), lines


def usual_text(data: bytes) -> BodyText | None:
    """The text of a message without its own header as collation keys; None if it is not usual.

    Line ends are LF, but for those in what had to be decoded.

    data: as for `usual_structure`. Never raises.
    """
    try:
        head, shape, text = _taken_apart(data)
        if isinstance(shape, _Leaf):
            return BodyText(b"", _text_key(shape, text[1:]))
        walk: _Walk = []
        _walk(text, shape, (), head, walk)
        heads = [_head_key(head) for shape, head, _ in walk[1:] if head]
        return BodyText(
            b"".join(heads),
            b"".join([_text_key(shape, body) for shape, _, body in walk if isinstance(shape, _Leaf)]),
        )
    except _Unusual:
        return None


def _text_key(leaf: _Leaf, body: bytes) -> bytes:
    """The key of a part's text, with its end. Raises _Unusual."""
    if leaf.readable == _SILENT:
        return b""
    if leaf.encoding == b"quoted-printable":
        body = a2b_qp(body)
    elif leaf.encoding == b"base64":
        body = decode(body, b"base64")
    if body.isascii() and leaf.readable != _UNUSUAL:
        return body.upper() + b"\0"
    if leaf.readable != _UTF8:
        raise _Unusual
    try:
        return collation_key_of(body) + b"\0"
    except UnicodeDecodeError:
        raise _Unusual from None


def _head_key(head: bytes) -> bytes:
    """The key of a part's header, with its end."""
    key = _keys.get(head)
    if key is None:
        if head.isascii() and b"=?" not in head:
            key = head.replace(b"\n\t", b"\t").replace(b"\n ", b" ")[:-1].upper() + b"\0"
        else:
            key = collation_key(header_text(Header(head.replace(b"\n", b"\r\n")))) + b"\0"
        if len(head) <= MAX_KNOWN_OCTETS:
            if len(_keys) >= MAX_KNOWN:
                _keys.clear()
            _keys[head] = key
    return key


def _taken_apart(data: bytes) -> tuple[bytes, _Leaf | _Multipart, bytes]:
    """The header, what it says, and the text from the LF before the body on. Raises _Unusual."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
        if b"\r" in data:
            raise _Unusual
    start = 1 if data.startswith(b"\n") else data.find(b"\n\n", 0, MAX_HEAD) + 2
    if start < 2 and not data.startswith(b"\n"):
        raise _Unusual
    head = data[:start]
    fields = _content_fields(head)
    return head, _known.get(fields) or _shape(fields), data[start - 1 :]


def _walk(text: bytes, shape: _Multipart, around: tuple[bytes, ...], head: bytes, walk: _Walk) -> int:
    """Put a multipart and its parts behind what is there; the LFs of its text but for those in parts without parts. Raises _Unusual.

    text: begins with the LF before the body. around: the delimiters of the multiparts around it.
    """
    delimiter = shape.delimiter
    if len(around) >= MAX_DEPTH or len(walk) > MAX_WALK:
        raise _Unusual
    for other in around:
        if other.startswith(delimiter) or delimiter.startswith(other):
            raise _Unusual
    walk.append((_BEGIN, head, b""))
    pieces = text.split(delimiter, MAX_PARTS + 1)
    lines = len(pieces) - 1 + pieces[0].count(b"\n")
    for number in range(1, len(pieces)):
        piece = pieces[number]
        if piece.startswith(b"--"):
            if number == 1:
                break
            walk.append((shape, b"", b""))
            return lines + sum([each.count(b"\n") for each in pieces[number:]])
        head_start = piece.find(b"\n") + 1
        start = piece.find(b"\n\n", head_start - 1) + 2
        if not head_start or start < 2:
            break
        head = piece[head_start:start]
        inner = _known.get(head) or _shape_of_part(head)
        if isinstance(inner, _Leaf):
            walk.append((inner, head, piece[start:]))
            lines += piece.count(b"\n", 0, start)
        else:
            lines += piece.count(b"\n", 0, start - 1)
            lines += _walk(piece[start - 1 :], inner, (*around, delimiter), head, walk)
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
    pieces = head.split(b'"')
    if 3 <= len(pieces) <= MAX_QUOTED and len(pieces) & 1 and len(head) <= MAX_KNOWN_OCTETS:
        values = pieces[1::2]
        if all(values) and not b"".join(values).translate(None, _PLAIN):
            key = b'"'.join(pieces[0::2])
            if key not in _patterns:
                if len(_patterns) >= MAX_KNOWN:
                    _patterns.clear()
                _patterns[key] = _pattern(pieces)
            pattern = _patterns[key]
            if pattern is not None:
                return pattern.leaf(values)
    shape = _shape(_content_fields(head))
    if isinstance(shape, _Leaf):
        _remember(head, shape)
    return shape


class _Pattern:
    """What headers say that differ in nothing but what they quote, such as the names of files."""

    __slots__ = ("_begin", "_encoding", "_extension", "_in_begin", "_in_extension")

    def __init__(self, leaf: _Leaf) -> None:
        self._encoding = leaf.encoding
        self._begin, self._in_begin = _format(leaf.begin)
        self._extension, self._in_extension = _format(leaf.extension)

    def leaf(self, values: list[bytes]) -> _Leaf:
        """What the header says that quotes these values."""
        begin = self._begin % tuple([values[place] for place in self._in_begin])
        extension = self._extension % tuple([values[place] for place in self._in_extension])
        return _Leaf((begin, begin, extension), False, self._encoding, _SILENT)


def _format(text: bytes) -> tuple[bytes, tuple[int, ...]]:
    """A format for a text with marks, and the numbers of those."""
    pieces = _MARKED.split(text.replace(b"%", b"%%"))
    return b"%b".join(pieces[0::2]), tuple(map(int, pieces[1::2]))


_MARK = b"qzv%02dvzq"
_MARKED = re.compile(rb"qzv([0-9][0-9])vzq")
_PLAIN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ._-+@()"
"""Octets that are sent as they are and of which none has a meaning within quotes."""
_patterns: dict[bytes, _Pattern | None] = {}


def _pattern(pieces: list[bytes]) -> _Pattern | None:
    """What is said whatever is quoted; None where that counts for more than to be told. pieces: of a header, every other one quoted.

    A part that is not text has no charset to look at. What is told of it other than in quotes, of which a number might depend on the value, makes no pattern.
    """
    if any(b"qzv" in piece for piece in pieces):
        return None
    marked = list(pieces)
    marked[1::2] = [_MARK % number for number in range(len(pieces) // 2)]
    try:
        shape = _shape(_content_fields(b'"'.join(marked)))
    except _Unusual:
        return None
    if not isinstance(shape, _Leaf) or shape.readable != _SILENT or b"{" in shape.begin + shape.extension:
        return None
    return _Pattern(shape)


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
    part = Part(0, 0, header, kind)
    leaf = _Leaf(single_ends(part), kind.kind == b"text", part.encoding, _readable(kind))
    _remember(fields, leaf)
    return leaf


def _any_multipart(header: Header, kind: ContentType) -> _Multipart:
    boundary = boundary_of(kind)
    if not boundary or len(boundary) > MAX_BOUNDARY or kind.subkind == b"digest":
        raise _Unusual
    return _Multipart(boundary, *multipart_ends(Part(0, 0, header, kind)))
