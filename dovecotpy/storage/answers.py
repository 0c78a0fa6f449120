"""What FETCH is answered, in batches: from the columns, from what the index keeps, else from the messages."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dovecotpy.message.steps import paused
from dovecotpy.storage.items import SIZE, Item
from dovecotpy.storage.source import Messages

BATCH = 512
"""Messages of one batch of answers that are at hand."""
READ_BATCH = 64
"""Messages of one batch that must be read."""
READ_ALONE = 4
"""Messages of which each is looked at by itself, between two pauses."""

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
    read = False
    for start in range(0, len(every), BATCH):
        part = every[start : start + BATCH]
        columns = {item: _at_hand(messages, sizes_of, item, part) for item in items}
        missing = _missing(columns, len(part))
        if not missing:
            yield Batch(part, columns)
            continue
        read = True
        at = 0
        for first in range(0, len(missing), READ_BATCH):
            batch = missing[first : first + READ_BATCH]
            for count, place in enumerate(_read_many(messages, part, columns, batch), 1):
                yield from _read(messages, part[place], columns, place)
                if not count % READ_ALONE:
                    yield PAUSE
            messages.settle()
            behind = first + READ_BATCH
            end = missing[behind] if behind < len(missing) else len(part)
            yield Batch(part[at:end], {item: column[at:end] for item, column in columns.items()})
            at = end
    if read:
        messages.finish()


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


def _read_many(
    messages: Messages, uids: "array[int]", columns: Mapping[Item, list[bytes | None]], places: Sequence[int]
) -> Sequence[int]:
    """Put in what is missing of ordinary messages; the places of the others."""
    wanted = frozenset(
        [item for item, column in columns.items() if any(column[place] is None for place in places)]
    )
    found = messages.many_at_once([uids[place] for place in places], wanted)
    for item, values in found.items():
        column = columns[item]
        for place, value in zip(places, values, strict=True):
            if column[place] is None:
                column[place] = value
    return [place for place in places if any(column[place] is None for column in columns.values())]


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
