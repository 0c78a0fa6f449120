"""COPY and UID COPY (RFC 3501 section 6.4.7), with COPYUID (RFC 4315 section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.wire.sequence import render_numbers
from dovecotpy.storage.errors import MailboxNotFound, MessageGone

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("COPY", state=State.SELECTED)
@command("UID COPY", state=State.SELECTED)
def copy(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Copy messages with their flags and dates; all or none."""
    ranges = arguments.sequence_set()
    name = session.mailbox_name(arguments)
    arguments.end()
    view = session.selected
    uids = view.uids_of(view.spans(ranges, by_uid=arguments.by_uid))
    if not uids:
        yield from session.complete("No messages copied.")
        return
    if any(view.place(uid) < 0 for uid in uids):
        raise Refused("Some of the requested messages no longer exist.", "EXPUNGEISSUED")
    try:
        target, opened = session.target(name)
    except MailboxNotFound as error:
        raise Refused(str(error), "TRYCREATE") from None
    copying = view.mailbox.copying(uids, target)
    try:
        while True:
            try:
                next(copying)
            except StopIteration as end:
                copied = end.value
                break
            yield b""
    except MessageGone:
        raise Refused("Some of the requested messages no longer exist.", "EXPUNGEISSUED") from None
    finally:
        copying.close()
        if opened:
            target.close()
    source, destination = render_numbers(copied.source), render_numbers(copied.destination)
    code = f"COPYUID {copied.uidvalidity} {source.decode('ascii')} {destination.decode('ascii')}"
    yield from session.complete("Copy completed.", code)
