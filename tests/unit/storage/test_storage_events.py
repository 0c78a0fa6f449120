"""An open session learns from the watch's events what others did, without a listing, and ends where a listing would."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import Operation
from dovecotpy.storage.maildir import comparing, listing
from tests.unit.storage.storage_kit import Home, add, state

NONE: frozenset[str] = frozenset()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def others(home: Home, chance: random.Random, number: int) -> None:
    """One change by another program."""
    cur, new = home.root / "cur", home.root / "new"
    names = sorted(os.listdir(cur))
    choice = chance.randrange(7)
    if choice == 0 or not names:
        home.deliver(f"20000{number:05}.M{number}P1.host")
    elif choice == 1:
        (cur / chance.choice(names)).unlink()
    elif choice == 2:
        name = chance.choice(names)
        (cur / name).rename(new / name.partition(":")[0])
    elif choice == 3:
        name = chance.choice(names)
        (cur / name).rename(home.root / "tmp" / name)
        (home.root / "tmp" / name).rename(cur / (name.partition(":")[0] + ":2,R"))
    else:
        name = chance.choice(names)
        letters = "".join(sorted(set(chance.choices("DFRST", k=2))))
        (cur / name).rename(cur / f"{name.partition(':')[0]}:2,{letters}")


@pytest.mark.parametrize("seed", range(6))
def test_ends_where_a_listing_would(home: Home, seed: int) -> None:
    chance = random.Random(seed)
    box = home.inbox()
    add(box, count=20)
    state(box)
    box.wait()
    number = 0
    for _ in range(60):
        for _ in range(chance.randrange(1, 4)):
            number += 1
            others(home, chance, seed * 1000 + number)
        if chance.random() < 0.3:
            box.refresh()
            mine = list(box.columns().uids)[:3]
            box.store(mine, chance.choice(list(Operation)), chance.randrange(32), NONE)
        if chance.random() < 0.2:
            add(box, flags=flags.SEEN)
        found = state(box)
        fresh = home.inbox()
        expected = state(fresh)
        fresh.close()
        found = state(box) if found != expected else found
        assert found == expected
    home.close()


def test_a_foreign_change_costs_no_listing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    box = home.inbox()
    add(box, count=5, flags=flags.SEEN)
    state(box)
    box.wait()
    state(box)
    listed: list[int] = []
    real = listing.look
    monkeypatch.setattr(comparing, "look", lambda box: (listed.append(1), real(box))[1])
    name = sorted(os.listdir(home.root / "cur"))[0]
    (home.root / "cur" / name).rename(home.root / "cur" / (name[:-1] + "FS"))
    home.deliver("2000000001.M1P1.host")
    found = state(box)
    assert found[1][0] == flags.SEEN | flags.FLAGGED
    assert 6 in found
    (home.root / "cur" / (name[:-1] + "FS")).unlink()
    assert 1 not in state(box)
    assert not listed
    home.close()


def test_what_moved_away_is_looked_for(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that left by a rename may come back under another one: only a listing tells."""
    box = home.inbox()
    add(box, count=2, flags=flags.SEEN)
    state(box)
    box.wait()
    name = sorted(os.listdir(home.root / "cur"))[0]
    (home.root / "cur" / name).rename(home.path / "elsewhere")
    assert list(state(box)) == [2]
    home.close()


@pytest.mark.parametrize("poll", [False, True])
def test_what_another_program_puts_back_into_new_stays(home: Home, poll: bool) -> None:
    """It goes to cur/ again under the very name that was missed there."""
    import time

    box = home.inbox(mail_nfs_storage=poll)
    add(box, count=2)
    state(box)
    for _ in range(3):
        name = sorted(os.listdir(home.root / "cur"))[0]
        (home.root / "cur" / name).rename(home.root / "new" / name.partition(":")[0])
        time.sleep(0.06)
        assert list(state(box)) == [1, 2]
    home.close()


def test_a_polled_session_lists_new_alone_when_cur_is_as_it_was(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    box = home.inbox(mail_nfs_storage=True)
    add(box, count=3, flags=flags.SEEN)
    state(box)
    time.sleep(0.06)
    state(box)
    directories: list[object] = []
    real = os.listdir
    monkeypatch.setattr(os, "listdir", lambda where: (directories.append(where), real(where))[1])
    home.deliver("2000000001.M1P1.host")
    time.sleep(0.06)
    assert len(state(box)) == 4
    driver = box._driver
    assert directories[0] == driver.new_directory  # type: ignore[attr-defined]
    assert driver.cur_directory not in directories[:1]  # type: ignore[attr-defined]
    assert len(directories) == 1
    home.close()


def test_a_message_that_is_gone_is_gone_without_a_watch_too(home: Home) -> None:
    """Right after a change, when no listing proves anything, its body is waited for until one does."""
    from dovecotpy.storage.errors import MessageGone

    box = home.inbox(mail_nfs_storage=True)
    add(box, count=2, flags=flags.SEEN)
    state(box)
    for path in (home.root / "cur").iterdir():
        path.unlink()
    with pytest.raises(MessageGone):
        box.body(1)
    home.close()
