"""CLOSE (RFC 3501 section 6.4.2) and UNSELECT (RFC 3691)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.commands.expunge import expunge_deleted
from dovecotpy.imap.registry import State, command

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("CLOSE", state=State.SELECTED)
def close(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Expunge without telling so, then close. Raises StoreError, with the mailbox still selected."""
    arguments.end()
    yield from expunge_deleted(session, session.selected, None)
    session.leave_mailbox()
    yield session.tagged("Close completed.")


@command("UNSELECT", state=State.SELECTED, capabilities=("UNSELECT",))
def unselect(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Close the selected mailbox without expunging (RFC 3691 section 2)."""
    arguments.end()
    session.leave_mailbox()
    yield session.tagged("Unselect completed.")
