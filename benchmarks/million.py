"""SELECT of a very large mailbox after one change, ours alone: what a session pays must not grow with the mailbox."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks import mailboxes, servers
from benchmarks.client import Client
from benchmarks.table import Table

NAME = "SELECT of a million"
STEPS = 10
"""The mailbox and one of a tenth of its size are compared."""


def run(directory: Path, table: Table, count: int, rounds: int) -> None:
    """First sight, then after one change by another session, in the large mailbox and in a tenth of it."""
    table.heading("SELECT after one change, ours alone")
    homes = directory / "million" / "homes"
    homes.mkdir(parents=True)
    sizes = (count // STEPS, count)
    for number, size in enumerate(sizes):
        mailboxes.linked(homes / f"user{number}", size)
    server = servers.Ours(directory / "million" / "server", 2, len(sizes), homes)
    try:
        for number, size in enumerate(sizes):
            _measure(server, f"user{number}", size, rounds, table)
    finally:
        server.stop()


def _measure(server: servers.Server, user: str, size: int, rounds: int, table: Table) -> None:
    other = Client(server.port)
    other.login(user, "secret")
    began = time.perf_counter()
    other.command(b"SELECT INBOX")
    table.values(
        f"{size} messages, first sight",
        "ms",
        [(time.perf_counter() - began) * 1000],
        [],
        more_is_better=False,
    )
    unchanged: list[float] = []
    changed: list[float] = []
    for number in range(max(5, rounds)):
        for taken in (unchanged, changed):
            if taken is changed:
                other.command(b"STORE %d %cFLAGS (\\Flagged)" % (size // 2, b"+-"[number % 2]))
            client = Client(server.port)
            client.login(user, "secret")
            began = time.perf_counter()
            client.command(b"SELECT INBOX")
            taken.append((time.perf_counter() - began) * 1000)
            client.close()
    other.close()
    table.values(f"{size} messages, unchanged", "ms", unchanged, [], more_is_better=False)
    table.values(f"{size} messages, one flag changed", "ms", changed, [], more_is_better=False)
