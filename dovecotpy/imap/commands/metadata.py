"""GETMETADATA and SETMETADATA (RFC 5464)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.filters import verify
from dovecotpy.imap.metadata import MAX_NAME, entry_names, metadata_response
from dovecotpy.imap.registry import LARGE, TAKES_BINARY, Large, command
from dovecotpy.imap.wire.tokens import Atom, String

if TYPE_CHECKING:
    from dovecotpy.config.values import Settings
    from dovecotpy.imap.session import ImapSession

MAX_NUMBER = 0xFFFFFFFF
INFINITY = 1 << 30
MAX_VALUE = 1 << 20
"""Octets of one value, whatever imap_metadata_max_size says; beyond: NO [METADATA MAXSIZE]."""
TAKES_BINARY.add(b"SETMETADATA")


def largest_value(settings: "Settings") -> int:
    """Octets of one value."""
    return min(settings.number("imap_metadata_max_size"), MAX_VALUE)


def refusal(settings: "Settings", size: int) -> Refused:
    """For a literal of so many octets, that is too large by itself or with those before it."""
    most = largest_value(settings)
    if size > most:
        return Refused("The value is too large.", f"METADATA MAXSIZE {most}")
    return Refused("Too many octets in one command.", "LIMIT")


LARGE[b"SETMETADATA"] = Large(lambda settings: max(largest_value(settings), MAX_NAME), refusal)


@command("GETMETADATA", capabilities=("METADATA",))
def get(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell values of entries; one that is named and not there is told as NIL (section 4.2)."""
    options: dict[bytes, int] = {}
    if isinstance(arguments.peek(), list):
        options = _options(arguments)
    name = session.mailbox_name(arguments)
    if not options and arguments.left == 2 and isinstance(arguments.peek(), list):
        options = _options(arguments)
    token = arguments.next()
    arguments.end()
    names = entry_names(token if isinstance(token, list) else [token], arguments.wrong("Invalid entry name."))
    there = session.store.annotations.get(name)
    depth, most = options.get(b"DEPTH", 0), options.get(b"MAXSIZE", INFINITY)
    found: dict[bytes, bytes | None] = {}
    for each in names:
        if depth == 0 or each in there:
            found[each] = there.get(each)
        if depth:
            found.update((below, there[below]) for below in there if _is_below(below, each, depth))
    long = max((len(value) for value in found.values() if value is not None and len(value) > most), default=0)
    found = {each: value for each, value in found.items() if value is None or len(value) <= most}
    if found:
        yield metadata_response(session.rendered(name), found)
    yield from session.complete("Getmetadata completed.", f"METADATA LONGENTRIES {long}" if long else None)


def _options(arguments: Arguments) -> dict[bytes, int]:
    """MAXSIZE and DEPTH (sections 4.2.1 and 4.2.2)."""
    inner = Arguments(arguments.name, arguments.list())
    found: dict[bytes, int] = {}
    while inner.more() or not found:
        name = inner.atom()
        if name in found:
            raise arguments.wrong("Option given twice.")
        if name == b"MAXSIZE":
            found[name] = inner.number(MAX_NUMBER)
        elif name == b"DEPTH":
            word = inner.atom()
            if word not in (b"0", b"1", b"INFINITY"):
                raise arguments.wrong("Invalid DEPTH.")
            found[name] = INFINITY if word == b"INFINITY" else int(word)
        else:
            raise arguments.wrong(f"Unknown option {name.decode('ascii', 'replace')}")
    return found


def _is_below(entry: bytes, above: bytes, depth: int) -> bool:
    rest = entry[len(above) :]
    return entry.startswith(above) and rest[:1] == b"/" and rest.count(b"/") <= depth


@command("SETMETADATA", capabilities=("METADATA",))
def set_entries(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Set entries, or with NIL remove them: all or none (section 4.3)."""
    name = session.mailbox_name(arguments)
    tokens = arguments.list()
    arguments.end()
    if not tokens or len(tokens) % 2:
        raise arguments.wrong("Invalid entries.")
    most = largest_value(session.settings)
    names = entry_names(tokens[::2], arguments.wrong("Invalid entry name."))
    if len(names) != len(tokens) // 2:
        raise arguments.wrong("Entry given twice.")
    changes: dict[bytes, bytes | None] = {}
    for entry, token in zip(names, tokens[1::2], strict=True):
        if isinstance(token, String):
            changes[entry] = bytes(token)
        elif isinstance(token, Atom) and token.upper() == b"NIL":
            changes[entry] = None
        else:
            raise arguments.wrong("Invalid value.")
    if not name:
        for entry, value in changes.items():
            if value is not None:
                verify(entry, value, session.dialect)
    longest = max(len(value or b"") for value in changes.values())
    if longest > most:
        raise refusal(session.settings, longest)
    session.store.annotations.set(name, changes, session.settings.number("imap_metadata_max_entries"))
    yield from session.complete("Setmetadata completed.")
