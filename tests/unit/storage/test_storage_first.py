"""The first sight of a Maildir: what is seen at once is what is seen message by message, however large it is."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import Any

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage.index import snapshot
from dovecotpy.storage.mailbox import Mailbox, Operation
from dovecotpy.storage.maildir import first, uidlist
from dovecotpy.storage.maildir.first import FirstSight
from dovecotpy.storage.maildir.uidlist import Uidlist
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()
LETTERS = "DFRSTab"


def fill(home: Home, count: int, seed: int, *, timed: bool = True) -> None:
    chance = random.Random(seed)
    for number in range(count):
        second = 1_700_000_000 + chance.randrange(count)
        name = (
            f"{second}.M{chance.randrange(999999)}P1Q{number}.h" if timed else f"{chance.random()}-{number}"
        )
        size = chance.choice(["", ",S=10", ",S=10,W=12"])
        info = "".join(sorted(chance.sample(LETTERS, chance.randrange(4))))
        home.deliver(f"{name}{size}:2,{info}", folder="cur")
    (home.root / "dovecot-keywords").write_text("0 work\n1 home\n")


def seen(home: Home) -> object:
    """All that a session knows, with the list of UIDs but for what differs each time."""
    inbox = home.inbox()
    inbox.refresh()
    columns = inbox.columns()
    lines = (home.root / "dovecot-uidlist").read_text().split("\n")[1:]
    return (
        state(inbox),
        list(columns.sizes),
        list(columns.dates),
        list(columns.modseqs),
        lines,
        [octets(inbox, uid) for uid in columns.uids[:3]],
    )


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is large."""
    monkeypatch.setattr(first, "LARGE", 20)
    monkeypatch.setattr(first, "CHUNK", 7)
    monkeypatch.setattr(uidlist, "LARGE", 100)
    monkeypatch.setattr(uidlist, "_END_OCTETS", 150)


class Both:
    """Runs the one way and the other on copies."""

    def __init__(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home = home
        self.monkeypatch = monkeypatch

    def equal(self) -> bool:
        before = seen(self.home)
        for path in self.home.root.glob("dovecot*"):
            if path.name != "dovecot-keywords":
                path.unlink()
        with self.monkeypatch.context() as patched:
            patched.setattr(FirstSight, "run", lambda self: None)
            return before == seen(self.home)


@pytest.fixture
def both(home: Home, monkeypatch: pytest.MonkeyPatch) -> Both:
    return Both(home, monkeypatch)


@pytest.mark.parametrize("seed", range(4))
def test_it_sees_what_is_there(home: Home, both: Both, seed: int) -> None:
    fill(home, 60, seed, timed=seed != 3)
    assert both.equal()


def test_in_many_parts_too(home: Home, both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(first, "CHUNK", 7)
    fill(home, 60, 5)
    assert both.equal()


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("new", ["1.a.h"]),
        ("cur", [".hidden:2,"]),
        ("cur", ["1.a.h"]),
        ("cur", ["1.a.h:2,S", "1.a.h:2,F"]),
        ("cur", ["1.a:h:2,S"]),
        ("cur", ["1.a.h:1,"]),
    ],
)
def test_what_is_not_plain_is_seen_too(home: Home, both: Both, folder: str, names: list[str]) -> None:
    fill(home, 10, 6)
    for name in names:
        home.deliver(name, folder=folder)
    inbox = home.inbox()
    uids(inbox)
    assert len(uids(inbox)) == 10 + (0 if names[0][0] == "." else 1 if len(names) == 1 else len(names))


