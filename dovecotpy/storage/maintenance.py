"""What an administrator has done to a mailbox's index: bring it up to date, make it anew, prove that it agrees with the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dovecotpy.storage import flags
from dovecotpy.storage.driver import Columns
from dovecotpy.storage.mailbox import READ_BATCH, Mailbox

Advance = Callable[[int, int], None]
"""Told how many messages are done, of how many."""
Open = Callable[[], Mailbox]
ITEMS = frozenset((b"ENVELOPE", b"BODYSTRUCTURE", b"RFC822.SIZE"))
SHOWN = 20
"""Messages that one line names."""


def index(mailbox: Mailbox, advance: Advance) -> None:
    """Note everything that a client may ask for. Raises StoreError."""
    mailbox.refresh()
    columns = mailbox.columns()
    uids = columns.uids
    done = 0
    for batch in mailbox.fetch(uids, ITEMS):
        done += len(batch.uids)
        advance(done, len(uids))
    len(columns.dates)


def rebuild(mailbox: Mailbox, advance: Advance) -> None:
    """Make the index of a mailbox that was just opened anew: from the store alone, with modseqs beyond all that were given.

    Raises StoreError.
    """
    mailbox.discard_index()
    index(mailbox, advance)


def verify(opened: Open, plain: Open, advance: Advance) -> list[str]:
    """What does not agree, a line each; repaired when it returns. opened: opens the mailbox; plain: the same without its index.

    What other sessions and programs do meanwhile is followed, and not told. Raises StoreError.
    """
    mailbox = opened()
    try:
        mailbox.refresh()
        found = [*mailbox.check_index(), *_differences(mailbox, plain)]
        if found:  # unless it was somebody's change between the two looks
            found = [*mailbox.check_index(), *_differences(mailbox, plain)]
        wrong = _cached(mailbox, plain, advance)
    finally:
        mailbox.close()
    if found:
        again = opened()
        try:
            again.discard_index()
            again.refresh()
        finally:
            again.close()
    return found + wrong


def _differences(mailbox: Mailbox, plain: Open) -> list[str]:
    """Between the index and a listing that knows nothing of it."""
    listed = plain()
    try:
        listed.refresh()
        mailbox.refresh()
        return compare(mailbox.columns(), listed.columns())
    finally:
        listed.close()


def compare(noted: Columns, listed: Columns) -> list[str]:
    """Where an index and the store differ, a line for each way."""
    lines = []
    if noted.uidvalidity != listed.uidvalidity:
        lines.append(f"UIDVALIDITY is {listed.uidvalidity}, the index says {noted.uidvalidity}")
    if noted.uidnext < listed.uidnext:
        lines.append(f"the next UID is {listed.uidnext}, the index says {noted.uidnext}")
    before, now = _state(noted), _state(listed)
    ways: list[tuple[str, Sequence[int]]] = [
        ("in the index but not in the mailbox", sorted(before.keys() - now.keys())),
        ("in the mailbox but not in the index", sorted(now.keys() - before.keys())),
    ]
    both = sorted(before.keys() & now.keys())
    ways += [
        ("with other flags in the index", [uid for uid in both if before[uid][0] != now[uid][0]]),
        ("with other keywords in the index", [uid for uid in both if before[uid][1] != now[uid][1]]),
    ]
    highest = max(noted.modseqs, default=0)
    if highest > noted.modseq:
        lines.append(f"a message has the modseq {highest}, beyond the mailbox's {noted.modseq}")
    return lines + [_line(text, uids) for text, uids in ways if uids]


def _state(columns: Columns) -> dict[int, tuple[int, frozenset[str]]]:
    sets = columns.keyword_sets
    rows = zip(columns.uids, columns.flags, columns.keywords, strict=True)
    return {uid: (bits & flags.ALL, sets[words]) for uid, bits, words in rows}


def _line(text: str, uids: Sequence[int]) -> str:
    named = " ".join(map(str, uids[:SHOWN])) + (" …" if len(uids) > SHOWN else "")
    return f"{len(uids)} message{'s' if len(uids) > 1 else ''} {text}: UID {named}"


def _cached(mailbox: Mailbox, plain: Open, advance: Advance) -> list[str]:
    """Answers and sizes that are remembered, against what the messages say; what is wrong is forgotten, sizes are set right."""
    fresh = plain()
    wrong: dict[bytes, list[int]] = {item: [] for item in sorted(ITEMS)}
    try:
        fresh.refresh()
        uids = mailbox.columns().uids
        for start in range(0, len(uids), READ_BATCH):
            part = uids[start : start + READ_BATCH]
            told = _answers(mailbox, part)
            _answers(fresh, part)  # only who has read a message knows its size
            read = _answers(fresh, part)
            for item, values in told.items():
                pairs = zip(part, values, read[item], strict=True)
                wrong[item] += [uid for uid, mine, true in pairs if None not in (mine, true) and mine != true]
            advance(start + len(part), len(uids))
        for uid in wrong[b"RFC822.SIZE"]:
            mailbox.measure(uid)
        for item in ITEMS:
            mailbox.forget_answers(wrong[item])
    finally:
        fresh.close()
    return [_line(f"with another {item.decode()} noted", uids) for item, uids in wrong.items() if uids]


def _answers(mailbox: Mailbox, uids: Sequence[int]) -> dict[bytes, list[bytes | None]]:
    found: dict[bytes, list[bytes | None]] = {item: [] for item in ITEMS}
    for batch in mailbox.fetch(uids, ITEMS):
        for item, values in batch.values.items():
            found[item] += values
    return found
