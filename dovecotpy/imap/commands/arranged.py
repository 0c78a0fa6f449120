"""What SORT and THREAD share: messages that match, and answers that are kept while a mailbox is selected."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.commands.search import numbers_of
from dovecotpy.imap.keys import asks_modseq, names_numbers, parse_criteria
from dovecotpy.imap.searching import found_by
from dovecotpy.imap.view import Kept, View
from dovecotpy.search import query as q

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

MAX_KEPT = 8
"""Answers of SORT and THREAD kept for one selected mailbox."""
MAX_OCTETS = 1 << 20
"""Octets of an answer that is kept."""


class Matching(NamedTuple):
    """The messages that match the criteria of SORT or THREAD."""

    uids: "array[int]"
    numbers: Sequence[int]
    """what the client is to call them"""
    modseq: int | None
    """the highest one of them, where the criteria ask for modseqs (RFC 7162 section 3.1.5)"""
    query: q.Query
    expunges: bool
    """no message was named by number, so that expunges may be told (RFC 7162 section 3.2.10.2)"""


def matching(session: "ImapSession", arguments: Arguments) -> Generator[bytes, None, Matching]:
    """The messages that match the rest of the arguments."""
    view = session.selected
    view.look()
    query = parse_criteria(arguments, view)
    found = yield from found_by(session, query)
    modseq = view.highest_of(found) if asks_modseq(query) and found else None
    numbers = found if arguments.by_uid else numbers_of(view, found)
    return Matching(found, numbers, modseq, query, not names_numbers(query))


def kept_answer(
    view: View, key: tuple[object, ...], uids: Sequence[int], numbers: Sequence[int]
) -> bytes | None:
    """The answer given before, if it still holds."""
    kept = view.answers.get(key)
    if kept is None or len(kept.uids) != len(uids) or kept.uids != uids or kept.numbers != numbers:
        return None
    return kept.rendered


def keep_answer(
    view: View, key: tuple[object, ...], uids: Sequence[int], numbers: Sequence[int], rendered: bytes
) -> None:
    """Keep an answer for next time, in place of the oldest where there are too many."""
    view.answers.pop(key, None)
    while len(view.answers) >= MAX_KEPT:
        del view.answers[next(iter(view.answers))]
    view.answers[key] = Kept(uids, numbers, rendered)


def tell(session: "ImapSession", pieces: Iterator[bytes]) -> Generator[bytes, None, bytes | None]:
    """Send one response, however long, in pieces; all of it if it is short enough to be kept."""
    collected: list[bytes] | None = []
    size = 0
    first = next(pieces)
    session.within_literal = True
    for piece in pieces:
        size += len(first)
        if collected is not None:
            collected.append(first)
            if size > MAX_OCTETS:
                collected = None
        yield first
        first = piece
    session.within_literal = False
    yield first
    return None if collected is None else b"".join((*collected, first))
