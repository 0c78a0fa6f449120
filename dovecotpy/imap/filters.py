"""Filters as they are set (RFC 5466): search keys that are read before they are kept."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from dovecotpy.imap.dialect import Dialect
from dovecotpy.imap.errors import Mistaken, Refused
from dovecotpy.imap.keys import FILTERS, filter_keys, is_filter_name
from dovecotpy.imap.view import View
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.tokens import ParseError

FILTER_VALUES = b"/private/filters/values/"
"""Begins the entries of the account that are filters."""
_COMMAND = b"SETMETADATA"
_PREFIX = f"Error in IMAP command {_COMMAND.decode()}: "


class Unselected(View):
    """What keys can be read with where no mailbox is selected: one without messages that has whatever is asked for."""

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self.uids = array("I")
        self.saved = array("I")
        self.recent = set()
        self.filter_value = _any_filter

    @property
    def keeps_savedates(self) -> bool:
        return True

    def spans(self, ranges: sequence.Ranges, *, by_uid: bool) -> list[tuple[int, int]]:
        return []

    def uids_of(self, spans: Iterable[tuple[int, int]]) -> "array[int]":
        return array("I")

    def need_modseqs(self) -> None:
        pass


def _any_filter(name: bytes) -> bytes:
    """Filters that others name may be set later."""
    return b"ALL"


def verify(entry: bytes, value: bytes, dialect: Dialect) -> None:
    """Raises Refused [CANNOT] for an entry of the account that would be a filter whose keys are none."""
    if not entry.startswith(FILTER_VALUES) or not dialect.offers(FILTERS):
        return
    name = entry.removeprefix(FILTER_VALUES)
    if not is_filter_name(name):
        raise Refused("Invalid filter name.", "CANNOT")
    try:
        filter_keys(value, Unselected(dialect), _COMMAND)
    except (ParseError, Mistaken) as error:
        reason = str(error).removeprefix(_PREFIX)
        raise Refused(f"Filter {name.decode('ascii')} is no search: {reason}", "CANNOT") from None
