"""Work on many messages at once does what work on each of them would."""

from __future__ import annotations

import os
import time
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.storage import flags
from dovecotpy.storage.columns import (
    FLAGS,
    KEYWORDS,
    MODSEQS,
    TYPES,
    UIDS,
    Altered,
    Line,
    place_of,
    places_of,
)
from dovecotpy.storage.mailbox import Mailbox, Operation
from dovecotpy.storage.maildir import listing, uidlist
from dovecotpy.storage.maildir.uidlist import Uidlist, originals
from tests.unit.storage.storage_kit import Home, add, state, uids

NONE: frozenset[str] = frozenset()
A_TICK = listing.TICK + 0.02
COUNT = 40


@given(st.sets(st.integers(1, 60)), st.lists(st.integers(1, 60)))
def test_places_of_many_are_those_of_each(known: set[int], wanted: list[int]) -> None:
    column = array("I", sorted(known))
    each = [place_of(column, uid) for uid in wanted]
    assert list(places_of(column, wanted)) == each
    assert list(places_of(column, array("I", wanted))) == each


def test_places_beside_each_other_are_a_range() -> None:
    column = array("I", [2, 3, 7, 8, 11])
    assert places_of(column, [3, 7, 8]) == range(1, 4)
    assert places_of(column, [3, 8, 7]) == [1, 3, 2]
    assert places_of(column, [3, 8]) == [1, 3]
    assert places_of(column, []) == ()


@pytest.mark.parametrize("places", [range(1, 4), [1, 2, 3]])
def test_flags_of_messages_beside_each_other_and_of_single_ones(places: list[int]) -> None:
    line = Line(lambda number: array(TYPES[number], range(10, 15)))
    line.edits.append(Altered(places, array("B", [1, 2, 4]), array("I", [0, 1, 0]), 99))
    assert list(line.column(FLAGS, 1)) == [10, 1, 2, 4, 14]
    assert list(line.column(KEYWORDS, 1)) == [10, 0, 1, 0, 14]
    assert list(line.column(MODSEQS, 1)) == [10, 99, 99, 99, 14]
    assert list(line.column(UIDS, 1)) == [10, 11, 12, 13, 14]


