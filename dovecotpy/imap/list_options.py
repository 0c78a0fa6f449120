"""The options of LIST by name, one unit each: which names are told, and what is told of them (RFC 5258).

A return option that tells more than attributes gives the line that follows a mailbox's LIST response; the
room for MYRIGHTS (RFC 8440) is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import Dialect
from dovecotpy.imap.metadata import entry_names, metadata_response
from dovecotpy.imap.registry import Table, extension
from dovecotpy.imap.status_items import enable_for, parse_status_items, status_line
from dovecotpy.ipc.record import Level
from dovecotpy.storage.errors import StoreError

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

LIST_EXTENDED = extension("LIST-EXTENDED")
LIST_STATUS = extension("LIST-STATUS", requires=("LIST-EXTENDED",))
LIST_METADATA = extension("LIST-METADATA", requires=("LIST-EXTENDED", "METADATA"))
SPECIAL_USE = extension("SPECIAL-USE")

SUBSCRIBED = b"\\Subscribed"
USES = frozenset((b"\\All", b"\\Archive", b"\\Drafts", b"\\Flagged", b"\\Junk", b"\\Sent", b"\\Trash"))
"""What a mailbox can be for (RFC 6154 section 2)."""

Attributes: TypeAlias = "frozenset[bytes]"
Value: TypeAlias = "frozenset[bytes]"
"""What stands in parentheses behind a return option."""


class Selection(NamedTuple):
    """A selection option."""

    meets: Callable[[Attributes], bool] | None = None
    """whether a name is meant, by its attributes; None: no criterion by itself"""
    returns: bytes = b""
    """the return option that it brings along"""
    is_modifier: bool = False
    """goes with a criterion alone"""


class ReturnOption(NamedTuple):
    """A return option."""

    marks: Callable[["ImapSession"], Mapping[bytes, Attributes]] | None = None
    """attributes by mailbox, also of names that no mailbox has"""
    parse: Callable[[Arguments, Dialect], Value] | None = None
    """takes the option's own arguments; None: it has none"""
    begin: Callable[["ImapSession", Value], Iterator[bytes]] | None = None
    """what is done and told once, before the first mailbox"""
    lines: Callable[["ImapSession", bytes, Value], Iterator[bytes]] | None = None
    """the response that follows that of a mailbox which meets the criteria and can be selected, behind pauses"""


def _is_subscribed(attributes: Attributes) -> bool:
    return SUBSCRIBED in attributes


def _has_use(attributes: Attributes) -> bool:
    return not USES.isdisjoint(attributes)


def _subscriptions(session: "ImapSession") -> Mapping[bytes, Attributes]:
    return dict.fromkeys(session.store.subscriptions(), frozenset((SUBSCRIBED,)))


def _status_items(arguments: Arguments, dialect: Dialect) -> Value:
    return parse_status_items(arguments.list(), dialect.disabled)


def _entries(arguments: Arguments, dialect: Dialect) -> Value:
    return frozenset(entry_names(arguments.list(), arguments.wrong("Invalid entry name.")))


def _metadata(session: "ImapSession", name: bytes, entries: Value) -> Iterator[bytes]:
    """What cannot be had is left out (RFC 9590 section 3)."""
    try:
        there = session.store.annotations.get(name)
    except StoreError as error:
        if error.log is not None:
            session.log(Level.ERROR, error.log)
        return
    yield metadata_response(session.rendered(name), {entry: there.get(entry) for entry in sorted(entries)})


def _status(session: "ImapSession", name: bytes, items: Value) -> Iterator[bytes]:
    """A mailbox whose numbers cannot be had is left out (RFC 5819 section 2)."""
    try:
        yield from status_line(session, name, items)
    except StoreError as error:
        if error.log is not None:
            session.log(Level.ERROR, error.log)


SELECTIONS: Table[Selection] = Table()
SELECTIONS.add(b"SUBSCRIBED", Selection(_is_subscribed, returns=b"SUBSCRIBED"), LIST_EXTENDED)
SELECTIONS.add(b"REMOTE", Selection(), LIST_EXTENDED)
SELECTIONS.add(b"RECURSIVEMATCH", Selection(is_modifier=True), LIST_EXTENDED)
SELECTIONS.add(b"SPECIAL-USE", Selection(_has_use, returns=b"SPECIAL-USE"), SPECIAL_USE)

RETURN_OPTIONS: Table[ReturnOption] = Table()
RETURN_OPTIONS.add(b"SUBSCRIBED", ReturnOption(_subscriptions), LIST_EXTENDED)
RETURN_OPTIONS.add(b"CHILDREN", ReturnOption(), LIST_EXTENDED)
RETURN_OPTIONS.add(b"SPECIAL-USE", ReturnOption(), SPECIAL_USE)
RETURN_OPTIONS.add(b"STATUS", ReturnOption(parse=_status_items, begin=enable_for, lines=_status), LIST_STATUS)
RETURN_OPTIONS.add(b"METADATA", ReturnOption(parse=_entries, lines=_metadata), LIST_METADATA)
