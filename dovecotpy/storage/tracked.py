"""A mailbox as of its last look at the store: what is known of it, and the index that remembers it."""

from __future__ import annotations

import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.search.memory import Memory
from dovecotpy.storage.columns import FLAGS, KEYWORDS, SIZES, UIDS, LateColumns, late, place_of, places_of
from dovecotpy.storage.driver import (
    UNKNOWN_DATE,
    Arrivals,
    Body,
    BoxDriver,
    Capabilities,
    Columns,
    Delta,
    Moved,
    Ref,
    Row,
    Wait,
)
from dovecotpy.storage.errors import (
    InUse,
    MailboxReplaced,
    StoreError,
)
from dovecotpy.storage.flags import SEEN
from dovecotpy.storage.index import names, snapshot
from dovecotpy.storage.index.history import History, Noted
from dovecotpy.storage.index.keyfile import KeyFiles
from dovecotpy.storage.index.rendered import Owner, Rendered
from dovecotpy.storage.items import Caching
from dovecotpy.storage.objectid import email_id
from dovecotpy.storage.source import Messages

Uids = Sequence[int]
LOCK_SECONDS = 10.0
"""How long a write waits for another writer before NO [INUSE]."""
RETRIES = 20
"""Looks for a message that is renamed while we try to open it."""
PATIENCE = 3
"""Looks before there is a pause between them."""
PAUSE = 0.005
"""Seconds; all pauses together are longer than a tick of the file system's clock."""
READ_LOCK_SECONDS = 0.25
"""How long a look waits for the index lock; without it, what was known serves on."""
MAX_BEHIND = 4096
"""Messages whose names are not written down yet while what was done to them is told to be all that happened."""
SAVE_NAMES_FROM = 1000
"""Where so many messages are is written down as soon as they were found for the first time."""
_NO_REF = Ref(b"")


class Changes(NamedTuple):
    """What happened after a modseq."""

    modseq: int
    appeared: Uids
    changed: Uids
    """also those of `appeared` whose flags changed since"""
    vanished: Sequence[tuple[int, int]]
    """ranges of UIDs, ascending"""
    complete: bool
    """False: the log does not reach back so far; compare with `columns`"""


