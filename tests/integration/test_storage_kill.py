"""kill -9 at each system call of a write: every OK survives, nothing is doubled, no UID is used twice."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from dovecotpy.search.query import Text
from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import Operation
from tests.integration.storage_kills import run_until
from tests.unit.storage.storage_kit import Home, add, octets, state, uids
from tests.unit.storage.storage_text_kit import found

NONE: frozenset[str] = frozenset()
Acknowledge = Callable[[], None]
MOST_CALLS = 400


def messages(home: Home, name: bytes) -> dict[int, bytes]:
    box = home.store().open(name, writable=True)
    found = {uid: octets(box, uid) for uid in uids(box)}
    box.close()
    return found


def start(path: Path) -> Home:
    """INBOX with four messages, A with one, both known."""
    home = Home(path)
    store = home.store()
    store.create(b"A")
    for name, count in ((b"INBOX", 4), (b"A", 1)):
        box = store.open(name, writable=True)
        for number in range(count):
            add(box, f"Subject: {number}\r\n\r\n".encode(), keywords=["k"] if number else [])
        uids(box)
        box.close()
    store.close()
    return home


def append(home: Home, ok: Acknowledge) -> None:
    add(home.inbox(fsync_disable=False), b"Subject: new\r\n\r\n", flags=flags.SEEN, keywords=["fresh"])
    ok()


def append_without_look(home: Home, ok: Acknowledge) -> None:
    box = home.inbox()
    box.refresh()
    add(box, b"Subject: new\r\n\r\n")
    ok()


def deliver_and_look(home: Home, ok: Acknowledge) -> None:
    box = home.inbox()
    assert 5 in uids(box)
    ok()


def store(home: Home, ok: Acknowledge) -> None:
    box = home.inbox()
    uids(box)
    box.store([1, 2, 3], Operation.ADD, flags.FLAGGED, frozenset({"other"}))
    ok()


def expunge(home: Home, ok: Acknowledge) -> None:
    box = home.inbox()
    uids(box)
    box.expunge([1, 3])
    ok()
    box.close()


def copy(home: Home, ok: Acknowledge) -> None:
    shared = home.store(fsync_disable=False)
    box = shared.open(b"INBOX", writable=True)
    uids(box)
    box.copy([1, 2], shared.open(b"A", writable=True), move=False)
    ok()


def move(home: Home, ok: Acknowledge) -> None:
    shared = home.store(fsync_disable=False)
    box = shared.open(b"INBOX", writable=True)
    uids(box)
    box.copy([1, 2], shared.open(b"A", writable=True), move=True)
    ok()


def create(home: Home, ok: Acknowledge) -> None:
    home.store(fsync_disable=False).create(b"New")
    ok()


def rename(home: Home, ok: Acknowledge) -> None:
    home.store(fsync_disable=False).rename(b"A", b"B")
    ok()


def subscribe(home: Home, ok: Acknowledge) -> None:
    home.store(fsync_disable=False).subscribe(b"A", True)
    ok()


def check_kept(home: Home, before: dict[int, bytes], *, but: tuple[int, ...] = ()) -> dict[int, bytes]:
    """Every message that was there is there, under its UID, with its octets."""
    after = messages(home, b"INBOX")
    for uid, data in before.items():
        if uid in but:
            assert after.get(uid, data) == data
        else:
            assert after[uid] == data
    return after


def check_append(home: Home, before: dict[int, bytes], done: bool) -> None:
    after = check_kept(home, before)
    new = {uid: data for uid, data in after.items() if uid not in before}
    assert list(new.values()) in ([], [b"Subject: new\n\n"])
    assert all(uid > max(before) for uid in new)
    assert new or not done


def check_look(home: Home, before: dict[int, bytes], done: bool) -> None:
    after = check_kept(home, before)
    assert [data for uid, data in after.items() if uid not in before] == [b"delivered\n"]


def check_store(home: Home, before: dict[int, bytes], done: bool) -> None:
    check_kept(home, before)
    found = state(home.inbox())
    for uid, (bits, words) in found.items():
        flagged = bits == flags.FLAGGED and "other" in words
        assert flagged if done and uid != 4 else flagged or (not bits and "other" not in words)
        assert ("k" in words) == (uid != 1)


def check_expunge(home: Home, before: dict[int, bytes], done: bool) -> None:
    after = check_kept(home, before, but=(1, 3))
    assert not done or set(after) == {2, 4}


def check_copy(home: Home, before: dict[int, bytes], done: bool) -> None:
    check_kept(home, before)
    copied = messages(home, b"A")
    assert copied[1] == b"Subject: 0\n\n"
    new = [data for uid, data in copied.items() if uid > 1]
    assert set(new) <= {b"Subject: 0\n\n", b"Subject: 1\n\n"}
    assert len(new) == len(set(new))
    assert len(new) == 2 or not done


def check_move(home: Home, before: dict[int, bytes], done: bool) -> None:
    left = messages(home, b"INBOX")
    there = list(messages(home, b"A").values())
    for uid in (1, 2):
        assert uid in left or before[uid] in there[1:]
    assert not done or (set(left) == {3, 4} and len(there) == 3)


def check_create(home: Home, before: dict[int, bytes], done: bool) -> None:
    check_kept(home, before)
    exists = b"New" in [box.name for box in home.store().mailboxes()]
    assert exists or not done
    if not exists:
        home.store().create(b"New")
    assert messages(home, b"New") == {}


def check_rename(home: Home, before: dict[int, bytes], done: bool) -> None:
    check_kept(home, before)
    names = {box.name for box in home.store().mailboxes()} - {b"INBOX"}
    assert names == {b"B"} if done else names in ({b"A"}, {b"B"})
    assert messages(home, names.pop()) == {1: b"Subject: 0\n\n"}


def check_subscribe(home: Home, before: dict[int, bytes], done: bool) -> None:
    found = home.store().subscriptions()
    assert found == [b"A"] if done else found in ([], [b"A"])
    home.store().subscribe(b"A", True)
    assert home.store().subscriptions() == [b"A"]


WORK = {
    "append": (append, check_append),
    "append to an open one": (append_without_look, check_append),
    "look": (deliver_and_look, check_look),
    "store": (store, check_store),
    "expunge": (expunge, check_expunge),
    "copy": (copy, check_copy),
    "move": (move, check_move),
    "create": (create, check_create),
    "rename": (rename, check_rename),
    "subscribe": (subscribe, check_subscribe),
}


@pytest.mark.parametrize("name", WORK)
def test_killed_at_each_call(tmp_path: Path, name: str) -> None:
    work, check = WORK[name]
    origin = start(tmp_path / "origin")
    if name == "look":
        origin.deliver("1000000000.x.h", b"delivered\n")
    expected = {uid: data for uid, data in messages(origin, b"INBOX").items() if data != b"delivered\n"}
    acknowledged = 0
    for calls in range(MOST_CALLS):
        path = tmp_path / "home"
        shutil.copytree(origin.path, path, symlinks=True)
        home = Home(path)
        if name == "look":
            shutil.rmtree(path)
            home = start(path)
            home.deliver("1000000000.x.h", b"delivered\n")
        killed, done = run_until(lambda ok, home=home: work(home, ok), calls)
        acknowledged += done
        check(home, expected, done)
        last = max(messages(home, b"INBOX"))
        assert add(home.inbox()).uids[0] > last
        assert not list((home.root / "cur").glob("*.tmp.*"))
        home.close()
        shutil.rmtree(path)
        if not killed:
            assert calls > 3
            assert acknowledged
            return
    raise AssertionError("it never came to an end")


def look_for_more(home: Home, ok: Acknowledge) -> None:
    """Build the text index, expunge, look for what is new, and leave out what is gone."""
    box = home.inbox()
    assert found(box, Text("needle")) == [5]
    box.expunge([1, 2])
    add(box, b"Subject: late needle\r\n\r\n")
    box.refresh()
    assert len(found(box, Text("needle"))) == 2
    while box.has_chores:
        box.work()
    ok()


def test_killed_while_text_is_kept(tmp_path: Path) -> None:
    origin = start(tmp_path / "origin")
    origin.deliver("1000000000.3.h", b"Subject: a needle\n\n")
    origin_uids = uids(origin.inbox())
    assert origin_uids == [1, 2, 3, 4, 5]
    for calls in range(MOST_CALLS):
        path = tmp_path / "home"
        shutil.copytree(origin.path, path, symlinks=True)
        home = Home(path)
        box = home.inbox()
        uids(box)
        box.expunge([3])
        box.close()
        killed, _ = run_until(lambda ok, home=home: look_for_more(home, ok), calls)
        box = home.inbox()
        subjects = {uid: octets(box, uid) for uid in uids(box)}
        expected = [uid for uid, data in subjects.items() if b"needle" in data]
        for _ in range(2):
            assert found(box, Text("needle")) == expected
            while box.has_chores:
                box.work()
        home.close()
        shutil.rmtree(path)
        if not killed:
            assert calls > 20
            return
    raise AssertionError("it never came to an end")


def test_the_killing_kills(tmp_path: Path) -> None:
    """A fault planted: an OK before the message is in its place is noticed."""
    home = start(tmp_path / "home")
    before = messages(home, b"INBOX")

    def hasty(ok: Acknowledge) -> None:
        ok()
        append(home, lambda: None)

    killed, done = run_until(hasty, 6)
    assert killed
    with pytest.raises(AssertionError):
        check_append(home, before, done)


def test_after_another_boot_no_uid_is_used_again(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The power failed: lines at the end of the uidlist, and messages, are lost; the reserve is not."""
    from dovecotpy.storage import state as state_module

    box = home.inbox(fsync_disable=False)
    given = [add(box).uids[0] for _ in range(5)]
    box.close()
    path = home.root / "dovecot-uidlist"
    path.write_text("\n".join(path.read_text().splitlines()[:2]) + "\n")
    os.unlink(home.root / "dovecotpy.index") if (home.root / "dovecotpy.index").exists() else None
    monkeypatch.setattr(state_module, "BOOT", "another boot")
    again = home.inbox(fsync_disable=False)
    found = uids(again)
    assert found[0] == 1
    assert all(uid > max(given) for uid in found[1:])
    assert add(again).uids[0] > max(given)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)
