"""SORT (RFC 5256, RFC 5957) over columns of keys, pure."""

from __future__ import annotations

import enum
import heapq
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, NamedTuple

from dovecotpy.message.fields import Values
from dovecotpy.search.keys import displayed, mailbox, sent, subject

RUN = 20_000
"""Messages sorted without a pause; several runs are merged."""
MERGED = 5_000
"""Messages merged between two pauses."""


class Key(enum.Enum):
    """Sort keys by their names in the command."""

    ARRIVAL = b"ARRIVAL"
    CC = b"CC"
    DATE = b"DATE"
    FROM = b"FROM"
    SIZE = b"SIZE"
    SUBJECT = b"SUBJECT"
    TO = b"TO"
    DISPLAYFROM = b"DISPLAYFROM"
    DISPLAYTO = b"DISPLAYTO"
    RELEVANCY = b"RELEVANCY"


class Criterion(NamedTuple):
    """One key of a sort program."""

    key: Key
    reverse: bool = False


Program = tuple[Criterion, ...]


FROM_HEADER: dict[Key, Callable[[Values], int | bytes]] = {
    Key.CC: lambda header: mailbox(header.get(b"cc")),
    Key.DATE: sent,
    Key.FROM: lambda header: mailbox(header.get(b"from")),
    Key.SUBJECT: subject,
    Key.TO: lambda header: mailbox(header.get(b"to")),
    Key.DISPLAYFROM: lambda header: displayed(header.get(b"from")),
    Key.DISPLAYTO: lambda header: displayed(header.get(b"to")),
}
"""What a header tells; columns of the mailbox tell the others."""

Columns = Mapping[Key, Sequence[int] | Sequence[bytes]]
"""A key of each message, in the order of the mailbox; those of DATE with INTERNALDATE where no date is told."""


def sort(program: Program, columns: Columns, count: int) -> Generator[None, None, list[int]]:
    """Places of count messages in their new order. Yields None between two pieces of work.

    Each criterion is a stable pass of its own, the last one first: what is equal to all keeps the order of the mailbox.
    """
    order = list(range(count))
    for criterion in reversed(program):
        order = yield from stable_pass(order, columns[criterion.key].__getitem__, criterion.reverse)
    return order


def stable_pass(
    order: list[int], key: Callable[[int], Any], reverse: bool = False
) -> Generator[None, None, list[int]]:
    """The same places ordered by a key; equals keep their order. Yields None between two pieces of work."""
    if len(order) <= RUN:
        order.sort(key=key, reverse=reverse)
        yield
        return order
    runs = []
    for start in range(0, len(order), RUN):
        runs.append(sorted(order[start : start + RUN], key=key, reverse=reverse))
        yield
    merged: list[int] = []
    for place in heapq.merge(*runs, key=key, reverse=reverse):
        merged.append(place)
        if not len(merged) % MERGED:
            yield
    return merged
