"""X-CANCEL: the reference's own way to give up a command that is still at work."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import command

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("X-CANCEL")
def cancel(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Commands are answered one after the other, so when this one's turn comes there is none left to cancel."""
    arguments.astring()
    arguments.end()
    raise Refused("Command tag not found.")
