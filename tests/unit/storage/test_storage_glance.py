"""STATUS from the index alone says what an opened mailbox would, and nothing where the index may be wrong."""

from __future__ import annotations

import time

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage.index import snapshot
from dovecotpy.storage.mailbox import Operation
from dovecotpy.storage.maildir import listing
from dovecotpy.storage.store import Status, Store
from tests.descriptors import open_descriptors
from tests.unit.storage.storage_kit import Home, add

NONE: frozenset[str] = frozenset()
A_TICK = listing.TICK + 0.02


def settled(home: Home, count: int = 5) -> Store:
    """INBOX with messages, whose index proves what it says; a store that begins then."""
    inbox = home.inbox()
    add(inbox, count=count)
    inbox.refresh()
    inbox.store([1, 2], Operation.ADD, flags.SEEN, NONE)
    inbox.store([3], Operation.ADD, flags.DELETED, NONE)
    time.sleep(A_TICK)
    inbox.close()
    home.store().status(b"INBOX")
    return home.store()


def opened(home: Home) -> Status:
    """What an opened mailbox says."""
    return home.store()._status(b"INBOX", sized=True)[0]


def glanced(store: Store, name: bytes, *, sized: bool) -> Status | None:
    """What the index alone says."""
    return store._glance(*store._find(name), name, sized=sized)


def test_it_says_what_an_opened_mailbox_says(home: Home) -> None:
    store = settled(home)
    found = glanced(store, b"INBOX", sized=True)
    assert found is not None
    assert found == opened(home)
    assert (found.messages, found.unseen, found.deleted, found.uidnext) == (5, 3, 1, 6)


def test_what_the_log_says_of_messages_counts(home: Home) -> None:
    settled(home)
    inbox = home.inbox()
    inbox.refresh()
    inbox.store([4], Operation.ADD, flags.SEEN, NONE)
    inbox.expunge([5])
    time.sleep(A_TICK)
    inbox.close()
    home.store().status(b"INBOX")
    found = glanced(home.store(), b"INBOX", sized=True)
    assert found is not None
    assert found == opened(home)
    assert (found.messages, found.unseen, found.uidnext) == (4, 1, 6)


def test_messages_that_no_session_claimed_are_recent(home: Home) -> None:
    settled(home)
    home.deliver("9.a.h")
    time.sleep(A_TICK)
    home.store().status(b"INBOX")
    time.sleep(A_TICK)
    home.store().status(b"INBOX")
    found = glanced(home.store(), b"INBOX", sized=False)
    assert found is not None
    assert found._replace(size=0) == opened(home)._replace(size=0)
    assert found.recent == opened(home).recent


@pytest.mark.parametrize("folder", ["new", "cur"])
def test_a_change_of_the_store_is_looked_for(home: Home, folder: str) -> None:
    store = settled(home)
    home.deliver("9.a.h" if folder == "new" else "9.a.h:2,S", folder=folder)
    assert glanced(store, b"INBOX", sized=True) is None
    assert store.status(b"INBOX").messages == 6


@pytest.mark.parametrize("place", [0, 40, 200, -1])
def test_a_damaged_index_is_not_believed(home: Home, place: int) -> None:
    store = settled(home)
    path = home.root / snapshot.NAME
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(data)
    found = glanced(store, b"INBOX", sized=True)
    assert found is None or (found.messages, found.unseen) == (5, 3)
    assert store.status(b"INBOX").messages == 5


def test_without_an_index_and_without_a_mailbox_it_says_nothing(home: Home) -> None:
    store = settled(home)
    (home.root / snapshot.NAME).unlink()
    assert glanced(store, b"INBOX", sized=True) is None
    assert glanced(store, b"none", sized=True) is None
    assert glanced(home.store(location="maildir:~/Maildir:INDEX=MEMORY"), b"INBOX", sized=True) is None


def test_a_mailbox_that_users_share_is_opened(home: Home) -> None:
    store = settled(home)
    (home.root / "dovecot-shared").touch()
    assert glanced(store, b"INBOX", sized=True) is None


def test_no_descriptor_stays_open(home: Home) -> None:
    store = settled(home)
    glanced(store, b"INBOX", sized=True)
    before = open_descriptors()
    for _ in range(3):
        assert glanced(store, b"INBOX", sized=True) is not None
    assert open_descriptors() <= before
