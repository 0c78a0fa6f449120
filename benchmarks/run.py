"""`make bench`: prints, for each measure, our median, Dovecot's median and the ratio.

Both servers run at once on the same machine; each round asks both, in turns first the one and first the other, so that a slow moment hits
both. Needs root (chroot and setuid are part of the work), a C compiler for the login load, and Debian's dovecot-imapd.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from benchmarks import logins, mailboxes, measure, million, rows, servers
from benchmarks.table import Table

ROUNDS = 5
MESSAGES = (1000, 10_000)
MAILBOX_SHAPE = 2
"""A mail process for each session: its processor time and memory are those of the work."""


def main() -> int:
    """Exit status 0, or 1 when something that it needs is missing."""
    options = _options()
    if options.list:
        print("\n".join(_names()))
        return 0
    if os.geteuid() != 0 or not servers.dovecot():
        print("bench: needs root and Debian's dovecot-imapd", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the servers are stopped
    chosen = re.compile(options.rows, re.IGNORECASE)
    _introduce(options.rounds)
    began = time.monotonic()
    table = Table()
    with tempfile.TemporaryDirectory(prefix="bench", dir=options.directory) as name:
        directory = Path(name)
        directory.chmod(0o755)
        if not options.quick or options.rows:
            for shape in servers.SHAPES:
                if chosen.search(f"login shape {shape}"):
                    logins.run(directory, shape, options.rounds, table, quick=options.quick)
        work = [row for row in rows.ROWS if chosen.search(row.name)]
        if work:
            _mailboxes(directory, work, options, table)
        if chosen.search(million.NAME) and (options.rows or not options.quick):
            million.run(directory, table, options.million, options.rounds)
    table.end()
    print(f"\n{time.monotonic() - began:.0f} s in all")
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="ours | Dovecot | ratio")
    parser.add_argument("--rows", default="", help="rows whose name matches this regular expression")
    parser.add_argument(
        "--messages", type=int, action="append", help="size of the mailbox (repeatable; 1000 and 10000)"
    )
    parser.add_argument("--rounds", type=int, default=0, help=f"rounds of each row ({ROUNDS})")
    parser.add_argument(
        "--million", type=int, default=1_000_000, help="messages of the largest mailbox (1000000)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="1,000 messages and 2 rounds: whether the rows work"
    )
    parser.add_argument("--directory", help="where the mail is written (the system's temporary directory)")
    parser.add_argument("--list", action="store_true", help="name the rows")
    options = parser.parse_args()
    options.messages = options.messages or ([MESSAGES[0]] if options.quick else list(MESSAGES))
    options.rounds = options.rounds or (2 if options.quick else ROUNDS)
    return options


def _names() -> list[str]:
    return [
        *(f"login shape {shape}" for shape in servers.SHAPES),
        *(row.name for row in rows.ROWS),
        million.NAME,
    ]


def _introduce(rounds: int) -> None:
    print(f"interpreter: {sys.executable}, Python {platform.python_version()}, PGO {_optimised()}")
    version = subprocess.run(
        [servers.dovecot(), "--version"], capture_output=True, text=True, check=True
    ).stdout
    print(
        f"peer: Dovecot {version.strip()}; {os.cpu_count()} cores, Linux {platform.release()}; medians of {rounds}; a ratio over 1 "
        "means that we are faster or smaller\nCPU: all processes of the server; peak: resident memory of the serving process"
    )


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


def _mailboxes(directory: Path, work: list[rows.Row], options: argparse.Namespace, table: Table) -> None:
    folders = _folders(directory / "folders")
    pair = []
    try:
        for kind in (servers.Ours, servers.Dovecot):
            homes = directory / kind.name / "homes"
            homes.mkdir(parents=True)
            pair.append(
                kind(
                    directory / kind.name / "server",
                    MAILBOX_SHAPE,
                    measure.USERS * len(options.messages),
                    homes,
                )
            )
        for place, count in enumerate(options.messages):
            octets = mailboxes.make(directory / f"messages{count}", count)
            template = measure.Template(directory / f"messages{count}", count, octets)
            table.heading(f"{count} messages, {octets / 1e6:.1f} MB")
            benches = [
                measure.Bench(
                    server, directory / server.name / "homes", place * measure.USERS, template, folders
                )
                for server in pair
            ]
            for row in work:
                if row.once and place:
                    continue
                _row(row, benches, options.rounds, table)
            for bench in benches:
                bench.end()
    finally:
        for server in pair:
            server.stop()


def _folders(home: Path) -> measure.Template:
    generator = mailboxes.Generator()
    for number in range(rows.FOLDERS):
        mailboxes.make(home, rows.FOLDER_MESSAGES, f".f{number:03d}", generator)
    (home / "Maildir" / "cur").mkdir()
    (home / "Maildir" / "new").mkdir()
    (home / "Maildir" / "tmp").mkdir()
    mailboxes.own(home)
    return measure.Template(home, 0, 0)


def _row(row: rows.Row, benches: list[measure.Bench], rounds: int, table: Table) -> None:
    refused: dict[int, str] = {}
    for number in range(rounds):
        for index in (0, 1) if number % 2 == 0 else (1, 0):
            bench = benches[index]
            if index not in refused:
                try:
                    bench.round = number
                    row.run(bench)
                except (RuntimeError, OSError) as error:
                    refused[index] = str(error) or type(error).__name__
            bench.end_round()
    samples = [bench.samples.copy() for bench in benches]
    for bench in benches:
        bench.samples.clear()
    for label in dict.fromkeys([*samples[0], *samples[1]] or [""]):
        line = f"{row.name}, {label}" if label else row.name
        sides = [side.get(label, []) for side in samples]
        if row.pooled:
            _percentiles(row, line, sides, table)
            continue
        table.line(line, row.unit, sides[0], sides[1], more_is_better=row.more_is_better, aim=rows.aim(line))
    for index, why in refused.items():
        print(f"    – {benches[index].server.name}: {why}; its log: {benches[index].server.last_words()}")


def _percentiles(row: rows.Row, line: str, sides: list[list[measure.Sample]], table: Table) -> None:
    values = [[sample.value for sample in side] for side in sides]
    for label, part in (("p50", 0.5), ("p99", 0.99)):
        taken = [[measure.percentile(side, part)] if side else [] for side in values]
        name = f"{line}, {label}"
        table.values(
            name, row.unit, taken[0], taken[1], more_is_better=row.more_is_better, aim=rows.aim(name)
        )


if __name__ == "__main__":
    sys.exit(main())
