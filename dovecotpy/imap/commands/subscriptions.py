"""SUBSCRIBE and UNSUBSCRIBE (RFC 3501 sections 6.3.6 and 6.3.7)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import command
from dovecotpy.storage.errors import MailboxNotFound

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("SUBSCRIBE")
def subscribe(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Add a mailbox that exists to those that LSUB lists."""
    name = session.mailbox_name(arguments)
    arguments.end()
    if not session.store.exists(name):
        raise Refused("Mailbox doesn't exist: " + name.decode("utf-8", "replace"), "TRYCREATE")
    try:
        session.store.subscribe(name, True)
    except MailboxNotFound as error:
        raise Refused(str(error), "TRYCREATE") from None
    yield from session.complete("Subscribe completed.")


@command("UNSUBSCRIBE")
def unsubscribe(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Take a mailbox, existing or not, from those that LSUB lists."""
    name = session.mailbox_name(arguments)
    arguments.end()
    session.store.subscribe(name, False)
    yield from session.complete("Unsubscribe completed.")
