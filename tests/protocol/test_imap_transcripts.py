"""Every transcript in `imap/`, on the model store and on real Maildir."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.protocol import imap_maildir, imap_scenarios
from tests.protocol.imap_model import ModelStore
from tests.protocol.imap_transcript import Conversation

TRANSCRIPTS = sorted((Path(__file__).parent / "imap").glob("*.txt"))


@pytest.fixture(autouse=True)
def universal_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """INTERNALDATE is shown in the local time zone; transcripts take it to be UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def on_model(scenario: str) -> object:
    return imap_scenarios.fill(ModelStore(), scenario)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_on_model(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Conversation(on_model, monkeypatch).run(path)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
def test_on_maildir(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with imap_maildir.stores(tmp_path) as make:
        Conversation(lambda scenario: imap_scenarios.fill(make(), scenario), monkeypatch, make).run(path)


UNINDEXED = sorted((Path(__file__).parent / "imap" / "unindexed").glob("*.txt"))


def on_model_unindexed(scenario: str) -> object:
    store = on_model(scenario)
    for box in store.boxes.values():  # type: ignore[attr-defined]
        box.lasting = False
    return store


@pytest.mark.parametrize("path", UNINDEXED, ids=lambda path: path.stem)
def test_on_model_without_modseqs(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Conversation(on_model_unindexed, monkeypatch).run(path)


@pytest.mark.parametrize("path", UNINDEXED, ids=lambda path: path.stem)
def test_on_maildir_without_index(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with imap_maildir.stores(tmp_path, ":INDEX=MEMORY") as make:
        Conversation(lambda scenario: imap_scenarios.fill(make(), scenario), monkeypatch, make).run(path)
