"""ENABLE (RFC 5161)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import IMAP4REV2
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire.tokens import Atom

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("ENABLE", capabilities=("ENABLE",))
def enable(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Switch extensions on; unknown ones are ignored, and ENABLED names what is new (RFC 5161 section 3.1)."""
    names = arguments.rest()
    if not all(isinstance(name, Atom) for name in names):
        raise arguments.wrong()
    switched = []
    for name in names:
        key = bytes(name.upper()) if isinstance(name, Atom) else b""
        before = session.dialect.enabled.copy()
        yield from session.enable(key)
        if key in session.dialect.enabled and key not in before:
            switched.append(b"IMAP4rev2" if key == IMAP4REV2 else key)
    yield b" ".join([b"* ENABLED", *switched]) + b"\r\n"
    yield from session.complete("Enabled.")
