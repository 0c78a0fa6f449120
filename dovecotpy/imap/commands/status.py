"""STATUS (RFC 3501 section 6.3.10). Its items: `status_items.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.registry import command
from dovecotpy.imap.status_items import enable_for, parse_status_items, status_line

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("STATUS")
def status(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell counts of a mailbox without opening it; \\Recent stays unclaimed."""
    name = session.mailbox_name(arguments)
    items = parse_status_items(arguments.list(), session.dialect.disabled)
    arguments.end()
    line = status_line(session, name, items)
    yield from enable_for(session, items)
    yield line
    yield from session.complete("Status completed.")
