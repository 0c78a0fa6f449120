"""EXPUNGE (RFC 3501 section 6.4.3) and UID EXPUNGE (RFC 4315 section 2.1), as RFC 7162 sections 3.2.7 and 3.2.9 want them."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.view import View, with_flag
from dovecotpy.storage import flags as bits

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

GROUP = 1_000
"""Messages removed between two looks at the client."""


@command("EXPUNGE", state=State.SELECTED)
@command("UID EXPUNGE", state=State.SELECTED, capabilities=("UIDPLUS",))
def expunge(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Remove what has \\Deleted; in a mailbox opened read-only nothing, as in the reference."""
    view = session.selected
    within = None
    if arguments.by_uid:
        within = view.uids_of(view.spans(arguments.sequence_set(), by_uid=True))
    arguments.end()
    removed = yield from expunge_deleted(session, view, within)
    tell = removed and view.modseqs_last and session.dialect.qresync
    yield from session.complete(
        "Expunge completed.", (lambda: f"HIGHESTMODSEQ {view.highest}") if tell else None
    )


def expunge_deleted(
    session: "ImapSession", view: View, within: "array[int] | None"
) -> Generator[bytes, None, int]:
    """Remove the messages with \\Deleted that the client knows, all or those among some UIDs; how many went.
    Raises StoreError.
    """
    if not view.writable:
        return 0
    view.look()
    uids = view.columns.uids
    deleted = [uids[place] for place in with_flag(view.columns, bits.DELETED)]
    known = frozenset(view.uids if within is None else within)
    chosen = array("I", [uid for uid in deleted if uid in known])
    removed = 0
    for start in range(0, len(chosen), GROUP):
        session.note_progress(start, len(chosen))
        removed += len(view.mailbox.expunge(chosen[start : start + GROUP]))
        yield b""
    return removed
