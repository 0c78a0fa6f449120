"""The power fails at any moment: what was acknowledged is there, and no UID names another message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dovecotpy.storage import dotlock, files
from dovecotpy.storage import state as state_module
from dovecotpy.storage.maildir.body import FileDraft
from dovecotpy.storage.state import State
from tests.integration.storage_promises import check_all, run, usual


def fail_power(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another boot; nothing has to be durable any more."""
    monkeypatch.setattr(state_module, "BOOT", "another boot")
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(dotlock, "NAMELESS", 0.0)


def test_promises_survive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = run(tmp_path / "before", usual, guesses=1)
    fail_power(monkeypatch)
    assert check_all(tmp_path / "after", disk, every=5) > 100


class TestPlantedFaults:
    """Each fsync that is left out is noticed."""

    def noticed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        disk = run(tmp_path / "before", usual, guesses=1)
        disk.states.reverse()
        monkeypatch.undo()
        fail_power(monkeypatch)
        with pytest.raises(AssertionError, match="lost|used again|was b"):
            check_all(tmp_path / "after", disk)

    def test_of_the_message(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        real = FileDraft.finish

        def finish(self: FileDraft, internaldate: int | None) -> None:
            self._sync = False
            real(self, internaldate)

        monkeypatch.setattr(FileDraft, "finish", finish)
        self.noticed(tmp_path, monkeypatch)

    def test_of_the_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "sync_directory", lambda descriptor: None)
        self.noticed(tmp_path, monkeypatch)

    def test_of_the_reserve(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from dovecotpy.storage.state import Reserve

        def reserve(
            self: State, guid: str, *, uid: int, count: int = 1, modseq: int = 0, closed: str = ""
        ) -> Reserve:
            return Reserve(uid, uid + 1000)

        def begin(self: State, guid: str, name: str, now: int, count: int) -> tuple[int, Reserve, Reserve]:
            return self.uidvalidity(now), Reserve(1, 1000), self.reserve_modseqs(guid, 1)

        monkeypatch.setattr(State, "reserve", reserve)
        monkeypatch.setattr(State, "begin", begin)
        self.noticed(tmp_path, monkeypatch)

    def test_of_the_mark_that_is_taken_back(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from dovecotpy.storage.maildir import closing

        monkeypatch.setattr(closing, "take_back", lambda control: None)
        self.noticed(tmp_path, monkeypatch)
