"""CAPABILITY (RFC 3501 section 6.1.1)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.registry import command

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("CAPABILITY")
def capability(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell what the server can do."""
    arguments.end()
    yield b"* CAPABILITY " + session.capability() + b"\r\n"
    yield from session.complete("Capability completed.")
