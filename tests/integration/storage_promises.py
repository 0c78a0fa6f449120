"""What was acknowledged before a power failure, and whether it is there afterwards."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import Operation
from tests.integration.storage_power import Disk, Tree, restore
from tests.unit.storage.storage_kit import Home, add, octets, uids

NONE: frozenset[str] = frozenset()
Boxes = dict[bytes, dict[bytes, int]]
"""mailbox, message, UID that the client was told"""
Told = dict[tuple[int, int], bytes]
"""UIDVALIDITY, UID: message"""


class Promised(NamedTuple):
    """What the client knows after one command."""

    boxes: Boxes
    told: Told
    words: frozenset[str]


class Client:
    """One client's commands, each with its promise. `disk`: what records them."""

    def __init__(self, home: Home, disk: Disk) -> None:
        self.home = home
        self.disk = disk
        self.store = home.store(fsync_disable=False)
        self.boxes: Boxes = {b"INBOX": {}}
        self.told: Told = {}
        self.words: frozenset[str] = frozenset()
        self.number = 0
        self._ok()

    def _ok(self) -> None:
        boxes = {name: dict(found) for name, found in self.boxes.items()}
        self.disk.promise(Promised(boxes, dict(self.told), self.words))

    def append(self, name: bytes, count: int = 1, bits: int = 0) -> None:
        for _ in range(count):
            self.number += 1
            data = b"Subject: %d\n\n" % self.number
            box = self.store.open(name, writable=True)
            appended = add(box, data, flags=bits)
            box.close()
            self.boxes[name][data] = appended.uids[0]
            self.told[appended.uidvalidity, appended.uids[0]] = data
            self._ok()

    def copy(self, name: bytes, to: bytes, chosen: list[bytes], *, move: bool) -> None:
        box, target = self.store.open(name, writable=True), self.store.open(to, writable=True)
        uids(box)
        wanted = {self.boxes[name][data]: data for data in chosen}
        copied = box.copy(sorted(wanted), target, move=move)
        for old, new in zip(copied.source, copied.destination, strict=True):
            self.boxes[to][wanted[old]] = new
            self.told[copied.uidvalidity, new] = wanted[old]
            if move:
                del self.boxes[name][wanted[old]]
        box.close()
        target.close()
        self._ok()

    def flag(self, name: bytes, bits: int) -> None:
        box = self.store.open(name, writable=True)
        box.store(uids(box), Operation.ADD, bits, frozenset({"$Important"}))
        box.close()
        self._ok()

    def expunge(self, name: bytes, chosen: list[bytes]) -> None:
        box = self.store.open(name, writable=True)
        uids(box)
        box.expunge(sorted(self.boxes[name].pop(data) for data in chosen))
        box.close()
        self._ok()

    def create(self, name: bytes) -> None:
        self.store.create(name)
        self.boxes[name] = {}
        self._ok()

    def rename(self, old: bytes, new: bytes) -> None:
        self.store.rename(old, new)
        self.boxes[new] = self.boxes.pop(old)
        self._ok()

    def keep_state(self, word: str) -> None:
        self.store._states[0].set_keywords("0" * 32, {1: {word}})
        self.words = frozenset({word})
        self._ok()

    def end_session(self) -> None:
        self.store.close()
        self.store = self.home.store(fsync_disable=False)


def usual(client: Client) -> None:
    """Every command that promises something."""
    client.append(b"INBOX", 3)
    client.create(b"A")
    client.append(b"A", bits=flags.SEEN)
    one, two, three = client.boxes[b"INBOX"]
    client.copy(b"INBOX", b"A", [one, two], move=False)
    client.flag(b"INBOX", flags.FLAGGED)
    client.copy(b"INBOX", b"A", [three], move=True)
    client.end_session()
    client.expunge(b"INBOX", [one])
    client.append(b"INBOX")
    client.rename(b"A", b"B")
    client.append(b"B")
    client.keep_state("kept")
    client.append(b"INBOX")
    client.expunge(b"INBOX", list(client.boxes[b"INBOX"])[-1:])


def by_chance(seed: int, steps: int) -> Callable[[Client], None]:
    """Commands in any order."""

    def work(client: Client) -> None:
        chance = random.Random(seed)
        for step in range(steps):
            name = chance.choice(sorted(client.boxes))
            to = chance.choice(sorted(client.boxes))
            there = list(client.boxes[name])
            chosen = chance.sample(there, min(len(there), 2))
            kind = chance.randrange(9)
            if kind == 0:
                client.create(b"new%d" % step)
            elif kind == 1 and name != b"INBOX":
                client.rename(name, b"renamed%d" % step)
            elif kind in (2, 3) and chosen and to != name:
                client.copy(name, to, chosen, move=kind == 3)
            elif kind == 4 and chosen:
                client.expunge(name, chosen)
            elif kind == 5:
                client.flag(name, chance.randrange(32))
            elif kind == 6:
                client.end_session()
            elif kind == 7:
                client.keep_state(f"word{step}")
            else:
                client.append(name, bits=chance.choice([0, flags.SEEN]))

    return work


def run(path: Path, work: Callable[[Client], None], seed: int = 0, guesses: int = 2) -> Disk:
    """Record some commands on a fresh mail root that is on disk already."""
    home = Home(path)
    home.inbox().refresh()
    home.close()
    disk = Disk(home.root, seed, guesses)
    with disk.recording():
        work(Client(home, disk))
    home.close()
    return disk


def check(path: Path, tree: Tree, before: Promised, after: Promised) -> None:
    """The promises of `before` hold in what a power failure left while the command that ends in `after` was at work."""
    shutil.rmtree(path, ignore_errors=True)
    home = Home(path)
    restore(tree, home.root)
    store = home.store(fsync_disable=False)
    names = {box.name for box in store.mailboxes()}
    for name in before.boxes:
        moved = [other for other in after.boxes if other not in before.boxes]
        assert name in names or (name not in after.boxes and set(moved) & names), f"{name!r} is lost"
    found: dict[bytes, set[bytes]] = {}
    for name in names:
        box = store.open(name, writable=True)
        found[name] = set()
        for uid in uids(box):
            data = octets(box, uid)
            found[name].add(data)
            known = before.told.get((box.uidvalidity, uid), data)
            assert known == data, f"UID {uid} of {name!r} was {known!r} and is {data!r}"
        last = max((uid for validity, uid in before.told if validity == box.uidvalidity), default=0)
        assert add(box).uids[0] > last, f"a UID of {name!r} is used again"
        box.close()
    for name, messages in before.boxes.items():
        for data in messages:
            stays = [each for each in after.boxes if data in after.boxes[each]]
            if name in stays:
                assert data in found[name], f"{data!r} of {name!r} is lost"
            elif stays:
                assert any(data in found.get(each, ()) for each in [name, *stays]), f"{data!r} is lost"
    kept = store._states[0].keywords("0" * 32).get(1, frozenset())
    assert kept in (before.words, after.words), "State is lost"
    home.close()


def check_all(path: Path, disk: Disk, every: int = 1) -> int:
    """Every n-th state that the disk may have been left in; how many that were."""
    promises = disk.promises
    states = [state for state in disk.states if state[0]][::every]
    for number, tree in states:
        check(path, tree, promises[number - 1], promises[min(number, len(promises) - 1)])
    return len(states)
