"""Every transcript in `imap/`, on the model store and on real Maildir."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import imap_scenarios
import pytest
from imap_model import ModelStore
from imap_transcript import Conversation

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
