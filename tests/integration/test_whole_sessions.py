"""Many sessions on the same mailboxes, with deliveries and deletions by others: each keeps a true view, nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server, eventually, messages
from tests.sessions import Follower, Record, Worker, check, crowded_server, look

BOXES = ("INBOX", "Shared")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with crowded_server(tmp_path) as server:
        yield server
        print("\n".join(line for line in server.log().splitlines() if "Error" in line or "Warning" in line))
        assert "Traceback" not in server.log()


class Outsider(threading.Thread):
    """Delivers into INBOX and deletes some of it again, as other programs do: in the Maildir itself."""

    def __init__(self, server: Server, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.stop = stop
        self.delivered = 0

    def run(self) -> None:
        chance = random.Random(77)
        texts = messages(100_000)
        root = self.server.mail / "joe" / "Maildir"
        while not self.stop.is_set():
            name = f"1700000000.M{self.delivered}P1.outside"
            self.server.deliver("joe", next(texts), name)
            self.delivered += 1
            if chance.random() < 0.3:
                outside = [path for path in (root / "cur").iterdir() if ".outside" in path.name]
                for path in chance.sample(outside, min(1, len(outside))):
                    path.unlink(missing_ok=True)
            time.sleep(0.05)


@pytest.mark.parametrize(("count", "seconds"), [(2, 4.0), (10, 6.0), (50, 8.0)])
def test_every_view_is_the_same_in_the_end(server: Server, count: int, seconds: float) -> None:
    stop = threading.Event()
    record = Record()
    workers = [Worker(server, record, number, stop, mailboxes=BOXES) for number in range(count)]
    outsider = Outsider(server, stop)
    for thread in (*workers, outsider):
        thread.start()
    time.sleep(seconds)
    stop.set()
    for thread in (*workers, outsider):
        thread.join(60)
        assert not thread.is_alive()
    failures = [worker.failure for worker in workers if worker.failure is not None]
    if failures:
        raise failures[0]
    assert not [loss for worker in workers for loss in worker.losses], "connections ended by themselves"
    assert outsider.delivered and record.stored
    quiet(server)
    compare_views(server, workers)
    _compare_recent(workers)
    check(record, {box: look(server, "joe", box) for box in BOXES})


def quiet(server: Server) -> None:
    """Until what listings could not prove at once is settled."""

    def settled() -> bool:
        before = look(server, "joe", "INBOX")
        time.sleep(0.3)
        return look(server, "joe", "INBOX") == before

    assert eventually(settled, 30)


def compare_views(server: Server, workers: list[Worker]) -> None:
    for worker in workers:
        follower = worker.follower
        if follower is None:
            continue
        found = look(server, "joe", follower.mailbox).messages
        if not eventually(lambda follower=follower, found=found: _equals(follower, found), 20):
            raise AssertionError(_difference(worker.number, follower, found))
        worker.leave()


def _difference(number: int, follower: Follower, found: dict[int, tuple[frozenset[bytes], str]]) -> str:
    known = {each.uid: each.flags for each in follower.view}
    wrong = [uid for uid in known.keys() | found.keys() if known.get(uid) != found.get(uid or 0, (None,))[0]][
        :5
    ]
    asked = [line for uid in wrong for line in follower.client.command(f"UID FETCH {uid} FLAGS")[:-1]]
    return (
        f"session {number} on {follower.mailbox} knows {[(uid, known.get(uid)) for uid in wrong]}, is told {asked} "
        f"when it asks, {[(uid, found.get(uid or 0)) for uid in wrong]} is true; {len(follower.view)} of {len(found)} messages; said before: "
        + "\n".join(follower.said)
    )


def _equals(follower: Follower, found: dict[int, tuple[frozenset[bytes], str]]) -> bool:
    follower.command("NOOP")
    follower.look()
    return [(each.uid, each.flags) for each in follower.view] == [
        (uid, flags) for uid, (flags, _) in sorted(found.items())
    ]


def _compare_recent(workers: list[Worker]) -> None:
    for box in BOXES:
        told: dict[int, int] = {}
        for worker in workers:
            for uid in worker.recents[box]:
                assert uid not in told, f"{box} {uid} was \\Recent to {told[uid]} and to {worker.number}"
                told[uid] = worker.number


def test_kills_of_any_process(server: Server) -> None:
    kill_and_check(server, kills=25, workers=4, pause=0.15)


def kill_and_check(server: Server, *, kills: int, workers: int, pause: float) -> Record:
    """Kill processes of the server at random under load; every OK survives. Returns what was acknowledged."""
    stop = threading.Event()
    record = Record()
    threads = [Worker(server, record, number, stop, mailboxes=BOXES) for number in range(workers)]
    for thread in threads:
        thread.start()
    chance = random.Random(5)
    killed: dict[str, int] = {}
    for _ in range(kills):
        time.sleep(pause * (0.5 + chance.random()))
        # What dies before it is ready is started again with a growing delay: a server that serves nobody is left alone.
        assert eventually(lambda: bool(server.titled("imap [")), 90), "no session gets through any more"
        victims = {pid: title for pid, title in server.processes().items() if pid != server.pid}
        sessions = [pid for pid, title in victims.items() if title.startswith("imap [")]
        pid = chance.choice(sessions if sessions and chance.random() < 0.85 else sorted(victims))
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
        kind = victims[pid].split(" ")[0]
        killed[kind] = killed.get(kind, 0) + 1
    time.sleep(1.0)
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
        if thread.failure is not None:
            raise thread.failure
        thread.leave()
    assert killed.get("imap"), killed
    assert sum(len(thread.losses) for thread in threads) >= killed["imap"] / 2
    quiet(server)
    check(record, {box: look(server, "joe", box) for box in BOXES})
    print(
        f"killed {killed}; {len(record.stored)} messages placed, {len(record.gone)} expunged, "
        f"{len(record.flags)} flagged; slowest answers {record.slowest}"
    )
    return record
