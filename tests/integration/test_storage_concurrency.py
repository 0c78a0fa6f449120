"""Several processes on one mailbox; locks that are held, disks that are full, clocks that jump."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy import clock
from dovecotpy.storage import flags, writing
from dovecotpy.storage.dotlock import Dotlock
from dovecotpy.storage.errors import InUse, NoSpace
from dovecotpy.storage.mailbox import Mailbox, Operation
from dovecotpy.storage.maildir import sync as sync_module
from tests.integration.storage_processes import Child
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()


def _writer(path: Path, number: int, rounds: int) -> tuple[dict[int, bytes], set[int]]:
    box = Home(path).inbox()
    told: dict[int, bytes] = {}
    gone: set[int] = set()
    known: list[int] = []
    for turn in range(rounds):
        text = f"Subject: {number}-{turn}\r\n\r\n".encode()
        [uid] = add(box, text, keywords=[f"k{number}"]).uids
        told[uid] = text.replace(b"\r\n", b"\n")
        before, known = known, uids(box)
        assert uid in known
        assert known == sorted(known)
        late = [each for each in known if before and each < before[-1] and each not in before]
        assert not late, f"messages appeared among known ones: {late}"
        box.store(known[-5:], Operation.ADD if turn % 2 else Operation.REMOVE, flags.SEEN, NONE)
        if turn % 4 == 3:
            gone.update(box.expunge([uid]))
    box.close()
    return told, gone


def test_writers_at_once(home: Home) -> None:
    home.inbox().refresh()
    results = [child.result() for child in [Child(_writer, home.path, number, 80) for number in range(4)]]
    expected: dict[int, bytes] = {}
    gone: set[int] = set()
    for told, expunged in results:
        assert not expected.keys() & told.keys(), "a UID was given twice"
        expected.update(told)
        gone |= expunged
    for uid in gone:
        del expected[uid]
    box = home.inbox()
    assert {uid: octets(box, uid) for uid in uids(box)} == expected


def _storm(path: Path, count: int, ready: str) -> None:
    """Rename messages as fast as it goes until told to stop."""
    cur = path / "Maildir" / "cur"
    os.chdir(cur)
    state = dict.fromkeys(range(count), "")
    (path / ready).write_text("")
    turn = 0
    parent = os.getppid()
    while not (path / "stop").exists() and os.getppid() == parent:
        for number in range(turn % 7, count, 7):
            old = state[number]
            state[number] = "" if old else "S"
            os.rename(f"{number}.m.h:2,{old}", f"{number}.m.h:2,{state[number]}")
        turn += 1


@pytest.mark.parametrize("poll", [False, True], ids=["watched", "polled"])
def test_no_uid_moves_in_a_storm_of_renames(home: Home, poll: bool) -> None:
    count = 1500
    for number in range(count):
        home.deliver(f"{number}.m.h:2,", b"x\n", folder="cur")
    first = home.inbox(mail_nfs_storage=poll)
    expected = {number: uid for uid, number in zip(uids(first), sorted(range(count)), strict=True)}
    listed = (home.root / "dovecot-uidlist").read_text().splitlines()[1:]
    storm = Child(_storm, home.path, count, "ready")
    while not (home.path / "ready").exists():
        time.sleep(0.01)
    try:
        looks = _look_for(6, home, first, list(expected.values()), poll)
    finally:
        (home.path / "stop").write_text("")
        storm.result()
    assert looks > 2
    assert (home.root / "dovecot-uidlist").read_text().splitlines()[1:] == listed


def _look_for(seconds: float, home: Home, box: Mailbox, expected: list[int], poll: bool) -> int:
    """Look with an open session and with cold ones; how often."""
    deadline = time.monotonic() + seconds
    looks = 0
    while time.monotonic() < deadline:
        modseq = box.refresh()
        assert list(box.columns().uids) == expected
        assert not box.changes(modseq).vanished
        cold = home.inbox(mail_nfs_storage=poll, mail_location="maildir:~/Maildir:INDEX=MEMORY")
        assert uids(cold) == expected
        cold.close()
        for uid in (1, len(expected) // 2, len(expected)):
            assert octets(box, uid) == b"x\n"
        looks += 1
    return looks


def _hold(path: Path) -> None:
    box = Home(path).inbox()
    box.refresh()
    with box._driver.lock(clock.monotonic() + 5):
        (path / "held").write_text("")
        os.kill(os.getpid(), signal.SIGSTOP)


def test_a_stopped_holder_of_the_lock(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    box = home.inbox()
    add(box, count=2)
    uids(box)
    monkeypatch.setattr(writing, "LOCK_SECONDS", 0.3)
    monkeypatch.setattr(sync_module, "LOCK_SECONDS", 0.2)
    child = Child(_hold, home.path)
    while not (home.path / "held").exists():
        time.sleep(0.01)
    try:
        for write in (
            lambda: add(box),
            lambda: box.store([1], Operation.ADD, flags.SEEN, NONE),
            lambda: box.expunge([1]),
            lambda: box.copy([1], box, move=False),
        ):
            with pytest.raises(InUse) as raised:
                write()
            assert raised.value.code == "INUSE"
        home.deliver("9.x.h")
        assert uids(box) == [1, 2]
        assert octets(box, 2)
        assert uids(home.store().open(b"INBOX", writable=False)) == [1, 2]
    finally:
        child.kill()
    assert uids(box) == [1, 2, 3]
    assert list(add(box).uids) == [4]


def test_the_lock_of_a_dead_process_is_stale_at_once(home: Home) -> None:
    box = home.inbox()
    add(box)
    child = Child(_hold, home.path)
    while not (home.path / "held").exists():
        time.sleep(0.01)
    child.kill()
    assert (home.root / "dovecot-uidlist.lock").exists()
    before = time.monotonic()
    add(box)
    assert time.monotonic() - before < 2
    assert not (home.root / "dovecot-uidlist.lock").exists()


def _break(path: Path, number: int) -> int:
    """Count how often two processes believe to hold the lock at once."""
    directory = os.open(path, os.O_RDONLY)
    clashes = 0
    for _ in range(150):
        lock = Dotlock(directory, "x.lock")
        lock.take(clock.monotonic() + 20, "no")
        try:
            mine = os.open(path / "inside", os.O_CREAT | os.O_EXCL | os.O_WRONLY)
            os.close(mine)
        except FileExistsError:
            clashes += 1
        else:
            os.unlink(path / "inside")
        lock.release()
        if number == 0:
            try:
                with open(path / "x.lock", "x") as file:
                    file.write(f"999999:{os.uname().nodename}")
            except FileExistsError:
                pass
    return clashes


def test_stale_locks_are_broken_by_one_alone(tmp_path: Path) -> None:
    children = [Child(_break, tmp_path, number) for number in range(4)]
    assert [child.result() for child in children] == [0, 0, 0, 0]


def test_a_lock_of_another_host_is_not_broken_by_a_clock_that_jumps(tmp_path: Path) -> None:
    (tmp_path / "x.lock").write_text("1:elsewhere.example")
    os.utime(tmp_path / "x.lock", (time.time() - 3600, time.time() - 3600))
    directory = os.open(tmp_path, os.O_RDONLY)
    lock = Dotlock(directory, "x.lock")
    with pytest.raises(InUse):
        lock.take(clock.monotonic() + 0.5, "Timeout while waiting for lock")
    os.close(directory)


def _copy(path: Path, source: bytes, target: bytes, rounds: int) -> int:
    store = Home(path).store()
    from_box, to_box = store.open(source, writable=True), store.open(target, writable=True)
    from_box.refresh()
    made = 0
    for _ in range(rounds):
        made += len(from_box.copy(list(from_box.columns().uids)[:10], to_box, move=False).destination)
    return made


def test_copies_both_ways_at_once(home: Home) -> None:
    store = home.store()
    for name in (b"A", b"B"):
        store.create(name)
        box = store.open(name, writable=True)
        add(box, count=10)
        box.close()
    children = [
        Child(_copy, home.path, source, target, 40)
        for source, target in ((b"A", b"B"), (b"B", b"A"), (b"A", b"B"))
    ]
    assert [child.result(30) for child in children] == [400, 400, 400]
    assert store.status(b"A").messages == 410
    assert store.status(b"B").messages == 810


@pytest.mark.parametrize("shift", [3600.0, -3600.0])
def test_a_clock_that_jumps(home: Home, shift: float) -> None:
    box = home.inbox()
    add(box, count=2)
    first = uids(box)
    clock.shift(shift)
    try:
        add(box)
        home.deliver(f"{int(clock.now())}.x.h")
        other = home.inbox()
        assert uids(box) == uids(other) == [*first, 3, 4]
        box.store([1], Operation.ADD, flags.SEEN, NONE)
        assert state(other)[1] == (flags.SEEN, NONE)
        path = next((home.root / "cur").glob("*.x.h*"))
        path.rename(home.root / "cur" / f"{path.name.partition(':')[0]}:2,F")
        assert state(box)[4] == state(other)[4] == (flags.FLAGGED, NONE)
    finally:
        clock.shift(-shift)


@pytest.mark.parametrize("flags_first", [False, True])
def test_a_copied_folder_is_another_mailbox(home: Home, flags_first: bool) -> None:
    store = home.store(fsync_disable=False)
    store.create(b"A")
    box = store.open(b"A", writable=True)
    add(box, count=2)
    uids(box)
    words = frozenset(f"w{number}" for number in range(28))
    box.store([1], Operation.ADD, 0, words)
    subprocess.run(["cp", "-r", home.root / ".A", home.root / ".B"], check=True)
    copy = store.open(b"B", writable=True)
    assert state(copy)[1] == (0, words)
    if flags_first:
        copy.store([1], Operation.REMOVE, 0, frozenset({"w9"}))
        assert state(copy)[1] == (0, words - {"w9"})
    assert next(iter(add(copy).uids)) >= 3
    assert uids(box) == [1, 2]
    copy.store([1], Operation.REPLACE, 0, NONE)
    assert state(box)[1] == (0, words)
    assert box.guid != copy.guid


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    path = tmp_path / "disk"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", path], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    yield path
    subprocess.run(["umount", "-l", path], check=True)


@pytest.mark.parametrize("sync", [False, True])
def test_a_full_disk(small_disk: Path, sync: bool) -> None:
    home = Home(small_disk)
    box = home.inbox(fsync_disable=not sync)
    add(box, b"x" * 3000 + b"\r\n", count=5)
    found = uids(box)
    box.store([2], Operation.ADD, flags.DELETED, NONE)
    with pytest.raises(OSError, match="No space"), open(small_disk / "filler", "wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    with pytest.raises(NoSpace, match="Not enough disk space"):
        add(box, b"y" * 3000)
    assert os.listdir(home.root / "tmp") == []
    assert uids(box) == found
    assert len(octets(box, 3)) == 3001
    box.store([3], Operation.ADD, flags.SEEN, NONE)
    assert state(box)[3] == (flags.SEEN, NONE)
    assert list(box.expunge([2])) == [2]
    assert uids(box) == [1, 3, 4, 5]
    box.close()
    assert uids(home.inbox()) == [1, 3, 4, 5]
    os.unlink(small_disk / "filler")
    again = home.inbox()
    assert uids(again) == [1, 3, 4, 5]
    assert add(again).uids[0] > 5
    home.close()


def _toggle(path: Path, uid: int, rounds: int) -> dict[int, int]:
    """Flag and unflag a message of its own; which modseq each change got."""
    box = Home(path).inbox()
    box.refresh()
    given = {}
    for number in range(rounds):
        operation = Operation.REMOVE if number % 2 else Operation.ADD
        assert list(box.store([uid], operation, flags.FLAGGED, NONE).changed) == [uid]
        columns = box.columns()
        given[columns.modseqs[list(columns.uids).index(uid)]] = uid
    box.refresh()
    box.close()
    return given


def test_no_modseq_is_given_twice(home: Home) -> None:
    add(home.inbox(), count=4)
    children = [Child(_toggle, home.path, uid, 200) for uid in range(1, 5)]
    given = [child.result() for child in children]
    assert len(set().union(*given)) == 4 * 200, "two changes got one modseq"
    inbox = home.inbox()
    assert inbox.refresh() == max(map(max, given))
    assert list(inbox.columns().modseqs) == [max(numbers) for numbers in given]
