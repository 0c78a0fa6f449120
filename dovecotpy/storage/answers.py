"""What FETCH is answered, in batches: from the columns, from what the index keeps, else from the messages."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dovecotpy.message.steps import paused
from dovecotpy.storage.source import SIZE, Item, Messages

BATCH = 512
"""Messages of one batch of answers that are at hand."""
READ_BATCH = 32
"""Messages of one batch that must be read."""

Uids = Sequence[int]


class Batch(NamedTuple):
    """Answers of some messages, parallel to `uids`; None where the message is gone. Without messages: a pause in the work."""

    uids: Uids
    values: Mapping[Item, Sequence[bytes | None]]


PAUSE = Batch(array("I"), {})


def answers(
    messages: Messages, sizes_of: Callable[["array[int]"], Uids], uids: Uids, items: frozenset[Item]
) -> Iterator[Batch]:
    """Answers of messages, ready to send. sizes_of: octets as far as they are known, else -1. Raises StoreError."""
    messages.look()
    every = uids if isinstance(uids, array) else array("I", uids)
    for start in range(0, len(every), BATCH):
        part = every[start : start + BATCH]
        columns = {item: _at_hand(messages, sizes_of, item, part) for item in items}
        missing = _missing(columns, len(part))
        if not missing:
            yield Batch(part, columns)
            continue
        at = 0
        for first in range(0, len(missing), READ_BATCH):
            for place in missing[first : first + READ_BATCH]:
                yield from _read(messages, part[place], columns, place)
            messages.settle()
            behind = first + READ_BATCH
            end = missing[behind] if behind < len(missing) else len(part)
            yield Batch(part[at:end], {item: column[at:end] for item, column in columns.items()})
            at = end


def _at_hand(
    messages: Messages, sizes_of: Callable[["array[int]"], Uids], item: Item, uids: "array[int]"
) -> list[bytes | None]:
    if item != SIZE:
        return messages.at_hand(item, uids)
    return [b"%d" % size if size >= 0 else None for size in sizes_of(uids)]


def _missing(columns: Mapping[Item, Sequence[bytes | None]], count: int) -> list[int]:
    """Places of messages of which something is not known."""
    holes = [column for column in columns.values() if None in column]
    if not holes:
        return []
    return [place for place in range(count) if any(column[place] is None for column in holes)]


def _read(
    messages: Messages, uid: int, columns: Mapping[Item, list[bytes | None]], place: int
) -> Iterator[Batch]:
    """Put in what is missing of one message."""
    wanted = frozenset([item for item, column in columns.items() if column[place] is None])
    found: Mapping[Item, bytes] | None = messages.at_once(uid, wanted)
    if found is None:
        found = (yield from paused(messages.render(uid, wanted), PAUSE)) or {}
    for item in wanted:
        columns[item][place] = found.get(item)
