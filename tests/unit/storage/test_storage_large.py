"""A very large Maildir is compared without its names in memory, and every session ends where one with them would."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.storage import flags, tracked
from dovecotpy.storage.mailbox import Mailbox, Operation
from dovecotpy.storage.maildir import again, first, large, lines, places, uidlist
from dovecotpy.storage.maildir.again import SightAgain
from dovecotpy.storage.maildir.large import LargeSync
from dovecotpy.storage.maildir.sync import Sync
from dovecotpy.storage.maildir.watched import Watched
from tests.unit.storage.storage_kit import Home, add, octets, state

NONE: frozenset[str] = frozenset()
WATCH = Watched.watch


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three messages are very many; which way each look goes."""
    monkeypatch.setattr(places, "LARGE", 3)
    monkeypatch.setattr(first, "LARGE", 3)
    monkeypatch.setattr(tracked, "SAVE_NAMES_FROM", 3)
    monkeypatch.setattr(uidlist, "LARGE", 100)
    monkeypatch.setattr(uidlist, "_END_OCTETS", 150)
    monkeypatch.setattr(again, "LARGE", 300)
    ways: list[str] = []
    sync, look, sight = Sync.run, LargeSync._look, SightAgain._look

    def run(self: Sync) -> Any:
        ways.append("whole")
        return sync(self)

    def look_once(self: LargeSync, locked: Any) -> Any:
        ways.append("large")
        return look(self, locked)

    def look_again(self: SightAgain, locked: Any) -> Any:
        found = sight(self, locked)
        ways.append("again" if found else "not plain")
        return found

    monkeypatch.setattr(SightAgain, "_look", look_again)
    monkeypatch.setattr(Sync, "run", run)
    monkeypatch.setattr(LargeSync, "_look", look_once)
    return ways


def fill(home: Home, count: int = 20) -> None:
    for number in range(count):
        body = b"Subject: %d\n\n" % number
        home.deliver(f"10000000{number:02}.M{number}P1.host:2,{'S' if number % 3 else ''}", body, "cur")


def opened(home: Home) -> Mailbox:
    inbox = home.inbox()
    inbox.refresh()
    return inbox


def seen(mailbox: Mailbox) -> dict[int, tuple[int, frozenset[str], bytes]]:
    """After it came to rest: flags, keywords and octets by UID."""
    for _ in range(3):
        if Watched.watch is not WATCH:
            time.sleep(0.06)
        found = state(mailbox)
    return {uid: (*what, octets(mailbox, uid)) for uid, what in found.items()}


def in_memory(home: Home, monkeypatch: pytest.MonkeyPatch) -> dict[int, tuple[int, frozenset[str], bytes]]:
    """What a session that knows every name sees in a copy."""
    copy = home.path.parent / "copy"
    shutil.copytree(home.path, copy, symlinks=True)
    with monkeypatch.context() as patched:
        patched.setattr(places, "LARGE", 1 << 30)
        patched.setattr(again, "LARGE", 1 << 30)
        other = Home(copy)
        found = seen(other.inbox())
        other.close()
    shutil.rmtree(copy)
    return found


def killed_behind_its_line(home: Home, number: int, *, with_file: bool) -> None:
    listed = home.root / "dovecot-uidlist"
    before = listed.read_text().split("\n")
    last = int((before[-2].split(" ")[0] if len(before) > 2 else "0") or 0)
    base = f"30000{number:05}.M{number}P1.host"
    with listed.open("a") as file:
        file.write(f"{last + 1} :{base}\n")
    if with_file:
        home.deliver(base, b"Subject: killed %d\n\n" % number)


def numbered_anew(home: Home, base: str) -> None:
    """As Dovecot does with a message that it thought was gone."""
    listed = home.root / "dovecot-uidlist"
    last = int(listed.read_text().split("\n")[-2].split(" ")[0])
    with listed.open("a") as file:
        file.write(f"{last + 1} :{base}\n")


def lose_the_index(home: Home) -> None:
    for path in home.root.glob("dovecotpy.index*"):
        path.unlink()


