"""What SEARCH, SORT and THREAD share: work that takes long, with pauses, numbers for the sign of life, and a bound."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, TypeVar

from dovecotpy import clock
from dovecotpy.imap.dialect import CONDSTORE
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.keys import asks_modseq
from dovecotpy.search.evaluate import Progress
from dovecotpy.search.query import Query

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

SLICE = 0.05
"""Seconds that the store may search between two looks at the client."""
MAX_WORK = 600.0
"""Seconds that one command may search, waiting for the client left out. What it read so far is kept in the text index, so that asking again
goes on from there.
"""
Answer = TypeVar("Answer")


def found_by(session: "ImapSession", query: Query) -> "Generator[bytes, None, array[int]]":
    """UIDs of the messages that match, among those that the client knows. Raises Refused [LIMIT], StoreError."""
    if asks_modseq(query):
        yield from session.enable(CONDSTORE)
    view = session.selected
    found = yield from answer_of(session, view.mailbox.search(query, view.uids, SLICE))
    return found.uids


def answer_of(session: "ImapSession", steps: Iterator[Progress | Answer]) -> Generator[bytes, None, Answer]:
    """The answer that work ends with; pauses wherever it shows progress. Raises Refused [LIMIT] when it has worked for MAX_WORK."""
    left = MAX_WORK
    while True:
        began = clock.monotonic()
        step = next(steps, None)
        left -= clock.monotonic() - began
        if left < 0:
            raise Refused("The search takes too long.", "LIMIT")
        if step is None:
            raise AssertionError("a search ends with its answer")
        if not isinstance(step, Progress):
            return step
        session.note_progress(step.done, step.total)
        yield b""
