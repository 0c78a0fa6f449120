"""The rows of logging in: sessions per second under a load of 16 clients, in each shape, and what an idle session costs in memory."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks import mailboxes, servers
from benchmarks.client import Client
from benchmarks.table import Table

USERS = 8
MESSAGES = 20
LOGINS = {1: 400, 2: 1200, 3: 4000}
IDLE_SESSIONS = 40


def run(directory: Path, shape: int, rounds: int, table: Table, *, quick: bool) -> None:
    """All rows of one shape."""
    table.heading(f"shape {shape}: {servers.SHAPES[shape]}")
    load = _compile_load(directory)
    template = directory / "template"
    if not template.exists():
        mailboxes.make(template, MESSAGES)
    pair = [
        _start(directory / f"shape{shape}", kind, shape, template) for kind in (servers.Ours, servers.Dovecot)
    ]
    try:
        results: list[list[list[float]]] = [[], []]
        for server in pair:
            _load(load, server, 16 if quick else 200)
        for _ in range(rounds):
            for index, server in enumerate(pair):
                results[index].append(_load(load, server, 64 if quick else LOGINS[shape]))
                time.sleep(0.1 if quick else 0.5)
        units = (
            ("login+SELECT+LOGOUT", "/s"),
            ("login+SELECT+LOGOUT, p50", "µs"),
            ("login+SELECT+LOGOUT, p99", "µs"),
        )
        for index, (label, unit) in enumerate(units):
            values = [[result[index] for result in side] for side in results]
            table.values(label, unit, values[0], values[1], more_is_better=index == 0)
        idle = [[_idle_kib(server)] for server in pair]
        table.values(
            "private memory of an idle session", "KiB", idle[0], idle[1], more_is_better=False, aim=0.0
        )
    finally:
        for server in pair:
            server.stop()


def _start(directory: Path, kind: type[servers.Server], shape: int, template: Path) -> servers.Server:
    homes = directory / kind.name / "homes"
    homes.mkdir(parents=True)
    for number in range(USERS):
        mailboxes.copy(template, homes / f"user{number}")
    return kind(directory / kind.name / "server", shape, USERS, homes)


def _compile_load(directory: Path) -> Path:
    program = directory / "load"
    if not program.exists():
        subprocess.run(["cc", "-O2", "-o", str(program), str(Path(__file__).with_name("load.c"))], check=True)
    return program


def _load(load: Path, server: servers.Server, total: int) -> list[float]:
    arguments = [str(load), str(server.port), "16", str(total), str(USERS)]
    answer = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise RuntimeError(f"{server.name}: {answer.stderr}")
    return [float(word) for word in answer.stdout.split()]


def _idle_kib(server: servers.Server) -> float:
    time.sleep(1)
    before = server.private_kib()
    clients = [Client(server.port) for _ in range(IDLE_SESSIONS)]
    for number, client in enumerate(clients):
        client.login(f"user{number % USERS}", "secret")
        client.command(b"SELECT INBOX")
        client.begin_idle()
    time.sleep(1)
    taken = (server.private_kib() - before) / IDLE_SESSIONS
    for client in clients:
        client.close()
    return taken
