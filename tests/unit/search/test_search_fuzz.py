"""A short run of the fuzz target with fixed seeds."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import fuzz_search


@pytest.mark.parametrize("start", range(0, 400, 100))
def test_fixed_seeds(start: int) -> None:
    for seed in range(start, start + 100):
        fuzz_search.check(fuzz_search.make(random.Random(seed)))


def test_what_was_written_is_found() -> None:
    fuzz_search.check(b"F" + fuzz_search.FILE)