def others(home: Home, chance: random.Random, number: int) -> None:
    """One change by another program."""
    cur, new = home.root / "cur", home.root / "new"
    names = sorted(os.listdir(cur))
    choice = chance.randrange(9)
    name = chance.choice(names) if names else ""
    if choice < 2 or not names:
        home.deliver(f"20000{number:05}.M{number}P1.host", b"Subject: new %d\n\n" % number)
    elif choice == 2:
        (cur / name).unlink()
    elif choice == 3:
        (cur / name).rename(new / name.partition(":")[0])
    elif choice == 4:
        killed_behind_its_line(home, number, with_file=bool(chance.randrange(2)))
    elif choice == 5:
        (cur / name).rename(home.root / "tmp" / name)
        (home.root / "tmp" / name).rename(cur / (name.partition(":")[0] + ":2,R"))
    else:
        letters = "".join(sorted(set(chance.choices("DFRSTa", k=2))))
        (cur / name).rename(cur / f"{name.partition(':')[0]}:2,{letters}")


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_ends_where_a_session_with_all_names_would(
    home: Home, monkeypatch: pytest.MonkeyPatch, looks: list[str], seed: int, watched: bool
) -> None:
    chance = random.Random(seed)
    fill(home)
    (home.root / "dovecot-keywords").write_text("0 work\n")
    box = opened(home)
    if watched:
        box.wait()
    else:
        box.close()
        monkeypatch.setattr(Watched, "watch", lambda self: False)
        box = opened(home)
    bodies: dict[int, bytes] = {}
    for step in range(25 if watched else 8):
        for number in range(chance.randrange(1, 4)):
            others(home, chance, seed * 1000 + step * 10 + number)
        if chance.random() < 0.3:
            box.refresh()
            mine = list(box.columns().uids)[:3]
            box.store(mine, chance.choice(list(Operation)), chance.randrange(32), NONE)
        if chance.random() < 0.2:
            add(box, b"Subject: mine %d\n\n" % step, flags=chance.choice([0, flags.SEEN]))
        if chance.random() < 0.2:
            box.refresh()
            box.expunge(list(box.columns().uids)[-1:])
        if chance.random() < 0.3:
            beside = opened(home)
            add(beside, b"Subject: beside %d\n\n" % step)
            beside.close()
        if chance.random() < 0.3:
            box.close()
            if chance.random() < 0.5:
                lose_the_index(home)
            box = home.inbox()
        expected = in_memory(home, monkeypatch)
        assert seen(box) == expected
        fresh = opened(home)
        assert seen(fresh) == expected
        fresh.close()
        for uid, (_, _, body) in expected.items():
            assert bodies.setdefault(uid, body) == body
    assert "large" in looks
    assert home.lines == []
    home.close()


def test_a_delivery_needs_neither_names_nor_lines_nor_cur(
    home: Home, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home)
    time.sleep(0.06)
    opened(home).close()
    looks.clear()
    monkeypatch.setattr(LargeSync, "_hashes", None)
    monkeypatch.setattr(uidlist.Uidlist, "_read_all", None)
    home.deliver("2000000001.M1P1.host", b"x\n")
    inbox = opened(home)
    assert list(inbox.columns().uids)[-2:] == [20, 21]
    assert inbox.recent() == {21}
    assert octets(inbox, 21) == b"x\n"
    assert looks == ["large"]
    assert os.listdir(home.root / "new") == []
    home.close()


