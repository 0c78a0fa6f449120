"""COMPRESS (RFC 4978). The streams are the runner's: a session speaks plain IMAP behind them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import command

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("COMPRESS", capabilities=("COMPRESS=DEFLATE",))
def compress(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Both directions are DEFLATE streams from behind the tagged OK on."""
    mechanism = arguments.atom()
    arguments.end()
    if mechanism != b"DEFLATE":
        raise arguments.wrong("Unknown compression mechanism.")
    if session.compressed:
        raise Refused("DEFLATE is active already, by COMPRESS.", "COMPRESSIONACTIVE")
    yield from session.complete("Begin compression.")
    session.begin_compression()
