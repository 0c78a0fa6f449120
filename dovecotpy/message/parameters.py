"""Content-Type, Content-Disposition and their parameters (RFC 2045 section 5.1, RFC 2183, RFC 2231).

Parameter continuations (`name*0`, `name*1*`) are joined under `name` or `name*`; percent encoding and charset
stay as they are: decoding is the client's matter.
"""

from __future__ import annotations

import re

from dovecotpy.message.string import string
from dovecotpy.message.tokens import quoted_string, skip_blanks

MAX_PARAMETERS = 1000
"""Parameters of one field; what follows is left out."""

CACHE = 512
"""Values remembered; then the memory starts anew."""

MAX_CACHED = 100
"""Octets of the longest value remembered."""

Parameters = tuple[tuple[bytes, bytes], ...]

_TOKEN = re.compile(rb'[^\s\x00()<>@,;:\\"/\[\]?=]+')
_USUAL_TYPE = re.compile(rb"([A-Za-z0-9.+_-]+)/([A-Za-z0-9.+_-]+)[ \t]*(?=;|\Z)")
_USUAL_PARAMETER = re.compile(
    rb';[ \t]*([A-Za-z0-9_-]+)=(?:"([^"\\]*)"|([A-Za-z0-9!#$%&\'+.^_`{|}~-]+))[ \t]*(?=;|\Z)'
)
_VALUE = re.compile(rb'[^\s\x00;"(]+')
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_CONTINUATION = re.compile(rb"(.*[^*])\*([0-9]{1,4})(\*?)", re.DOTALL)


class ContentType:
    """A media type in the sender's case; kind and subkind are the same in lower case."""

    __slots__ = ("_rendered", "kind", "parameters", "subkind", "subtype", "type")

    def __init__(self, media: bytes, subtype: bytes, parameters: Parameters) -> None:
        self.type = media
        self.subtype = subtype
        self.parameters = parameters
        self.kind = media.lower()
        self.subkind = subtype.lower()
        self._rendered: bytes | None = None

    @property
    def rendered(self) -> bytes:
        """Type, subtype and parameters as in BODYSTRUCTURE."""
        if self._rendered is None:
            media = b'"message" "rfc822"'
            if self.kind != b"message" or self.subkind != b"rfc822":
                media = b"%b %b" % (string(self.type), string(self.subtype))
            self._rendered = b"%b %b" % (media, render(self.parameters))
        return self._rendered

    def parameter(self, name: bytes) -> bytes:
        """The value of the first parameter of this name, which is in lower case; empty if there is none."""
        for each, value in self.parameters:
            if each.lower() == name:
                return value
        return b""


PLAIN_TEXT = ContentType(b"text", b"plain", ((b"charset", b"us-ascii"),))
"""What a part without, or with an unreadable, Content-Type is (RFC 2045 section 5.2)."""

MESSAGE = ContentType(b"message", b"rfc822", ())
"""What a part of multipart/digest without Content-Type is (RFC 2046 section 5.1.5)."""

_known: dict[bytes, ContentType] = {}


def content_type(value: bytes) -> ContentType:
    """The media type of an unfolded Content-Type value. Never raises: a type that cannot be read is text/plain."""
    known = _known.get(value)
    if known is None:
        known = _content_type(value)
        if len(value) <= MAX_CACHED and known.kind != b"multipart":
            if len(_known) >= CACHE:
                _known.clear()
            _known[value] = known
    return known


def _content_type(value: bytes) -> ContentType:
    media, subtype, at = _media_type(value)
    parameters = parse_parameters(value, at)
    if media.lower() == b"text" and not any(
        name.lower() in (b"charset", b"charset*") for name, _ in parameters
    ):
        parameters += ((b"charset", b"us-ascii"),)
    return ContentType(media, subtype, parameters)


def _names_charset(parameters: Parameters) -> bool:
    return any(name.lower() in (b"charset", b"charset*") for name, _ in parameters)