@pytest.mark.parametrize("large", [False, True])
def test_new_messages_come_last_and_are_recent(
    home: Home, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    if large:
        monkeypatch.setattr(first, "LARGE", 5)
    fill(home, 10, 9)
    for number in (2, 1):
        home.deliver(f"1800000000.M{number}.h", b"Subject: %d\r\n\r\n" % number, folder="new")
    inbox = home.inbox()
    assert uids(inbox) == list(range(1, 13))
    assert os.listdir(home.root / "new") == []
    assert [octets(inbox, uid)[:10] for uid in (11, 12)] == [b"Subject: 1", b"Subject: 2"]
    assert inbox.claim_recent() == {11, 12}
    assert home.inbox().claim_recent() == frozenset()
    home.deliver("1800000001.M1.h", folder="new")
    assert uids(inbox) == list(range(1, 14))


def test_one_in_both_places_is_left_to_a_closer_look(home: Home) -> None:
    fill(home, 10, 10)
    for folder, name in (("new", "1.a.h"), ("cur", "1.a.h:2,S")):
        home.deliver(name, folder=folder)
    inbox = home.inbox()
    uids(inbox)
    assert len(uids(inbox)) == 12


def test_two_sessions_at_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another one makes the list between our listing and our lock."""
    fill(home, 30, 7)
    other: list[Mailbox] = []
    real = FirstSight._assign

    def assign(self: FirstSight, packed: list[bytes], *rest: Any) -> int:
        if not other:
            other.append(home.inbox())
            uids(other[0])
        return real(self, packed, *rest)

    monkeypatch.setattr(FirstSight, "_assign", assign)
    inbox = home.inbox()
    assert state(inbox) == state(other[0])
    assert len(state(inbox)) == 30
    assert len((home.root / "dovecot-uidlist").read_text().splitlines()) == 31


class TestLarge:
    """Names rest in the index, lines in their file."""

    @pytest.fixture
    def inbox(self, home: Home, small: None) -> Mailbox:
        for number in range(50):
            home.deliver(f"{1_700_000_000 + number}.a.h:2,", b"Subject: %d\r\n\r\n" % number, folder="cur")
        inbox = home.inbox()
        assert uids(inbox) == list(range(1, 51))
        return inbox

    def lines(self, home: Home) -> list[str]:
        return (home.root / uidlist.NAME).read_text().splitlines()[1:]

    def test_lines_are_not_in_memory(
        self, inbox: Mailbox, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(self: Uidlist) -> None:
            raise AssertionError("the list was read whole")

        monkeypatch.setattr(Uidlist, "_read_all", never)
        inbox.store([7], Operation.ADD, flags.FLAGGED, NONE)
        inbox.expunge([8])
        assert list(add(inbox).uids) == [51]
        assert inbox.columns().flags[6] == flags.FLAGGED
        assert self.lines(home)[-1].startswith("51 ")

    def test_bodies_are_found(self, inbox: Mailbox, home: Home) -> None:
        inbox.store([7], Operation.ADD, flags.FLAGGED, NONE)
        for session in (inbox, home.inbox()):
            assert uids(session)
            subjects = [octets(session, uid).split(b"\r")[0] for uid in (1, 7, 50)]
            assert subjects == [b"Subject: 0", b"Subject: 6", b"Subject: 49"]

    def test_others_changes_are_seen(self, inbox: Mailbox, home: Home) -> None:
        os.rename(home.root / "cur" / "1700000004.a.h:2,", home.root / "cur" / "1700000004.a.h:2,S")
        os.unlink(home.root / "cur" / "1700000005.a.h:2,")
        home.deliver("1700000099.a.h:2,", folder="cur")
        for session in (inbox, home.inbox()):
            assert uids(session) == [*range(1, 6), *range(7, 52)]
            assert state(session)[5] == (flags.SEEN, NONE)

    def test_without_the_index_uids_stay(self, inbox: Mailbox, home: Home) -> None:
        inbox.close()
        (home.root / snapshot.NAME).unlink()
        again = home.inbox()
        assert uids(again) == list(range(1, 51))
        assert octets(again, 50).startswith(b"Subject: 49")

    def test_another_programs_list_is_read_whole(self, inbox: Mailbox, home: Home) -> None:
        path = home.root / uidlist.NAME
        head, *lines = path.read_text().splitlines()
        other = path.with_name("other")
        other.write_text("\n".join([head, *lines[:-1], lines[-1].replace("50 ", "60 ")]) + "\n")
        os.replace(other, path)
        assert uids(inbox) == [*range(1, 50), 60]

    def test_lines_that_are_lost_are_put_back(self, inbox: Mailbox, home: Home) -> None:
        path = home.root / uidlist.NAME
        os.truncate(path, path.stat().st_size - 40)
        inbox.store([7], Operation.ADD, flags.FLAGGED, NONE)
        assert [int(line.split()[0]) for line in self.lines(home)] == list(range(1, 51))

    def test_without_an_index_names_stay_in_memory(self, home: Home, small: None) -> None:
        fill(home, 30, 8)
        inbox = home.store("maildir:~/Maildir:INDEX=MEMORY").open(b"INBOX", writable=True)
        assert len(uids(inbox)) == 30
        inbox.store([7], Operation.ADD, flags.FLAGGED, NONE)
        assert octets(inbox, 7)
        assert state(inbox)[7][0] & flags.FLAGGED


class TestPartial:
    """A list of which only the end was read."""

    @pytest.fixture
    def path(self, tmp_path: Path, small: None) -> Path:
        path = tmp_path / uidlist.NAME
        lines = "".join(f"{number} :{number}.a.h\n" for number in range(1, 101))
        path.write_text(f"3 V5 N101 G{'0123456789abcdef' * 2}\n{lines}")
        return path

    @pytest.fixture
    def listed(self, path: Path) -> Uidlist:
        found = Uidlist(os.open(path.parent, os.O_RDONLY))
        assert found.refresh(whole=False)
        return found

    def test_it_knows_the_head_and_the_end(self, listed: Uidlist) -> None:
        assert (listed.partial, listed.uidvalidity, listed.uidnext) == (True, 5, 101)
        assert 0 < len(listed.uids) < 30
        assert listed.uids["100.a.h"] == 100

    def test_it_follows(self, listed: Uidlist, path: Path) -> None:
        with path.open("a") as file:
            file.write("101 :x\n")
        assert not listed.refresh(whole=False)
        assert listed.uids["x"] == 101
        assert listed.partial

    def test_it_is_read_whole_where_that_is_asked_for(self, listed: Uidlist) -> None:
        assert not listed.refresh()
        assert not listed.partial
        assert len(listed.uids) == 100

    def test_rewriting_loses_nothing(self, listed: Uidlist, path: Path) -> None:
        listed.append(101, ["y"], [""], sync=False)
        listed.rewrite(without=["5.a.h"], sync=False)
        assert len(path.read_text().splitlines()) == 1 + 100
        assert path.read_text().endswith("101 :y\n")

    @pytest.mark.parametrize("damage", ["99 :again\n", "nothing\n", "102 :half"])
    def test_where_the_end_does_not_do_all_is_read(self, path: Path, damage: str) -> None:
        with path.open("a") as file:
            file.write(damage)
        found = Uidlist(os.open(path.parent, os.O_RDONLY))
        try:
            found.refresh(whole=False)
        except uidlist.Broken:
            return
        assert not found.partial
        assert len(found.uids) == 100
