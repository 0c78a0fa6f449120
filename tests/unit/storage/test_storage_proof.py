"""A session that changed flags and is still open does not cost the next ones a listing, and hides nothing from them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dovecotpy import clock
from dovecotpy.storage import files, flags
from dovecotpy.storage.index import snapshot
from dovecotpy.storage.mailbox import Mailbox, Operation
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()
FLAGGED = (flags.FLAGGED, NONE)
Listings = Callable[[], int]


@pytest.fixture
def home(home: Home) -> Home:
    for number in range(5):
        home.deliver(f"{number}.a.h:2,", b"Subject: %d\r\n\r\nbody\r\n" % number, folder="cur")
    (home.path / "index").mkdir()
    first = home.inbox()
    uids(first)
    first.close()
    return home


@pytest.fixture
def listings(home: Home, monkeypatch: pytest.MonkeyPatch) -> Listings:
    """How often cur/ was read since."""
    if not files.is_fine(os.open(home.root, os.O_RDONLY)):
        pytest.skip("two changes of a directory may carry the same time here")
    seen: list[object] = []
    cur = os.stat(home.root / "cur").st_ino
    for name in ("listdir", "scandir"):
        real: Any = getattr(os, name)

        def read(directory: Any, real: Any = real) -> Any:
            found = os.fstat(directory) if isinstance(directory, int) else os.stat(directory)
            if found.st_ino == cur:
                seen.append(directory)
            return real(directory)

        monkeypatch.setattr(os, name, read)

    def count() -> int:
        found = len(seen)
        seen.clear()
        return found

    return count


def opened(home: Home) -> Mailbox:
    inbox = home.inbox()
    uids(inbox)
    return inbox


def flag(inbox: Mailbox, uid: int, operation: Operation = Operation.ADD) -> None:
    inbox.store([uid], operation, flags.FLAGGED, NONE)


def index_of(home: Home) -> Path:
    (found,) = home.root.glob(snapshot.NAME)
    return found


def test_the_next_session_lists_nothing(home: Home, listings: Listings) -> None:
    first = opened(home)
    for number in range(1, 6):
        flag(first, number)
        listings()
        assert state(home.inbox())[number] == FLAGGED
        assert listings() == 0


def test_it_finds_what_was_renamed(home: Home, listings: Listings) -> None:
    first = opened(home)
    flag(first, 2)
    listings()
    second = opened(home)
    assert octets(second, 2).startswith(b"Subject: 1")
    assert octets(second, 3).startswith(b"Subject: 2")
    second.store([2], Operation.REMOVE, flags.FLAGGED, NONE)
    assert listings() == 0
    assert state(second) == state(first)


def test_a_change_behind_it_is_seen(home: Home, listings: Listings) -> None:
    first = opened(home)
    for number in range(30):
        flag(first, 2, (Operation.ADD, Operation.REMOVE)[number % 2])
        home.deliver(f"9{number}.a.h:2,", folder="cur")
        assert len(uids(home.inbox())) == 6 + number


def test_a_renaming_behind_it_is_seen(home: Home, listings: Listings) -> None:
    first = opened(home)
    cur = home.root / "cur"
    for number in range(30):
        flag(first, 2, (Operation.ADD, Operation.REMOVE)[number % 2])
        names = ("3.a.h:2,", "3.a.h:2,S")
        os.rename(cur / names[number % 2], cur / names[1 - number % 2])
        assert state(home.inbox())[4] == ((flags.SEEN, 0)[number % 2], NONE)


def test_the_date_of_a_renamed_one_is_right(home: Home, listings: Listings) -> None:
    os.utime(home.root / "cur" / "1.a.h:2,", (1_600_000_000, 1_600_000_000))
    (home.root / snapshot.NAME).unlink()
    opened(home).close()
    first = opened(home)
    flag(first, 2)
    second = opened(home)
    assert second.columns().dates[1] == 1_600_000_000


def test_one_that_another_program_removes_is_gone(home: Home, listings: Listings) -> None:
    """The name that the index remembers is not the one that the event says."""
    first = opened(home)
    flag(first, 2)
    second = opened(home)
    second.wait()
    os.unlink(home.root / "cur" / "1.a.h:2,F")
    second.drain()
    assert uids(second) == [1, 3, 4, 5]
    assert uids(home.inbox()) == [1, 3, 4, 5]


def test_it_changes_a_renamed_one_itself(home: Home, listings: Listings) -> None:
    first = opened(home)
    flag(first, 2)
    second = opened(home)
    second.store([2], Operation.ADD, flags.SEEN, NONE)
    second.expunge([3])
    assert state(second)[2] == (flags.FLAGGED | flags.SEEN, NONE)
    assert (home.root / "cur" / "1.a.h:2,FS").exists()
    assert state(first) == state(second) == state(home.inbox())


def test_expunging_a_renamed_one_removes_its_file(home: Home, listings: Listings) -> None:
    first = opened(home)
    flag(first, 2)
    second = opened(home)
    assert list(second.expunge([2])) == [2]
    assert len(os.listdir(home.root / "cur")) == 4
    assert uids(first) == uids(home.inbox()) == [1, 3, 4, 5]


def test_sessions_after_one_that_was_killed(home: Home, listings: Listings) -> None:
    """Nobody wrote down where the messages went; each of them still finds all."""
    first = opened(home)
    for number in (1, 2, 3):
        flag(first, number)
    for number in (4, 5):
        second = opened(home)
        flag(second, number)
        second.close()
    last = opened(home)
    assert state(last) == dict.fromkeys(range(1, 6), FLAGGED)
    for number in range(1, 6):
        assert octets(last, number).startswith(b"Subject: %d" % (number - 1))
    last.close()
    assert {number: octets(opened(home), number)[9:10] for number in range(1, 6)} == {
        number: b"%d" % (number - 1) for number in range(1, 6)
    }


def test_a_damaged_column_is_rescued_from_the_store(home: Home, listings: Listings) -> None:
    first = opened(home)
    flag(first, 2)
    second = opened(home)
    index_of(home).unlink()
    assert state(second)[2] == FLAGGED
    assert state(home.inbox())[2] == FLAGGED


def test_while_the_client_is_quiet_names_are_written(home: Home, listings: Listings) -> None:
    first = opened(home)
    flag(first, 2)
    assert first.has_chores
    first.work()
    second = opened(home)
    listings()
    assert octets(second, 2).startswith(b"Subject: 1")
    assert listings() == 0


def test_after_a_delivery_of_its_own_another_session_finds_both(home: Home, listings: Listings) -> None:
    first = opened(home)
    add(first, b"Subject: 5\r\n\r\nbody\r\n")
    flag(first, 2)
    second = opened(home)
    assert octets(second, 6).startswith(b"Subject: 5")
    assert octets(second, 2).startswith(b"Subject: 1")
    assert state(second)[2] == FLAGGED


def test_a_coarse_clock_proves_nothing_at_once(
    home: Home, listings: Listings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "is_fine", lambda directory: False)
    first = opened(home)
    flag(first, 2)
    listings()
    second = opened(home)
    assert listings() > 0
    assert state(second)[2] == FLAGGED
    real = clock.file_time
    monkeypatch.setattr(clock, "file_time", lambda: real() + 10)
    first.work()
    listings()
    assert state(home.inbox())[2] == FLAGGED
    assert listings() == 0