def _media_type(value: bytes) -> tuple[bytes, bytes, int]:
    """Type, subtype and the place after them; text/plain where one of them is missing."""
    found = _USUAL_TYPE.match(value)
    if found:
        return found.group(1), found.group(2), found.end()
    found = _TOKEN.match(value, skip_blanks(value, 0))
    if not found:
        return b"text", b"plain", 0
    media = found.group()
    at = skip_blanks(value, found.end())
    if value[at : at + 1] != b"/":
        return b"text", b"plain", at
    found = _TOKEN.match(value, skip_blanks(value, at + 1))
    if not found:
        return b"text", b"plain", at
    return media, found.group(), found.end()


def disposition(value: bytes) -> tuple[bytes, Parameters] | None:
    """Type and parameters of an unfolded Content-Disposition value, or None where there is no type."""
    found = _TOKEN.match(value, skip_blanks(value, 0))
    if not found:
        return None
    return found.group(), parse_parameters(value, found.end())


def token(value: bytes) -> bytes | None:
    """The first token of a value such as Content-Transfer-Encoding, or None if another follows or there is none."""
    found = _TOKEN.match(value, skip_blanks(value, 0))
    if not found:
        return None
    return found.group() if skip_blanks(value, found.end()) >= len(value) else None


def extended_value(value: bytes) -> bytes:
    """The octets of an extended value `charset'language'percent-encoded` (RFC 2231 section 4), charset disregarded."""
    text = value.split(b"'", 2)[-1]
    return _PERCENT.sub(lambda found: bytes.fromhex(found.group(1).decode("ascii")), text)


def render(parameters: Parameters) -> bytes:
    """The parameter list of a BODYSTRUCTURE: NIL or names and values in turn."""
    if not parameters:
        return b"NIL"
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in parameters])


def parse_parameters(value: bytes, at: int) -> Parameters:
    """The parameters from place at on; text that is no parameter is skipped up to the next semicolon."""
    plain: list[tuple[bytes, bytes]] = []
    size = len(value)
    while at < size:
        found = _USUAL_PARAMETER.match(value, at)
        if found is None:
            return _any_parameters(value, at, plain)
        name, quoted, text = found.groups()
        plain.append((name, text if quoted is None else quoted))
        at = found.end()
        if len(plain) >= MAX_PARAMETERS:
            break
    return tuple(plain)


def _any_parameters(value: bytes, at: int, plain: list[tuple[bytes, bytes]]) -> Parameters:
    """parse_parameters() for any spelling; plain: those found before."""
    pieces: dict[bytes, list[tuple[int, bytes, bytes, bytes]]] = {}
    size = len(value)
    for _ in range(MAX_PARAMETERS - len(plain)):
        at = value.find(b";", at) + 1
        if at == 0:
            break
        at = skip_blanks(value, at)
        found = _TOKEN.match(value, at)
        if not found:
            continue
        name = found.group()
        at = skip_blanks(value, found.end())
        if at >= size or value[at] != 0x3D:
            continue
        text, at = _value(value, skip_blanks(value, at + 1))
        continued = _CONTINUATION.fullmatch(name) if b"*" in name else None
        if continued:
            base, number, star = continued.groups()
            pieces.setdefault(base.lower(), []).append((int(number), base, star, text))
        else:
            plain.append((name, text))
    for key in pieces:
        plain.append(_joined(pieces[key]))
    return tuple(plain)


def _value(value: bytes, at: int) -> tuple[bytes, int]:
    """A parameter's value. An unquoted one may hold what only a quoted one should, even blanks, up to the semicolon."""
    if value[at : at + 1] == b'"':
        return quoted_string(value, at + 1)
    end = value.find(b";", at)
    if end < 0:
        end = len(value)
    found = _VALUE.match(value, at, end)
    return (found.group(), end) if found else (b"", end)


def _joined(pieces: list[tuple[int, bytes, bytes, bytes]]) -> tuple[bytes, bytes]:
    pieces.sort()
    extended = any(star for _, _, star, _ in pieces)
    name = pieces[0][1] + (b"*" if extended else b"")
    return name, b"".join([text for _, _, _, text in pieces])
