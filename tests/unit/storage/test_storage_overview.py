"""The counts of many mailboxes in one file: believed while a mailbox looks as it did when its index had settled, and never otherwise."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.storage import flags, overview
from dovecotpy.storage.mailbox import Operation
from dovecotpy.storage.maildir import listing
from dovecotpy.storage.overview import Counts, Overview
from dovecotpy.storage.store import Store
from tests.unit.storage.storage_kit import Home

A_TICK = listing.TICK + 0.02
BOXES = [b"a", b"b", b"c", b"d", b"e"]
NONE: frozenset[str] = frozenset()
STAMP = bytes(range(48))
COUNTS = Counts(5, 3, 1, 6, 1700000000)


@contextmanager
def opened(directory: Path) -> Iterator[Overview]:
    """The overview that stands in a directory."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        yield Overview(descriptor)
    finally:
        os.close(descriptor)


@pytest.fixture
def known(home: Home) -> Home:
    """Five mailboxes of two messages each, one of them seen, which STATUS has counted."""
    for box in BOXES:
        for number in range(2):
            home.deliver(
                f"17041000{number}.M1P1.h:2,{'S' if number else ''}", folder="cur", box=f".{box.decode()}"
            )
    time.sleep(A_TICK)
    store = home.store()
    for box in BOXES:
        assert counted(store, box) == (2, 1, 3)
    store.close()
    assert (home.root / overview.NAME).exists()
    return home


def counted(store: Store, box: bytes) -> tuple[int, int, int]:
    found = store.status(box, sized=False, counted=True)
    return found.messages, found.unseen, found.uidnext


def of_overview(store: Store, box: bytes) -> Counts | None:
    """What the overview says of a mailbox as it looks now."""
    space, disk = store._find(box)
    stamp = space.tree.look(disk)
    return space.tree.overview.find(disk, stamp) if stamp else None


def test_what_it_has_is_told_without_an_index(known: Home) -> None:
    for index in known.root.glob(".?/dovecotpy.*"):
        index.unlink()
    store = known.store()
    for box in BOXES:
        assert counted(store, box) == (2, 1, 3)
    assert not list(known.root.glob(".?/dovecotpy.*"))
    assert store.opened == []  # type: ignore[attr-defined]


def test_who_asks_for_more_is_told_by_the_index(known: Home) -> None:
    store = known.store()
    whole = store.status(b"a")
    assert whole == known.store()._status(b"a", sized=True)[0]
    assert whole.highestmodseq > 0
    assert whole.mailbox_id


@pytest.mark.parametrize("folder", ["new", "cur"])
def test_another_message_is_counted(known: Home, folder: str) -> None:
    known.deliver("1704100009.M1P1.h" + (":2," if folder == "cur" else ""), folder=folder, box=".c")
    store = known.store()
    assert of_overview(store, b"c") is None
    assert counted(store, b"c") == (3, 2, 4)
    assert of_overview(store, b"d") is not None


def test_changed_flags_are_counted_also_by_a_session_that_counted_before(known: Home) -> None:
    counting = known.store()
    assert counted(counting, b"a") == (2, 1, 3)
    box = known.store().open(b"a", writable=True)
    box.refresh()
    box.store([1], Operation.ADD, flags.SEEN, NONE)
    assert counted(counting, b"a") == (2, 0, 3)
    box.close()
    assert counted(counting, b"a") == (2, 0, 3)
    assert counted(known.store(), b"a") == (2, 0, 3)


def test_a_mailbox_that_came_in_anothers_place_is_counted(known: Home) -> None:
    shutil.rmtree(known.root / ".b")
    known.deliver("1704100009.M1P1.h:2,S", folder="cur", box=".b")
    assert counted(known.store(), b"b") == (1, 0, 2)


