"""What was reserved and not given is skipped after another boot only where a session ended without saying that there is nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dovecotpy.storage import state as state_module
from dovecotpy.storage.maildir import closing
from dovecotpy.storage.state import UIDS_AHEAD
from tests.unit.storage.storage_kit import Home, add, uids


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def session(home: Home, count: int = 1) -> int:
    """Save messages in a session that ends as it should; the last UID."""
    store = home.store(fsync_disable=False)
    box = store.open(b"INBOX", writable=True)
    last = add(box, count=count).uids[-1]
    box.close()
    store.close()
    return last


def killed_session(home: Home, count: int = 1) -> int:
    """The same in a process that is killed before its end."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        box = home.inbox(fsync_disable=False)
        os.write(writer, b"%d" % add(box, count=count).uids[-1])
        os.kill(os.getpid(), 9)
    os.waitpid(pid, 0)
    os.close(writer)
    try:
        return int(os.read(reader, 20))
    finally:
        os.close(reader)


@pytest.fixture
def reboot(monkeypatch: pytest.MonkeyPatch) -> object:
    boots = iter(range(100))
    return lambda: monkeypatch.setattr(state_module, "BOOT", f"boot {next(boots)}")


def test_a_clean_end_skips_nothing(home: Home, reboot) -> None:  # type: ignore[no-untyped-def]
    assert session(home, 3) == 3
    for expected in range(4, 10):
        reboot()
        assert session(home) == expected
    reboot()
    box = home.inbox(fsync_disable=False)
    assert uids(box) == list(range(1, 10))


def test_a_kill_skips_the_reserve(home: Home, reboot) -> None:  # type: ignore[no-untyped-def]
    assert session(home, 3) == 3
    assert killed_session(home) == 4
    reboot()
    assert session(home) > 4 + UIDS_AHEAD - 3
    reboot()
    assert session(home) == max(uids(home.inbox()))


def test_a_kill_in_a_later_boot_too(home: Home, reboot) -> None:  # type: ignore[no-untyped-def]
    session(home)
    reboot()
    assert killed_session(home) == 2
    reboot()
    assert session(home) > UIDS_AHEAD


def test_the_last_one_that_gives_decides(home: Home, reboot) -> None:  # type: ignore[no-untyped-def]
    """A session that stays open while others end takes their mark back with its next UID."""
    one = home.store(fsync_disable=False)
    box = one.open(b"INBOX", writable=True)
    add(box)
    session(home)
    path = home.root / closing.NAME
    assert path.stat().st_size
    last = add(box).uids[0]
    assert path.stat().st_size == 0
    reboot()
    assert session(home) > last + 1


def test_reading_sessions_leave_the_mark_and_the_state_alone(home: Home) -> None:
    session(home)
    for _ in range(2):
        before = {path.name: path.stat().st_mtime_ns for path in home.root.iterdir()}
        store = home.store(fsync_disable=False)
        box = store.open(b"INBOX", writable=True)
        uids(box)
        box.close()
        store.close()
    after = {path.name: path.stat().st_mtime_ns for path in home.root.iterdir()}
    for name in (closing.NAME, "dovecotpy-state", "dovecot-uidlist"):
        assert before[name] == after[name]


def test_of_another_mailbox_or_torn_says_nothing(home: Home, reboot) -> None:  # type: ignore[no-untyped-def]
    last = session(home)
    path = home.root / closing.NAME
    data = path.read_bytes()
    for changed in (
        data[:-1],
        data[:5] + b"x" + data[6:],
        b"",
        data[:-5] + bytes([data[-5] ^ 1]) + data[-4:],
    ):
        path.write_bytes(changed)
        directory = os.open(home.root, os.O_RDONLY)
        assert closing.boot_of(directory, data[:32], 99) == ""
        os.close(directory)
    path.write_bytes(data)
    directory = os.open(home.root, os.O_RDONLY)
    assert closing.boot_of(directory, data[:32], 99) == state_module.BOOT
    assert closing.boot_of(directory, data[:32], last) == ""
    assert closing.boot_of(directory, b"0" * 32, 99) == ""
    os.close(directory)


def test_a_held_lock_costs_the_mark_only(home: Home) -> None:
    store = home.store(fsync_disable=False)
    box = store.open(b"INBOX", writable=True)
    add(box)
    box.close()
    (home.root / "dovecot-uidlist.lock").write_text("1:elsewhere")
    store.close()
    assert not (home.root / closing.NAME).exists()


def test_more_than_is_reserved_ahead_syncs_the_list_and_leaves_state(
    home: Home, monkeypatch: pytest.MonkeyPatch, reboot
) -> None:  # type: ignore[no-untyped-def]
    count = UIDS_AHEAD + 10
    for number in range(count):
        home.deliver(f"1700000{number:03}.M1P1.host:2,S", folder="cur", box=".A")
    store = home.store(fsync_disable=False)
    source, inbox = (store.open(name, writable=True) for name in (b"A", b"INBOX"))
    add(inbox)
    source.refresh()
    reserved = (home.root / state_module.NAME).read_bytes()
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(os.fstat(fd).st_ino), fsync(fd))[1])
    assert source.copy(source.columns().uids, inbox, move=False).destination[-1] == count + 1
    assert (home.root / "dovecot-uidlist").stat().st_ino in synced
    assert (home.root / state_module.NAME).read_bytes() == reserved
    assert add(inbox).uids[0] == count + 2
    assert (home.root / state_module.NAME).read_bytes() != reserved


def test_in_another_boot_many_are_reserved_beyond_what_may_have_been_given(home: Home, reboot) -> None:  # type: ignore[no-untyped-def]
    count = UIDS_AHEAD + 10
    for number in range(count):
        home.deliver(f"1700000{number:03}.M1P1.host:2,S", folder="cur", box=".A")
    assert killed_session(home) == 1
    reboot()
    store = home.store(fsync_disable=False)
    source, inbox = (store.open(name, writable=True) for name in (b"A", b"INBOX"))
    source.refresh()
    assert source.copy(source.columns().uids, inbox, move=False).destination[0] > UIDS_AHEAD
