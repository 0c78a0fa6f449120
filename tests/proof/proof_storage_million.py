"""A Maildir of a million messages within the memory that a mail process may have: first sight, changes by us and by others, and sessions
after them. The steps follow one another."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import Operation
from tests.unit.storage.storage_kit import Home, add, octets

MESSAGES = 1_000_000
LINKS = 50_000
"""Names of one file; ext4 allows 65,000."""
LIMIT = 256 << 20
"""Octets of private memory: the default of mail_process_size, as the sandbox sets it."""
NONE: frozenset[str] = frozenset()


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("million")
    cur = path / "Maildir" / "cur"
    cur.mkdir(parents=True)
    for name in ("new", "tmp"):
        (path / "Maildir" / name).mkdir()
    source = ""
    for number in range(MESSAGES):
        name = f"{cur}/{1_600_000_000 + 7 * number}.M{number % 999_999}P77.host,S=24:2,{'S' if number % 3 else ''}"
        if number % LINKS:
            os.link(source, name)
        else:
            source = name
            Path(name).write_bytes(b"Subject: x\n\nbody of all\n")
    return path


def first_sight(path: Path) -> None:
    """And changes by the session that had it."""
    home = Home(path)
    inbox = home.inbox()
    inbox.refresh()
    columns = inbox.columns()
    assert (len(columns.uids), columns.uids[0], columns.uids[-1]) == (MESSAGES, 1, MESSAGES)
    assert columns.flags.count(0) == -(-MESSAGES // 3)
    inbox.store([500_000], Operation.ADD, flags.FLAGGED, NONE)
    inbox.expunge([600_000])
    assert list(add(inbox).uids) == [MESSAGES + 1]
    assert octets(inbox, 500_000).endswith(b"body of all\n")
    inbox.close()
    assert home.lines == []


def next_sessions(path: Path) -> None:
    """One changes a flag and stays, another one comes."""
    home = Home(path)
    inbox = home.inbox()
    inbox.refresh()
    inbox.store([500_001], Operation.ADD, flags.FLAGGED, NONE)
    other = home.inbox()
    other.refresh()
    columns = other.columns()
    assert len(columns.uids) == MESSAGES
    assert 600_000 not in columns.uids
    assert [columns.flags[place] & flags.FLAGGED for place in range(499_999, 502_000)][:3] == [
        flags.FLAGGED,
        flags.FLAGGED,
        0,
    ]
    assert octets(other, 500_001).endswith(b"body of all\n")
    other.close()
    inbox.close()
    assert home.lines == []


def others_deliver(path: Path) -> None:
    """Into new/, before a session and under one."""
    home = Home(path)
    home.deliver("2000000001.M1P1.other")
    inbox = home.inbox()
    inbox.refresh()
    before = len(inbox.columns().uids)
    assert before == MESSAGES + 1
    inbox.wait()
    home.deliver("2000000002.M1P1.other")
    inbox.refresh()
    uids = inbox.columns().uids
    assert len(uids) == before + 1
    assert octets(inbox, uids[-1]) == octets(inbox, uids[-2])
    inbox.close()
    assert os.listdir(home.root / "new") == []
    assert home.lines == []


def others_change(path: Path) -> None:
    """A flag and a deletion, in cur/."""
    home = Home(path)
    cur = home.root / "cur"
    with os.scandir(cur) as entries:
        names = sorted(entry.name for entry in entries if entry.name.startswith("1600000"))
    changed, gone = names[10], names[20]
    (cur / changed).rename(cur / (changed.partition(":")[0] + ":2,T"))
    (cur / gone).unlink()
    inbox = home.inbox()
    inbox.refresh()
    columns = inbox.columns()
    assert columns.flags[10] == flags.DELETED
    assert 21 not in columns.uids[:30]
    assert len(columns.uids) == MESSAGES + 1
    inbox.store([500_002], Operation.ADD, flags.FLAGGED, NONE)
    inbox.close()
    assert home.lines == []


def after_a_kill(path: Path) -> None:
    """Behind the line of an APPEND, before its file."""
    home = Home(path)
    listed = home.root / "dovecot-uidlist"
    last = int(listed.read_bytes()[-100:].split(b"\n")[-2].split(b" ")[0])
    with listed.open("ab") as file:
        file.write(b"%d :2000000003.M1P1.killed\n" % (last + 1))
    inbox = home.inbox()
    inbox.refresh()
    assert len(inbox.columns().uids) == MESSAGES + 1
    assert list(add(inbox).uids) == [last + 2]
    inbox.close()
    assert home.lines == []


def without_an_index(path: Path) -> None:
    """Beside the list of UIDs."""
    home = Home(path)
    for each in home.root.glob("dovecotpy.index*"):
        each.unlink()
    inbox = home.inbox()
    inbox.refresh()
    columns = inbox.columns()
    assert len(columns.uids) == MESSAGES + 2
    assert columns.flags[10] == flags.DELETED
    assert 600_000 not in columns.uids
    inbox.close()
    assert home.lines == []


STEPS = {
    step.__name__: step
    for step in (
        first_sight,
        next_sessions,
        others_deliver,
        others_change,
        after_a_kill,
        without_an_index,
    )
}


def within_the_limit(step: str, path: Path) -> None:
    """Do it in a process of its own that may have no more."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    subprocess.run([sys.executable, __file__, step, str(path)], cwd=root, env=environment, check=True)


def test_first_sight_and_changes_of_an_open_session(path: Path) -> None:
    within_the_limit("first_sight", path)


def test_the_next_session_sees_them(path: Path) -> None:
    within_the_limit("next_sessions", path)


@pytest.mark.parametrize("step", list(STEPS)[2:])
def test_what_must_be_compared(path: Path, step: str) -> None:
    within_the_limit(step, path)


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_DATA, (LIMIT, LIMIT))
    STEPS[sys.argv[1]](Path(sys.argv[2]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    seconds = time.process_time()
    print(f"{sys.argv[1]}: {peak} MB at most, {seconds:.1f} s of processor time")
