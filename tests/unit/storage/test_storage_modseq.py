"""Modseqs that mean the same in every session: a client that comes back with one misses nothing."""

from __future__ import annotations

import os
import random
import sqlite3
from pathlib import Path

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage.errors import InUse
from dovecotpy.storage.index import history, names, snapshot
from dovecotpy.storage.index.history import History
from dovecotpy.storage.index.lock import IndexLock
from dovecotpy.storage.mailbox import Mailbox, Operation
from dovecotpy.storage.maildir.box import MaildirBox
from dovecotpy.storage.state import MODSEQS_AHEAD
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()
Seen = tuple[int, dict[int, tuple[int, frozenset[str]]]]
"""What a client was told: HIGHESTMODSEQ, and flags by UID."""


def told(mailbox: Mailbox) -> Seen:
    found = state(mailbox)
    return mailbox.columns().modseq, found


def comes_back(client: Seen, mailbox: Mailbox) -> None:
    """CHANGEDSINCE tells a client everything that it does not know."""
    highest, before = client
    now = state(mailbox)
    columns = mailbox.columns()
    modseqs = dict(zip(columns.uids, columns.modseqs, strict=True))
    assert columns.modseq >= highest
    assert max(modseqs.values(), default=0) <= columns.modseq
    different = {uid for uid, found in now.items() if before.get(uid) != found}
    assert all(modseqs[uid] > highest for uid in different)
    if before.keys() - now.keys() or different:
        assert columns.modseq > highest


def die(mailbox: Mailbox) -> None:
    """As after kill -9: nothing is written any more."""
    mailbox._driver.close()
    mailbox._history.close()
    if mailbox._index is not None:
        os.close(mailbox._index)
        mailbox._index = None


def rename_behind(home: Home, chance: random.Random) -> None:
    """Another program sets or clears a flag."""
    names = sorted((home.root / "cur").glob("*"))
    if names:
        name = chance.choice(names)
        base, _, info = name.name.partition(":2,")
        name.rename(name.with_name(f"{base}:2,{'' if 'F' in info else 'F'}"))


def live(home: Home, chance: random.Random, steps: int) -> None:
    """Sessions that come, go, die and lose their index, and clients that keep what they were told."""
    sessions: list[Mailbox] = []
    clients: list[Seen] = []
    for _ in range(steps):
        deed = chance.choice(
            (
                "open",
                "open",
                "store",
                "store",
                "append",
                "rename",
                "look",
                "expunge",
                "close",
                "die",
                "forget",
            )
        )
        if deed == "open" and len(sessions) < 3:
            mailbox = home.inbox()
            for client in clients:
                comes_back(client, mailbox)
            sessions.append(mailbox)
        elif deed == "rename":
            rename_behind(home, chance)
        elif deed == "forget" and chance.random() < 0.4:
            for name in (snapshot.NAME, names.NAME):
                if chance.random() < 0.7:
                    (home.root / name).unlink(missing_ok=True)
        elif sessions:
            mailbox = chance.choice(sessions)
            if deed == "append":
                add(mailbox)
            elif deed == "store" and uids(mailbox):
                operation = chance.choice((Operation.ADD, Operation.REMOVE))
                mailbox.store([chance.choice(uids(mailbox))], operation, flags.SEEN, NONE)
            elif deed == "expunge" and len(uids(mailbox)) > 2:
                mailbox.expunge([chance.choice(uids(mailbox))])
            elif deed in ("close", "die"):
                sessions.remove(mailbox)
                clients.append(told(mailbox))
                mailbox.close() if deed == "close" else die(mailbox)
                continue
            clients.append(told(mailbox))


@pytest.mark.parametrize("seed", range(12))
def test_a_client_that_comes_back_misses_nothing(home: Home, seed: int) -> None:
    live(home, random.Random(seed), 120)


def _trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MaildirBox, "reserve_modseqs", lambda box, least: (least, least + MODSEQS_AHEAD))


def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(History, "follow", lambda history: None)
    monkeypatch.setattr(History, "_catch_up", lambda history: history._snapshot or history._join())


@pytest.mark.parametrize("plant", [_trusting, _alone])
def test_the_test_above_finds_faults(plant: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)  # type: ignore[operator]
    found = 0
    for seed in range(12):
        home = Home(tmp_path / str(seed))
        (tmp_path / str(seed)).mkdir()
        try:
            live(home, random.Random(seed), 120)
        except AssertionError:
            found += 1
        finally:
            home.close()
        if found:
            return
    pytest.fail("a planted fault was not found")


