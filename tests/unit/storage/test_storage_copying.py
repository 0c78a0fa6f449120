"""COPY and MOVE of many: pauses to look at the client, all or none, nothing doubled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import CHUNK, Mailbox
from dovecotpy.storage.maildir import locked
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

COUNT = 2500


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def two(home: Home, **changes: object) -> tuple[Mailbox, Mailbox]:
    """INBOX with COUNT messages, and an empty mailbox."""
    for number in range(COUNT):
        home.deliver(f"1000000{number:04}.M1P1.host:2,S", b"Subject: %d\n\n" % number, folder="cur")
    store = home.store(**changes)
    store.create(b"A")
    inbox, other = store.open(b"INBOX", writable=True), store.open(b"A", writable=True)
    assert len(uids(inbox)) == COUNT
    assert uids(other) == []
    return inbox, other


def files_of(home: Home, box: str) -> list[str]:
    return [name for folder in ("cur", "new", "tmp") for name in os.listdir(home.root / box / folder)]


def test_a_copy_pauses(home: Home) -> None:
    inbox, other = two(home)
    copying = inbox.copying(inbox.columns().uids, other)
    told = []
    most = 0
    before = 0
    while True:
        try:
            told.append(next(copying))
        except StopIteration as end:
            copied = end.value
            break
        now = len(files_of(home, ".A"))
        most, before = max(most, now - before), now
    assert told == [locked.LINKS, 2 * locked.LINKS]
    assert most <= locked.LINKS
    assert list(copied.source) == list(inbox.columns().uids)
    assert list(copied.destination) == uids(other) == list(range(1, COUNT + 1))
    assert {bits for bits, _ in state(other).values()} == {flags.SEEN}
    assert octets(other, COUNT) == b"Subject: %d\n\n" % (COUNT - 1)
    home.close()


@pytest.mark.parametrize("links", [True, False])
def test_a_copy_whose_client_went_places_nothing(home: Home, links: bool) -> None:
    inbox, other = two(home, maildir_copy_with_hardlinks=links)
    add(other)
    assert uids(other) == [1]
    copying = inbox.copying(inbox.columns().uids, other)
    next(copying)
    next(copying)
    assert len(files_of(home, ".A")) > 1
    copying.close()
    assert len(files_of(home, ".A")) == 1
    assert uids(other) == [1]
    assert not (home.root / ".A" / "dovecot-uidlist.lock").exists()
    [new] = add(other).uids
    assert uids(other) == [1, new]
    assert len(uids(inbox)) == COUNT
    home.close()


def test_one_that_is_gone_takes_the_others_back(home: Home) -> None:
    from dovecotpy.storage.errors import MessageGone

    inbox, other = two(home)
    copying = inbox.copying(inbox.columns().uids, other)
    next(copying)
    (home.root / "cur" / f"1000000{COUNT - 1:04}.M1P1.host:2,S").unlink()
    with pytest.raises(MessageGone):
        for _ in copying:
            pass
    assert files_of(home, ".A") == []
    assert uids(other) == []
    home.close()


def test_one_that_is_renamed_meanwhile_is_copied(home: Home) -> None:
    inbox, other = two(home)
    copying = inbox.copying(inbox.columns().uids, other)
    next(copying)
    name = home.root / "cur" / f"1000000{COUNT - 1:04}.M1P1.host:2,S"
    name.rename(str(name) + "T")
    for _ in copying:
        pass
    found = state(other)
    assert len(found) == COUNT
    assert found[max(found)][0] == flags.SEEN | flags.DELETED
    home.close()


def test_a_move_is_never_half_done(home: Home) -> None:
    inbox, other = two(home)
    for _ in range(2):
        part = inbox.columns().uids[:CHUNK]
        assert list(inbox.copy(part, other, move=True).source) == list(part)
        assert len(uids(inbox)) + len(uids(other)) == COUNT
    assert len(uids(inbox)) == COUNT - 2 * CHUNK
    assert len(uids(other)) == 2 * CHUNK
    home.close()
