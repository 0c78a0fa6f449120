"""Settings of the store do what they say."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage import state as state_module
from dovecotpy.storage.errors import InUse
from dovecotpy.storage.index import snapshot
from dovecotpy.storage.mailbox import Operation
from dovecotpy.storage.notify import Watcher
from dovecotpy.storage.state import LOCK, State
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


def work(home: Home, **changes: object) -> None:
    """A bit of everything, twice."""
    for _ in range(2):
        store = home.store(**changes)
        if not store.exists(b"A"):
            store.create(b"A")
        box, other = store.open(b"INBOX", writable=True), store.open(b"A", writable=True)
        add(box, flags=flags.SEEN, count=3)
        home.deliver(f"2000000000.M{time.monotonic_ns()}P1.host")
        before = uids(box)
        box.copy(before[-2:], other, move=True)
        box.store(before[:1], Operation.ADD, flags.FLAGGED, frozenset({"word"}))
        box.expunge(before[1:2])
        assert octets(box, before[0])
        assert len(uids(box)) == len(before) - 3
        box.close()
        other.close()
        store.close()


class TestLockMethod:
    def test_dotlock_is_a_file_that_comes_and_goes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        directory = os.open(tmp_path, os.O_RDONLY)
        state = State(directory, str(tmp_path), method="dotlock", sync=False)
        state.reserve("g", uid=1)
        assert not (tmp_path / LOCK).exists()
        (tmp_path / LOCK).write_text("1:elsewhere")
        monkeypatch.setattr(state_module, "LOCK_SECONDS", 0.05)
        with pytest.raises(InUse):
            state.reserve("g", uid=500)
        (tmp_path / LOCK).unlink()
        assert state.reserve("g", uid=500).first == 500
        held: list[bool] = []
        trace = (tmp_path / LOCK).exists
        assert state._connection is not None
        state._connection.set_trace_callback(lambda text: held.append(trace()))
        state.reserve("g", uid=5000)
        assert all(held)
        assert held
        state.close()
        os.close(directory)

    @pytest.mark.parametrize("method", ["fcntl", "flock", "dotlock"])
    def test_every_method_serves(self, home: Home, method: str) -> None:
        work(home, lock_method=method, fsync_disable=False)
        assert (home.root / LOCK).exists() == (method != "dotlock")


class TestFsync:
    def count(self, home: Home, monkeypatch: pytest.MonkeyPatch, disable: bool) -> list[int]:
        synced: list[int] = []
        real = os.fsync
        monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), real(descriptor))[1])
        work(home, fsync_disable=disable)
        return synced

    def test_disabled_asks_the_disk_for_nothing(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.count(home, monkeypatch, True) == []

    def test_enabled_does(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        assert len(self.count(home, monkeypatch, False)) > 10


class TestNetworkStorage:
    def test_no_watch_and_nothing_from_memory(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            Watcher, "watch", lambda self, directory, name: pytest.fail("a watch was asked for")
        )
        work(home, mail_nfs_storage=True)

    def test_a_stat_asks_the_server(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is not opened just now may be as the client's cache remembers it."""
        box = home.inbox(mail_nfs_storage=True)
        add(box, flags=flags.SEEN)
        uids(box)
        opened: list[object] = []
        real = os.open
        monkeypatch.setattr(
            os, "open", lambda path, *rest, **named: (opened.append(path), real(path, *rest, **named))[1]
        )
        box.refresh()
        assert {"new", "cur", "dovecot-uidlist"} <= set(opened)

    def test_a_file_that_another_machine_replaced_is_looked_for(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import errno

        box = home.inbox(mail_nfs_storage=True)
        add(box, b"Subject: x\r\n\r\n", flags=flags.SEEN)
        uids(box)
        real = os.open
        stale = ["dovecot-uidlist", "1"]

        def once(path: str, *rest: object, **named: object) -> int:
            for name in stale:
                if str(path).startswith(name):
                    stale.remove(name)
                    raise OSError(errno.ESTALE, "Stale file handle")
            return real(path, *rest, **named)  # type: ignore[arg-type]

        uids(home.inbox(mail_nfs_storage=True))
        monkeypatch.setattr("dovecotpy.storage.maildir.body.os.open", once)
        assert octets(box, 1) == b"Subject: x\n\n"
        assert "1" not in stale


class TestVeryDirtySyncs:
    def listings(self, home: Home, monkeypatch: pytest.MonkeyPatch, dirty: bool) -> int:
        box = home.inbox(maildir_very_dirty_syncs=dirty, mail_nfs_storage=True)
        add(box, flags=flags.SEEN, count=3)
        state(box)
        time.sleep(0.06)
        state(box)
        listed: list[object] = []
        real = os.listdir
        monkeypatch.setattr(os, "listdir", lambda where: (listed.append(where), real(where))[1])
        for bits in (flags.FLAGGED, flags.DRAFT):
            box.store([1], Operation.ADD, bits, NONE)
            assert state(box)[1][0] & bits
        home.deliver("2000000000.M1P1.host")
        time.sleep(0.06)
        assert len(state(box)) == 4
        return listed.count(box._driver.cur_directory)  # type: ignore[attr-defined]

    def test_cur_is_not_read_after_our_own_changes(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.listings(home, monkeypatch, True) == 0

    def test_without_it_it_is(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.listings(home, monkeypatch, False) > 0

    def test_what_others_did_before_is_seen_all_the_same(self, home: Home) -> None:
        box = home.inbox(maildir_very_dirty_syncs=True, mail_nfs_storage=True)
        add(box, flags=flags.SEEN)
        state(box)
        time.sleep(0.06)
        name = next((home.root / "cur").iterdir())
        name.rename(str(name) + "T")
        time.sleep(0.06)
        assert state(box)[1][0] == flags.SEEN | flags.DELETED


def test_crlf_is_written_when_it_is_asked_for(home: Home) -> None:
    data = b"Subject: x\r\n\r\nbody\r\n"
    for yes in (True, False):
        box = home.inbox(mail_save_crlf=yes)
        [uid] = add(box, data, flags=flags.SEEN).uids
        stored = data if yes else data.replace(b"\r\n", b"\n")
        assert octets(box, uid) == stored
        names = os.listdir(home.root / "cur")
        assert any(f",S={len(stored)},W={len(data)}:" in name for name in names)


def test_nothing_is_mapped(home: Home) -> None:
    """As mmap_disable has it, always."""
    work(home, mmap_disable=True, fsync_disable=False)
    box = home.inbox()
    uids(box)
    with open("/proc/self/maps", encoding="utf-8") as maps:
        assert str(home.path) not in maps.read()
    assert sqlite3.connect(":memory:").execute("PRAGMA mmap_size").fetchall() in ([], [(0,)])


def test_index_and_control_lie_where_they_are_put(home: Home) -> None:
    work(home, mail_location="maildir:~/Maildir:INDEX=~/index:CONTROL=~/control")
    for box, beside in (("", ".INBOX"), (".A", ".A")):
        kept = {path.name for path in (home.root / box).iterdir() if path.is_file()}
        assert kept <= {"maildirfolder", "dovecot-shared"}
        assert (home.path / "control" / beside / "dovecot-uidlist").exists()
    assert (home.path / "index" / ".INBOX" / "dovecotpy.index").exists()
    assert not (home.path / "index" / "dovecotpy-state").exists()


@pytest.mark.parametrize("afresh", [False, True])
def test_an_index_on_a_network_file_system_is_opened_for_each_look(
    home: Home, monkeypatch: pytest.MonkeyPatch, afresh: bool
) -> None:
    """stat answers from memory there, as long as nobody opens the file."""
    home.deliver("1.a.h:2,", folder="cur")
    inbox, other = home.inbox(mail_nfs_index=afresh), home.inbox()
    uids(inbox)
    uids(other)
    real: Any = os.stat
    remembered: dict[object, os.stat_result] = {}

    def stat(path: Any, *arguments: Any, **named: Any) -> os.stat_result:
        if path != snapshot.NAME:
            return real(path, *arguments, **named)
        return remembered.setdefault(path, real(path, *arguments, **named))

    monkeypatch.setattr(os, "stat", stat)
    inbox.refresh()
    other.store([1], Operation.ADD, flags.FLAGGED, frozenset())
    before = inbox.columns().modseq
    inbox._history.follow()
    assert (inbox.columns().modseq > before) == afresh