def flag_and_back(home: Home) -> None:
    """One session tells of a flag that another one, which writes the index last, never saw."""
    home.deliver("1.a.h:2,", folder="cur")
    home.deliver("2.b.h:2,", folder="cur")
    first, last = home.inbox(), home.inbox()
    uids(first)
    uids(last)
    (home.root / "cur" / "1.a.h:2,").rename(home.root / "cur" / "1.a.h:2,F")
    client = told(first)
    die(first)
    (home.root / "cur" / "1.a.h:2,F").rename(home.root / "cur" / "1.a.h:2,")
    last.store([2], Operation.ADD, flags.SEEN, NONE)
    last.close()
    again = home.inbox()
    again.refresh()
    comes_back(client, again)


def test_what_only_another_session_saw(home: Home) -> None:
    flag_and_back(home)


def test_numbers_last_over_sessions(home: Home) -> None:
    inbox = home.inbox()
    assert inbox.capabilities.modseq
    add(inbox, count=3)
    uids(inbox)
    inbox.store([2], Operation.ADD, flags.SEEN, NONE)
    highest, modseqs = inbox.columns().modseq, list(inbox.columns().modseqs)
    inbox.close()
    again = home.inbox()
    assert again.refresh() == highest
    assert list(again.columns().modseqs) == modseqs
    assert home.store().status(b"INBOX").highestmodseq == highest


def test_a_lost_index_begins_beyond_the_reserve(home: Home) -> None:
    inbox = home.inbox()
    add(inbox, count=2)
    highest = inbox.refresh()
    inbox.close()
    for name in (snapshot.NAME, names.NAME):
        (home.root / name).unlink()
    again = home.inbox()
    base = again.refresh()
    assert base == highest + MODSEQS_AHEAD
    assert set(again.columns().modseqs) == {base}


def test_the_index_goes_under_a_session(home: Home) -> None:
    where = "maildir:~/Maildir:INDEX=~/index"
    inbox = home.inbox(mail_location=where)
    add(inbox, count=2)
    before = inbox.refresh()
    os.system(f"rm -rf {home.path}/index")
    add(inbox)
    after = inbox.refresh()
    assert after > before
    again = home.inbox(mail_location=where)
    assert again.refresh() > after


def test_another_boot(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    inbox = home.inbox()
    add(inbox)
    highest = inbox.refresh()
    inbox.close()
    for module in (snapshot, history):
        monkeypatch.setattr(module, "BOOT", "another")
    again = home.inbox()
    assert again.refresh() >= highest + MODSEQS_AHEAD
    assert set(again.columns().modseqs) == {again.columns().modseq}


def test_without_an_index_there_are_none(home: Home) -> None:
    store = home.store("maildir:~/Maildir:INDEX=MEMORY")
    inbox = store.open(b"INBOX", writable=True)
    add(inbox)
    inbox.refresh()
    assert not inbox.capabilities.modseq
    assert store.status(b"INBOX").highestmodseq == 0


def test_without_state_there_are_none(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.deliver("1.a.h:2,", folder="cur")

    def broken(*arguments: object, **more: object) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(sqlite3, "connect", broken)
    inbox = home.inbox()
    assert uids(inbox) == [1]
    assert not inbox.capabilities.modseq


def test_a_stopped_holder_of_the_numbers_does_not_stop_reads(home: Home) -> None:
    inbox = home.inbox()
    add(inbox)
    before = inbox.refresh()
    directory = os.open(home.root, os.O_RDONLY)
    holder = IndexLock(directory)
    holder.take(0)
    try:
        home.deliver("1.x.h")
        assert inbox.refresh() == before
        assert octets(inbox, 1)
        with pytest.raises(InUse):
            inbox.store([1], Operation.ADD, flags.SEEN, NONE)
        late = home.inbox()
        assert uids(late) == [1]
        assert late.capabilities.modseq
        first = home.store()
        first.create(b"A")
    finally:
        holder.close()
        os.close(directory)
    assert uids(inbox) == [1, 2]
    assert inbox.columns().modseq == before + 1
    assert list(inbox.changes(before).appeared) == [2]
    assert uids(late) == [1, 2]
    assert late.columns().modseq == before + 1


def test_a_mailbox_of_which_nothing_is_known_is_shown_without_numbers_while_somebody_holds_the_lock(
    home: Home,
) -> None:
    home.deliver("1.a.h:2,S", folder="cur")
    directory = os.open(home.root, os.O_RDONLY)
    holder = IndexLock(directory)
    holder.take(0)
    try:
        inbox = home.inbox()
        assert state(inbox) == {1: (flags.SEEN, NONE)}
        assert not inbox.capabilities.modseq
    finally:
        holder.close()
        os.close(directory)


@pytest.mark.parametrize("damage", [b"", b"x" * 20, b"\0" * 88])
def test_a_damaged_index_is_not_believed(home: Home, damage: bytes) -> None:
    inbox = home.inbox()
    add(inbox)
    highest = inbox.refresh()
    inbox.close()
    (home.root / snapshot.NAME).write_bytes(damage)
    assert home.inbox().refresh() > highest
