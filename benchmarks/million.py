"""SELECT of a very large mailbox after one change, ours alone: what a session pays must not grow with the mailbox."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import mailboxes, measure, servers
from benchmarks.table import Table

NAME = "SELECT of a million"
GRACE = 3.0
"""Seconds after which a directory's date may be believed."""
STEPS = 10
"""The mailbox and one of a tenth of its size are compared."""


def run(directory: Path, table: Table, count: int, rounds: int) -> None:
    """First sight, then unchanged, then after one change by another session; in the large mailbox and in a tenth of it."""
    table.heading("SELECT after one change, ours alone")
    homes = directory / "million" / "homes"
    homes.mkdir(parents=True)
    sizes = (count // STEPS, count)
    for number, size in enumerate(sizes):
        mailboxes.linked(homes / f"user{number}", size)
    server = servers.Ours(directory / "million" / "server", 2, len(sizes), homes)
    try:
        for number, size in enumerate(sizes):
            template = measure.Template(homes, size, 0)
            bench = measure.Bench(server, homes, 0, template, template)
            refused = ""
            try:
                _measure(bench, f"user{number}", rounds)
            except (RuntimeError, OSError) as error:
                refused = f"    – {error}; its log: {server.last_words()}"
            for label, samples in bench.samples.items():
                table.line(f"{size} messages, {label}", "ms", samples, [], more_is_better=False, aim=0.0)
            if refused:
                print(refused, flush=True)
    finally:
        server.stop()


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