class Tracked:
    """One mailbox that is followed by modseq. Arguments: see `Mailbox`."""

    def __init__(
        self,
        driver: BoxDriver,
        name: bytes,
        index: int | None,
        say: Callable[[Level, str], None],
        *,
        writable: bool,
        caching: Caching,
    ) -> None:
        self._driver = driver
        self.name = name
        self.writable = writable and driver.capabilities.writable
        self._index = index
        self._say = say
        self._history = History(index, driver, self._heard, self._warn, afresh=caching.afresh)
        self._overlaid: tuple[LateColumns, frozenset[int], Columns] | None = None
        self._stamp = b""
        self._synced = False
        self._first_recent: int | None = None
        self._recent_noted = False
        owner = Owner(
            lambda: self._index,
            lambda: (driver.guid, driver.uidvalidity),
            lambda: self._history.ledger.column(UIDS),
            self._complain,
        )
        rendered = Rendered(owner, sync=caching.sync, least=caching.least)
        self._messages = Messages(self.body, self._beginnings, self._learn_sizes, rendered, caching.kept)
        self._messages.email_id = lambda uid: self.email_ids((uid,))[0]
        self.kept_stamp = b""
        """what the mailbox looked like when the index was written last, if that proves that it did not change since"""
        self._unkept = False
        """messages were changed since their names were written down"""
        self._generation = b""
        """of the names that the driver was given, or that were kept since"""
        self._index_failed = False
        self._warned = False
        self._shown_seen: frozenset[int] = frozenset()
        self._opened = False
        self._key_files = KeyFiles(owner, least=caching.least)
        self._keys = Memory(self._key_files if caching.kept.keys else None)

    @property
    def capabilities(self) -> Capabilities:
        """What it can keep; `modseq` only if the numbers mean the same to later sessions."""
        found = self._driver.capabilities
        return found._replace(modseq=found.modseq and self._history.lasting)

    @property
    def guid(self) -> bytes:
        """The id of the mailbox, the same under every name."""
        return self._driver.guid

    @property
    def uidvalidity(self) -> int:
        """Together with a UID it names one message for good (RFC 3501 section 2.3.1.1)."""
        if not self._driver.uidvalidity:
            self.refresh()
        return self._driver.uidvalidity

    # Following the store

    def refresh(self) -> int:
        """Take note of what happened in the store; the modseq reached. Raises MailboxReplaced, StoreError."""
        if not self._opened:
            self._open_index()
            if self._stamp:
                self._history.served = True
                return self._history.ledger.modseq
        self._history.follow()
        stamp = self._driver.stamp() if self._stamp else b""
        if not stamp or stamp != self._stamp:
            self._take(self._driver.sync(self.columns(), self._stamp))
        elif self._history.stale and self._history.lasting:
            self._note((), (), ())
        if self._history.owed:
            self._compare_all()
        if self._history.keep_learnt() is Noted.DOUBTFUL:
            self._stamp = b""
        self._history.served = True
        return self._history.ledger.modseq

    def touch(self) -> None:
        """Give the mailbox a modseq that no message has. Raises MailboxReplaced, StoreError."""
        self.refresh()
        self._history.bump(READ_LOCK_SECONDS)

    def _take(self, delta: Delta, wait: float = READ_LOCK_SECONDS) -> None:
        first = not self._synced
        self._synced = True
        self._stamp = delta.stamp
        if first and not self._history.ledger.modseq:
            wait = LOCK_SECONDS
        arrivals = delta.arrivals
        self._note(delta.appeared, delta.changed, delta.vanished, delta.uidnext, arrivals=arrivals, wait=wait)
        for uid in delta.vanished:
            self._messages.forget(uid)
            self._keys.forget(uid)
        if self._first_recent is None:
            self._first_recent = min(delta.recent, default=delta.uidnext)
            self._note_unclaimed(self._first_recent)
        if first and len(delta.appeared) + (len(arrivals.uids) if arrivals else 0) >= SAVE_NAMES_FROM:
            self._keep_index()
            if self._index is not None and self._generation and not self._index_failed:
                self._driver.rest_on(names.Names(self._index, self._generation))

    def _note(
        self,
        appeared: Sequence[Row],
        changed: Sequence[Row],
        vanished: Sequence[int],
        uidnext: int = 0,
        *,
        stamp: bytes = b"",
        arrivals: Arrivals | None = None,
        wait: float = READ_LOCK_SECONDS,
    ) -> Noted:
        """Give what was found or done its modseq. What cannot be noted is found again by a comparison."""
        seen, bumped = self._driver.private_seen(), frozenset[int]()
        if seen is not None:
            before = self._shown_seen
            bumped = frozenset(row.uid for row in changed if (row.uid in before) != bool(row.flags & SEEN))
            appeared = [row._replace(flags=row.flags & ~SEEN) for row in appeared]
            changed = [row._replace(flags=row.flags & ~SEEN) for row in changed]
            self._shown_seen = seen
        noted = self._history.note(
            appeared, changed, vanished, uidnext, bumped=bumped, stamp=stamp, arrivals=arrivals, wait=wait
        )
        if noted is Noted.HELD and not self._history.ledger.modseq:
            self._history.alone()
            noted = self._history.note(appeared, changed, vanished, uidnext, bumped=bumped, arrivals=arrivals)
        elif noted is Noted.HELD:
            self._history.owed = True
        if noted is Noted.DOUBTFUL:
            self._stamp = b""
        return noted

    def _compare_all(self) -> None:
        """Note what the format knows and the index does not, if the lock can be had."""
        try:
            self._history.probe(0)
        except InUse:
            return
        if self._history.reconcile() is Noted.DOUBTFUL:
            self._stamp = b""

    def _heard(self, came: Sequence[int], went: Sequence[int]) -> None:
        """Other sessions noted messages that came and went."""
        if not self._synced:
            return
        self._driver.heard(came, went, self._history.ledger.uidnext)
        for uid in went:
            self._messages.forget(uid)

    def columns(self) -> Columns:
        """The mailbox as of the last refresh."""
        columns = self._history.ledger.columns
        seen = self._driver.private_seen()
        if seen is None:
            return columns
        kept = self._overlaid
        if kept is None or kept[0] is not columns or kept[1] != seen:
            kept = self._overlaid = columns, seen, _with_private(columns, seen)
        return kept[2]

    def keywords(self) -> frozenset[str]:
        """Every keyword that a message has or had since the mailbox was opened, and those that the format has names for."""
        return self._history.ledger.keywords() | self._driver.defined_keywords()

    def changes(self, since: int) -> Changes:
        """What happened after a modseq that `refresh` or `columns` gave, in whichever session.

        Not complete where `since` is from before what is remembered; then `changed` are all that changed or came since.
        """
        appeared, changed, vanished, complete = self._history.ledger.changes(since)
        return Changes(self._history.ledger.modseq, appeared, changed, vanished, complete)

    def wait(self) -> Wait:
        """How to notice changes."""
        return self._driver.events()

    def drain(self) -> bool:
        """Read what `wait` pointed to; True when a refresh may find something."""
        return self._driver.drain()

    # \\Recent

    def recent(self) -> frozenset[int]:
        """UIDs that no session claimed yet."""
        first = self._unclaimed_from()
        uids = self._history.ledger.column(UIDS)
        return frozenset(uids[bisect_left(uids, first) :])

    def claim_recent(self) -> frozenset[int]:
        """UIDs that are \\Recent to the caller alone from now on."""
        if not self.writable:
            return self.recent()
        uidnext = self._history.ledger.uidnext
        if self._unclaimed_from() >= uidnext:
            return frozenset()
        try:
            with self._driver.lock(clock.monotonic() + LOCK_SECONDS):
                claimed = self.recent()
                self._note_claimed(max(uidnext, self._unclaimed_from()))
                return claimed
        except StoreError:
            return self.recent()

    def _unclaimed_from(self) -> int:
        found = None
        if self._index is not None:
            found = snapshot.read_recent(self._index, self._driver.uidvalidity)
        if found is not None:
            return found
        return self._history.ledger.uidnext if self._first_recent is None else self._first_recent

    def _note_claimed(self, uid: int) -> None:
        self._first_recent = uid
        if self._index is None:
            return
        try:
            snapshot.write_recent(self._index, self._driver.uidvalidity, uid)
        except OSError as error:
            self._complain(f"write({snapshot.RECENT}) failed: {error.strerror}")

    def _note_unclaimed(self, uid: int) -> None:
        """Write down from where on nobody claimed anything, where that is not written yet.

        What we save ourselves is unclaimed even with flags, which put it into cur/.
        """
        if self._index is None or self._recent_noted or self._index_failed:
            return
        self._recent_noted = True
        try:
            if snapshot.read_recent(self._index, self._driver.uidvalidity) is None:
                snapshot.start_recent(self._index, self._driver.uidvalidity, uid)
        except OSError as error:
            self._complain(f"write({snapshot.RECENT}) failed: {error.strerror}")

    # Reading

    def body(self, uid: int) -> Body:
        """A message's octets. Raises MessageGone, StoreError."""
        if not self._synced:
            self.refresh()
        for attempt in range(RETRIES):
            self._guess(self._rows((uid,)) if self._driver.behind else ())
            try:
                return self._driver.body(uid)
            except Moved:
                self._look_again(attempt)
        raise InUse("Timeout while waiting for lock")

    def _beginnings(self, uids: Sequence[int], most: int, *, whole: bool) -> Iterator[bytes]:
        """As `BoxDriver.beginnings`."""
        if not self._synced:
            self.refresh()
        return self._driver.beginnings(uids, most, whole=whole)

    def _look_again(self, attempt: int) -> None:
        """A message is not where it was. Without a watch, a change of just now proves nothing before the clock has ticked."""
        if attempt >= PATIENCE:
            time.sleep(PAUSE)
        self._stamp = b""
        self.refresh()

    def _sizes(self, uids: "array[int]") -> Sequence[int]:
        """RFC822.SIZE of messages as far as it is known, else -1."""
        ledger = self._history.ledger
        every, sizes = ledger.column(UIDS), ledger.column(SIZES)
        start = place_of(every, uids[0]) if uids else 0
        if start >= 0 and every[start : start + len(uids)] == uids:
            return sizes[start : start + len(uids)]
        places = [place_of(every, uid) for uid in uids]
        return [sizes[place] if place >= 0 else -1 for place in places]

    def _learn_sizes(self, sizes: dict[int, int]) -> None:
        self._history.ledger.learn_sizes(sizes)

    def email_ids(self, uids: Uids) -> list[bytes | None]:
        """EMAILID of each message (RFC 8474); None where it is gone."""
        if not self._synced:
            self.refresh()
        return [None if known is None else email_id(known) for known in self._driver.identities(uids)]

    def _rows(self, uids: Uids) -> list[Row]:
        """The messages that are there, as the columns have them."""
        ledger = self._history.ledger
        places, seen = places_of(ledger.column(UIDS), uids), self._driver.private_seen()
        flags, keywords, sets = ledger.column(FLAGS), ledger.column(KEYWORDS), ledger.sets
        rows = [
            Row(uid, _NO_REF, flags[place], sets[keywords[place]], UNKNOWN_DATE, None, b"", None)
            for uid, place in zip(uids, places, strict=True)
            if place >= 0
        ]
        if seen is None:
            return rows
        return [row._replace(flags=row.flags & ~SEEN | (SEEN if row.uid in seen else 0)) for row in rows]

    # The index

    def discard_index(self) -> None:
        """Before the first refresh: believe nothing of the index; it is written anew from the store, with modseqs beyond all that were given."""
        self._opened = True
        self._history.discard()
        self._messages.discard()

    def check_index(self) -> list[str]:
        """What is damaged in the index's files, a line each."""
        return self._history.check()

    def _open_index(self) -> None:
        self._opened = True
        if self._index is None or not self._history.open():
            return
        ledger = self._history.ledger
        uids = ledger.column(UIDS)
        self._generation = self._history.names
        remembered = names.Names(self._index, self._generation)
        self._synced = True
        guid = self._history.guid
        if self._driver.adopt(
            self._history.stamp,
            ledger.uidvalidity,
            guid,
            ledger.uidnext,
            uids,
            remembered,
            frozenset(self._history.behind),
        ):
            self._stamp = self._history.stamp
            self._shown_seen = self._driver.private_seen() or frozenset()
            return
        try:
            self._shown_seen = self._driver.private_seen() or frozenset()
            self._take(self._driver.sync(self.columns(), b""))
        except MailboxReplaced:  # of the same name, but another one: the index is worth nothing
            self._driver.disown()
            self._history.reset()
            self._synced = False
            self._generation = b""

    def _keep_index(self) -> None:
        """Note where messages are and what the store looked like, so that the next session need not look for itself."""
        self._unkept = False
        if self._index is None or self._index_failed or not self._synced or not self._driver.uidvalidity:
            return
        if self._driver.behind and self._stamp and self._stamp == self._history.stamp:
            return
        try:
            moved, everything = self._driver.moved(), self._driver.remembered
            self._generation = names.keep(self._index, self._generation, moved, everything)
            self._driver.kept()
            doubtful = self._history.owed or not self._stamp or self._driver.behind
            stamp = b"" if doubtful else self._driver.lasting_stamp()
            self._history.keep(stamp, self._generation)
            self.kept_stamp = stamp
        except FileNotFoundError:  # the mailbox was deleted, and its index with it
            return
        except OSError as error:
            self._complain(f"write({names.NAME}) failed: {error.strerror}")
        except MailboxReplaced:
            return
        except StoreError as error:
            self._complain(f"{snapshot.NAME} is not written: {error}")

    def _guess(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if row.uid in self._driver.behind:
                self._driver.guess(row)

    def proof_with(self, changed: Sequence[Row]) -> bytes:
        """The driver's proof, if whoever reads it finds every message by the names that are written down, or is told which may have moved."""
        moved = self._driver.moved()
        if not self._stamp or moved is None or len(moved) > MAX_BEHIND or self._history.owed:
            return b""
        if self._generation != self._history.names or not self._generation:
            return b""
        told = self._history.behind.union([row.uid for row in changed])
        if not (self._driver.behind <= told and all(uid in told or not moved[uid] for uid in moved)):
            return b""
        return self._driver.proof()

    def _complain(self, text: str) -> None:
        """The index cannot be used: said once, and then this session does without."""
        self._warn(text)
        self._index_failed = True

    def _warn(self, text: str) -> None:
        """Something is wrong with the index: said once."""
        if not self._warned:
            self._warned = True
            self._say(Level.WARNING, f"Mailbox {os.fsdecode(self.name)}: {text}")

    def close(self) -> None:
        """Write the index if it is worth it, give everything back. Idempotent, never raises."""
        if self._driver.closed:
            return
        self._messages.close()
        self._keep_index()
        self._history.close()
        self._driver.close()
        if self._index is not None:
            os.close(self._index)
            self._index = None


def _with_private(columns: LateColumns, seen: frozenset[int]) -> Columns:
    """The index of a shared mailbox, which may be shared too, says nothing of \\Seen."""

    def load(number: int) -> array[int]:
        column = columns.load(number)
        if number != FLAGS:
            return column
        marked = [
            bits | SEEN if uid in seen else bits & ~SEEN
            for uid, bits in zip(columns.uids, column, strict=True)
        ]
        return array("B", marked)

    return late(columns.modseq, columns.uidvalidity, columns.uidnext, columns.keyword_sets, load)
