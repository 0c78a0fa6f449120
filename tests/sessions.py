"""Clients that keep what they were told and do everything at random on mailboxes that they share.

`Follower` holds the view that a client has from untagged responses alone; `Worker` is a thread with a seed that works through one and
writes down what was acknowledged to it, in a `Record` that all workers share. A connection that ends is opened again.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.server import Server

_FETCH = re.compile(rb"\* (\d+) FETCH \((.*)\)\Z", re.DOTALL)
_UID = re.compile(rb"UID (\d+)")
_FLAGS = re.compile(rb"FLAGS \(([^)]*)\)")
_APPENDED = re.compile(rb"\[APPENDUID (\d+) (\d+)\]")
_COPIED = re.compile(rb"\[COPYUID (\d+) ([\d:,]+) ([\d:,]+)\]")
TOKEN = re.compile(rb"token-([\w-]+)")
KEPT = 40
"""Commands of a client that are remembered with their answers."""
PATIENCE = 30.0
"""Seconds that a client waits for any answer."""


@contextmanager
def crowded_server(path: Path) -> Iterator[Server]:
    """A server that takes any number of connections of one user, who has a mailbox Shared beside INBOX."""
    settings = {
        "login_process_per_connection": "no",
        "login_processes_count": "2",
        "mail_max_userip_connections": "0",
    }
    with Server(path, settings=settings) as server:
        with server.logged_in() as client:
            client.command("CREATE Shared")
        yield server


class Known(NamedTuple):
    """What a client knows of one message; None: it was not told."""

    uid: int | None
    flags: frozenset[bytes] | None


class Follower:
    """One connection with a mailbox selected, and the view that its client was told of."""

    def __init__(self, server: Server, user: str, mailbox: str) -> None:
        self.server = server
        self.client = server.connect(timeout=PATIENCE)
        self.said: deque[str] = deque(maxlen=KEPT)
        """what was said last, to see what went wrong"""
        self.view: list[Known] = []
        self.recent: set[int] = set()
        """UIDs that were told as \\Recent"""
        answer = self.client.login(user, server._users[user])
        if b" OK " not in answer[-1]:
            self.client.close()
            raise ConnectionError(answer)
        self.mailbox = mailbox
        answer = self.command(f"SELECT {mailbox}")
        assert b" OK " in answer[-1], answer
        self.look()

    def command(self, line: str) -> list[bytes]:
        """One command; what its answer says of the mailbox is taken into the view. Raises EOFError, OSError."""
        lines = self.client.command(line)
        if len(lines) > 1:
            self.said.append(f"{line[:80]!r}: {lines}")
        for each in lines:
            self.take(each)
        return lines

    def look(self) -> None:
        """Learn the UIDs of what is new, as clients do after EXISTS."""
        unknown = [number for number, known in enumerate(self.view, 1) if known.uid is None]
        if unknown:
            self.command(f"FETCH {unknown[0]}:{unknown[-1]} (UID FLAGS)")

    def take(self, line: bytes) -> None:
        """One untagged response. Raises AssertionError where it cannot be true of this view."""
        words = line.split(b" ", 3)
        if words[0] != b"*" or len(words) < 3 or not words[1].isdigit():
            return
        number = int(words[1])
        if words[2] == b"EXISTS":
            assert number >= len(self.view), f"EXISTS {number} takes messages away"
            self.view.extend(Known(None, None) for _ in range(number - len(self.view)))
        elif words[2] == b"EXPUNGE":
            assert 0 < number <= len(self.view), f"EXPUNGE {number} of {len(self.view)} messages"
            del self.view[number - 1]
        elif words[2] == b"FETCH":
            self._take_fetch(number, line)

    def _take_fetch(self, number: int, line: bytes) -> None:
        assert 0 < number <= len(self.view), f"FETCH {number} of {len(self.view)} messages"
        known = self.view[number - 1]
        uid, flags = _UID.search(line), _FLAGS.search(line)
        if uid is not None:
            assert known.uid in (None, int(uid.group(1))), f"message {number} was {known.uid}: {line!r}"
            known = known._replace(uid=int(uid.group(1)))
        if flags is not None:
            words = frozenset(flags.group(1).split())
            if b"\\Recent" in words and known.uid is not None:
                self.recent.add(known.uid)
            known = known._replace(flags=words - {b"\\Recent"})
        self.view[number - 1] = known

    def close(self) -> None:
        self.client.close()


class Record:
    """What was acknowledged, and what may have happened without an answer. Shared by all workers."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.stored: dict[tuple[str, int], str] = {}
        """mailbox and UID → token of each message whose APPEND or COPY was answered with OK"""
        self.given: dict[str, int] = {}
        """token → how often an OK said that it was placed"""
        self.tried: dict[str, int] = {}
        """token → how often it was tried to place it"""
        self.maybe_gone: set[tuple[str, int]] = set()
        """an expunge was asked for"""
        self.gone: set[tuple[str, int]] = set()
        """an expunge was answered with OK"""
        self.flags: dict[tuple[str, int], set[bytes]] = {}
        """keywords that an OK said to be set; nobody takes them away"""
        self.slowest: list[tuple[float, str]] = []
        """seconds and command of the slowest answers"""

    def placed(self, mailbox: str, uid: int, token: str) -> None:
        with self.lock:
            assert (mailbox, uid) not in self.stored, f"UID {uid} of {mailbox} was given twice"
            self.stored[mailbox, uid] = token
            self.given[token] = self.given.get(token, 0) + 1

    def note(self, seconds: float, command: str) -> None:
        with self.lock:
            self.slowest = sorted([*self.slowest, (seconds, command)], reverse=True)[:5]


