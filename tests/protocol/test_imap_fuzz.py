"""A short run of the fuzzer with fixed seeds."""

from __future__ import annotations

import random

import pytest

from tests.fuzz import fuzz_imap


@pytest.mark.parametrize("block", range(4))
def test_conversations_with_mutations(block: int) -> None:
    for number in range(block * 100, block * 100 + 100):
        source = random.Random(number)
        fuzz_imap.check(fuzz_imap.mutated(source.choice(fuzz_imap.SEEDS), source))


@pytest.mark.parametrize("seed", fuzz_imap.SEEDS)
def test_seeds(seed: bytes) -> None:
    fuzz_imap.check(seed)
