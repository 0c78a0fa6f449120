"""SELECT of mailboxes up to a very large one, at first sight, unchanged and after one change: what a session pays must not grow with the mailbox."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import mailboxes, measure, servers
from benchmarks.table import Table

NAME = "SELECT of a million"
GRACE = 3.0
"""Seconds after which a directory's date may be believed."""
SHARES = (1000, 100, 10, 1)
"""Mailboxes of these parts of the size are compared."""
LEAST = 2


def run(directory: Path, table: Table, count: int, rounds: int) -> None:
    """First sight, then unchanged, then after one change by a session that stays; in mailboxes of four sizes."""
    table.heading("SELECT by size of the mailbox; one flag changed by a session that is still there")
    sizes = [count // share for share in SHARES if count // share >= LEAST]
    sides = [_side(directory / "million" / "ours", servers.Ours, sizes)]
    try:
        sides.append(_side(directory / "million" / "dovecot", servers.Dovecot, sizes))
        for number, size in enumerate(sizes):
            measured = [_samples(server, homes, number, size, rounds) for server, homes in sides]
            for label in _LABELS:
                ours, theirs = (samples.get(label, []) for samples in measured)
                table.line(f"{size} messages, {label}", "ms", ours, theirs, more_is_better=False, aim=1.0)
    finally:
        for server, _ in sides:
            server.stop()


_LABELS = ("first sight", "unchanged", "one flag changed")


def _side(directory: Path, kind: type[servers.Server], sizes: list[int]) -> tuple[servers.Server, Path]:
    homes = directory / "homes"
    homes.mkdir(parents=True)
    for number, size in enumerate(sizes):
        mailboxes.linked(homes / f"user{number}", size)
    return kind(directory / "server", 2, len(sizes), homes), homes


def _samples(
    server: servers.Server, homes: Path, number: int, size: int, rounds: int
) -> dict[str, list[measure.Sample]]:
    template = measure.Template(homes, size, 0)
    bench = measure.Bench(server, homes, 0, template, template)
    try:
        _measure(bench, f"user{number}", rounds)
    except (RuntimeError, OSError) as error:
        print(f"    – {error}; its log: {server.last_words()}", flush=True)
    return bench.samples


def _measure(bench: measure.Bench, user: str, rounds: int) -> None:
    other = bench.connect(user, select=False)
    with bench.measure("first sight", other):
        other.command(b"SELECT INBOX")
    time.sleep(GRACE)
    for number in range(2 * max(5, rounds)):
        change = number >= max(5, rounds)
        if change:
            other.command(b"STORE %d %cFLAGS (\\Flagged)" % (bench.messages // 2, b"+-"[number % 2]))
        client = bench.connect(user, select=False)
        with bench.measure("one flag changed" if change else "unchanged", client):
            client.command(b"SELECT INBOX")
        client.close()
