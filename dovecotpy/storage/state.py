"""`dovecotpy-state`: what cannot be rebuilt from the mail itself, one SQLite file in the CONTROL root.

Rows are keyed by mailbox GUID. The file is opened only when something in it is needed: a login that selects a known mailbox never opens
it. Each write is one transaction (journal_mode=DELETE, synchronous=FULL) under the lock_method's lock on `dovecotpy-state.lock`,
because SQLite's own waiting starves writers.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.storage import files
from dovecotpy.storage.dotlock import Dotlock
from dovecotpy.storage.errors import Internal, InUse, LimitReached

NAME = "dovecotpy-state"
LOCK = "dovecotpy-state.lock"
USES = "dovecotpy-specialuse"
"""An empty file that is there once a mailbox was given a use, so that a LIST need not open the State where none was."""
UIDS_AHEAD = 256
MODSEQS_AHEAD = 65536
LOCK_SECONDS = 10.0
VERSION = 3
SPECIAL_USE = "/private/specialuse"
"""The metadata entry of what a mailbox is for: attributes with blanks between them (RFC 6154 section 4)."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS reserve (guid TEXT PRIMARY KEY, uid INTEGER NOT NULL, modseq INTEGER NOT NULL, boot TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mailbox (guid TEXT PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS keyword (guid TEXT, uid INTEGER, keyword TEXT, PRIMARY KEY (guid, uid, keyword)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen (user TEXT, guid TEXT, uid INTEGER, PRIMARY KEY (user, guid, uid)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS metadata (guid TEXT, entry TEXT, value BLOB NOT NULL, PRIMARY KEY (guid, entry)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
"""


def _read_boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


BOOT = _read_boot()
"""This boot of the machine; empty where it cannot be known, which counts as another boot each time."""


class Reserve(NamedTuple):
    """What may be given away: the first number that is free for certain, and the first one that is not reserved yet."""

    first: int
    end: int


class State:
    """The State of one CONTROL root. directory: its descriptor, kept by the caller. path: the same directory's path, for SQLite.

    method: as lock_method. exclusive: how a dotlock is made.
    """

    __slots__ = ("_connection", "_directory", "_dotlock", "_failure", "_lock", "_method", "_path", "_sync")

    def __init__(
        self, directory: int, path: str, *, method: str = "fcntl", sync: bool = True, exclusive: bool = True
    ) -> None:
        self._dotlock = Dotlock(directory, LOCK, exclusive=exclusive)
        self._directory = directory
        self._path = path
        self._method = method
        self._sync = sync
        self._connection: sqlite3.Connection | None = None
        self._failure: Internal | None = None
        self._lock = -1

    @property
    def broken(self) -> bool:
        """It could not be opened before, which was said then."""
        return self._failure is not None

    @property
    def usable(self) -> bool:
        """It can be had, as far as can be told without opening it."""
        if self._failure is not None or self._directory < 0:
            return False
        return os.access(".", os.W_OK, dir_fd=self._directory, effective_ids=True)

    def exists(self) -> bool:
        """Whether there is a State at all."""
        return files.identify(self._directory, NAME) != files.NOWHERE

    def _open(self) -> sqlite3.Connection:
        if self._failure is not None:
            raise self._failure
        if self._connection is None:
            try:
                if self._method != "dotlock":
                    mode = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                    self._lock = os.open(LOCK, mode, 0o666, dir_fd=self._directory)
                path = os.path.join(self._path, NAME)
                connection = sqlite3.connect(
                    path, timeout=LOCK_SECONDS, isolation_level=None, cached_statements=32
                )
                self._prepare(connection)
            except (OSError, sqlite3.Error) as error:
                self.close()
                self._failure = _failed("open", error)
                raise self._failure from error
            self._connection = connection
        return self._connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous=" + ("FULL" if self._sync else "OFF"))
        if connection.execute("PRAGMA user_version").fetchone()[0] >= VERSION:
            return
        self._take()
        try:
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={VERSION}; COMMIT;")
        finally:
            self._give_back()

    def _take(self) -> None:
        deadline = clock.monotonic() + LOCK_SECONDS
        if self._method == "dotlock":
            self._dotlock.take(deadline, "Timeout while waiting for lock")
            return
        lock = fcntl.flock if self._method == "flock" else fcntl.lockf
        while True:
            try:
                lock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                if clock.monotonic() >= deadline:
                    raise InUse("Timeout while waiting for lock") from None
                time.sleep(0.005)

    def _give_back(self) -> None:
        if self._method == "dotlock":
            self._dotlock.release()
            return
        lock = fcntl.flock if self._method == "flock" else fcntl.lockf
        lock(self._lock, fcntl.LOCK_UN)

    def reserve(self, guid: str, *, uid: int, count: int = 1, modseq: int = 0, closed: str = "") -> Reserve:
        """Make sure that `count` UIDs from `uid` on are reserved, on disk, before one is used.

        After another boot the UIDs of the old reserve may have been given without a trace, so the first one is beyond it. closed: the
        boot at whose end none had been.
        Raises InUse, StoreError.
        """
        with _Transaction(self, self._open()) as connection:
            row = connection.execute("SELECT uid, modseq, boot FROM reserve WHERE guid=?", (guid,)).fetchone()
            if row is not None and (row[2] != BOOT or not BOOT) and (row[2] != closed or not closed):
                uid = max(uid, row[0])
            end, high = (row[0], row[1]) if row is not None else (0, 0)
            if uid + count > end or row is None or row[2] != BOOT:
                end = max(end, uid + count + UIDS_AHEAD)
                high = max(high, modseq + MODSEQS_AHEAD if modseq else 1)
                connection.execute("REPLACE INTO reserve VALUES (?, ?, ?, ?)", (guid, end, high, BOOT))
            return Reserve(uid, end)

    def reserved_uids(self, guid: str) -> int:
        """The UID behind the reserve that was made in this boot; 0 if there is none of it. Raises StoreError."""
        row = self._open().execute("SELECT uid, boot FROM reserve WHERE guid=?", (guid,)).fetchone()
        return int(row[0]) if row is not None and BOOT and row[1] == BOOT else 0

    def reserve_modseqs(self, guid: str, least: int) -> Reserve:
        """MODSEQS_AHEAD modseqs that nobody used, from `least` on, on disk before one is used. Raises InUse, StoreError."""
        with _Transaction(self, self._open()) as connection:
            row = connection.execute("SELECT uid, modseq, boot FROM reserve WHERE guid=?", (guid,)).fetchone()
            uid, high, boot = row if row is not None else (0, 1, "")
            first = max(int(high), least)
            connection.execute(
                "REPLACE INTO reserve VALUES (?, ?, ?, ?)", (guid, uid, first + MODSEQS_AHEAD, boot)
            )
            return Reserve(first, first + MODSEQS_AHEAD)

    def reserved_modseq(self, guid: str) -> int:
        """The first modseq beyond the reserve; 1 where nothing was reserved."""
        row = self._open().execute("SELECT modseq FROM reserve WHERE guid=?", (guid,)).fetchone()
        return int(row[0]) if row is not None else 1

    def uidvalidity(self, now: int) -> int:
        """A UIDVALIDITY that no mailbox of this root had: the time, or one more than the last."""
        with _Transaction(self, self._open()) as connection:
            return _next_uidvalidity(connection, now)

    def begin(self, guid: str, name: str, now: int, count: int) -> tuple[int, Reserve, Reserve]:
        """For a new mailbox, in one transaction: a UIDVALIDITY as `uidvalidity` gives it, reserves of UIDs (for `count` of them at least)
        and of modseqs, and its name as `own` notes it. Raises InUse, StoreError.
        """
        with _Transaction(self, self._open()) as connection:
            value = _next_uidvalidity(connection, now)
            uids, modseqs = Reserve(1, 1 + max(count, 1) + UIDS_AHEAD), Reserve(1, 1 + MODSEQS_AHEAD)
            connection.execute(
                "REPLACE INTO reserve VALUES (?, ?, ?, ?)", (guid, uids.end, modseqs.end, BOOT)
            )
            connection.execute("REPLACE INTO mailbox VALUES (?, ?)", (guid, _stored(name)))
            return value, uids, modseqs

    def owner(self, guid: str) -> str:
        """The name of the mailbox that used a GUID last; empty if none did."""
        row = self._open().execute("SELECT name FROM mailbox WHERE guid=?", (guid,)).fetchone()
        return _read_name(row[0]) if row is not None else ""

    def own(self, guid: str, name: str) -> None:
        """Note that this mailbox has that GUID."""
        with _Transaction(self, self._open()) as connection:
            connection.execute("REPLACE INTO mailbox VALUES (?, ?)", (guid, _stored(name)))

    def keywords(self, guid: str) -> dict[int, frozenset[str]]:
        """Keywords that have no letter of their own in file names, by UID."""
        found: dict[int, set[str]] = {}
        for uid, keyword in self._open().execute("SELECT uid, keyword FROM keyword WHERE guid=?", (guid,)):
            found.setdefault(uid, set()).add(keyword)
        return {uid: frozenset(words) for uid, words in found.items()}

    def set_keywords(self, guid: str, words: Mapping[int, Iterable[str]]) -> None:
        """Replace what the messages have. Durable. Raises InUse, StoreError."""
        with _Transaction(self, self._open()) as connection:
            for uid, keywords in words.items():
                connection.execute("DELETE FROM keyword WHERE guid=? AND uid=?", (guid, uid))
                connection.executemany(
                    "INSERT INTO keyword VALUES (?, ?, ?)", [(guid, uid, each) for each in keywords]
                )

    def seen(self, user: str, guid: str) -> frozenset[int]:
        """UIDs that are \\Seen to one user, in a mailbox where that is private."""
        rows = self._open().execute("SELECT uid FROM seen WHERE user=? AND guid=?", (user, guid))
        return frozenset(uid for (uid,) in rows)

    def set_seen(self, user: str, guid: str, seen: Iterable[int], unseen: Iterable[int]) -> None:
        """What one user has seen, and has not. Durable. Raises InUse, StoreError."""
        with _Transaction(self, self._open()) as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", [(user, guid, uid) for uid in seen]
            )
            connection.executemany(
                "DELETE FROM seen WHERE user=? AND guid=? AND uid=?", [(user, guid, uid) for uid in unseen]
            )

    def metadata(self, entry: str) -> dict[str, bytes]:
        """One metadata entry (RFC 5464) of all mailboxes that have it, by GUID."""
        rows = self._open().execute("SELECT guid, value FROM metadata WHERE entry=?", (entry,))
        return {guid: bytes(value) for guid, value in rows}

    def set_metadata(self, guid: str, entry: str, value: bytes | None) -> None:
        """Set an entry, or with None remove it. Durable. Raises InUse, StoreError."""
        with _Transaction(self, self._open()) as connection:
            if value is None:
                connection.execute("DELETE FROM metadata WHERE guid=? AND entry=?", (guid, entry))
            else:
                connection.execute("REPLACE INTO metadata VALUES (?, ?, ?)", (guid, entry, value))

    @property
    def knows_uses(self) -> bool:
        """Whether some mailbox may have been given a use."""
        return files.identify(self._directory, USES) != files.NOWHERE

    def note_uses(self) -> None:
        """A mailbox is about to be given a use. Raises StoreError."""
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            os.close(os.open(USES, flags, 0o666, dir_fd=self._directory))
        except OSError as error:
            raise _failed("create", error) from error

    def entries(self, guid: str) -> dict[bytes, bytes]:
        """All metadata entries of a mailbox, by name."""
        rows = self._open().execute("SELECT entry, value FROM metadata WHERE guid=? ORDER BY entry", (guid,))
        return {entry.encode(): bytes(value) for entry, value in rows}

    def set_entries(self, guid: str, changes: Mapping[bytes, bytes | None], most: int) -> None:
        """Set entries of a mailbox, or with None remove them, all or none. Durable.

        Raises LimitReached if there would be more than `most` of them and more than before, InUse, StoreError.
        """
        with _Transaction(self, self._open()) as connection:
            count = "SELECT COUNT(*) FROM metadata WHERE guid=?"
            before = connection.execute(count, (guid,)).fetchone()[0]
            for entry, value in changes.items():
                name = entry.decode("ascii")
                if value is None:
                    connection.execute("DELETE FROM metadata WHERE guid=? AND entry=?", (guid, name))
                else:
                    connection.execute("REPLACE INTO metadata VALUES (?, ?, ?)", (guid, name, value))
            after = connection.execute(count, (guid,)).fetchone()[0]
            if after > most and after > before:
                raise LimitReached("Too many metadata entries.", code="METADATA TOOMANY")

    def copy(self, guid: str, other: str) -> None:
        """A copy of a mailbox got a GUID of its own. Durable. Raises InUse, StoreError."""
        with _Transaction(self, self._open()) as connection:
            connection.execute(
                "INSERT OR IGNORE INTO keyword SELECT ?, uid, keyword FROM keyword WHERE guid=?",
                (other, guid),
            )
            connection.execute(
                "INSERT OR IGNORE INTO reserve SELECT ?, 0, modseq, '' FROM reserve WHERE guid=?",
                (other, guid),
            )

    def forget(self, guid: str) -> None:
        """A mailbox was deleted."""
        with _Transaction(self, self._open()) as connection:
            for table in ("reserve", "mailbox", "keyword", "seen", "metadata"):
                connection.execute(f"DELETE FROM {table} WHERE guid=?", (guid,))

    def close(self) -> None:
        """Idempotent; opens again when needed."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


