"""index, rebuild, verify: an index that lies is found out and set right, with UIDs and modseqs kept."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from dovecotpy.storage import flags, maintenance
from dovecotpy.storage.driver import UNKNOWN_DATE, Ref, Row
from dovecotpy.storage.index import snapshot
from dovecotpy.storage.index.history import History
from tests.unit.storage.storage_kit import Home, add, state, uids

NONE: frozenset[str] = frozenset()


def row(uid: int, bits: int = 0, words: frozenset[str] = NONE) -> Row:
    return Row(uid, Ref(b""), bits, words, UNKNOWN_DATE, None, b"", None)


def settled(home: Home) -> dict[int, tuple[int, frozenset[str]]]:
    """Three messages that the index knows for certain."""
    inbox = home.inbox()
    add(inbox, count=2)
    add(inbox, flags=flags.SEEN, keywords=["k"])
    before = state(inbox)
    inbox.close()
    time.sleep(0.1)
    again = home.inbox()
    again.refresh()
    again.close()
    return before


def lie(home: Home, tell: Callable[[History], object]) -> None:
    """Note something in the index that is not so."""
    inbox = home.inbox()
    inbox.refresh()
    assert inbox._stamp, "the mailbox is not proven unchanged, so that the lie would be found at once"
    tell(inbox._history)
    inbox.close()


def verify(home: Home) -> list[str]:
    store = home.store()
    return maintenance.verify(
        lambda: store.open(b"INBOX", writable=True),
        lambda: store.open(b"INBOX", writable=True, index=False),
        lambda done, total: None,
    )


LIES: list[tuple[str, Callable[[History], object]]] = [
    (
        "1 message with other flags in the index: UID 2",
        lambda told: told.note((), [row(2, flags.DRAFT)], (), 0),
    ),
    (
        "1 message with other keywords in the index: UID 1",
        lambda told: told.note((), [row(1, 0, frozenset({"no"}))], (), 0),
    ),
    ("1 message in the mailbox but not in the index: UID 2", lambda told: told.note((), (), [2], 0)),
    ("1 message in the index but not in the mailbox: UID 9", lambda told: told.note([row(9)], (), (), 10)),
]


@pytest.mark.parametrize(("line", "tell"), LIES)
def test_a_lie_is_found_and_set_right(home: Home, line: str, tell: Callable[[History], object]) -> None:
    before = settled(home)
    lie(home, tell)
    highest = home.inbox().refresh()
    assert verify(home) == [line]
    assert verify(home) == []
    inbox = home.inbox()
    assert state(inbox) == before
    assert inbox.refresh() > highest


def test_what_agrees_stays_as_it_is(home: Home) -> None:
    before = settled(home)
    first = home.inbox()
    highest = first.refresh()
    first.close()
    assert verify(home) == []
    again = home.inbox()
    assert (again.refresh(), state(again)) == (highest, before)


def test_a_size_that_lies_is_measured(home: Home) -> None:
    home.deliver("1.a.h,S=5,W=7:2,", b"A: b\n\nxyz\n", folder="cur")
    uids(home.inbox())
    assert verify(home) == ["1 message with another RFC822.SIZE noted: UID 1"]
    assert verify(home) == []
    inbox = home.inbox()
    inbox.refresh()
    assert list(inbox.columns().sizes) == [13]


def test_an_index_is_made_anew(home: Home) -> None:
    before = settled(home)
    inbox = home.inbox()
    validity, highest = inbox.uidvalidity, inbox.refresh()
    inbox.close()
    again = home.inbox()
    maintenance.rebuild(again, lambda done, total: None)
    again.close()
    third = home.inbox()
    assert state(third) == before
    assert third.uidvalidity == validity
    assert third.columns().modseq > highest
    assert not home.lines


def test_numbers_of_a_lost_state_are_not_given_again(home: Home) -> None:
    settled(home)
    highest = home.inbox().refresh()
    (home.root / "dovecotpy-state").unlink()
    inbox = home.inbox()
    maintenance.rebuild(inbox, lambda done, total: None)
    assert inbox.columns().modseq > highest


def test_progress_is_told(home: Home) -> None:
    settled(home)
    steps: list[tuple[int, int]] = []
    inbox = home.inbox()
    maintenance.index(inbox, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (3, 3)


def test_other_sessions_go_on_under_a_rebuild(home: Home) -> None:
    before = settled(home)
    open_one = home.inbox()
    uids(open_one)
    again = home.inbox()
    maintenance.rebuild(again, lambda done, total: None)
    assert state(open_one) == before
    assert open_one.columns().modseq == again.columns().modseq
    add(open_one)
    assert uids(again) == [1, 2, 3, 4]
    assert again.columns().modseqs == open_one.columns().modseqs
    assert (home.root / snapshot.NAME).exists()
