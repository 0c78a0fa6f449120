"""Every cache of two mailboxes deleted again and again under fifty sessions that do everything on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_whole_sessions import BOXES, compare_views, quiet
from tests.server import Server
from tests.sessions import Record, Worker, check, crowded_server, look


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with crowded_server(tmp_path) as server:
        yield server


class Eraser(threading.Thread):
    """Deletes every cache of both mailboxes again and again; State and the store stay."""

    def __init__(self, server: Server, stop: threading.Event, pause: float) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.pause = pause
        self.stop = stop
        self.erased = 0

    def run(self) -> None:
        root = self.server.mail / "joe" / "Maildir"
        while not self.stop.is_set():
            for path in (*root.glob("dovecotpy.*"), *(root / ".Shared").glob("dovecotpy.*")):
                path.unlink(missing_ok=True)
                self.erased += 1
            time.sleep(self.pause)


@pytest.mark.parametrize(("count", "pause"), [(50, 0.2), (16, 0.04)])
def test_caches_deleted_under_sessions(server: Server, count: int, pause: float) -> None:
    """Views stay true and nothing is lost; who was first to see a message is forgotten with the caches."""
    stop = threading.Event()
    record = Record()
    workers = [Worker(server, record, number, stop, mailboxes=BOXES) for number in range(count)]
    eraser = Eraser(server, stop, pause)
    for thread in (*workers, eraser):
        thread.start()
    time.sleep(6.0)
    stop.set()
    for thread in (*workers, eraser):
        thread.join(60)
        assert not thread.is_alive()
    failures = [worker.failure for worker in workers if worker.failure is not None]
    if failures:
        raise failures[0]
    assert not [loss for worker in workers for loss in worker.losses], "connections ended by themselves"
    assert eraser.erased and record.stored
    quiet(server)
    compare_views(server, workers)
    check(record, {box: look(server, "joe", box) for box in BOXES})
