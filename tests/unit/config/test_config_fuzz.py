"""A short run of the fuzz target at each test."""

from __future__ import annotations

from tests.fuzz.fuzz_config import run


def test_random_texts_are_configurations_or_errors_with_a_place() -> None:
    good, bad = run(600, seed=7)
    assert good > 20
    assert bad > 20
