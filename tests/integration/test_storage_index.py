"""One history in many processes: the same numbers everywhere, nothing missed after a kill at any system call, reads under a stopped holder."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dovecotpy.storage import flags, writing
from dovecotpy.storage.errors import InUse
from dovecotpy.storage.index import history
from dovecotpy.storage.index.lock import IndexLock
from dovecotpy.storage.mailbox import Mailbox, Operation
from tests.integration.storage_kills import run_until
from tests.integration.storage_processes import Child, mail_directory
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()
MOST_CALLS = 200
Told = tuple[int, dict[int, tuple[int, frozenset[str]]]]
"""What a client was told: HIGHESTMODSEQ, and flags by UID."""


@pytest.fixture
def home() -> Iterator[Home]:
    with mail_directory() as path:
        home = Home(path)
        yield home
        home.close()


def told(box: Mailbox) -> Told:
    found = state(box)
    return box.columns().modseq, found


def misses_nothing(client: Told, box: Mailbox, *, complete: bool = True) -> None:
    """With its modseq alone a client learns exactly what it does not know."""
    since, view = client
    now = state(box)
    changes = box.changes(since)
    assert changes.complete or not complete
    if not changes.complete:
        view = {uid: found for uid, found in view.items() if uid in now}
    view = dict(view)
    for first, last in changes.vanished:
        for uid in range(first, last + 1):
            view.pop(uid, None)
    view.update((uid, now[uid]) for uid in {*changes.appeared, *changes.changed})
    assert view == now


def live(path: Path, seed: int, steps: int) -> list[Told]:
    """A session that does everything, comes and goes; what its clients were told."""
    chance = random.Random(seed)
    home = Home(path)
    box = home.inbox()
    clients = [told(box)]
    for _ in range(steps):
        known = uids(box)
        deed = chance.choice(("store", "store", "store", "append", "expunge", "foreign", "leave"))
        if deed == "append":
            add(box, flags=chance.choice((0, flags.SEEN)))
        elif deed == "store" and known:
            some = sorted(chance.sample(known, min(len(known), 3)))
            words = frozenset(chance.sample(["a", "b", "c"], chance.randrange(3)))
            box.store(some, chance.choice(list(Operation)), chance.randrange(32), words)
        elif deed == "expunge" and len(known) > 8:
            box.expunge([chance.choice(known)])
        elif deed == "foreign":
            rename(home, chance)
        elif deed == "leave":
            box.close()
            box = home.inbox()
        clients.append(told(box))
        if len(clients) > 1:
            assert clients[-1][0] >= clients[-2][0], "a modseq went back"
    home.close()
    return clients


def rename(home: Home, chance: random.Random) -> None:
    """Another program sets or clears a flag."""
    names = sorted((home.root / "cur").iterdir())
    if names:
        name = chance.choice(names)
        base, _, info = name.name.partition(":2,")
        try:
            name.rename(name.with_name(f"{base}:2,{'' if 'F' in info else 'F'}"))
        except FileNotFoundError:
            return


def settled(home: Home) -> Mailbox:
    """A new session, once nothing is left open by listings that were disturbed."""
    box = home.inbox()
    for _ in range(20):
        before = told(box)
        time.sleep(0.05)
        if told(box) == before:
            break
    return box


def test_many_processes_write_one_history(home: Home) -> None:
    add(home.inbox(), count=10)
    beside = home.inbox()
    before = told(beside)
    children = [Child(live, home.path, seed, 60) for seed in range(4)]
    clients = [client for child in children for client in child.result(200)]
    box = settled(home)
    assert told(beside) == told(box)
    assert beside.columns().modseqs == box.columns().modseqs
    misses_nothing(before, beside)
    for client in clients:
        misses_nothing(client, box)
    by_modseq: dict[int, dict[int, tuple[int, frozenset[str]]]] = {}
    for modseq, view in clients:
        assert by_modseq.setdefault(modseq, view) == view, "one modseq stands for two states"


Work = Callable[[Mailbox], None]


def change(box: Mailbox) -> None:
    box.store([1, 2], Operation.ADD, flags.FLAGGED, frozenset({"word"}))
    box.refresh()


def remove(box: Mailbox) -> None:
    box.expunge([1, 3])
    box.refresh()


def arrive(box: Mailbox) -> None:
    add(box)
    box.refresh()


def fold(box: Mailbox) -> None:
    history.RECORDS_LEAST = 0
    box.store([4], Operation.ADD, flags.FLAGGED, NONE)
    box.refresh()


@pytest.mark.parametrize("work", [change, remove, arrive, fold])
def test_killed_at_each_call(tmp_path: Path, work: Work) -> None:
    killed, calls = True, 0
    while killed:
        assert calls < MOST_CALLS
        (tmp_path / str(calls)).mkdir()
        home = Home(tmp_path / str(calls))
        beside = home.inbox()
        add(beside, count=5)
        client = told(beside)

        def run(ok: Callable[[], None], home: Home = home) -> None:
            box = home.inbox()
            box.refresh()
            work(box)
            ok()

        killed, _ = run_until(run, calls)
        again = settled(home)
        assert told(beside) == told(again), f"after a kill at call {calls}"
        assert beside.columns().modseqs == again.columns().modseqs
        misses_nothing(client, again)
        misses_nothing(client, beside)
        add(again)
        assert told(beside) == told(again)
        home.close()
        calls += 1
    assert calls > 5


@pytest.mark.parametrize("end", [signal.SIGCONT, signal.SIGKILL])
def test_a_stopped_holder_of_the_index_lock(home: Home, end: int, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = home.inbox()
    add(inbox, count=3)
    before = told(inbox)
    holder = os.fork()
    if not holder:
        lock = IndexLock(os.open(home.root, os.O_RDONLY))
        lock.take(10)
        os.kill(os.getpid(), signal.SIGSTOP)
        lock.release()
        os._exit(0)
    os.waitpid(holder, os.WUNTRACED)
    monkeypatch.setattr(writing, "LOCK_SECONDS", 0.3)
    try:
        home.deliver("1.x.h")
        began = time.monotonic()
        assert told(inbox) == before
        assert octets(inbox, 3)
        late = home.inbox()
        assert state(late) == before[1]
        assert time.monotonic() - began < 3
        for write in (
            lambda: inbox.store([1], Operation.ADD, flags.SEEN, NONE),
            lambda: inbox.expunge([1]),
            lambda: add(inbox),
        ):
            with pytest.raises(InUse):
                write()
    finally:
        os.kill(holder, end)
        os.waitpid(holder, 0)
    assert uids(inbox) == [1, 2, 3, 4]
    inbox.store([1], Operation.ADD, flags.SEEN, NONE)
    assert told(inbox) == told(late) == told(home.inbox())
    misses_nothing(before, inbox)
