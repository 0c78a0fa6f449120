"""A thousand kills of any process of a whole server under eight sessions that do everything on two shared mailboxes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_whole_sessions import kill_and_check
from tests.server import Server
from tests.sessions import crowded_server

KILLS = int(os.environ.get("DOVECOTPY_PROOF_SESSION_KILLS", "1000"))
SESSIONS = 8


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with crowded_server(tmp_path) as server:
        yield server


@pytest.mark.timeout(7200)
def test_nothing_acknowledged_is_lost(server: Server) -> None:
    record = kill_and_check(server, kills=KILLS, workers=SESSIONS, pause=0.1)
    assert len(record.stored) > KILLS
