"""Keys as octets: what was packed comes back, and no octets do harm."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.search import packed
from dovecotpy.search.keys import UNKNOWN, Links
from dovecotpy.search.memory import FEW, Known, Memory
from dovecotpy.search.sort import Key

MOMENTS = st.integers(-(1 << 62), 1 << 62)
TEXTS = st.binary(max_size=6)
LINKS = st.builds(Links, MOMENTS, TEXTS, st.booleans(), TEXTS, st.lists(TEXTS, max_size=3).map(tuple))
UIDS = st.integers(1, (1 << 32) - 1)
KEYS = {Key.DATE: MOMENTS, Key.SUBJECT: TEXTS, Links: LINKS}


@given(st.data(), st.sampled_from(list(KEYS)))
def test_what_was_packed_comes_back(data: st.DataObject, reader: object) -> None:
    known = data.draw(st.dictionaries(UIDS, KEYS[reader], max_size=5))
    name = packed.name_of(reader)
    octets = packed.pack(name, sorted(known), [known[uid] for uid in sorted(known)])
    assert octets is not None
    again = packed.unpack(name, octets)
    assert dict(zip(again.uids, again.keys, strict=True)) == known
    assert [again.keys[place] for place in range(len(known))] == list(again.keys)


@given(st.data(), st.sampled_from(list(KEYS)), st.integers(0), st.binary(max_size=4))
def test_damaged_octets_are_unusable_or_say_something_else(
    data: st.DataObject, reader: object, at: int, change: bytes
) -> None:
    known = data.draw(st.dictionaries(UIDS, KEYS[reader], max_size=5))
    name = packed.name_of(reader)
    octets = packed.pack(name, sorted(known), [known[uid] for uid in sorted(known)])
    assert octets is not None
    at %= len(octets) + 1
    for damaged in (octets[:at], octets[:at] + change + octets[at + len(change) :], change + octets):
        try:
            packed.unpack(name, damaged)
        except packed.Unusable:
            continue


def test_too_much_is_not_packed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "MAX_OCTETS", 20)
    assert packed.pack("subject", [1], [b"x" * 20]) is None
    assert packed.pack("subject", [1], [b"x"]) is not None


class Shelf:
    """Keeps in memory; counts what is saved."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.saved = 0

    def load(self, kind: str) -> bytes | None:
        return self.kept.get(kind)

    def save(self, kind: str, payload: bytes) -> bool:
        self.kept[kind] = payload
        self.saved += 1
        return True


def told(known: Known) -> dict[int, object]:
    return {uid: known[uid] for uid in sorted({*known.shelved.uids, *known.learnt})}


def test_keys_of_messages_that_are_there_outlast_a_memory() -> None:
    shelf = Shelf()
    memory = Memory(shelf)
    known = memory.of(Key.DATE)
    known.learnt.update({1: 5, 2: UNKNOWN, 3: 7})
    memory.save(Key.DATE, known, array("I", [1, 2, 4]), 3)
    assert told(Memory(shelf).of(Key.DATE)) == {1: 5, 2: UNKNOWN}
    assert told(Memory(shelf).of(Key.ARRIVAL)) == {}


def test_a_few_new_keys_are_not_worth_writing() -> None:
    shelf = Shelf()
    memory = Memory(shelf)
    known = memory.of(Key.TO)
    uids = array("I", range(1, 2 * FEW + 1))
    known.learnt.update(dict.fromkeys(uids, b"X"))
    memory.save(Key.TO, known, uids, len(uids))
    memory.save(Key.TO, known, uids, 2)
    assert shelf.saved == 1
    memory.save(Key.TO, known, uids, 3)
    assert shelf.saved == 2


def test_what_is_unusable_is_taken_from_headers_again() -> None:
    shelf = Shelf()
    shelf.kept["date"] = b"nonsense"
    assert told(Memory(shelf).of(Key.DATE)) == {}
