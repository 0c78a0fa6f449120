"""`make bench`: prints, for each measure, our median, Dovecot's median and the ratio.

Both servers run at once on the same machine; each round asks first the one, then the other, so that a slow moment hits both.
Needs root (chroot and setuid are part of the work), a C compiler for the login load, and Debian's dovecot-imapd.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import mailboxes, servers
from benchmarks.client import Client

ROUNDS = 5
USERS = 8
LOGIN_MESSAGES = 20
LOGINS = {1: 400, 2: 1200, 3: 4000}
LARGE_MESSAGES = 10_000
LARGE_SIZE = 4000
IDLE_SESSIONS = 40


def main() -> int:
    """Exit status 0, or 1 when something that it needs is missing."""
    if os.geteuid() != 0 or not servers.dovecot():
        print("bench: needs root and Debian's dovecot-imapd", file=sys.stderr)
        return 1
    print(f"interpreter: {sys.executable}, Python {platform.python_version()}, PGO {_optimised()}")
    version = subprocess.run(
        [servers.dovecot(), "--version"], capture_output=True, text=True, check=True
    ).stdout
    print(
        f"peer: Dovecot {version.strip()}; {os.cpu_count()} cores, Linux {platform.release()}; medians of {ROUNDS}\n"
    )
    with tempfile.TemporaryDirectory(prefix="bench") as name:
        directory = Path(name)
        directory.chmod(0o755)
        load = _compile_load(directory)
        for shape in servers.SHAPES:
            _logins(directory / f"shape{shape}", shape, load)
        _mailbox_work(directory / "large")
    return 0


def _optimised() -> str:
    """Whether the interpreter was built with profile-guided optimisation, as far as its build record tells.

    Debian installs the record of its shared library beside a program that is linked without it, so the record says nothing of the
    program; PGO_PROF_USE_FLAG is empty there, and set in builds that never used it.
    """
    if "--enable-optimizations" in (sysconfig.get_config_var("CONFIG_ARGS") or ""):
        return "yes"
    if (
        sysconfig.get_config_var("Py_ENABLE_SHARED")
        and "/libpython" not in Path("/proc/self/maps").read_text()
    ):
        return "not recorded (a distribution's build; Debian's are optimised)"
    return "no"


def _compile_load(directory: Path) -> Path:
    program = directory / "load"
    source = Path(__file__).with_name("load.c")
    subprocess.run(["cc", "-O2", "-o", str(program), str(source)], check=True)
    return program


def _pair(directory: Path, shape: int, template: Path, users: int) -> tuple[servers.Server, servers.Server]:
    pair = []
    for kind in (servers.Ours, servers.Dovecot):
        homes = directory / kind.name / "homes"
        homes.mkdir(parents=True)
        for number in range(users):
            mailboxes.fresh(template, homes / f"user{number}")
        pair.append(kind(directory / kind.name / "server", shape, users, homes))
    return pair[0], pair[1]


def _logins(directory: Path, shape: int, load: Path) -> None:
    print(f"== shape {shape}: {servers.SHAPES[shape]}")
    template = directory / "template"
    mailboxes.make(template, LOGIN_MESSAGES, 2000)
    ours, theirs = _pair(directory, shape, template, USERS)

    def run(server: servers.Server, total: int) -> list[float]:
        arguments = [str(load), str(server.port), "16", str(total), str(USERS)]
        answer = subprocess.run(arguments, capture_output=True, text=True, check=False)
        if answer.returncode:
            raise RuntimeError(f"{server.name}: {answer.stderr}")
        return [float(word) for word in answer.stdout.split()]

    try:
        results: dict[str, list[list[float]]] = {ours.name: [], theirs.name: []}
        for server in (ours, theirs):
            run(server, 200)
        for _ in range(ROUNDS):
            for server in (ours, theirs):
                results[server.name].append(run(server, LOGINS[shape]))
                time.sleep(0.5)
        for index, label in enumerate(("login+SELECT+LOGOUT /s", "p50 µs", "p99 µs")):
            a = [result[index] for result in results[ours.name]]
            b = [result[index] for result in results[theirs.name]]
            _row(label, a, b, more_is_better=index == 0)
        _idle_memory(ours, theirs)
    finally:
        ours.stop()
        theirs.stop()
    print()


def _idle_memory(ours: servers.Server, theirs: servers.Server) -> None:
    kib = []
    for server in (ours, theirs):
        time.sleep(1)
        before = server.private_kib()
        clients = [Client(server.port) for _ in range(IDLE_SESSIONS)]
        for number, client in enumerate(clients):
            client.login(f"user{number % USERS}", "secret")
            client.command(b"SELECT INBOX")
            client.begin_idle()
        time.sleep(1)
        kib.append([(server.private_kib() - before) / IDLE_SESSIONS])
        for client in clients:
            client.close()
    _row("private KiB of an idle session", kib[0], kib[1], more_is_better=False)


def _mailbox_work(directory: Path) -> None:
    print(f"== one mailbox of {LARGE_MESSAGES} messages (shape 2)")
    template = directory / "template"
    octets = mailboxes.make(template, LARGE_MESSAGES, LARGE_SIZE)
    ours, theirs = _pair(directory, 2, template, 1)

    def timed(
        action: Callable[[Client], None], *, selected: bool = True, rounds: int = ROUNDS
    ) -> list[list[float]]:
        taken: list[list[float]] = [[], []]
        for _ in range(rounds):
            for index, server in enumerate((ours, theirs)):
                client = Client(server.port)
                client.login("user0", "secret")
                if selected:
                    client.command(b"SELECT INBOX")
                began = time.perf_counter()
                action(client)
                taken[index].append((time.perf_counter() - began) * 1000)
                client.close()
        return taken

    def row(label: str, command: bytes, **options: bool | int) -> None:
        a, b = timed(lambda client: client.command(command), **options)  # type: ignore[arg-type]
        _row(label, a, b, more_is_better=False)

    try:
        row("SELECT ms, first sight", b"SELECT INBOX", selected=False, rounds=1)
        row("SELECT ms, new connection", b"SELECT INBOX", selected=False)
        row("FETCH 1:* FLAGS ms", b"FETCH 1:* (FLAGS)")
        row("FETCH 1:* (UID FLAGS) ms", b"FETCH 1:* (UID FLAGS)")
        row("FETCH 1:* ENVELOPE ms, first", b"FETCH 1:* (ENVELOPE)", rounds=1)
        row("FETCH 1:* ENVELOPE ms, new connection", b"FETCH 1:* (ENVELOPE)", rounds=3)
        a, b = timed(lambda client: client.command(b"FETCH 1:2000 (BODY.PEEK[])"))
        part = octets * 2000 / LARGE_MESSAGES / 1e6
        _row(
            "FETCH bodies MB/s",
            [part / t * 1000 for t in a],
            [part / t * 1000 for t in b],
            more_is_better=True,
        )
    finally:
        ours.stop()
        theirs.stop()


def _row(label: str, ours: list[float], theirs: list[float], *, more_is_better: bool) -> None:
    a, b = statistics.median(ours), statistics.median(theirs)
    ratio = (a / b if more_is_better else b / a) if a and b else float("nan")
    spread = f"{min(ours):.1f}-{max(ours):.1f}"
    print(f"{label:40} ours {a:10.1f} ({spread:>17})   Dovecot {b:10.1f}   ours is {ratio:5.2f}x", flush=True)


if __name__ == "__main__":
    sys.exit(main())
