"""What one row of the table measures on one server: time, processor time, peak of memory, octets."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks import mailboxes, servers
from benchmarks.client import Client

USERS = 2000
"""Homes that one mailbox size may use up, each named in the servers' passwd-file."""


class Sample(NamedTuple):
    """One measurement."""

    value: float
    """In the unit of the row."""
    octets: int
    """Received from the server; 0 where answers of both need not be alike."""
    processor: float
    """Milliseconds of all processes of the server, meanwhile."""
    peak: int
    """KiB resident in the serving process at its worst, pages shared with others included."""


class Template(NamedTuple):
    """A home to copy from."""

    home: Path
    messages: int
    octets: int


class Bench:
    """One server and one mailbox size; each row gets it once a round. Labels name the lines of a row."""

    def __init__(
        self, server: servers.Server, homes: Path, first_user: int, template: Template, folders: Template
    ) -> None:
        self.server = server
        self.messages = template.messages
        self.octets = template.octets
        self.samples: dict[str, list[Sample]] = {}
        self.round = 0
        self._homes = homes
        self._template = template
        self._folders = folders
        self._users = first_user
        self._kept = ""
        self._clients: list[Client] = []
        self._scratch: list[Path] = []
        self._old: list[Path] = []

    def fresh(self, *, folders: bool = False) -> str:
        """A new user whose mail no server has seen, gone after this round of the row; the name."""
        return self._copy(self._folders if folders else self._template, keep=False)

    def seen(self) -> str:
        """A new user whose INBOX another session had selected: nothing in it is \\Recent."""
        user = self.fresh()
        self.connect(user).command(b"LOGOUT")
        return user

    def kept(self) -> str:
        """The user whose mail this server knows already; rows leave his messages as they are."""
        if not self._kept:
            self._kept = self._copy(self._template, keep=True)
            client = self.connect(self._kept)
            client.command(b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)")
        return self._kept

    def _copy(self, template: Template, *, keep: bool) -> str:
        name = f"user{self._users}"
        self._users += 1
        mailboxes.copy(template.home, self._homes / name)
        if not keep:
            self._scratch.append(self.home(name))
        return name

    def home(self, user: str) -> Path:
        """Where the mail of a user is."""
        return self._homes / user

    def connect(self, user: str, *, select: bool = True) -> Client:
        """A session of the user, by default with INBOX selected; closed after this round of the row."""
        client = Client(self.server.port)
        self._clients.append(client)
        client.login(user, "secret")
        if select:
            client.command(b"SELECT INBOX")
        return client

    def end_round(self) -> None:
        """Close the sessions; remove the mail of the round before, which no process looks at any more."""
        for client in self._clients:
            client.close()
        self._clients.clear()
        mailboxes.remove(self._old)
        self._old, self._scratch = self._scratch, []

    def end(self) -> None:
        """Remove all mail."""
        self.end_round()
        mailboxes.remove([*self._old, *([self.home(self._kept)] if self._kept else [])])

    @contextmanager
    def measure(
        self, label: str, client: Client, *, things: int = 0, megabytes: bool = False, compare: bool = True
    ) -> Iterator[None]:
        """Take a sample of what is done within: milliseconds, or `things` per second, or MB received per second."""
        pid = self.server.serving(client.local_port)
        if pid:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        before = self.server.processor_seconds()
        octets = client.octets
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        octets = client.octets - octets
        value = seconds * 1000
        if things or megabytes:
            value = (things or octets / 1e6) / seconds
        self._take(label, value, octets if compare else 0, before, pid)

    def each(self, label: str, client: Client, lines: Sequence[bytes]) -> None:
        """Send each line, one after the other; the sample is the median of their times in microseconds."""
        pid = self.server.serving(client.local_port)
        before = self.server.processor_seconds()
        octets = client.octets
        taken = []
        for line in lines:
            began = time.perf_counter()
            client.command(line)
            taken.append((time.perf_counter() - began) * 1e6)
        self._take(label, statistics.median(taken), client.octets - octets, before, pid)

    def private_kib(self, client: Client) -> int:
        """Private memory of the process that serves the client."""
        return servers.private_kib(self.server.serving(client.local_port))

    def record(self, label: str, value: float) -> None:
        """A sample that something else has taken."""
        self.samples.setdefault(label, []).append(Sample(value, 0, 0.0, 0))

    def _take(self, label: str, value: float, octets: int, before: dict[int, float], pid: int) -> None:
        after = self.server.processor_seconds()
        processor = sum(seconds - before.get(number, 0.0) for number, seconds in after.items())
        peak = _peak_kib(pid) if pid else 0
        self.samples.setdefault(label, []).append(Sample(value, octets, processor * 1000, peak))


def _peak_kib(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/status") as file:
            return next((int(line.split()[1]) for line in file if line.startswith("VmHWM:")), 0)
    except OSError:
        return 0


def percentile(values: Sequence[float], part: float) -> float:
    """The value that `part` (0 to 1) of them do not pass."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