@pytest.mark.parametrize("what", ["flag", "delete", "kill"])
def test_others_changes_need_neither_names_nor_lines(
    home: Home, looks: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    fill(home)
    opened(home).close()
    looks.clear()
    monkeypatch.setattr(uidlist.Uidlist, "_read_all", None)
    name = sorted(os.listdir(home.root / "cur"))[4]
    if what == "flag":
        (home.root / "cur" / name).rename(home.root / "cur" / (name.partition(":")[0] + ":2,F"))
    elif what == "delete":
        (home.root / "cur" / name).unlink()
    else:
        killed_behind_its_line(home, 1, with_file=False)
    inbox = opened(home)
    found = state(inbox)
    assert looks == ["large"]
    assert len(found) == (19 if what == "delete" else 20)
    assert (5 in found) == (what != "delete")
    if what == "flag":
        assert found[5] == (flags.FLAGGED, NONE)
    assert list(add(inbox).uids) == [22 if what == "kill" else 21]
    home.close()


def test_without_the_index_the_list_is_read_line_by_line(
    home: Home, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(home)
    inbox = opened(home)
    inbox.expunge([7])
    inbox.close()
    lose_the_index(home)
    monkeypatch.setattr(uidlist.Uidlist, "_read_all", None)
    home.deliver("1500000001.M1P1.host", b"new\n")
    home.deliver("0900000001.M1P1.host:2,F", b"old\n", "cur")
    inbox = opened(home)
    found = seen(inbox)
    assert list(found) == [*range(1, 7), *range(8, 23)]
    assert found[21] == (flags.FLAGGED, NONE, b"old\n")
    assert found[22] == (0, NONE, b"new\n")
    assert all(found[uid][2] == b"Subject: %d\n\n" % (uid - 1) for uid in found if uid < 21)
    assert inbox.recent() == {21, 22}
    assert looks == ["again"]
    home.close()


def test_what_is_not_plain_then_is_left_to_a_closer_look(home: Home, looks: list[str]) -> None:
    fill(home)
    opened(home).close()
    lose_the_index(home)
    name = sorted(os.listdir(home.root / "cur"))[4]
    (home.root / "cur" / (name.partition(":")[0] + ":2,FT")).write_bytes(b"another\n")
    assert len(seen(opened(home))) == 21
    assert looks[:2] == ["not plain", "whole"]
    home.close()


def test_a_message_that_is_listed_again_has_its_latest_uid(home: Home, looks: list[str]) -> None:
    fill(home)
    inbox = opened(home)
    numbered_anew(home, sorted(os.listdir(home.root / "cur"))[4].partition(":")[0])
    home.deliver("2000000001.M1P1.host", b"new\n")
    found = seen(inbox)
    assert list(found) == [1, 2, 3, 4, *range(6, 23)]
    assert found[21][2] == b"Subject: 4\n\n"
    assert set(looks) == {"large"}
    home.close()


def test_more_differences_than_one_look_takes_come_with_the_next(
    home: Home, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "MOST", 4)
    fill(home)
    inbox = opened(home)
    for number, name in enumerate(sorted(os.listdir(home.root / "cur"))):
        path = home.root / "cur" / name
        if number % 4:
            path.rename(home.root / "cur" / (name.partition(":")[0] + ":2,F"))
        else:
            path.unlink()
    for _ in range(20):
        found = state(inbox)
    assert found == {uid: (flags.FLAGGED, NONE) for uid in range(1, 21) if uid % 4 != 1}
    assert set(looks) == {"large"}
    home.close()


def test_what_stands_twice_gets_a_name_of_its_own(home: Home, looks: list[str]) -> None:
    fill(home)
    inbox = opened(home)
    name = sorted(os.listdir(home.root / "cur"))[4]
    (home.root / "cur" / (name.partition(":")[0] + ":2,FT")).write_bytes(b"another\n")
    found = seen(inbox)
    assert len(found) == 21
    assert found[21] == (flags.FLAGGED | flags.DELETED, NONE, b"another\n")
    assert found[5][2] == b"Subject: 4\n\n"
    home.close()


def test_what_comes_back_after_its_end_was_told_has_another_uid(home: Home, looks: list[str]) -> None:
    fill(home)
    inbox = opened(home)
    name = sorted(os.listdir(home.root / "cur"))[4]
    (home.root / "cur" / name).unlink()
    assert 5 not in state(inbox)
    home.deliver(name, b"restored\n", "cur")
    found = seen(inbox)
    assert 5 not in found
    assert found[21][2] == b"restored\n"
    home.close()


def test_a_name_that_is_there_after_all_is_not_told_as_gone(
    home: Home, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if another name had had the hash of its own."""
    fill(home)
    inbox = opened(home)
    hashes = LargeSync._hashes

    def one_less(self: LargeSync) -> set[int]:
        found = hashes(self)
        found.pop()
        return found

    monkeypatch.setattr(LargeSync, "_hashes", one_less)
    name = sorted(os.listdir(home.root / "cur"))[4]
    (home.root / "cur" / name).rename(home.root / "cur" / (name.partition(":")[0] + ":2,F"))
    assert len(state(inbox)) == 20
    home.close()


def test_who_waits_for_the_lock_serves_what_was_known(
    home: Home, looks: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large, "LOCK_SECONDS", 0.05)
    fill(home)
    inbox = opened(home)
    lock = home.root / "dovecot-uidlist.lock"
    lock.write_text("")
    home.deliver("2000000001.M1P1.host")
    assert len(state(inbox)) == 20
    lock.unlink()
    assert len(state(inbox)) == 21
    assert set(looks) == {"large"}
    home.close()


@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda uid, keys, base: b"%d %s:%s" % (uid, keys, base),
                st.integers(0, 40),
                st.sampled_from([b"", b"D5 ", b"D5 Gx "]),
                st.sampled_from([b"a", b"b", b"c:2,S", b"\xff", b""]),
            ),
            st.binary(max_size=12),
        ),
        max_size=8,
    ),
    st.integers(1, 40),
)
def test_what_lines_say_is_what_the_list_says(body: list[bytes], octets: int) -> None:
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patched:
        patched.setattr(lines, "READ_OCTETS", 7 + octets)
        Path(directory, "dovecot-uidlist").write_bytes(b"3 V1 N1\n" + b"\n".join(body))
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            found = list(lines.each_line(descriptor))
        except uidlist.Broken:
            return
        finally:
            os.close(descriptor)
        descriptor = os.open(directory, os.O_RDONLY)
        listed = uidlist.Uidlist(descriptor)
        listed.refresh()
        listed.close()
        os.close(descriptor)
        assert {base: uid for uid, base in found} == listed.uids


def test_a_list_that_lost_lines_is_made_whole(home: Home, looks: list[str]) -> None:
    fill(home)
    opened(home).close()
    listed = home.root / "dovecot-uidlist"
    before = listed.read_text().split("\n")
    listed.write_text("\n".join(before[:5] + before[7:]))
    home.deliver("2000000001.M1P1.host")
    assert list(state(opened(home))) == list(range(1, 22))
    assert "5 :" in listed.read_text()
    home.close()
