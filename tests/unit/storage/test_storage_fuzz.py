from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz import fuzz_index, fuzz_storage


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_fixed_seeds(tmp_path: Path, start: int) -> None:
    for seed in range(start, start + 20):
        fuzz_storage.run(seed, tmp_path / str(seed))


@pytest.mark.parametrize("start", range(0, 60, 20))
def test_indexes_of_fixed_seeds(tmp_path: Path, start: int) -> None:
    for seed in range(start, start + 20):
        fuzz_index.run(seed, tmp_path / str(seed))


def test_records_of_noise() -> None:
    for seed in range(3000):
        fuzz_index.parse(seed)