class _Transaction:
    """A write under the lock: committed, or rolled back when anything is raised."""

    __slots__ = ("_connection", "_state")

    def __init__(self, state: State, connection: sqlite3.Connection) -> None:
        self._state = state
        self._connection = connection

    def __enter__(self) -> sqlite3.Connection:
        self._state._take()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            self._state._give_back()
            raise _failed("write", error) from error
        return self._connection

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            self._connection.execute("ROLLBACK" if error is not None else "COMMIT")
        except sqlite3.Error as failure:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise _failed("commit", failure) from failure
        finally:
            self._state._give_back()
        if isinstance(error, sqlite3.Error):
            raise _failed("write", error) from error


def _stored(name: str) -> str | bytes:
    """A mailbox's name as SQLite takes it: octets that are not UTF-8 are no text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return os.fsencode(name)
    return name


def _read_name(found: object) -> str:
    return os.fsdecode(found) if isinstance(found, bytes) else str(found)


def _next_uidvalidity(connection: sqlite3.Connection, now: int) -> int:
    row = connection.execute("SELECT value FROM counter WHERE name='uidvalidity'").fetchone()
    value = now if row is None else max(now, int(row[0]) + 1)
    connection.execute("REPLACE INTO counter VALUES ('uidvalidity', ?)", (value,))
    return value


def _failed(what: str, error: Exception) -> Internal:
    return Internal.because(f"{what}({NAME}) failed: {error}")
