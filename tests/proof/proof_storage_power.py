"""Power failures in any sequence of commands, at each moment, in every state that a disk may be left in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.storage_promises import by_chance, check_all, run, usual
from tests.integration.test_storage_power import fail_power

SEEDS = int(os.environ.get("DOVECOTPY_PROOF_POWER", "30"))
STEPS = 25


@pytest.mark.timeout(7200)
def test_the_usual_sequence_in_every_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = run(tmp_path / "before", usual, guesses=4)
    fail_power(monkeypatch)
    assert check_all(tmp_path / "after", disk) > 500


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_sequence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    disk = run(tmp_path / "before", by_chance(seed, STEPS), seed, guesses=1)
    fail_power(monkeypatch)
    assert check_all(tmp_path / "after", disk) > 50
