"""LIST, plain and extended, and LSUB (RFC 3501 sections 6.3.8 and 6.3.9, RFC 5258).

Attributes of CHILDREN (RFC 3348) and of SPECIAL-USE (RFC 6154) are told unasked. The options: `list_options.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy import clock
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.list_options import (
    LIST_EXTENDED,
    RETURN_OPTIONS,
    SELECTIONS,
    SPECIAL_USE,
    USES,
    ReturnOption,
    Selection,
    Value,
)
from dovecotpy.imap.listing import NO_MAILBOX, Patterns, Row, chosen, line, subscribed, universe
from dovecotpy.imap.names import pattern as normal_form
from dovecotpy.imap.names import quoted
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire.pattern import MAX_PATTERN
from dovecotpy.imap.wire.response import string
from dovecotpy.imap.wire.tokens import Atom, String

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

LINES = 500
"""Responses put together before they are handed out."""
MOMENT = 0.005
"""Seconds of work on what LIST returns besides, between two looks at the client."""
MAX_PATTERNS = 100
"""Patterns of one LIST; beyond: NO [LIMIT]."""


class Request(NamedTuple):
    """What one LIST asks for."""

    reference: bytes
    patterns: list[bytes]
    extended: bool
    """whether the client knows of RFC 5258"""
    criteria: dict[bytes, Selection]
    recursive: bool
    returns: dict[bytes, tuple[ReturnOption, Value]]


@command("LIST")
def list_mailboxes(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the mailboxes that match; an empty pattern asks for separator and root of the reference name."""
    request = _request(session, arguments)
    if not request.extended and request.patterns == [b""]:
        yield _root(session, request.reference)
    else:
        for option, value in request.returns.values():
            if option.begin is not None:
                yield from option.begin(session, value)
        yield from _answer(session, request)
    yield from session.complete("List completed.")


