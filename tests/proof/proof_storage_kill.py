"""Thousands of kills of writers beside each other: every OK survives, nothing is doubled, no UID is used twice."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import Operation
from tests.unit.storage.storage_kit import Home, add, octets, uids

KILLS = int(os.environ.get("DOVECOTPY_PROOF_KILLS", "3000"))
WRITERS = 3
NONE: frozenset[str] = frozenset()


def _work(path: Path, name: str, seed: int, log: Path) -> None:
    """Append, flag and expunge until killed; each OK is a line in a file of its own, written when the client would have it."""
    chance = random.Random(seed)
    box = Home(path).inbox(fsync_disable=bool(seed % 2))
    acknowledged = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    number = 0
    while True:
        number += 1
        text = f"Subject: {name}-{number}\r\n\r\n"
        [uid] = add(box, text.encode(), flags=flags.SEEN if chance.random() < 0.5 else 0).uids
        os.write(acknowledged, f"+ {uid} {name}-{number}\n".encode())
        box.refresh()
        mine = list(box.columns().uids)[-6:]
        box.store(
            mine, chance.choice(list(Operation)), chance.randrange(32), frozenset({chance.choice("abc")})
        )
        if chance.random() < 0.3:
            os.write(acknowledged, f"? {mine[0]} -\n".encode())
            box.expunge(mine[:1])


def _spawn(path: Path, number: int, seed: int) -> int:
    pid = os.fork()
    if not pid:
        try:
            _work(path, f"{number}-{seed}", seed, path / f"log.{number}")
        finally:
            os._exit(1)
    return pid


@pytest.mark.timeout(7200)
def test_kills(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.inbox().refresh()
    chance = random.Random(int(os.environ.get("DOVECOTPY_PROOF_SEED", "1")))
    pids = [_spawn(tmp_path, number, number) for number in range(WRITERS)]
    for turn in range(KILLS):
        time.sleep(chance.random() * 0.03)
        victim = chance.randrange(WRITERS)
        os.kill(pids[victim], signal.SIGKILL)
        _, status = os.waitpid(pids[victim], 0)
        assert os.WIFSIGNALED(status), f"a writer ended by itself with {status}"
        pids[victim] = _spawn(tmp_path, victim, WRITERS + turn)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    _check(home, tmp_path)


def _check(home: Home, path: Path) -> None:
    told: dict[int, str] = {}
    maybe_gone: set[int] = set()
    for log in path.glob("log.*"):
        for line in log.read_text().splitlines():
            kind, uid, name = line.split(" ")
            if kind == "?":
                maybe_gone.add(int(uid))
                continue
            assert int(uid) not in told, f"UID {uid} was given twice"
            told[int(uid)] = name
    time.sleep(2.5)
    box = home.inbox()
    found = {uid: octets(box, uid).decode().split()[1] for uid in uids(box)}
    assert len(set(found.values())) == len(found), "a message is there twice"
    for uid, name in told.items():
        if uid not in maybe_gone:
            assert found.get(uid) == name, f"the acknowledged message {uid} is lost or another one"
        else:
            assert found.get(uid, name) == name
    assert not list(home.root.glob("*.tmp.*")) or len(list(home.root.glob("*.tmp.*"))) < KILLS / 10
