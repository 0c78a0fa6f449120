"""LOGOUT (RFC 3501 section 6.1.3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire.response import untagged

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("LOGOUT")
def logout(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """End the session. The selected mailbox is left as it is: nothing is expunged."""
    arguments.end()
    session.leave_mailbox()
    yield untagged(b"BYE", "Logging out") + session.tagged("Logout completed.")
    session.finish("Disconnected: Logged out")
