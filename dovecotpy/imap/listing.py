"""Which names a LIST or LSUB tells (RFC 3501 section 6.3.8, RFC 5258 section 3), given all that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dovecotpy.imap.list_options import Attributes, Selection
from dovecotpy.imap.wire.pattern import Pattern, parents
from dovecotpy.imap.wire.response import string

NO_MAILBOX = frozenset((b"\\NonExistent", b"\\Noselect"))
"""What marks a name that cannot be selected."""
PAUSE = 200
"""Names looked at between two looks at the client."""
_CHILDREN = frozenset((b"\\HasChildren", b"\\HasNoChildren", b"\\NoInferiors"))
_ORDER = (
    b"\\NoInferiors",
    b"\\NonExistent",
    b"\\Noselect",
    b"\\Marked",
    b"\\Unmarked",
    b"\\HasChildren",
    b"\\HasNoChildren",
    b"\\Subscribed",
    b"\\Remote",
)


class Row(NamedTuple):
    """One line of an answer."""

    name: bytes
    separator: bytes
    attributes: Attributes
    childinfo: bool = False
    """a name below this one meets the criteria, and that is to be told"""
    is_meant: bool = True
    """it meets the criteria itself"""


class Patterns:
    """Patterns of which one must match."""

    __slots__ = ("_texts", "_compiled")

    def __init__(self, texts: Sequence[bytes]) -> None:
        self._texts = texts
        self._compiled: dict[bytes, list[Pattern]] = {}

    def match(self, name: bytes, separator: bytes) -> bool:
        """Whether a name matches."""
        compiled = self._compiled.get(separator)
        if compiled is None:
            compiled = self._compiled[separator] = [Pattern(text, separator) for text in self._texts]
        return any(pattern.matches(name) for pattern in compiled)


def universe(
    boxes: Iterable[Row], marks: Sequence[Mapping[bytes, Attributes]], separator_of: Mapping[bytes, bytes]
) -> list[Row]:
    """All names in order: mailboxes, names that only have a mark, and the levels above them that nobody made.

    separator_of: the separators of names that only have a mark.
    """
    rows = {box.name: box for box in boxes}
    above = {level for row in rows.values() for level in parents(row.name, row.separator)}
    for row in list(rows.values()):
        if not row.attributes & _CHILDREN:
            child = b"\\HasChildren" if row.name in above else b"\\HasNoChildren"
            rows[row.name] = row._replace(attributes=row.attributes | {child})
    for row in list(rows.values()):
        for level in parents(row.name, row.separator):
            if level and level not in rows:
                rows[level] = Row(level, row.separator, _level(above, level))
    for marked in marks:
        for name, attributes in marked.items():
            separator = separator_of.get(name, b"")
            row = rows.get(name) or Row(name, separator, _level(above, name))
            rows[name] = row._replace(attributes=row.attributes | attributes)
            for level in parents(name, row.separator):
                if level and level not in rows:
                    rows[level] = Row(level, row.separator, _level(above, level))
    return sorted(rows.values())


def _level(above: set[bytes], name: bytes) -> Attributes:
    """What is told of a name that no mailbox has."""
    return frozenset((b"\\NonExistent", b"\\HasChildren" if name in above else b"\\HasNoChildren"))


def chosen(
    rows: Sequence[Row], patterns: Patterns, criteria: Sequence[Selection], *, recursive: bool
) -> Iterator[Row | None]:
    """The rows to tell; None now and then, for a pause.

    criteria: all must be met. recursive: rows that match and do not meet them are told for those below that meet
    them and do not match, and CHILDINFO says of every row whether some below meet them (RFC 5258 section 3.5).
    """
    meant: list[tuple[Row, bool, bool]] = []
    below: set[bytes] = set()
    hidden: set[bytes] = set()
    for count, row in enumerate(rows, 1):
        matches = patterns.match(row.name, row.separator)
        meets = all(each.meets is None or each.meets(row.attributes) for each in criteria)
        meets = meets and (bool(criteria) or _is_worth_telling(row))
        if meets and recursive:
            levels = parents(row.name, row.separator)
            below.update(levels)
            if not matches:
                hidden.update(levels)
        if matches and (meets or recursive):
            meant.append((row, meets, matches))
        if count % PAUSE == 0:
            yield None
    for row, meets, _ in meant:
        if meets or row.name in hidden:
            yield row._replace(childinfo=row.name in below, is_meant=meets)


def _is_worth_telling(row: Row) -> bool:
    """Without a criterion: mailboxes, and levels above mailboxes."""
    return b"\\NonExistent" not in row.attributes or b"\\HasChildren" in row.attributes


def subscribed(rows: Iterable[Row], patterns: Patterns) -> Iterator[Row]:
    """The rows that LSUB tells, in order of name: those that match, and levels above rows that do not (RFC 3501
    section 6.3.9), with \\Noselect.
    """
    rows = sorted(rows)
    known = {row.name for row in rows}
    told: set[bytes] = set()
    for row in rows:
        matches = patterns.match(row.name, row.separator)
        for level in () if matches else parents(row.name, row.separator):
            if level and level not in known and level not in told and patterns.match(level, row.separator):
                told.add(level)
                yield Row(level, row.separator, frozenset((b"\\Noselect",)))
        if matches and row.name not in told:
            told.add(row.name)
            yield row


def line(
    word: bytes, row: Row, criteria: Sequence[bytes] = (), *, quote: Callable[[bytes], bytes] = string
) -> bytes:
    """One response. criteria: names of the selection options that CHILDINFO speaks of. quote: makes a string of the name."""
    names = [name for name in _ORDER if name in row.attributes]
    names += sorted(row.attributes.difference(_ORDER))
    extended = b""
    if row.childinfo:
        extended = b' ("CHILDINFO" (%b))' % b" ".join(map(string, criteria))
    separator = string(row.separator)
    return b"* %b (%b) %b %b%b\r\n" % (word, b" ".join(names), separator, quote(row.name), extended)
