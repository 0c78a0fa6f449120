from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import dovecotpy
from dovecotpy.storage import state as state_module
from dovecotpy.storage.state import MODSEQS_AHEAD, SPECIAL_USE, UIDS_AHEAD, State
from tests.lean import HEAVY
from tests.unit.storage.storage_kit import Home, add, uids


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    directory = os.open(tmp_path, os.O_RDONLY)
    made = State(directory, str(tmp_path), sync=False)
    yield made
    made.close()
    os.close(directory)


def test_uids_are_reserved_ahead(state: State) -> None:
    assert not state.exists()
    assert state.reserve("g", uid=5) == (5, 6 + UIDS_AHEAD)
    assert state.exists()
    assert state.reserve("g", uid=6) == (6, 6 + UIDS_AHEAD)
    assert state.reserve("g", uid=6, count=1000) == (6, 1006 + UIDS_AHEAD)
    assert state.reserve("other", uid=1).first == 1


def test_after_another_boot_the_reserve_is_skipped(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    end = state.reserve("g", uid=1, modseq=9).end
    assert state.reserved_modseq("g") == 9 + MODSEQS_AHEAD
    monkeypatch.setattr(state_module, "BOOT", "another")
    assert state.reserve("g", uid=3).first == end
    assert state.reserve("g", uid=end).first == end
    monkeypatch.setattr(state_module, "BOOT", "")
    assert state.reserve("g", uid=3).first > end


def test_uidvalidity_never_repeats(state: State) -> None:
    assert [state.uidvalidity(now) for now in (100, 100, 50, 200)] == [100, 101, 102, 200]


def test_a_new_mailbox_gets_all_that_it_needs_at_once(state: State) -> None:
    assert state.uidvalidity(100) == 100
    validity, uids, modseqs = state.begin("g", "A", 100, 1000)
    assert (validity, uids, modseqs) == (101, (1, 1001 + UIDS_AHEAD), (1, 1 + MODSEQS_AHEAD))
    assert state.owner("g") == "A"
    assert state.reserve("g", uid=1, count=1000) == (1, uids.end)
    assert state.reserve_modseqs("g", 1).first == modseqs.end
    assert state.begin("h", "B", 100, 0)[0] == 102


def test_names_need_not_be_utf_8(state: State) -> None:
    state.own("g", "A\udcff")
    state.begin("h", "B\udcfe", 100, 0)
    assert (state.owner("g"), state.owner("h")) == ("A\udcff", "B\udcfe")


def test_a_new_mailbox_is_one_write_of_state(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.deliver("1.a.h")
    entered: list[int] = []
    take = State._take
    inbox = home.inbox(fsync_disable=False)
    inbox._driver.context.state._open()  # type: ignore[attr-defined]
    monkeypatch.setattr(State, "_take", lambda self: (entered.append(1), take(self))[1])
    assert uids(inbox) == [1]
    assert inbox.capabilities.modseq
    assert len(entered) == 1


def test_metadata(state: State) -> None:
    """What mailboxes are for is the first entry; a copy of a mailbox is for nothing yet."""
    state.set_metadata("g", SPECIAL_USE, b"\\Sent")
    state.set_metadata("h", SPECIAL_USE, b"\\Junk \\Trash")
    state.set_metadata("g", "/private/comment", b"\xff")
    state.set_metadata("g", SPECIAL_USE, b"\\Drafts")
    state.copy("g", "i")
    assert state.metadata(SPECIAL_USE) == {"g": b"\\Drafts", "h": b"\\Junk \\Trash"}
    state.set_metadata("h", SPECIAL_USE, None)
    state.forget("g")
    assert state.metadata(SPECIAL_USE) == state.metadata("/private/comment") == {}


def test_keywords_owners_and_forgetting(state: State) -> None:
    state.set_keywords("g", {1: ["a", "b"], 2: ["c"]})
    state.set_keywords("g", {1: ["b"]})
    state.copy("g", "h")
    assert state.keywords("g") == state.keywords("h") == {1: frozenset({"b"}), 2: frozenset({"c"})}
    state.own("g", "A")
    assert (state.owner("g"), state.owner("x")) == ("A", "")
    state.forget("g")
    assert (state.keywords("g"), state.owner("g")) == ({}, "")


def test_a_state_that_cannot_be_opened_is_said_once_and_lists_are_synced(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = home.inbox(fsync_disable=False)
    uids(box)
    (home.root / "dovecotpy-state").write_text("this is no database, and long enough to be seen as none" * 50)
    (home.root / "dovecotpy.index").unlink(missing_ok=True)
    again = home.inbox(fsync_disable=False)
    home.lines.clear()
    synced = []
    real = os.fsync
    monkeypatch.setattr(
        os,
        "fsync",
        lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")) or real(descriptor),
    )
    for _ in range(3):
        add(again)
    assert uids(again) == [1, 2, 3]
    assert len(home.lines) == 1
    assert "dovecotpy-state" in home.lines[0][1]
    assert sum(name.endswith("dovecot-uidlist") for name in synced) == 3


def test_a_deleted_mailbox_leaves_nothing(home: Home) -> None:
    store = home.store(fsync_disable=False)
    store.create(b"A")
    box = store.open(b"A", writable=True)
    add(box)
    guid = box.guid.decode()
    state = store._states[0]
    assert state.owner(guid) == "A"
    store.delete(b"A")
    assert state.owner(guid) == ""


def test_children_keep_their_control_files_when_their_parent_goes(home: Home) -> None:
    store = home.store("maildir:~/Maildir:LAYOUT=fs:CONTROL=~/c:INDEX=~/i")
    for name in (b"A", b"A/B"):
        store.create(name)
        box = store.open(name, writable=True)
        add(box, count=2)
        validity = box.uidvalidity
        box.close()
    store.delete(b"A")
    child = store.open(b"A/B", writable=True)
    assert (uids(child), child.uidvalidity) == ([1, 2], validity)


def test_an_index_directory_that_cannot_be_had_is_said_once(home: Home) -> None:
    (home.path / "i").write_text("a file")
    store = home.store("maildir:~/Maildir:INDEX=~/i/x")
    for _ in range(2):
        box = store.open(b"INBOX", writable=True)
        add(box)
        box.close()
    assert store.status(b"INBOX").messages == 2
    assert len(home.lines) == 1
    assert f"Indexes below {home.path}/i/x are not used" in home.lines[0][1]


def test_mail_processes_do_not_pay_for_heavy_modules() -> None:
    root = Path(dovecotpy.__file__).parents[1]
    code = (
        f"import sys; sys.path.insert(0, {str(root)!r}); import dovecotpy.storage.store; print(*sys.modules)"
    )
    loaded = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    assert not HEAVY & set(loaded.stdout.split())