def filled(home: Home) -> None:
    """INBOX as an index knows it: messages in new/ and cur/, seen and unseen, one with a keyword."""
    box = home.inbox()
    add(box, count=COUNT // 2)
    add(box, count=COUNT // 2, flags=flags.SEEN)
    add(box, keywords=["work"], flags=flags.FLAGGED)
    box.refresh()
    box.claim_recent()
    time.sleep(A_TICK)
    box.close()
    time.sleep(A_TICK)
    settling = home.inbox()
    settling.refresh()
    settling.close()


def names_of(home: Home, box: str = "") -> set[str]:
    return {f"{folder}/{name}" for folder in ("cur", "new") for name in os.listdir(home.root / box / folder)}


@pytest.mark.parametrize("op", list(Operation))
@pytest.mark.parametrize("words", [NONE, frozenset({"Work", "home"})])
def test_many_flags_are_those_that_one_by_one_would_be(
    tmp_path: Path, op: Operation, words: frozenset[str]
) -> None:
    seen: list[dict[int, tuple[int, frozenset[str]]]] = []
    for size in (1, COUNT + 1):
        home = Home(tmp_path / str(size))
        filled(home)
        box = home.inbox()
        every = uids(box)
        for start in range(0, len(every), size):
            box.store(every[start : start + size], op, flags.SEEN | flags.DELETED, words)
        assert state(box) == state(home.inbox())
        seen.append(state(box))
        endings = sorted(name.partition(":")[2] for name in names_of(home))
        seen.append({number: (0, frozenset((ending,))) for number, ending in enumerate(endings)})
        home.close()
    assert seen[:2] == seen[2:]


def test_flags_of_many_while_some_were_moved_and_some_are_gone(home: Home) -> None:
    filled(home)
    box = home.inbox()
    every = uids(box)
    paths = sorted((home.root / "cur").iterdir())
    paths[3].rename(paths[3].with_name(paths[3].name.partition(":")[0] + ":2,R"))
    paths[5].unlink()
    stored = box.store(every, Operation.ADD, flags.FLAGGED, NONE)
    assert len(stored.changed) + len(stored.gone) >= len(every) - 1
    after = state(box)
    assert all(bits & flags.FLAGGED for bits, _ in after.values())
    assert sum(bool(bits & flags.ANSWERED) for bits, _ in after.values()) == 1
    assert len(after) == len(every) - 1
    assert after == state(home.inbox())


class TestTheListIsReadByWhatUsesIt:
    """Flags and expunges of a mailbox that an index knows need nothing of the uidlist."""

    @pytest.fixture
    def reads(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """What was done with lists."""
        noted: list[str] = []
        read_all = Uidlist._read_all

        def reading(self: Uidlist) -> None:
            noted.append("read")
            read_all(self)

        monkeypatch.setattr(Uidlist, "_read_all", reading)
        return noted

    def opened(self, home: Home, reads: list[str]) -> Mailbox:
        filled(home)
        box = home.inbox()
        box.refresh()
        reads.clear()
        return box

    def test_flags(self, home: Home, reads: list[str]) -> None:
        box = self.opened(home, reads)
        assert len(box.store([1, 2, 3], Operation.ADD, flags.FLAGGED, NONE).changed) == 3
        assert reads == []
        assert {state(box)[uid][0] & flags.FLAGGED for uid in (1, 2, 3)} == {flags.FLAGGED}

    def test_an_expunge(self, home: Home, reads: list[str]) -> None:
        box = self.opened(home, reads)
        assert list(box.expunge([1, 2, 3])) == [1, 2, 3]
        assert reads == []
        assert uids(home.inbox()) == list(range(4, COUNT + 2))

    def test_an_expunge_of_so_many_that_the_list_is_written_anew(self, home: Home, reads: list[str]) -> None:
        box = self.opened(home, reads)
        box.expunge(range(1, uidlist.STALE_LEAST + 2))
        assert reads == ["read"]
        assert (home.root / "dovecot-uidlist").read_bytes().count(b"\n") == 1 + COUNT - uidlist.STALE_LEAST
        assert uids(home.inbox()) == list(range(uidlist.STALE_LEAST + 2, COUNT + 2))

    def test_a_new_message(self, home: Home, reads: list[str]) -> None:
        box = self.opened(home, reads)
        assert list(add(box).uids) == [COUNT + 2]
        assert reads == ["read"]

    def test_a_list_that_others_changed(self, home: Home, reads: list[str]) -> None:
        box = self.opened(home, reads)
        other = home.inbox()
        assert list(add(other).uids) == [COUNT + 2]
        reads.clear()
        box.store([1], Operation.ADD, flags.FLAGGED, NONE)
        assert "read" in reads
        assert list(add(box).uids) == [COUNT + 3]


class TestOriginals:
    """Which messages are copies, without reading every line."""

    HEAD = b"3 V1 N9 G0123\n"

    def test_lines_with_and_without(self) -> None:
        data = self.HEAD + b"1 :a\n2 D5 Gorig :b\n3 G :c G9\n7 Gx2f D1 :d,S=1:2,S\nnonsense G1\n8 Gcut :e"
        assert originals(data) == {2: "orig", 7: "x2f"}

    @pytest.mark.parametrize(
        "data", [b"", b"\n", b"1 5 9\n1 a\n", b"3 V1 N2 G1\n1 :a Gb\n", HEAD + b"1 :a\n"]
    )
    def test_none(self, data: bytes) -> None:
        assert originals(data) == {}

    @given(
        st.lists(st.sampled_from([b"1", b" ", b"G", b"D7", b":", b"\n", b"x", b"\xff", b"3 V1"]), max_size=40)
    )
    def test_noise(self, pieces: list[bytes]) -> None:
        assert all(uid >= 0 and word for uid, word in originals(self.HEAD + b"".join(pieces)).items())

    def test_a_copy_of_a_copy_has_the_first_ones_identity(self, home: Home) -> None:
        store = home.store()
        for name in (b"A", b"B"):
            store.create(name)
        inbox, first, second = (store.open(name, writable=True) for name in (b"INBOX", b"A", b"B"))
        add(inbox, count=20)
        inbox.refresh()
        inbox.copy(inbox.columns().uids, first, move=False)
        first.refresh()
        time.sleep(A_TICK)
        first.close()
        again = home.store().open(b"A", writable=True)
        again.refresh()
        again.copy(again.columns().uids, second, move=False)
        assert second.email_ids(uids(second)) == inbox.email_ids(uids(inbox))
