"""The items of FETCH, one unit each, in the order of the answer (RFC 3501 section 7.4.2).

An item is answered from columns for many messages at once, or by the store (`Mailbox.fetch`), or by either.
Sections of the message are not here: see `items.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from dovecotpy.imap import internaldate
from dovecotpy.imap.dialect import CONDSTORE, OBJECTID, SAVEDATE
from dovecotpy.imap.registry import Table, extension
from dovecotpy.imap.view import View
from dovecotpy.storage.driver import Columns
from dovecotpy.storage.items import PREVIEW_LAZY

Values = Callable[[View, Columns, int, int], Sequence[object]]
"""The values of the messages at places start to end of the columns; None for one that is not known any more."""
Asks = Callable[[Columns, int, int], bool]


class FetchItem(NamedTuple):
    """One item. Its answer is the name, a space, and the value in `form`."""

    values: Values | None
    """None: the store has it rendered, ready to send"""
    asks_store: Asks | None = None
    """whether the store must be asked for the messages at these places; None: never"""
    form: bytes = b"%b"
    may_miss: bool = False
    """`values` has None where it is not known (any more)"""
    options: frozenset[bytes] = frozenset()
    """words that may follow in parentheses (`Plan.options`)"""
    with_options: Mapping[frozenset[bytes], bytes] = {}
    """what the store calls it with some of these words, where that is something else"""
    enables: bytes = b""
    """the extension that asking for it switches on"""


def _always(columns: Columns, start: int, end: int) -> bool:
    return True


def _uids(view: View, columns: Columns, start: int, end: int) -> Sequence[object]:
    return columns.uids[start:end]


def _flags(view: View, columns: Columns, start: int, end: int) -> Sequence[object]:
    return view.render.many(columns, start, end, view.shown_recent)


def _modseqs(view: View, columns: Columns, start: int, end: int) -> Sequence[object]:
    return columns.modseqs[start:end]


def _email_ids(view: View, columns: Columns, start: int, end: int) -> Sequence[object]:
    return view.mailbox.email_ids(columns.uids[start:end])


def _savedates(view: View, columns: Columns, start: int, end: int) -> Sequence[object]:
    if not view.mailbox.capabilities.savedate:
        return [b"NIL"] * (end - start)
    return internaldate.render_all(view.savedates(columns)[start:end])


def _dates(view: View, columns: Columns, start: int, end: int) -> Sequence[object]:
    return internaldate.render_all(view.dates(columns)[start:end])


def _sizes(view: View, columns: Columns, start: int, end: int) -> Sequence[object]:
    sizes = columns.sizes[start:end]
    if min(sizes, default=0) >= 0:
        return list(map(b"%d".__mod__, sizes))
    return [b"%d" % size if size >= 0 else None for size in sizes]


def _size_unknown(columns: Columns, start: int, end: int) -> bool:
    return min(columns.sizes[start:end], default=0) < 0


PREVIEW = extension("PREVIEW")
LAZY = frozenset((b"LAZY",))

FETCH_ITEMS: Table[FetchItem] = Table()
FETCH_ITEMS.add(b"UID", FetchItem(_uids, form=b"%d"))
FETCH_ITEMS.add(b"FLAGS", FetchItem(_flags))
FETCH_ITEMS.add(b"MODSEQ", FetchItem(_modseqs, form=b"(%d)", enables=CONDSTORE), CONDSTORE)
FETCH_ITEMS.add(b"INTERNALDATE", FetchItem(_dates))
FETCH_ITEMS.add(b"RFC822.SIZE", FetchItem(_sizes, _size_unknown, may_miss=True))
FETCH_ITEMS.add(b"ENVELOPE", FetchItem(None, _always))
FETCH_ITEMS.add(b"BODY", FetchItem(None, _always))
FETCH_ITEMS.add(b"BODYSTRUCTURE", FetchItem(None, _always))
FETCH_ITEMS.add(
    b"PREVIEW", FetchItem(None, _always, options=LAZY, with_options={LAZY: PREVIEW_LAZY}), PREVIEW
)
FETCH_ITEMS.add(b"EMAILID", FetchItem(_email_ids, form=b"(%b)", may_miss=True), OBJECTID)
FETCH_ITEMS.add(b"THREADID", FetchItem(None, _always), OBJECTID)
FETCH_ITEMS.add(b"SAVEDATE", FetchItem(_savedates), SAVEDATE)
