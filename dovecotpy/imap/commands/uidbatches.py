"""UIDBATCHES: ranges of UIDs that part a mailbox into batches of as many messages (RFC 10022)."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Mistaken, Refused
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.view import View
from dovecotpy.imap.wire.response import string
from dovecotpy.imap.wire.tokens import Atom

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

LEAST = 500
"""Messages of a batch; for fewer: NO [TOOFEW] (section 3.1.3.2)."""
MOST = 100_000
"""Messages that a range of batches may span; beyond: NO [TOOMANY] (section 3.1.5)."""
MAX_KEPT = 100
"""Requests that are remembered for one selected mailbox."""
MAX_NUMBER = 0xFFFFFFFF


@command("UIDBATCHES", state=State.SELECTED, capabilities=("UIDBATCHES",))
def uid_batches(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the ranges, that of the newest messages first."""
    size = arguments.number(MAX_NUMBER)
    first, last = _range(arguments) if arguments.more() else (1, 0)
    arguments.end()
    if not size:
        raise arguments.wrong()
    if size < LEAST:
        raise Refused(f"Minimum batch size is {LEAST}", "TOOFEW")
    if last and (last - first + 1) * size > MOST:
        raise Refused("Too many messages.", "TOOMANY")
    view = session.selected
    _bound(view, (size, first, last))
    ranges = []
    number = first
    while (number - 1) * size < len(view.uids) and (not last or number <= last):
        end = len(view.uids) - (number - 1) * size
        ranges.append(b"%d:%d" % (view.uids[end - 1], view.uids[max(end - size, 0)]))
        number += 1
    told = b" " + b",".join(ranges) if ranges else b""
    yield b"* UIDBATCHES (TAG %b)%b\r\n" % (string(session.tag), told)
    yield from session.complete("Uidbatches completed.")


def _range(arguments: Arguments) -> tuple[int, int]:
    token = arguments.next()
    first, colon, last = bytes(token).partition(b":") if isinstance(token, Atom) else (b"", b"", b"")
    if not colon or not all(each.isdigit() and len(each) <= 10 for each in (first, last)):
        raise arguments.wrong("Invalid batch range.")
    if not 0 < int(first) <= int(last):
        raise Mistaken("Invalid batch range", "CLIENTBUG")
    return int(first), int(last)


def _bound(view: View, asked: tuple[int, int, int]) -> None:
    """The same may be asked again when more than half a batch has come or gone (section 3.1.1). Raises Refused [LIMIT]."""
    now = (len(view.uids), view.last_uid)
    before = view.batches.get(asked)
    if before is not None:
        count, last = before
        come = len(view.uids) - bisect_right(view.uids, last)
        gone = count + come - len(view.uids)
        if max(come, gone) <= asked[0] // 2:
            raise Refused("Nothing much has changed since these batches were told.", "LIMIT")
    if len(view.batches) >= MAX_KEPT:
        view.batches.clear()
    view.batches[asked] = now
