"""SEARCH and UID SEARCH (RFC 3501 section 6.4.4)."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.keys import parse_keys
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.view import View
from dovecotpy.search.evaluate import Found

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

SLICE = 0.05
"""Seconds that the store may search between two looks at the client."""


@command("SEARCH", state=State.SELECTED, expunges=False)
@command("UID SEARCH", state=State.SELECTED)
def search(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the messages that match all keys, among those that the client knows."""
    started = clock.monotonic()
    view = session.selected
    view.look()
    query = parse_keys(arguments, view)
    found: array[int] = array("I")
    for step in view.mailbox.search(query, view.uids, SLICE):
        if isinstance(step, Found):
            found += step.uids
        else:
            yield b""
    yield _answer(view, found, by_uid=arguments.by_uid)
    taken = clock.monotonic() - started
    yield from session.complete(f"Search completed ({taken:.3f} secs).")


def _answer(view: View, found: "array[int]", *, by_uid: bool) -> bytes:
    numbers: list[int] = list(found)
    if not by_uid:
        if len(found) == len(view.uids):
            numbers = list(range(1, len(found) + 1))
        else:
            uids = view.uids
            numbers = [bisect_left(uids, uid) + 1 for uid in found]
    return b"".join((b"* SEARCH", b" %d" * len(numbers) % tuple(numbers), b"\r\n"))
