"""What one session holds of a large mailbox: the private memory of the real mail process, when it first sees the mailbox and later."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import RawClient, Server, eventually, messages

MESSAGES = 20_000
LINKS = 500
"""Names of one file: a file system allows some ten thousand."""
COMMANDS = (
    "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)",
    "SORT (SUBJECT) UTF-8 ALL",
    "SORT (REVERSE DATE) UTF-8 ALL",
    "THREAD REFERENCES UTF-8 ALL",
    "UID SEARCH UNSEEN",
)
FIXED = 6.0
"""MiB of a session, whatever the mailbox."""
FIRST = 0.95
"""MiB for each thousand messages, in a session that lists the mailbox and reads every header for the first time."""
LATER = 0.3
"""The same in a session that finds what others kept."""


def fill(server: Server, user: str, count: int) -> None:
    """A Maildir of so many messages; each file has several names."""
    maildir = server.home(user) / "Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True, mode=0o700)
    for number, message in enumerate(messages(count // LINKS)):
        thread = b"References: <m%d@example.org>\nDate: Mon, 7 Feb 2022 %02d:00:00 +0000\n" % (
            number // 2,
            number % 24,
        )
        first = maildir / "cur" / f"17000{number:05}.M0.h:2,S"
        first.write_bytes(thread + message)
        for copy in range(1, LINKS):
            os.link(first, maildir / "cur" / f"17000{number:05}.M{copy}.h:2,")
    server.give(maildir)


def private_mib(server: Server) -> float:
    """Of the one mail process that has a client; the one before may take a moment to end."""
    assert eventually(lambda: len(server.titled("imap [joe")) == 1)
    [pid] = server.titled("imap [joe")
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"Private_\w+: +(\d+) kB", text)) / 1024


def told(client: RawClient, command: str) -> int:
    """Octets of an answer that ends well."""
    lines = client.command(command)
    assert b" OK " in lines[-1], lines[-1]
    return sum(map(len, lines))


def measured(server: Server, commands: tuple[str, ...] = COMMANDS) -> tuple[list[float], list[int]]:
    """Private memory of a session after SELECT and after each command, and octets that it told."""
    with server.logged_in() as client:
        client.sock.settimeout(600)
        told(client, "SELECT INBOX")
        found = [private_mib(server)]
        octets = []
        for command in commands:
            octets.append(told(client, command))
            found.append(private_mib(server))
        told(client, "LOGOUT")
    return found, octets


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as server:
        yield server


def test_what_sessions_hold_of_a_large_mailbox(server: Server) -> None:
    fill(server, "joe", MESSAGES)
    first, answers = measured(server)
    assert max(first) <= FIXED + FIRST * MESSAGES / 1000, first
    later, again = measured(server)
    assert again == answers
    assert max(later) <= FIXED + LATER * MESSAGES / 1000, later
