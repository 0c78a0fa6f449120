"""Faults of the kinds that stores have had, planted one by one: each row's test must notice the one planted for it.

A row: what is tested, the test, the faults that it catches. Faults in this process are patches; those of whole servers are in a copy
of the package that an environment of its own runs. Faults that stand beside their tests are listed in ELSEWHERE.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dovecotpy import clock
from dovecotpy.storage import copying, dotlock, flagging, tracked, writing
from dovecotpy.storage.errors import StoreError
from dovecotpy.storage.index import cachefile, ledger, snapshot
from dovecotpy.storage.maildir import listing, locked, lockedlist
from dovecotpy.storage.state import State
from tests.integration import (
    test_peer_at_once,
    test_storage_concurrency,
    test_storage_kill,
    test_whole_sessions,
)
from tests.integration.test_storage_concurrency import small_disk
from tests.proof import proof_sessions_caches
from tests.server import Server
from tests.unit.storage import test_storage_formats, test_storage_mailbox, test_storage_rendered
from tests.unit.storage.storage_kit import Home, add, octets

__all__ = ["small_disk"]
Patch = pytest.MonkeyPatch

ELSEWHERE = {
    "power loss": "test_storage_power.py TestPlantedFaults: four fsyncs left out",
    "a client that keeps only what it was told": "test_imap_resync.py test_the_machine_notices_a_fault and test_a_modseq_never_hides_an_expunge;"
    " test_storage_modseq.py test_the_test_above_finds_faults",
    "an OK before its message is in place": "test_storage_kill.py test_the_killing_kills",
}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path / "home")
    made.path.mkdir()
    yield made
    made.close()


def noticed(test: Callable[..., Any], *arguments: Any, **named: Any) -> None:
    """The test fails: by its assertions, or because the store refuses what it must do."""
    with pytest.raises((AssertionError, pytest.fail.Exception, StoreError, OSError)):
        test(*arguments, **named)


# A rename storm during a look


def test_a_listing_that_is_believed_whatever_happens_meanwhile(home: Home, monkeypatch: Patch) -> None:
    monkeypatch.setattr(listing.Listing, "proves_gone", lambda self, base: True)
    noticed(test_storage_concurrency.test_no_uid_moves_in_a_storm_of_renames, home, poll=True)


# kill -9 at each system call


def test_a_move_that_removes_first(tmp_path: Path, monkeypatch: Patch) -> None:
    def copy(self: Any, uids: Any, to: Any, *, move: bool) -> Any:
        kept = [octets(self, uid) for uid in uids]
        self.expunge(uids)
        return [add(to, data) for data in kept]

    monkeypatch.setattr(copying.Copying, "copy", copy)
    noticed(test_storage_kill.test_killed_at_each_call, tmp_path, "move")


def test_an_ok_before_the_rename(tmp_path: Path, monkeypatch: Patch) -> None:
    later = []
    real = writing.Writing.store

    def store(self: Any, *arguments: Any) -> Any:
        later.append(lambda: real(self, *arguments))

    def work(home: Home, ok: Callable[[], None]) -> None:
        test_storage_kill.store(home, ok)
        later.pop()()

    monkeypatch.setattr(writing.Writing, "store", store)
    monkeypatch.setitem(test_storage_kill.WORK, "store", (work, test_storage_kill.check_store))
    noticed(test_storage_kill.test_killed_at_each_call, tmp_path, "store")


# SIGSTOP of the lock's holder


def test_reads_that_take_the_lock(home: Home, monkeypatch: Patch) -> None:
    real = tracked.Tracked.refresh

    def refresh(self: Any) -> int:
        with self._driver.lock(clock.monotonic() + 0.2):
            return real(self)

    monkeypatch.setattr(tracked.Tracked, "refresh", refresh)
    noticed(test_storage_concurrency.test_a_stopped_holder_of_the_lock, home, monkeypatch)


def test_a_lock_that_is_taken_away_from_a_stopped_holder(home: Home, monkeypatch: Patch) -> None:
    monkeypatch.setattr(dotlock.Dotlock, "_is_stale", lambda self, descriptor: True)
    noticed(test_storage_concurrency.test_a_stopped_holder_of_the_lock, home, monkeypatch)


# Full disk


def test_an_expunge_that_writes_first(small_disk: Path, monkeypatch: Patch) -> None:
    real = locked.LockedMaildir.remove

    def remove(self: Any, rows: Any) -> Any:
        self._rewrite()
        return real(self, rows)

    monkeypatch.setattr(locked.LockedMaildir, "remove", remove)
    noticed(test_storage_concurrency.test_a_full_disk, small_disk, sync=False)


# Lying sizes


def test_a_size_in_a_name_that_is_believed_for_ever(home: Home, monkeypatch: Patch) -> None:
    monkeypatch.setattr(ledger.Ledger, "learn_sizes", lambda self, sizes: None)
    noticed(
        test_storage_mailbox.TestReading().test_a_lying_size_serves_until_the_body_was_read,
        home,
    )


# cp -r of a folder


@pytest.mark.parametrize("flags_first", [False, True])
def test_a_copy_that_keeps_its_originals_guid(home: Home, monkeypatch: Patch, *, flags_first: bool) -> None:
    monkeypatch.setattr(lockedlist.LockedList, "_settle_clash", lambda self: None)
    noticed(test_storage_concurrency.test_a_copied_folder_is_another_mailbox, home, flags_first)


# 27 keywords, index deleted


def test_keywords_beyond_the_letters_in_the_index_alone(home: Home, monkeypatch: Patch) -> None:
    monkeypatch.setattr(State, "set_keywords", lambda self, guid, words: None)
    noticed(
        test_storage_mailbox.TestStore().test_twenty_seven_keywords_survive_without_an_index,
        home,
    )


# Bit flips in caches


class _NoChecksums:
    """zlib whose sums always fit."""

    @staticmethod
    def crc32(*_: object) -> int:
        return 0


def test_a_snapshot_without_checksums(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(snapshot, "zlib", _NoChecksums)
    tests = test_storage_formats.TestSnapshot()
    directory = test_storage_formats.os.open(tmp_path, test_storage_formats.os.O_RDONLY)
    noticed(tests.test_every_flipped_bit_and_every_cut_is_noticed, tmp_path, directory)


@pytest.mark.parametrize("step", range(3))
def test_answers_without_checksums(tmp_path: Path, monkeypatch: Patch, step: int) -> None:
    monkeypatch.setattr(cachefile, "zlib", _NoChecksums)
    cache = test_storage_rendered.Box(tmp_path / "index")
    noticed(test_storage_rendered.test_a_flipped_bit_anywhere_costs_an_answer_at_most, cache, step)
    cache.close()


# UNCHANGEDSINCE against a foreign rename


def test_a_condition_on_what_was_known_before(home: Home, monkeypatch: Patch) -> None:
    real = flagging.Flagging._attempt

    def attempt(self: Any, uids: Any) -> list[int]:
        again = real(self, uids)
        self.unchanged_since = None
        return again

    monkeypatch.setattr(flagging.Flagging, "_attempt", attempt)
    monkeypatch.setattr(writing.Writing, "_catch_up", lambda self, locked: None)
    noticed(test_storage_mailbox.TestStore().test_unchanged_since_against_a_foreign_rename, home)


# COPY A to B against B to A


def test_a_copy_that_locks_its_source_too(home: Home, monkeypatch: Patch) -> None:
    real = copying.Copying.copy

    def copy(self: Any, uids: Any, to: Any, *, move: bool) -> Any:
        with self._driver.lock(clock.monotonic() + 2):
            return real(self, uids, to, move=move)

    monkeypatch.setattr(copying.Copying, "copy", copy)
    monkeypatch.setattr(writing, "LOCK_SECONDS", 2.0)
    noticed(test_storage_concurrency.test_copies_both_ways_at_once, home)


# Clock ± 1 h


def test_looks_that_wait_for_the_wall_clock(home: Home, monkeypatch: Patch) -> None:
    real, last = tracked.Tracked.refresh, [0.0]

    def refresh(self: Any) -> int:
        if clock.now() < last[0]:
            return int(self._history.ledger.modseq)
        last[0] = clock.now()
        return real(self)

    monkeypatch.setattr(tracked.Tracked, "refresh", refresh)
    noticed(test_storage_concurrency.test_a_clock_that_jumps, home, -3600.0)


def test_locks_whose_age_is_the_wall_clocks(tmp_path: Path, monkeypatch: Patch) -> None:
    monkeypatch.setattr(dotlock, "OBSERVED", 0.0)
    noticed(
        test_storage_concurrency.test_a_lock_of_another_host_is_not_broken_by_a_clock_that_jumps, tmp_path
    )


# Whole servers: caches deleted under fifty sessions; Dovecot, neomutt and we at once; many sessions on one mailbox


def faulty(directory: Path, file: str, sound: str, fault: str) -> str:
    """The interpreter of an environment whose copy of the package has a fault."""
    package = Path(sys.modules["dovecotpy"].__path__[0])
    copy = directory / "faulty"
    shutil.copytree(package, copy / "dovecotpy", ignore=shutil.ignore_patterns("__pycache__"))
    path = copy / "dovecotpy" / file
    text = path.read_text()
    assert text.count(sound) == 1, f"{file} has {text.count(sound)} places for the fault"
    path.write_text(text.replace(sound, fault))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", directory / "environment"], check=True)
    [place] = (directory / "environment" / "lib").glob("python*/site-packages")
    others = sysconfig.get_path("purelib")
    (place / "faulty.pth").write_text(f"{copy}\nimport site; site.addsitedir({others!r})\n")
    interpreter = directory / "environment" / "bin" / "python"
    found = subprocess.run(
        [interpreter, "-I", "-c", "import dovecotpy; print(dovecotpy.__path__[0])"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert found.stdout.strip() == str(copy / "dovecotpy")
    return str(interpreter)


UNTOLD = (
    "storage/index/ledger.py",
    "if uid in unsure or (uid in was and self._other(before, uid))",
    "if uid in unsure",
)
UNLOCKED = (
    "storage/dotlock.py",
    "        except FileExistsError:\n            return False\n        except OSError as error:\n            raise _refused",
    "        except FileExistsError:\n            return True\n        except OSError as error:\n            raise _refused",
)


def test_changes_that_another_history_knows_and_nobody_tells(tmp_path: Path) -> None:
    settings = {
        "login_process_per_connection": "no",
        "login_processes_count": "2",
        "mail_max_userip_connections": "0",
    }
    with Server(tmp_path, settings=settings, interpreter=faulty(tmp_path, *UNTOLD)) as server:
        with server.logged_in() as client:
            client.command("CREATE Shared")
        noticed(proof_sessions_caches.test_caches_deleted_under_sessions, server, 16, 0.04)


def test_a_lock_that_locks_nobody_out_among_many_sessions(tmp_path: Path) -> None:
    settings = {"mail_max_userip_connections": "0"}
    with Server(tmp_path, settings=settings, interpreter=faulty(tmp_path, *UNLOCKED)) as server:
        with server.logged_in() as client:
            client.command("CREATE Shared")
        noticed(test_whole_sessions.test_every_view_is_the_same_in_the_end, server, 10, 6.0)


def test_a_lock_that_locks_nobody_out_beside_dovecot_and_neomutt(tmp_path: Path) -> None:
    settings = {"mail_max_userip_connections": "0"}
    with Server(tmp_path, settings=settings, interpreter=faulty(tmp_path, *UNLOCKED)) as server:
        maildir = server.home("joe") / "Maildir"
        for each in (maildir, maildir / "cur", maildir / "new", maildir / "tmp"):
            each.mkdir()
            server.give(each)
        noticed(test_peer_at_once.test_all_three_at_once, server, tmp_path)
