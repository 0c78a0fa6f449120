"""COPY and UID COPY (RFC 3501 section 6.4.7), with COPYUID (RFC 4315 section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.wire.sequence import render_numbers
from dovecotpy.storage.columns import places_of
from dovecotpy.storage.errors import MailboxNotFound, MessageGone

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession
    from dovecotpy.storage.mailbox import Mailbox


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
    session.bound_saved(len(uids), uids[-session.save_limit] if len(uids) > session.save_limit else None)
    if -1 in places_of(view.columns.uids, uids):
        raise Refused("Some of the requested messages no longer exist.", "EXPUNGEISSUED")
    target, opened = open_target(session, name)
    copying = view.mailbox.copying(uids, target)
    try:
        while True:
            try:
                session.note_progress(next(copying), len(uids))
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
    code = copyuid(session, copied.uidvalidity, copied.source, copied.destination)
    yield from session.complete("Copy completed.", code)


def open_target(session: "ImapSession", name: bytes) -> "tuple[Mailbox, bool]":
    """The mailbox to copy into, and whether the caller must close it. Raises Refused [TRYCREATE], StoreError."""
    try:
        return session.target(name)
    except MailboxNotFound as error:
        raise Refused(str(error), "TRYCREATE") from None


def copyuid(
    session: "ImapSession", uidvalidity: int, source: Sequence[int], destination: Sequence[int]
) -> str | None:
    """The response code that tells which messages became which (RFC 4315 section 3)."""
    if not session.dialect.offers(b"UIDPLUS"):
        return None
    old, new = render_numbers(source).decode("ascii"), render_numbers(destination).decode("ascii")
    return f"COPYUID {uidvalidity} {old} {new}"
