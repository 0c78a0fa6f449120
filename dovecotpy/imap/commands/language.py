"""LANGUAGE (RFC 5255 section 3.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire import language as languages

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("LANGUAGE", capabilities=("LANGUAGE",))
def language(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """List the languages, or choose the first of those named that there is."""
    if not arguments.more():
        yield languages.LISTED
        yield from session.complete("Languages listed.")
        return
    ranges = []
    while arguments.more():
        ranges.append(bytes(arguments.astring()))
    response = languages.chosen(ranges)
    if response is None:
        raise Refused("Unsupported language " + b" ".join(ranges)[:200].decode("ascii", "replace"))
    yield response
    yield from session.complete("Now speaking English.")
