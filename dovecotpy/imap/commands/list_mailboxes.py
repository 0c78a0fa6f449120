"""LIST and LSUB (RFC 3501 sections 6.3.8 and 6.3.9), with the attributes of CHILDREN (RFC 3348)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire.pattern import MAX_PATTERN, Pattern, parents
from dovecotpy.imap.wire.response import string

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

LINES = 500
"""Responses put together before they are handed out."""
_ORDER = (
    b"\\NoInferiors",
    b"\\NonExistent",
    b"\\Noselect",
    b"\\Marked",
    b"\\Unmarked",
    b"\\HasChildren",
    b"\\HasNoChildren",
)
_CHILDREN = frozenset((b"\\HasChildren", b"\\HasNoChildren", b"\\NoInferiors"))


class Row(NamedTuple):
    """One line of an answer."""

    name: bytes
    separator: bytes
    attributes: frozenset[bytes]


@command("LIST")
def list_mailboxes(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the mailboxes that match; an empty pattern asks for separator and root of the reference name."""
    reference, pattern = _patterns(arguments)
    if not pattern:
        yield _root(session, reference)
    else:
        rows = [Row(box.name, box.separator, box.attributes) for box in session.store.mailboxes()]
        yield from _answer(b"LIST", _matching(reference + pattern, _with_children(rows)))
    yield from session.complete("List completed.")


@command("LSUB")
def list_subscribed(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the subscribed names that match, also of mailboxes that are gone.

    Where a pattern ends a level above a subscribed name, that level is told with \\Noselect (RFC 3501 section
    6.3.9).
    """
    reference, pattern = _patterns(arguments)
    if not pattern:
        yield _root(session, reference, b"LSUB")
    else:
        rows = [Row(name, _separator(session, name), frozenset()) for name in session.store.subscriptions()]
        yield from _answer(b"LSUB", _matching(reference + pattern, rows, subscribed=True))
    yield from session.complete("Lsub completed.")


def _patterns(arguments: Arguments) -> tuple[bytes, bytes]:
    reference, pattern = arguments.astring(), arguments.astring()
    arguments.end()
    if len(reference) + len(pattern) > MAX_PATTERN:
        raise Refused("Mailbox pattern too long", "LIMIT")
    return reference, pattern


def _separator(session: "ImapSession", name: bytes) -> bytes:
    """The separator of the namespace with the longest prefix that a name has."""
    spaces = [space for space in session.store.namespaces if name.startswith(space.prefix)]
    if not spaces:
        return session.store.separator
    return max(spaces, key=lambda space: len(space.prefix)).separator


def _root(session: "ImapSession", reference: bytes, word: bytes = b"LIST") -> bytes:
    """Separator and root (RFC 3501 section 6.3.8): the namespace's prefix, or empty for a relative reference."""
    separator = _separator(session, reference)
    prefixes = [space.prefix for space in session.store.namespaces if reference.startswith(space.prefix)]
    root = max(prefixes, key=len, default=b"") if reference else b""
    return _line(word, Row(root, separator, frozenset((b"\\Noselect",))))


def _with_children(rows: list[Row]) -> list[Row]:
    """Every row with \\HasChildren or \\HasNoChildren, where the store did not say."""
    if all(row.attributes & _CHILDREN for row in rows):
        return rows
    above = {level for row in rows for level in parents(row.name, row.separator)}
    return [
        row
        if row.attributes & _CHILDREN
        else row._replace(
            attributes=row.attributes | {b"\\HasChildren" if row.name in above else b"\\HasNoChildren"}
        )
        for row in rows
    ]


def _matching(text: bytes, rows: Iterable[Row], *, subscribed: bool = False) -> Iterator[Row]:
    """The rows that match, and the levels above rows that match and are no rows themselves, in order of name.

    subscribed: a level is told only for the sake of rows below it that do not match (RFC 3501 section 6.3.9).
    """
    rows = sorted(rows)
    patterns = {row.separator: Pattern(text, row.separator) for row in rows}
    known = {row.name for row in rows}
    told: set[bytes] = set()
    for row in rows:
        pattern = patterns[row.separator]
        matches = pattern.matches(row.name)
        for level in parents(row.name, row.separator) if not (matches and subscribed) else ():
            if level not in known and level not in told and level and pattern.matches(level):
                told.add(level)
                yield Row(level, row.separator, frozenset((b"\\Noselect", b"\\HasChildren")))
        if matches and row.name not in told:
            told.add(row.name)
            yield row


def _answer(word: bytes, rows: Iterable[Row]) -> Iterator[bytes]:
    lines = []
    for row in rows:
        if word == b"LSUB" and row.attributes:
            row = row._replace(attributes=frozenset((b"\\Noselect",)))
        lines.append(_line(word, row))
        if len(lines) == LINES:
            yield b"".join(lines)
            lines.clear()
    if lines:
        yield b"".join(lines)


def _line(word: bytes, row: Row) -> bytes:
    names = [name for name in _ORDER if name in row.attributes]
    names += sorted(row.attributes.difference(_ORDER))
    separator = string(row.separator)
    return b"* %b (%b) %b %b\r\n" % (word, b" ".join(names), separator, string(row.name))