class Worker(threading.Thread):
    """One client that works at random until `stop` is set. Messages that it placed are its own to expunge."""

    def __init__(
        self,
        server: Server,
        record: Record,
        number: int,
        stop: threading.Event,
        *,
        user: str = "joe",
        mailboxes: Sequence[str] = ("INBOX", "Shared"),
        pause: float = 0.0,
    ) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.record = record
        self.number = number
        self.stop = stop
        self.user = user
        self.mailboxes = mailboxes
        self.pause = pause
        self.chance = random.Random(number)
        self.keyword = f"k{number}"
        self.follower: Follower | None = None
        self.mine: dict[str, list[int]] = {name: [] for name in mailboxes}
        self.count = 0
        self.losses: list[str] = []
        """why connections ended, and the last command on each"""
        self.last = "LOGIN"
        self.recents: dict[str, set[int]] = {name: set() for name in mailboxes}
        self.failure: BaseException | None = None

    def run(self) -> None:
        actions: list[Callable[[Follower], None]] = [
            self._append,
            self._append,
            self._store,
            self._store,
            self._copy,
            self._move,
            self._expunge,
            self._fetch,
            self._search,
        ]
        try:
            while not self.stop.is_set():
                try:
                    if self.follower is None:
                        self.follower = self._connected()
                    self.chance.choice(actions)(self.follower)
                    self.follower.look()
                except (EOFError, OSError) as error:
                    self._lost(error)
                time.sleep(self.pause * self.chance.random())
        except BaseException as error:
            self.failure = error

    def _connected(self) -> Follower:
        return Follower(self.server, self.user, self.chance.choice(self.mailboxes))

    def _lost(self, error: Exception) -> None:
        self.losses.append(f"{self.last}: {error!r}")
        self.last = "LOGIN"
        self.leave()
        time.sleep(0.02)

    def leave(self) -> None:
        if self.follower is not None:
            self.recents[self.follower.mailbox] |= self.follower.recent
            self.follower.close()
            self.follower = None

    def _timed(self, follower: Follower, line: str) -> list[bytes]:
        began = time.monotonic()
        self.last = line
        lines = follower.command(line)
        self.record.note(time.monotonic() - began, line)
        return lines

    def _append(self, follower: Follower) -> None:
        self.count += 1
        token = f"{self.number}-{self.count}"
        text = f"Subject: token-{token}\r\n\r\nbody\r\n"
        box = self.chance.choice(self.mailboxes)
        with self.record.lock:
            self.record.tried[token] = self.record.tried.get(token, 0) + 1
        [*_, last] = self._timed(follower, f"APPEND {box} (\\Seen) {{{len(text)}+}}\r\n{text}")
        found = _APPENDED.search(last)
        assert found is not None, last
        self.record.placed(box, int(found.group(2)), token)
        self.mine[box].append(int(found.group(2)))

    def _picked(self, follower: Follower) -> int | None:
        """A message of our own in the selected mailbox."""
        mine = self.mine[follower.mailbox]
        return self.chance.choice(mine) if mine else None

    def _store(self, follower: Follower) -> None:
        known = [each.uid for each in follower.view if each.uid is not None]
        uid = self.chance.choice(known) if known else None
        if uid is None:
            return
        lines = self._timed(follower, f"UID STORE {uid} +FLAGS ({self.keyword})")
        told = any(b"UID %d " % uid in line and self.keyword.encode() in line for line in lines[:-1])
        if b" OK " in lines[-1] and told:
            with self.record.lock:
                self.record.flags.setdefault((follower.mailbox, uid), set()).add(self.keyword.encode())

    def _copy(self, follower: Follower) -> None:
        self._transfer(follower, "COPY")

    def _move(self, follower: Follower) -> None:
        if len(self.mine[follower.mailbox]) > 5:
            self._transfer(follower, "MOVE")

    def _transfer(self, follower: Follower, verb: str) -> None:
        uid = self._picked(follower)
        if uid is None:
            return
        source, target = (follower.mailbox, uid), self.chance.choice(self.mailboxes)
        with self.record.lock:
            token = self.record.stored[source]
            self.record.tried[token] = self.record.tried.get(token, 0) + 1
            if verb == "MOVE":
                self.record.maybe_gone.add(source)
        if verb == "MOVE":
            self.mine[follower.mailbox].remove(uid)
        lines = self._timed(follower, f"UID {verb} {uid} {target}")
        found = next(filter(None, map(_COPIED.search, lines)), None)
        if b" OK " not in lines[-1] or found is None:
            return
        self.record.placed(target, int(found.group(3)), token)
        self.mine[target].append(int(found.group(3)))
        if verb == "MOVE":
            with self.record.lock:
                self.record.gone.add(source)

    def _expunge(self, follower: Follower) -> None:
        uid = self._picked(follower)
        if uid is None or len(self.mine[follower.mailbox]) < 5:
            return
        self.mine[follower.mailbox].remove(uid)
        with self.record.lock:
            self.record.maybe_gone.add((follower.mailbox, uid))
        self._timed(follower, f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
        [*_, last] = self._timed(follower, f"UID EXPUNGE {uid}")
        if b" OK " in last:
            with self.record.lock:
                self.record.gone.add((follower.mailbox, uid))

    def _fetch(self, follower: Follower) -> None:
        if follower.view:
            number = self.chance.randrange(len(follower.view)) + 1
            self._timed(follower, f"FETCH {number} (UID FLAGS ENVELOPE BODY.PEEK[])")

    def _search(self, follower: Follower) -> None:
        self._timed(follower, f"UID SEARCH KEYWORD {self.keyword}")


class Seen(NamedTuple):
    """A mailbox as a fresh session finds it."""

    messages: dict[int, tuple[frozenset[bytes], str]]
    """UID → flags without \\Recent, and the token in the subject (empty: delivered by others)"""


def look(server: Server, user: str, mailbox: str) -> Seen:
    """What a new session finds in a mailbox, read-only."""
    found: dict[int, tuple[frozenset[bytes], str]] = {}
    with server.logged_in(user) as client:
        client.command(f"EXAMINE {mailbox}")
        for line in client.command("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"):
            uid, flags, token = _UID.search(line), _FLAGS.search(line), TOKEN.search(line)
            if _FETCH.match(line) and uid is not None and flags is not None:
                words = frozenset(flags.group(1).split()) - {b"\\Recent"}
                found[int(uid.group(1))] = words, token.group(1).decode() if token else ""
        client.command("LOGOUT")
    return Seen(found)


def check(record: Record, seen: dict[str, Seen]) -> None:
    """Hold what is there against what was acknowledged. Raises AssertionError."""
    copies: dict[str, int] = {}
    for box, found in seen.items():
        for uid, (flags, token) in found.messages.items():
            key = box, uid
            assert key not in record.gone, f"{key} was expunged and is there again"
            if key in record.stored:
                assert record.stored[key] == token, f"{key} is another message: {token}"
            missing = record.flags.get(key, set()) - flags
            assert not missing, f"{key} lost {missing}"
            if token:
                copies[token] = copies.get(token, 0) + 1
    for token, count in copies.items():
        assert count <= record.tried[token], f"{token} is there {count} times"
    for (box, uid), token in record.stored.items():
        if (box, uid) not in record.maybe_gone:
            assert uid in seen[box].messages, f"the acknowledged {token}, {box} {uid}, is lost"
