"""NOOP and CHECK (RFC 3501 sections 6.1.2 and 6.4.1): occasions to tell what is new."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.registry import State, command

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("NOOP")
def noop(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell what is new."""
    arguments.end()
    yield from session.complete("NOOP completed.", arrivals=True)


@command("CHECK", state=State.SELECTED)
def check(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """A checkpoint: every change was durable when it was answered, so only what is new is left to tell."""
    arguments.end()
    yield from session.complete("Check completed.", arrivals=True)