def test_a_mailbox_that_users_share_now_is_opened(known: Home) -> None:
    (known.root / ".e" / "dovecot-shared").touch()
    store = known.store()
    assert of_overview(store, b"e") is None
    assert counted(store, b"e") == (2, 2, 3)
    store.close()
    (known.root / ".e" / "dovecot-shared").unlink()
    assert counted(known.store(), b"e") == (2, 1, 3)


def test_few_new_counts_are_not_written(known: Home) -> None:
    (known.root / overview.NAME).unlink()
    store = known.store()
    for box in BOXES[: overview.WORTH - 1]:
        counted(store, box)
    store.close()
    assert not (known.root / overview.NAME).exists()


def test_many_new_counts_are_written_at_once(tmp_path: Path) -> None:
    with opened(tmp_path) as written:
        for number in range(overview.MANY):
            assert not (tmp_path / overview.NAME).exists()
            written.note(b"box%d" % number, STAMP, COUNTS)
        with opened(tmp_path) as read:
            assert read.find(b"box0", STAMP) == read.find(b"box31", STAMP) == COUNTS
        assert written.find(b"box5", STAMP) == COUNTS


def test_what_others_counted_stays(tmp_path: Path) -> None:
    with opened(tmp_path) as first:
        for name in BOXES:
            first.note(name, STAMP, COUNTS)
        first.keep()
    with opened(tmp_path) as second:
        for name in (b"e", b"f", b"g", b"h"):
            second.note(name, STAMP, COUNTS._replace(messages=9))
        second.keep()
    with opened(tmp_path) as third:
        found = {name: third.find(name, STAMP) for name in (*BOXES, b"f", b"g", b"h", b"i")}
    assert found.pop(b"i") is None
    assert [each.messages for each in found.values() if each] == [5, 5, 5, 5, 9, 9, 9, 9]


def test_another_stamp_says_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as written:
        for name in BOXES:
            written.note(name, STAMP, COUNTS)
        assert written.find(b"a", STAMP[::-1]) is None
        written.keep()
    with opened(tmp_path) as read:
        assert read.find(b"a", STAMP) == COUNTS
        assert read.find(b"a", STAMP[::-1]) is None


def test_more_mailboxes_than_it_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MAX_LINES", 6)
    for start in (0, 4):
        with opened(tmp_path) as written:
            for number in range(start, start + 5):
                written.note(b"box%d" % number, STAMP, COUNTS)
            written.keep()
    with opened(tmp_path) as read:
        assert [number for number in range(9) if read.find(b"box%d" % number, STAMP)] == [3, 4, 5, 6, 7, 8]


def test_a_file_of_another_boot_or_too_large_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened(tmp_path) as written:
        for name in BOXES:
            written.note(name, STAMP, COUNTS)
        written.keep()
    for name, value in (("BOOT", "another"), ("BOOT", ""), ("MAX_FILE", 100)):
        with monkeypatch.context() as patch, opened(tmp_path) as read:
            patch.setattr(overview, name, value)
            assert read.find(b"a", STAMP) is None


@pytest.mark.parametrize("at", [0, 5, 20, 48, 60, 100, 300, -1, -5])
def test_a_damaged_file_says_nothing_and_is_written_anew(known: Home, at: int) -> None:
    path = known.root / overview.NAME
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    store = known.store()
    for box in BOXES:
        assert of_overview(store, box) is None
        assert counted(store, box) == (2, 1, 3)
    store.close()
    assert of_overview(known.store(), b"a") is not None


@given(st.binary(max_size=400), st.integers(0, 400))
def test_whatever_stands_there_raises_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, end: int
) -> None:
    directory = tmp_path_factory.mktemp("overview")
    with opened(directory) as written:
        for name in BOXES:
            written.note(name, STAMP, COUNTS)
        written.keep()
    path = directory / overview.NAME
    path.write_bytes(path.read_bytes()[:end] + data)
    with opened(directory) as read:
        assert read.find(b"a", STAMP) in (None, COUNTS)
        for name in BOXES:
            read.note(name, STAMP, COUNTS)
        read.keep()
        assert read.find(b"a", STAMP) == COUNTS
