"""The names file: one name by a few reads, changes as segments, damage noticed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.storage.driver import Lost
from dovecotpy.storage.index import names
from dovecotpy.storage.index.names import Names, keep
from tests.unit.storage.storage_kit import Home, add, octets, uids


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield descriptor
    os.close(descriptor)


def never() -> list[tuple[int, str]]:
    raise AssertionError("everything was asked for")


def everything(directory: int, generation: bytes) -> dict[int, str]:
    reader = Names(directory, generation)
    try:
        found = dict(reader.all())
        assert list(found) == sorted(found)
        for uid, path in found.items():
            assert reader.find(uid) == path
        return found
    finally:
        reader.close()


def test_names_of_every_generation_stay(directory: int) -> None:
    """Sessions beside each other go on from what each one knows."""
    first = {uid: f"cur/{uid}.é\udcff:2,S" for uid in range(1, 2000)}
    base = keep(directory, b"", None, first.items)
    one = keep(directory, base, {5: "new/x", 7: "", 3000: "new/y"}, never)
    other = keep(directory, base, {5: "cur/z"}, never)
    two = keep(directory, one, {7: "cur/back", 3000: ""}, never)
    assert everything(directory, base) == first
    after = {**first, 5: "new/x", 3000: "new/y"}
    del after[7]
    assert everything(directory, one) == after
    assert everything(directory, other) == {**first, 5: "cur/z"}
    assert everything(directory, two) == {**first, 5: "new/x", 7: "cur/back"}
    assert keep(directory, two, {}, never) == two


def test_many_changes_become_a_new_base(
    tmp_path: Path, directory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = {uid: f"cur/{uid}" for uid in range(1, 1500)}
    generation = keep(directory, b"", None, model.items)
    inodes = set()
    for turn in range(names.MAX_SEGMENTS + 2):
        model[turn + 1] = f"new/{turn}"
        generation = keep(directory, generation, {turn + 1: f"new/{turn}"}, never)
        inodes.add((tmp_path / names.NAME).stat().st_ino)
    assert len(inodes) == 2
    assert everything(directory, generation) == model
    monkeypatch.setattr(names, "FOLD_LEAST", 100)
    before = (tmp_path / names.NAME).stat().st_size
    for turn in range(40):
        generation = keep(directory, generation, {turn + 1: "cur/" + "n" * 200}, never)
    assert (tmp_path / names.NAME).stat().st_size < before * 2


def test_every_flipped_bit_and_every_cut_is_a_listing(tmp_path: Path, directory: int) -> None:
    model = {uid: f"cur/{uid}" for uid in range(10, 16)}
    generation = keep(directory, b"", None, model.items)
    generation = keep(directory, generation, {12: "new/q", 99: "new/r"}, never)
    path = tmp_path / names.NAME
    data = path.read_bytes()
    expected = everything(directory, generation)
    for at in range(len(data)):
        for changed in (data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], data[:at]):
            path.write_bytes(changed)
            try:
                assert everything(directory, generation) == expected  # octets of padding say nothing
                assert at in (6, 7)
                assert len(changed) == len(data)
            except Lost:
                continue
    path.unlink()
    with pytest.raises(Lost):
        Names(directory, generation).find(10)
    generation = keep(directory, generation, {1: "cur/1"}, model.items)
    assert everything(directory, generation) == model


def test_of_another_generation_is_lost(directory: int) -> None:
    old = keep(directory, b"", None, {1: "cur/a"}.items)
    keep(directory, b"", None, {1: "cur/b"}.items)
    with pytest.raises(Lost):
        Names(directory, old).find(1)


@given(
    st.dictionaries(st.integers(1, 60), st.text("abc:,", min_size=1, max_size=5)),
    st.lists(st.dictionaries(st.integers(1, 80), st.text("xyz", max_size=5)), max_size=5),
)
def test_equals_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, start: dict[int, str], changes: list[dict[int, str]]
) -> None:
    path = tmp_path_factory.mktemp("names")
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    chunk, names.CHUNK = names.CHUNK, 4
    try:
        generation = keep(directory, b"", None, start.items)
        model = dict(start)
        for moved in changes:
            generation = keep(directory, generation, moved, never)
            model.update(moved)
            model = {uid: found for uid, found in model.items() if found}
            assert everything(directory, generation) == model
    finally:
        names.CHUNK = chunk
        os.close(directory)


class TestOneOfMany:
    """A session that knows the mailbox from its index."""

    def known(self, home: Home, count: int = 1200) -> None:
        for number in range(count):
            home.deliver(f"1000000{number:04}.M1P1.host:2,", b"Subject: %d\n\n" % number, folder="cur")
        box = home.inbox()
        assert len(uids(box)) == count
        import time

        time.sleep(0.06)
        box.close()

    def test_a_body_reads_one_chunk(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        self.known(home)
        box = home.inbox()
        uids(box)
        assert octets(box, 700) == b"Subject: 699\n\n"
        driver = box._driver
        assert not driver.loaded  # type: ignore[attr-defined]
        home.close()

    def test_flags_and_expunges_do_not_either(self, tmp_path: Path) -> None:
        from dovecotpy.storage import flags
        from dovecotpy.storage.mailbox import Operation

        home = Home(tmp_path)
        self.known(home)
        box = home.inbox()
        uids(box)
        box.store([700], Operation.ADD, flags.SEEN, frozenset())
        box.expunge([701])
        assert not box._driver.loaded  # type: ignore[attr-defined]
        assert octets(box, 700) == b"Subject: 699\n\n"
        box.close()
        again = home.inbox()
        found = uids(again)
        assert 701 not in found
        assert len(found) == 1199
        assert octets(again, 700) == b"Subject: 699\n\n"
        assert octets(again, 1) == b"Subject: 0\n\n"
        add(again)
        assert uids(again)[-1] == 1201
        home.close()

    def test_a_damaged_chunk_is_a_listing(self, tmp_path: Path) -> None:
        home = Home(tmp_path)
        self.known(home)
        path = home.root / names.NAME
        data = path.read_bytes()
        at = data.index(b"cur/10000000699.")
        path.write_bytes(data[:at] + b"cur/10000000698." + data[at + 16 :])
        box = home.inbox()
        uids(box)
        assert octets(box, 700) == b"Subject: 699\n\n"
        assert len(uids(box)) == 1200
        home.close()
