"""How well messages fit a fuzzy search (RFC 6203 section 4)."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.fuzzy import all_of, exact, is_fuzzy, texts, words
from dovecotpy.imap.searching import SLICE, answer_of
from dovecotpy.search import query as q

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

LEAST, EXACT, IN_SUBJECT = 1, 60, 39
"""Scores: of any match; what a match of the whole text adds, and what one in the subject does."""


def relevancy(
    session: "ImapSession", arguments: Arguments, query: q.Query, uids: Iterable[int]
) -> Generator[bytes, None, dict[int, int]]:
    """How well each of the messages that were found fits, 1 to 100. Raises Mistaken for a query without FUZZY."""
    if not is_fuzzy(query):
        raise arguments.wrong("RELEVANCY needs FUZZY.")
    found = dict.fromkeys(uids, LEAST)
    subject = all_of([q.Header(b"subject", word) for text in texts(query) for word in words(text)], q.Or(()))
    for worth, asked in ((EXACT, exact(query)), (IN_SUBJECT, subject)):
        steps = session.selected.mailbox.search(asked, sorted(found), SLICE)
        for uid in (yield from answer_of(session, steps)).uids:
            found[uid] += worth
    return found