@command("LSUB")
def list_subscribed(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the subscribed names that match, also of mailboxes that are gone.

    Where a pattern ends a level above a subscribed name, that level is told with \\Noselect (RFC 3501 section
    6.3.9).
    """
    reference, pattern = arguments.astring(), arguments.astring()
    arguments.end()
    _bound(reference, pattern)
    if not pattern:
        yield _root(session, reference, b"LSUB")
    else:
        rows = [
            Row(session.shown(name), _separator(session, name), frozenset())
            for name in session.store.subscriptions()
        ]
        quote = quoted if session.dialect.utf8 else string
        lines = [
            line(b"LSUB", row, quote=quote)
            for row in subscribed(rows, _compiled(session, [reference + pattern]))
        ]
        for at in range(0, len(lines), LINES):
            yield b"".join(lines[at : at + LINES])
    yield from session.complete("Lsub completed.")


# What is asked for


def _request(session: "ImapSession", arguments: Arguments) -> Request:
    """Raises Mistaken, Refused."""
    offers = session.dialect.offers(LIST_EXTENDED) or session.dialect.offers(SPECIAL_USE)
    extended = False
    criteria: dict[bytes, Selection] = {}
    recursive = False
    returns: dict[bytes, tuple[ReturnOption, Value]] = {}
    if offers and isinstance(arguments.peek(), list):
        extended = True
        criteria, recursive = _selection(session, arguments)
    reference = arguments.astring()
    extended = extended or (offers and isinstance(arguments.peek(), list))
    patterns = _patterns(arguments) if extended else [arguments.astring()]
    if offers and arguments.more():
        extended = True
        returns = _returns(session, arguments)
    arguments.end()
    for selection in criteria.values():
        option = RETURN_OPTIONS.find(selection.returns, session.dialect.disabled)
        if option is not None:
            returns.setdefault(selection.returns, (option, frozenset()))
    for pattern in patterns:
        _bound(reference, pattern)
    return Request(reference, patterns, extended, criteria, recursive, returns)


def _selection(session: "ImapSession", arguments: Arguments) -> tuple[dict[bytes, Selection], bool]:
    """The criteria, and whether those of names below count."""
    options = Arguments(arguments.name, arguments.list())
    found: dict[bytes, Selection] = {}
    while options.more():
        name = options.atom()
        unit = SELECTIONS.find(name, session.dialect.disabled)
        if unit is None:
            raise arguments.wrong(f"Unknown selection option {name.decode('ascii')}")
        found[name] = unit
    criteria = {name: unit for name, unit in found.items() if unit.meets is not None}
    recursive = any(unit.is_modifier for unit in found.values())
    if recursive and not criteria:
        raise arguments.wrong("RECURSIVEMATCH must not be the only selection option.")
    return criteria, recursive


def _patterns(arguments: Arguments) -> list[bytes]:
    """One pattern or a list of them."""
    if not isinstance(arguments.peek(), list):
        return [arguments.astring()]
    found = []
    for token in arguments.list():
        if not isinstance(token, Atom | String):
            raise arguments.wrong()
        found.append(bytes(token))
    if not found:
        raise arguments.wrong()
    if len(found) > MAX_PATTERNS:
        raise Refused("Too many mailbox patterns", "LIMIT")
    return found


def _bound(reference: bytes, pattern: bytes) -> None:
    if len(reference) + len(pattern) > MAX_PATTERN:
        raise Refused("Mailbox pattern too long", "LIMIT")


def _returns(session: "ImapSession", arguments: Arguments) -> dict[bytes, tuple[ReturnOption, Value]]:
    if arguments.atom() != b"RETURN":
        raise arguments.wrong()
    options = Arguments(arguments.name, arguments.list())
    found: dict[bytes, tuple[ReturnOption, Value]] = {}
    while options.more():
        name = options.atom()
        unit = RETURN_OPTIONS.find(name, session.dialect.disabled)
        if unit is None:
            raise arguments.wrong(f"Unknown return option {name.decode('ascii')}")
        value = frozenset() if unit.parse is None else unit.parse(options, session.dialect)
        found[name] = (unit, value)
    return found


# What is told


def _answer(session: "ImapSession", request: Request) -> Iterator[bytes]:
    lines: list[bytes] = []
    more = [(option.lines, value) for option, value in request.returns.values() if option.lines is not None]
    criteria = sorted(request.criteria)
    extended = request.extended or session.dialect.rev2
    quote = quoted if session.dialect.utf8 else string
    stored: dict[bytes, bytes] = {}
    began = clock.monotonic()
    for row in _rows(session, request, stored):
        if row is None:
            yield b""
            continue
        lines.append(line(b"LIST", row if extended else _plain(row), criteria, quote=quote))
        if row.is_meant and row.attributes.isdisjoint(NO_MAILBOX):
            for tell, value in more:
                for piece in tell(session, stored.get(row.name, row.name), value):
                    lines.append(piece)
                    if not piece:
                        yield b"".join(lines)
                        lines.clear()
        if len(lines) >= LINES or (more and clock.monotonic() - began > MOMENT):
            yield b"".join(lines)
            lines.clear()
            began = clock.monotonic()
    if lines:
        yield b"".join(lines)


def _rows(session: "ImapSession", request: Request, stored: dict[bytes, bytes]) -> Iterator[Row | None]:
    """What is told, under the names that the client is shown. stored: gets the names that are others in the store."""
    uses = frozenset() if session.dialect.offers(SPECIAL_USE) else USES
    boxes: Iterable[Row] = (
        Row(box.name, box.separator, box.attributes.difference(uses)) for box in session.store.mailboxes()
    )
    marks = [option.marks(session) for option, _ in request.returns.values() if option.marks is not None]
    separators = {name: _separator(session, name) for marked in marks for name in marked}
    if session.dialect.utf8:
        boxes = [row._replace(name=_shown(session, row.name, stored)) for row in boxes]
        marks = [{_shown(session, name, stored): each for name, each in marked.items()} for marked in marks]
        separators = {session.shown(name): separator for name, separator in separators.items()}
    patterns = _compiled(session, [request.reference + each for each in request.patterns if each])
    everything = universe(boxes, marks, separators)
    return chosen(everything, patterns, list(request.criteria.values()), recursive=request.recursive)


def _compiled(session: "ImapSession", patterns: list[bytes]) -> Patterns:
    return Patterns(list(map(normal_form, patterns)) if session.dialect.utf8 else patterns)


def _shown(session: "ImapSession", name: bytes, stored: dict[bytes, bytes]) -> bytes:
    shown = session.shown(name)
    if shown != name:
        stored[shown] = name
    return shown


def _plain(row: Row) -> Row:
    """As a client reads it that knows nothing of \\NonExistent."""
    if b"\\NonExistent" not in row.attributes:
        return row
    return row._replace(attributes=row.attributes - {b"\\NonExistent"} | {b"\\Noselect"})


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
    return line(word, Row(root, separator, frozenset((b"\\Noselect",))))
