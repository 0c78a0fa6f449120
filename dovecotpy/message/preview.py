"""The first words of a message, as a list of messages shows them (RFC 8970). Pure, and bounded whatever the message is."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dovecotpy.message.lines import Octets
from dovecotpy.message.parameters import disposition
from dovecotpy.message.structure import Part
from dovecotpy.message.text import part_text

LIMIT = 200
"""Characters of a preview (RFC 8970 section 3.2: 200, never more than 256)."""
MAX_LOOKED_AT = 1 << 19
"""Characters of one part that are looked at."""
MAX_TAGS = 20_000
"""Tags of HTML that are looked at."""
MAX_PARTS = 100
"""Parts that are looked at."""

_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202f\u034f\u00ad\ufeff]+")
_TAG = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)")
_HIDDEN = re.compile(r"</(style|script|head|title)\b", re.IGNORECASE)
_HIDING = frozenset(("style", "script", "head", "title"))
_INLINE = frozenset(
    ("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "em", "font", "i", "ins", "mark", "s", "small", "span",
     "strong", "sub", "sup", "tt", "u", "wbr")
)  # fmt: skip
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9A-Fa-f]{1,6}|[A-Za-z]{2,8});")
_NAMED = {
    "amp": "&", "lt": "<", "gt": ">", "quot": '"', "apos": "'", "nbsp": " ", "zwnj": "", "zwj": "", "shy": "", "copy": "©",
    "reg": "®", "trade": "™", "hellip": "…", "ndash": "–", "mdash": "—", "lsquo": "‘", "rsquo": "’", "sbquo": "‚",
    "ldquo": "“", "rdquo": "”", "bdquo": "„", "laquo": "«", "raquo": "»", "bull": "•", "middot": "·", "euro": "€",
    "pound": "£", "auml": "ä", "ouml": "ö", "uuml": "ü", "Auml": "Ä", "Ouml": "Ö", "Uuml": "Ü", "szlig": "ß",
    "agrave": "à", "aacute": "á", "acirc": "â", "aring": "å", "Aring": "Å", "aelig": "æ", "AElig": "Æ", "ccedil": "ç",
    "egrave": "è", "eacute": "é", "ecirc": "ê", "euml": "ë", "Eacute": "É", "igrave": "ì", "iacute": "í", "icirc": "î",
    "iuml": "ï", "ntilde": "ñ", "ograve": "ò", "oacute": "ó", "ocirc": "ô", "oslash": "ø", "Oslash": "Ø",
    "ugrave": "ù", "uacute": "ú", "ucirc": "û",
}  # fmt: skip

NAMED_CHARACTERS = _NAMED
"""Characters by the names of their entities in HTML."""


def preview(octets: Octets, message: Part) -> str:
    """Up to LIMIT characters of the first text that people read, blanks as single spaces; empty if there is none.

    Quoted lines count only where nothing else stands. Never raises on content; raises what reading raises.
    """
    for part in _texts(message):
        words = _shown(octets, part)
        if words:
            return words
    return ""


def _texts(message: Part) -> Iterator[Part]:
    """Text parts, that of each alternative first which is plain."""
    waiting = [message]
    for _ in range(MAX_PARTS):
        if not waiting:
            return
        part = waiting.pop()
        kind = part.content_type
        if part.children:
            children = part.children[:MAX_PARTS]
            if kind.kind == b"multipart" and kind.subkind == b"alternative":
                children = sorted(children, key=_plain_last)
            waiting.extend(reversed(children))
        elif kind.kind == b"text" and kind.subkind in (b"plain", b"html") and not _attached(part):
            yield part


def _plain_last(part: Part) -> bool:
    return part.content_type.subkind != b"plain"


def _attached(part: Part) -> bool:
    value = part.header.get(b"content-disposition")
    found = disposition(value) if value else None
    return found is not None and found[0].lower() == b"attachment"


def _shown(octets: Octets, part: Part) -> str:
    """The words of a part that a preview shows."""
    pieces: list[str] = []
    length = 0
    html = part.content_type.subkind == b"html"
    for piece in part_text(octets, part):
        pieces.append(piece[: MAX_LOOKED_AT - length])
        length += len(piece)
        if length >= MAX_LOOKED_AT:
            break
        if not html and len(_squeezed(_unquoted(piece))) >= LIMIT:
            break
    text = "".join(pieces)
    if html:
        return _cut(_squeezed(html_text(text)))
    return _cut(_squeezed(_unquoted(text)) or _squeezed(text))


def _unquoted(text: str) -> str:
    """Text without the lines that it quotes."""
    if ">" not in text:
        return text
    return "\n".join([line for line in text.split("\n") if not line.startswith(">")])


def _squeezed(text: str) -> str:
    return _BLANKS.sub(" ", text).strip()


def _cut(text: str) -> str:
    """At most LIMIT characters, cut between words where that costs little."""
    if len(text) <= LIMIT:
        return text
    end = text.rfind(" ", LIMIT - 20, LIMIT + 1)
    return text[: end if end > 0 else LIMIT].rstrip()


def untagged(html: str) -> str:
    """HTML without its tags, so that words are whole that tags stand in; entities resolved. NULs end what a tag can be."""
    return _ENTITY.sub(_resolved, _TAGGED.sub("", html))


_TAGGED = re.compile(r"<[a-zA-Z/!?][^<>\0]*+>")


def html_text(html: str) -> str:
    """What HTML shows, roughly and in linear time: no tags, comments, styles or scripts; entities resolved."""
    pieces: list[str] = []
    at = 0
    for _ in range(MAX_TAGS):
        start = html.find("<", at)
        if start < 0:
            pieces.append(html[at:])
            break
        pieces.append(html[at:start])
        at = _behind_tag(html, start, pieces)
        if at < 0:
            break
    return _ENTITY.sub(_resolved, "".join(pieces))


def _behind_tag(html: str, start: int, pieces: list[str]) -> int:
    """The place behind what begins with this `<`; -1 if it reaches to the end."""
    if html.startswith("<!--", start):
        end = html.find("-->", start + 4)
        return end + 3 if end >= 0 else -1
    tag = _TAG.match(html, start + 1)
    if tag is None and html[start + 1 : start + 2] not in ("!", "?"):
        pieces.append("<")
        return start + 1
    end = html.find(">", start)
    if end < 0:
        return -1
    name = tag.group(1).lower() if tag else ""
    if name not in _INLINE:
        pieces.append(" ")
    if name in _HIDING and html[start + 1] != "/" and html[end - 1] != "/":
        for closed in _HIDDEN.finditer(html, end):
            if closed.group(1).lower() == name:
                end = html.find(">", closed.end())
                return end + 1 if end >= 0 else -1
        return -1
    return end + 1


def _resolved(entity: re.Match[str]) -> str:
    name = entity.group(1)
    if name[0] != "#":
        return _NAMED.get(name, entity.group())
    number = int(name[2:], 16) if name[1] in "xX" else int(name[1:])
    return chr(number) if 0 < number < 0x110000 and not 0xD800 <= number < 0xE000 else ""
