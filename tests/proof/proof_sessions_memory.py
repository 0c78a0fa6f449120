"""One session on 100,000 messages: at most 64 MiB of its own, also where it has to make what others find kept."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_whole_memory import COMMANDS, fill, measured
from tests.server import Server

MESSAGES = 100_000
BOUND = 64.0
"""MiB"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("memory")) as server:
        fill(server, "joe", MESSAGES)
        measured(server, ())
        yield server


@pytest.mark.parametrize("command", COMMANDS)
def test_what_makes_an_answer_for_the_first_time(server: Server, command: str) -> None:
    after, _ = measured(server, (command,))
    assert max(after) <= BOUND, after


def test_what_does_everything_at_first_sight(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        fill(server, "joe", MESSAGES)
        after, _ = measured(server)
        assert max(after) <= BOUND, after


def test_what_finds_everything_kept(server: Server) -> None:
    after, _ = measured(server)
    assert max(after) <= BOUND / 2, after
