"""IDLE (RFC 2177). Waiting, signs of life and DONE are the session's: see `session.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire.response import continuation

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("IDLE", capabilities=("IDLE",))
def idle(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Wait for DONE, and tell what is new until then."""
    arguments.end()
    session.begin_idle()
    yield continuation(b"idling")
    yield from session.updates()
