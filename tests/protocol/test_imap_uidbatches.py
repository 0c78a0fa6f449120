"""UIDBATCHES of many messages."""

from __future__ import annotations

import pytest

from tests.protocol.imap_model import ModelStore
from tests.protocol.imap_transcript import Client, settings


def client(count: int) -> Client:
    store = ModelStore()
    for _ in range(count):
        store.boxes[b"INBOX"].add(b"A: b\n\n")
    for uid in range(1, count, 7):
        store.boxes[b"INBOX"].remove(uid)
    made = Client(store, settings())
    made.pull()
    made.send(b"a SELECT INBOX\r\n")
    return made


@pytest.mark.parametrize("size", [500, 501, 999, 1000, 5000])
def test_batches_part_all_messages(size: int) -> None:
    made = client(2300)
    uids = list(made.session.selected.uids)
    line = made.send(b"b UIDBATCHES %d\r\n" % size).splitlines()[0].decode()
    ranges = [tuple(map(int, each.split(":"))) for each in line.split(" ")[-1].split(",")]
    found = [[uid for uid in uids if low <= uid <= high] for high, low in ranges]
    assert [uid for each in reversed(found) for uid in each] == uids
    assert {len(each) for each in found[:-1]} <= {size}
    assert len(found[-1]) <= size


def test_ranges_of_batches_are_the_same_ones() -> None:
    made = client(2300)
    every = made.send(b"b UIDBATCHES 500\r\n").splitlines()[0].split(b" ")[-1].split(b",")
    some = made.send(b"b UIDBATCHES 500 2:3\r\n").splitlines()[0].split(b" ")[-1].split(b",")
    assert some == every[1:3]


def test_they_may_be_asked_for_again_when_enough_has_changed() -> None:
    made = client(1000)
    box = made.session.selected.mailbox.box
    assert b"b OK" in made.send(b"b UIDBATCHES 500\r\n")
    for _ in range(250):
        box.add(b"A: b\n\n")
    made.send(b"b NOOP\r\n")
    assert b"b NO [LIMIT]" in made.send(b"b UIDBATCHES 500\r\n")
    box.add(b"A: b\n\n")
    made.send(b"b NOOP\r\n")
    assert b"b OK" in made.send(b"b UIDBATCHES 500\r\n")
    for uid in list(box.messages)[:251]:
        box.remove(uid)
    made.send(b"b NOOP\r\n")
    assert b"b OK" in made.send(b"b UIDBATCHES 500\r\n")
