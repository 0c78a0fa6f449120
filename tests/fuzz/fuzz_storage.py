"""Fuzz storage/: whatever stands in a Maildir's files, sessions answer or say a StoreError, and lose no message.

    python tests/fuzz/fuzz_storage.py [seconds]      damages Maildirs for so long

A finding is written to crash-storage-<number>.txt in the current directory and ends the run with status 1. Under
pytest a short run of fixed seeds is a test (tests/unit/storage/test_storage_fuzz.py).
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from dovecotpy.storage import flags  # noqa: E402
from dovecotpy.storage.errors import StoreError  # noqa: E402
from dovecotpy.storage.mailbox import Operation  # noqa: E402
from tests.unit.storage.storage_kit import Home, add, octets  # noqa: E402

FILES = (
    "dovecot-uidlist",
    "dovecot-keywords",
    "dovecotpy.index",
    "dovecotpy.index.names",
    "dovecotpy.recent",
    "dovecotpy.overview",
    "subscriptions",
    "courierimapuiddb",
    "courierimapsubscribed",
)
PIECES = [
    b"\n",
    b" ",
    b":",
    b"3 V1 N1\n",
    b"1 1 1\n",
    b"4294967295 :x\n",
    b"4294967296 :y\n",
    b"0 :z\n",
    b"1 :1.a.h\n1 :1.a.h\n",
    b"-1 :q\n",
    b"99999999999999999999 :r\n",
    b"V\t2\n\na\tb\n",
    b"\0",
    b"\xff\xfe",
    b"25 k\n26 l\n0 \n",
    b" G00 Pq :",
]
NAMES = [
    "1.a.h:2,",
    "1.a.h:2,S",
    "1.a.h",
    ":2,",
    "x:2,zz\xe9",
    "2.b.h:1,S",
    "9" * 40,
    "3.c.h,W=999999999999999999:2,T",
    "a\nb:2,S",
]


def damaged(data: bytes, chance: random.Random) -> bytes:
    """The content of a file after something went wrong."""
    kind = chance.randrange(6)
    at = chance.randrange(len(data) + 1)
    if kind == 0:
        return data[:at]
    if kind == 1:
        return data[:at] + chance.choice(PIECES) + data[at:]
    if kind == 2:
        return data[:at] + chance.choice(PIECES) + data[min(len(data), at + chance.randrange(20)) :]
    if kind == 3:
        return bytes(chance.randrange(256) for _ in range(chance.randrange(200)))
    if kind == 4:
        lines = data.splitlines(keepends=True)
        chance.shuffle(lines)
        return b"".join(lines)
    return data + data


def damage(root: Path, chance: random.Random) -> None:
    """Do a few things to a Maildir that no program of good will does."""
    for _ in range(chance.randrange(1, 4)):
        if chance.random() < 0.6:
            caches = sorted(
                name for name in os.listdir(root) if name.startswith(("dovecotpy.cache", "dovecotpy.keys"))
            )
            path = root / chance.choice([*FILES, *caches])
            if path.is_symlink() or path.is_dir():
                continue
            path.write_bytes(damaged(path.read_bytes() if path.exists() else b"", chance))
        else:
            path = root / chance.choice(["cur", "new", "tmp"]) / chance.choice(NAMES)
            if chance.random() < 0.15:
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
                chance.choice(
                    [
                        path.mkdir,
                        lambda path=path: os.symlink("/etc/passwd", path),
                        lambda path=path: os.mkfifo(path),
                    ]
                )()
            elif not path.exists() and not path.is_symlink():
                path.write_bytes(b"Subject: x\n\n" + bytes(chance.randrange(256) for _ in range(20)))


def use(home: Home, chance: random.Random) -> None:
    """What sessions do. StoreError is an answer; anything else is a finding."""
    store = home.store()
    try:
        box = store.open(b"INBOX", writable=chance.random() < 0.8)
        try:
            box.refresh()
            box.claim_recent()
            uids = box.columns().uids
            assert list(uids) == sorted(set(uids)), uids
            assert not uids or uids[-1] < box.columns().uidnext
            for batch in box.fetch(uids, frozenset({b"ENVELOPE", b"BODYSTRUCTURE", b"RFC822.SIZE"})):
                assert all(len(values) == len(batch.uids) for values in batch.values.values())
            assert len(box.columns().dates) == len(uids)
            some = [uid for uid in uids if chance.random() < 0.5]
            box.store(some, chance.choice(list(Operation)), chance.randrange(32), frozenset({"k", "$x"}))
            if chance.random() < 0.2:
                box.expunge(some[:1])
            uid = add(box, b"Subject: mine\r\n\r\n", flags=flags.SEEN).uids[0]
            box.refresh()
            assert uid in box.columns().uids
            assert octets(box, uid) == b"Subject: mine\n\n"
            [batch] = box.fetch([uid], frozenset({b"ENVELOPE"}))
            assert b'"mine"' in (batch.values[b"ENVELOPE"][0] or b"")
        finally:
            box.close()
        store.subscriptions()
        store.subscribe(b"A", chance.random() < 0.5)
        store.status(b"INBOX", counted=chance.random() < 0.5)
    except StoreError:
        return
    finally:
        home.close()


def run(seed: int, path: Path) -> None:
    """One Maildir through damages and sessions. Raises what a session raised that is no StoreError."""
    chance = random.Random(seed)
    home = Home(path)
    box = home.inbox()
    add(box, keywords=["k"], count=chance.randrange(5))
    box.close()
    for number in range(chance.randrange(3)):
        home.deliver(f"{number}.a.h:2,", folder="cur")
    for _ in range(4):
        use(home, chance)
        damage(home.root, chance)
    use(home, chance)


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
            except Exception:
                text = f"seed {seed}\n{traceback.format_exc()}"
                Path(f"crash-storage-{seed}.txt").write_text(text)
                print(text)
                return 1
    print(f"{count} Maildirs, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
