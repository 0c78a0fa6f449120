"""SEARCH and UID SEARCH (RFC 3501 section 6.4.4), with RETURN (RFC 4731) and the modseq of RFC 7162 section 3.1.6."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.keys import asks_modseq, names_numbers, parse_keys
from dovecotpy.imap.registry import State, command
from dovecotpy.imap.relevancy import relevancy
from dovecotpy.imap.returns import Result, Returns, parse_returns
from dovecotpy.imap.searching import found_by
from dovecotpy.imap.view import View
from dovecotpy.storage.errors import StoreError

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

PIECE = 4_000
"""Numbers put together before they are handed out."""


@command("SEARCH", state=State.SELECTED, expunges=False)
@command("UID SEARCH", state=State.SELECTED)
def search(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the messages that match all keys, among those that the client knows."""
    started = clock.monotonic()
    view = session.selected
    returns = parse_returns(arguments, session.dialect.disabled)
    if returns is None and session.dialect.rev2:
        returns = Returns({b"ALL": True})
    try:
        view.look()
        query = parse_keys(arguments, view)
        found = yield from found_by(session, query)
    except (Refused, StoreError):
        if returns is not None and returns.save:
            view.saved = array("I")
        raise
    scored = None
    if returns is not None and returns.relevancy:
        scored = yield from relevancy(session, arguments, query, found)
    result = Result(found, found if arguments.by_uid else numbers_of(view, found), scores=scored)
    modseq = None
    returned = found if returns is None else returns.returned(result)
    if returned and asks_modseq(query):
        modseq = view.highest_of(returned)
    if returns is None:
        yield from _answer(session, result.numbers, modseq)
    else:
        if returns.save:
            view.saved = returned
        pieces = returns.response(session.tag, result, by_uid=arguments.by_uid, modseq=modseq)
        yield from session.in_one_response(pieces)
    taken = clock.monotonic() - started
    yield from session.complete(f"Search completed ({taken:.3f} secs).", expunges=not names_numbers(query))


def numbers_of(view: View, found: "array[int]") -> Sequence[int]:
    """Message numbers of UIDs in ascending order."""
    if len(found) == len(view.uids):
        return range(1, len(found) + 1)
    uids = view.uids
    if uids and uids[-1] - uids[0] + 1 == len(uids):
        before = uids[0] - 1
        return [uid - before for uid in found] if before else found
    return [bisect_left(uids, uid) + 1 for uid in found]


def _answer(session: "ImapSession", numbers: Sequence[int], modseq: int | None) -> Iterator[bytes]:
    """One SEARCH response, however long, in pieces."""
    end = b" (MODSEQ %d)\r\n" % modseq if modseq is not None else b"\r\n"
    if len(numbers) <= PIECE:
        yield b"".join((b"* SEARCH", words(numbers), end))
        return
    pieces = (words(numbers[start : start + PIECE]) for start in range(0, len(numbers), PIECE))
    yield from session.in_one_response(chain((b"* SEARCH",), pieces, (end,)))


def words(numbers: Sequence[int]) -> bytes:
    """Numbers as they stand in a response, each behind a blank."""
    return b" %d" * len(numbers) % tuple(numbers)
