"""What FETCH is asked for (RFC 3501 sections 6.4.5 and 9: fetch-att), as a plan."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import Dialect
from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.fetch_items import FETCH_ITEMS, FetchItem
from dovecotpy.imap.registry import BINARY
from dovecotpy.imap.wire.response import string
from dovecotpy.imap.wire.tokens import Atom, String
from dovecotpy.message.section import Section

MAX_PATH = 128
"""Numbers in a section; messages are not taken apart more deeply (beyond: BAD)."""
MAX_FIELD_NAME = 998
"""Octets of a field's name; no line of a message has more (RFC 5322 section 2.1.1); beyond: BAD."""
MAX_NUMBER = 0xFFFFFFFF

_MACROS = {
    b"ALL": frozenset((b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE")),
    b"FAST": frozenset((b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE")),
    b"FULL": frozenset((b"FLAGS", b"INTERNALDATE", b"RFC822.SIZE", b"ENVELOPE", b"BODY")),
}
_FIELD_KINDS = (b"HEADER.FIELDS", b"HEADER.FIELDS.NOT")
_PART_KINDS = (b"", b"HEADER", b"TEXT", b"MIME")


class Form(enum.Enum):
    """What is told of a section."""

    STORED = b"BODY["
    """its octets as they stand in the message"""
    DECODED = b"BINARY["
    """its body without its transfer encoding (RFC 3516)"""
    DECODED_SIZE = b"BINARY.SIZE["
    """how many octets that has"""


class BodyItem(NamedTuple):
    """One section of the message's octets."""

    label: bytes
    """how the answer names it"""
    section: Section
    partial: tuple[int, int] | None
    """first octet and greatest number of octets"""
    sets_seen: bool
    form: Form = Form.STORED


class Plan(NamedTuple):
    """Everything that one FETCH asks for of each message."""

    simple: frozenset[bytes]
    """names in `fetch_items.FETCH_ITEMS`"""
    sections: tuple[BodyItem, ...]
    options: Mapping[bytes, frozenset[bytes]] = {}
    """the words in parentheses behind an item, where there were any"""

    @property
    def items(self) -> list[tuple[bytes, FetchItem]]:
        """The items but for sections, in the order of the answer."""
        return FETCH_ITEMS.ordered(self.simple)

    @property
    def sets_seen(self) -> bool:
        """Whether fetching marks messages as read."""
        return any(item.sets_seen for item in self.sections)


_ALIASES = {
    b"RFC822": BodyItem(b"RFC822", Section(), None, True),
    b"RFC822.HEADER": BodyItem(b"RFC822.HEADER", Section((), b"HEADER"), None, False),
    b"RFC822.TEXT": BodyItem(b"RFC822.TEXT", Section((), b"TEXT"), None, True),
}


def parse_items(arguments: Arguments, dialect: Dialect) -> Plan:
    """The plan for FETCH's items, the next arguments. What follows them is left. Raises Mistaken."""
    first = arguments.peek()
    if isinstance(first, list):
        reader = _Reader(Arguments(arguments.name, arguments.list()), dialect)
        while reader.arguments.more():
            reader.item()
    else:
        if isinstance(first, Atom) and first.upper() in _MACROS:
            return Plan(_MACROS[arguments.atom()], ())
        reader = _Reader(arguments, dialect)
        reader.item()
    if not reader.simple and not reader.sections:
        raise arguments.wrong("Missing arguments")
    return Plan(frozenset(reader.simple), tuple(reader.sections.values()), reader.options)


class _Reader:
    """Takes items from tokens; a section with a list of fields is three of them: `BODY[HEADER.FIELDS`, list,
    `]`.
    """

    def __init__(self, arguments: Arguments, dialect: Dialect) -> None:
        self.arguments = arguments
        self.dialect = dialect
        self.simple: set[bytes] = set()
        self.sections: dict[bytes, BodyItem] = {}
        self.options: dict[bytes, frozenset[bytes]] = {}

    def item(self) -> None:
        token = self._atom()
        name = token.upper()
        known = FETCH_ITEMS.find(name, self.dialect.disabled)
        if known is not None:
            self.simple.add(name)
            self._options(name, known)
        elif name in _ALIASES:
            self.sections[name] = _ALIASES[name]
        elif name.startswith((b"BODY[", b"BODY.PEEK[")) or self._is_binary(name):
            item = self._section(token)
            earlier = self.sections.get(item.label)
            if earlier is None or item.sets_seen:
                self.sections[item.label] = item
        else:
            raise self.arguments.wrong(f"Unknown parameter {name.decode('ascii')}")

    def _is_binary(self, name: bytes) -> bool:
        return self.dialect.offers(BINARY) and name.startswith((b"BINARY[", b"BINARY.PEEK[", b"BINARY.SIZE["))

    def _options(self, name: bytes, item: FetchItem) -> None:
        """Words in parentheses behind an item that takes some; other parentheses are not the item's."""
        following = self.arguments.peek()
        if not item.options or not isinstance(following, list):
            return
        words = frozenset(word.upper() for word in following if isinstance(word, Atom))
        if following and words <= item.options and all(isinstance(word, Atom) for word in following):
            self.options[name] = words
            self.arguments.next()

    def _atom(self) -> bytes:
        token = self.arguments.next()
        if not isinstance(token, Atom):
            raise self.arguments.wrong()
        return token

    def _section(self, token: bytes) -> BodyItem:
        name, _, rest = token.partition(b"[")
        specification, closed, after = rest.partition(b"]")
        specification = specification.upper()
        fields: tuple[bytes, ...] = ()
        if not closed:
            fields = self._fields()
            after = self._atom()
            if after[:1] != b"]":
                raise self._wrong()
            after = after[1:]
        section = parse_section(specification, fields, with_fields=not closed)
        if section is None:
            raise self._wrong()
        partial = self._partial(after)
        form = _FORMS[name.upper()]
        if form is not Form.STORED and (section.kind or (partial and form is Form.DECODED_SIZE)):
            raise self._wrong()
        label = form.value + specification
        if fields:
            label += b" (" + b" ".join(map(_field_name, fields)) + b")"
        label += b"]" if partial is None else b"]<%d>" % partial[0]
        return BodyItem(label, section, partial, name.upper() in (b"BODY", b"BINARY"), form)

    def _fields(self) -> tuple[bytes, ...]:
        listed = self.arguments.next() if self.arguments.more() else None
        if not isinstance(listed, list) or not listed:
            raise self._wrong()
        names = [bytes(name) for name in listed if isinstance(name, Atom | String)]
        if len(names) != len(listed) or not all(map(_may_be_field, names)):
            raise self._wrong()
        return tuple(names)

    def _partial(self, text: bytes) -> tuple[int, int] | None:
        if not text:
            return None
        start, dot, count = text[1:-1].partition(b".")
        if text[:1] != b"<" or text[-1:] != b">" or not dot or not start.isdigit() or not count.isdigit():
            raise self._wrong()
        if len(start) > 19 or len(count) > 19 or not int(count):
            raise self._wrong()
        return int(start), int(count)

    def _wrong(self) -> Mistaken:
        return self.arguments.wrong("Invalid BODY[..] parameter")


_FORMS = {
    b"BODY": Form.STORED,
    b"BODY.PEEK": Form.STORED,
    b"BINARY": Form.DECODED,
    b"BINARY.PEEK": Form.DECODED,
    b"BINARY.SIZE": Form.DECODED_SIZE,
}


def parse_section(specification: bytes, fields: tuple[bytes, ...], *, with_fields: bool) -> Section | None:
    """A section-spec in capitals, or None if it is none. fields: of a specification that has a list of them."""
    path: list[int] = []
    kind = specification
    while kind[:1].isdigit():
        number, _, kind = kind.partition(b".")
        if not number.isdigit() or len(number) > 10 or not 0 < int(number) <= MAX_NUMBER:
            return None
        path.append(int(number))
        if len(path) > MAX_PATH:
            return None
    if path and specification[-1:] == b".":
        return None
    if kind not in (_FIELD_KINDS if with_fields else _PART_KINDS) or (kind == b"MIME" and not path):
        return None
    return Section(tuple(path), kind, fields)


def _may_be_field(name: bytes) -> bool:
    """Whether a name can stand in the answer's label: no field has any other octets (RFC 5322 section 2.2)."""
    return len(name) <= MAX_FIELD_NAME and name.isascii() and name.decode("ascii").isprintable()


_FIELD_NAME = bytes(octet for octet in range(0x21, 0x7F) if octet not in b'(){}%*"\\[]:')


def _field_name(name: bytes) -> bytes:
    return name if name and not name.translate(None, _FIELD_NAME) else string(name)
