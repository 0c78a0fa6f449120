"""Fuzz storage/index/: whatever stands in `dovecotpy.index`, its checksums made to fit, sessions serve the mail.

    python tests/fuzz/fuzz_index.py [seconds]      damages indexes for so long

A finding is written to crash-index-<number>.txt in the current directory and ends the run with status 1. Under pytest a short run of
fixed seeds is a test (tests/unit/storage/test_storage_fuzz.py).
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
import time
import traceback
import zlib
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from dovecotpy.storage import flags  # noqa: E402
from dovecotpy.storage.errors import StoreError  # noqa: E402
from dovecotpy.storage.index import log, snapshot  # noqa: E402
from dovecotpy.storage.mailbox import Operation  # noqa: E402
from tests.unit.storage.storage_kit import Home, add, octets  # noqa: E402

FRONT = 16
"""Octets before the head: magic, version, checksum, length."""


def changed(data: bytearray, start: int, end: int, chance: random.Random) -> None:
    """Other octets somewhere in a stretch."""
    for _ in range(chance.randrange(1, 4)):
        if end <= start:
            return
        at = chance.randrange(start, end)
        kind = chance.randrange(3)
        if kind == 0:
            data[at] ^= 1 << chance.randrange(8)
        elif kind == 1:
            data[at : at + 4] = struct.pack("<I", chance.choice((0, 1, 255, 1 << 31, (1 << 32) - 1)))[
                : end - at
            ]
        else:
            data[at] = chance.randrange(256)


def damage_head(data: bytearray, chance: random.Random) -> None:
    """The head says something else, and its checksum fits."""
    length = struct.unpack_from("<I", data, FRONT - 4)[0]
    changed(data, FRONT, FRONT + length, chance)
    body = bytes(data[FRONT : FRONT + length])
    struct.pack_into("<I", data, 8, zlib.crc32(body, length))


def damage_log(data: bytearray, chance: random.Random) -> None:
    """A record says something else, and its checksum fits."""
    length = struct.unpack_from("<I", data, FRONT - 4)[0]
    found = snapshot.Snapshot.__new__(snapshot.Snapshot)
    found.descriptor = -1
    found._parse(bytes(data[FRONT : FRONT + length]))
    at, places = found.log, []
    while len(data) - at >= 16:
        size = struct.unpack_from("<I", data, at + 4)[0]
        if size < 16:
            break
        places.append((at, size))
        at += size
    if not places:
        return
    at, size = chance.choice(places)
    changed(data, at + 8, min(at + size, len(data)), chance)
    seed = zlib.crc32(found.head.generation) ^ at
    struct.pack_into("<I", data, at, zlib.crc32(data[at + 4 : at + size], seed))


def damage(path: Path, chance: random.Random) -> None:
    """One thing happens to the file."""
    data = bytearray(path.read_bytes())
    kind = chance.randrange(5)
    if kind == 0:
        damage_head(data, chance)
    elif kind < 3:
        damage_log(data, chance)
    elif kind == 3:
        changed(data, 0, len(data), chance)
    else:
        del data[chance.randrange(len(data) + 1) :]
    path.write_bytes(bytes(data))


def use(home: Home, chance: random.Random) -> None:
    """What sessions do. StoreError is an answer; anything else is a finding."""
    box = home.inbox()
    try:
        since = chance.choice((0, 1, box.refresh() - 1, 1 << 40))
        columns = box.columns()
        for values in (columns.flags, columns.keywords, columns.modseqs, columns.sizes, columns.dates):
            assert len(values) == len(columns.uids)
        box.changes(max(since, 0))
        some = [uid for uid in columns.uids if chance.random() < 0.5]
        box.store(some, chance.choice(list(Operation)), chance.randrange(32), frozenset({"k"}))
        uid = add(box, b"Subject: mine\r\n\r\n", flags=flags.SEEN).uids[0]
        for _ in range(3):
            box.refresh()
        assert uid in box.columns().uids
        assert octets(box, uid) == b"Subject: mine\n\n"
    except StoreError:
        return
    finally:
        box.close()


def run(seed: int, path: Path) -> None:
    """One mailbox through damages and sessions. Raises what a session raised that is no StoreError."""
    chance = random.Random(seed)
    home = Home(path)
    try:
        box = home.inbox()
        add(box, keywords=["k"], count=chance.randrange(1, 5))
        box.refresh()
        for uid in range(1, chance.randrange(1, 5)):
            box.store([uid], Operation.ADD, flags.SEEN, frozenset({"x"} if chance.random() < 0.3 else ()))
        box.close()
        for _ in range(3):
            if not (home.root / snapshot.NAME).exists():
                break  # a session that could not write its index took it away
            damage(home.root / snapshot.NAME, chance)
            use(home, chance)
    finally:
        home.close()


def parse(seed: int) -> None:
    """Records of nothing but noise."""
    chance = random.Random(seed)
    body = bytes(chance.randrange(256) for _ in range(chance.randrange(60)))
    head = struct.pack("<II", chance.randrange(200), chance.randrange(12))
    data = bytearray(log.pack(log.Record(5), b"generati", 0) + head + body)
    struct.pack_into("<I", data, 4, len(data))
    struct.pack_into("<I", data, 0, zlib.crc32(data[4:], zlib.crc32(b"generati")))
    list(log.unpack(bytes(data), b"generati", 0))


def main() -> int:
    """The command."""
    deadline = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 60)
    seed = int(time.time())
    count = 0
    while time.monotonic() < deadline:
        seed += 1
        count += 1
        with tempfile.TemporaryDirectory() as path:
            try:
                run(seed, Path(path))
                for number in range(200):
                    parse(seed * 1000 + number)
            except Exception:
                text = f"seed {seed}\n{traceback.format_exc()}"
                Path(f"crash-index-{seed}.txt").write_text(text)
                print(text)
                return 1
    print(f"{count} indexes, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
