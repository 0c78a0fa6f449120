"""MOVE and UID MOVE (RFC 6851)."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.commands.copy import copyuid, open_target
from dovecotpy.imap.dialect import CONDSTORE
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.wire.response import untagged
from dovecotpy.storage.errors import MailboxReplaced, MessageGone, StoreError

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession
    from dovecotpy.storage.mailbox import Mailbox

GROUP = 500
"""Messages moved between two looks at the client: those of a group are moved all or not at all."""
GONE = "Some of the requested messages no longer exist."


@command("MOVE", state=State.SELECTED, capabilities=("MOVE",))
@command("UID MOVE", state=State.SELECTED, capabilities=("MOVE",))
def move(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Move messages with their flags and dates, group by group. COPYUID is told before the messages go (RFC 6851
    section 4.3), also of a move that ended half-way.
    """
    ranges = arguments.sequence_set()
    name = session.mailbox_name(arguments)
    arguments.end()
    view = session.selected
    uids = view.uids_of(view.spans(ranges, by_uid=arguments.by_uid))
    if not view.writable:
        raise Refused("Mailbox is read-only.", "NOPERM")
    view.look()
    if any(view.place(uid) < 0 for uid in uids):
        raise Refused(GONE, "EXPUNGEISSUED")
    if not uids:
        yield from session.complete("No messages moved.")
        return
    target, opened = open_target(session, name)
    job = _Move(view.mailbox, target)
    try:
        for start in range(0, len(uids), GROUP):
            session.note_progress(start, len(uids))
            job.group(uids[start : start + GROUP])
            yield b""
    except MailboxReplaced:
        raise
    except StoreError as error:
        yield job.told(session)
        raise error
    finally:
        if opened:
            target.close()
    yield job.told(session)
    if job.missing:
        raise Refused(GONE, "EXPUNGEISSUED")
    tell = view.modseqs_last and session.dialect.offers(CONDSTORE)
    yield from session.complete(
        "Move completed.", (lambda: f"HIGHESTMODSEQ {view.highest}") if tell else None
    )


class _Move:
    """What one MOVE has done so far."""

    def __init__(self, origin: "Mailbox", target: "Mailbox") -> None:
        self.origin = origin
        self.target = target
        self.missing = False
        self.uidvalidity = 0
        self.source = array("I")
        self.destination = array("I")

    def group(self, uids: "array[int]") -> None:
        """Move some messages; those that somebody else removed meanwhile are left out. Raises StoreError."""
        while uids:
            try:
                copied = self.origin.copy(uids, self.target, move=True)
            except MessageGone:
                self.missing = True
                self.origin.refresh()
                there = frozenset(self.origin.columns().uids)
                left = array("I", [uid for uid in uids if uid in there])
                if len(left) == len(uids):
                    raise
                uids = left
                continue
            self.uidvalidity = copied.uidvalidity
            self.source.extend(copied.source)
            self.destination.extend(copied.destination)
            return

    def told(self, session: "ImapSession") -> bytes:
        """OK [COPYUID], if anything was moved."""
        code = copyuid(session, self.uidvalidity, self.source, self.destination)
        return untagged(b"OK", "Moved UIDs.", code) if code is not None and self.source else b""
