"""A mailbox as protocols see it: columns that follow the store by modseq. Exists once, on top of any format."""

from __future__ import annotations

import enum
import os
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.search.arrange import Memory, Threads, sort_messages, thread_messages
from dovecotpy.search.evaluate import Found, Progress, evaluate
from dovecotpy.search.query import Query, needs_text
from dovecotpy.search.sort import Program
from dovecotpy.search.thread import Algorithm
from dovecotpy.storage.answers import READ_BATCH, Batch, answers
from dovecotpy.storage.columns import FLAGS, KEYWORDS, MODSEQS, SIZES, UIDS, LateColumns, late, place_of
from dovecotpy.storage.driver import (
    UNKNOWN_DATE,
    Body,
    BoxDriver,
    Capabilities,
    Changed,
    Columns,
    Delta,
    Draft,
    DraftBody,
    Gone,
    Locked,
    Moved,
    Ref,
    Row,
    Wait,
)
from dovecotpy.storage.errors import (
    InUse,
    LimitReached,
    MailboxReplaced,
    MessageGone,
    PermissionDenied,
    StoreError,
)
from dovecotpy.storage.flags import SEEN
from dovecotpy.storage.index import names, snapshot
from dovecotpy.storage.index.history import History, Noted
from dovecotpy.storage.index.keyfile import KeyFiles
from dovecotpy.storage.index.rendered import Owner, Rendered
from dovecotpy.storage.index.text import TextIndex
from dovecotpy.storage.objectid import email_id, mailbox_id
from dovecotpy.storage.source import Caching, Item, Messages

Uids = Sequence[int]
LOCK_SECONDS = 10.0
"""How long a write waits for another writer before NO [INUSE]."""
CHUNK = 1000
"""Messages of a STORE, MOVE or EXPUNGE under one taking of the lock."""
RETRIES = 20
"""Looks for a message that is renamed while we try to open it."""
CHORE_SLICE = 0.01
"""Seconds of work between two looks at a quiet client."""
PATIENCE = 3
"""Looks before there is a pause between them."""
PAUSE = 0.005
"""Seconds; all pauses together are longer than a tick of the file system's clock."""
POUR = 1 << 18
"""Octets of a message that are copied at a time."""
READ_LOCK_SECONDS = 0.25
"""How long a look waits for the index lock; without it, what was known serves on."""
SAVE_NAMES_FROM = 1000
"""Where so many messages are is written down as soon as they were found for the first time."""
MAX_KEYWORDS = 2000


class Operation(enum.Enum):
    """What STORE does with flags."""

    ADD = "+"
    REMOVE = "-"
    REPLACE = "="


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


class Stored(NamedTuple):
    """UIDs by what became of them."""

    changed: Uids
    modified: Uids
    """not changed, because somebody else changed them after `unchanged_since`"""
    gone: Uids


class Appended(NamedTuple):
    """Where new messages are."""

    uidvalidity: int
    uids: Uids


class Copied(NamedTuple):
    """Which messages became which."""

    uidvalidity: int
    source: Uids
    destination: Uids


class Mailbox:
    """One mailbox, opened by `Store.open`.

    name: as the client wrote it. index: descriptor of its INDEX directory, taken over; None: INDEX=MEMORY. say: log lines about the index.
    """

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
        self._history = History(index, driver, self._heard, self._warn)
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
        self._messages = Messages(self.body, self._learn_sizes, rendered, caching.kept)
        self._messages.email_id = lambda uid: self.email_ids((uid,))[0]
        self._generation = b""
        """of the names that the driver was given, or that were kept since"""
        self._index_failed = False
        self._warned = False
        self._shown_seen: frozenset[int] = frozenset()
        self._opened = False
        self._key_files = KeyFiles(owner, least=caching.least)
        self._keys = Memory(self._key_files if caching.kept.keys else None)
        self._text: TextIndex | None = None
        self._chores: Iterator[None] | None = None
        self._chored = (-1, -1)
        """messages and UIDNEXT when the last chores were begun"""
        self.text_limit: int | None = 0
        """octets that the text index may have, 0 for no bound; None: there is none"""

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
        self._history.keep_learnt()
        self._history.served = True
        return self._history.ledger.modseq

    def _take(self, delta: Delta, wait: float = READ_LOCK_SECONDS) -> None:
        first = not self._synced
        self._synced = True
        self._stamp = delta.stamp
        if first and not self._history.ledger.modseq:
            wait = LOCK_SECONDS
        self._note(delta.appeared, delta.changed, delta.vanished, delta.uidnext, wait=wait)
        for uid in delta.vanished:
            self._messages.forget(uid)
            self._keys.forget(uid)
        if self._first_recent is None:
            self._first_recent = min(delta.recent, default=delta.uidnext)
            self._note_unclaimed(self._first_recent)
        if first and len(delta.appeared) >= SAVE_NAMES_FROM:
            self._keep_index()

    def _note(
        self,
        appeared: Sequence[Row],
        changed: Sequence[Row],
        vanished: Sequence[int],
        uidnext: int = 0,
        *,
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
        noted = self._history.note(appeared, changed, vanished, uidnext, bumped=bumped, wait=wait)
        if noted is Noted.HELD and not self._history.ledger.modseq:
            self._history.alone()
            noted = self._history.note(appeared, changed, vanished, uidnext, bumped=bumped)
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
        rows = self._driver.known_rows()
        if self._driver.private_seen() is not None:
            rows = [row._replace(flags=row.flags & ~SEEN) for row in rows]
        if self._history.reconcile(rows, self._driver.known_until) is Noted.DOUBTFUL:
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

    # Reading

    def body(self, uid: int) -> Body:
        """A message's octets. Raises MessageGone, StoreError."""
        if not self._synced:
            self.refresh()
        for attempt in range(RETRIES):
            try:
                return self._driver.body(uid)
            except Moved:
                self._look_again(attempt)
        raise InUse("Timeout while waiting for lock")

    def _look_again(self, attempt: int) -> None:
        """A message is not where it was. Without a watch, a change of just now proves nothing before the clock has ticked."""
        if attempt >= PATIENCE:
            time.sleep(PAUSE)
        self._stamp = b""
        self.refresh()

    def fetch(self, uids: Uids, items: frozenset[Item]) -> Iterator[Batch]:
        """ENVELOPE, BODY, BODYSTRUCTURE, RFC822.SIZE and what `source.fields_item` names, ready to send and valid in every mode.

        Raises StoreError.
        """
        return answers(self._messages, self._sizes, uids, items)

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

    @property
    def mailbox_id(self) -> bytes:
        """MAILBOXID (RFC 8474)."""
        if not self._driver.guid:
            self.refresh()
        return mailbox_id(self._driver.guid, self._driver.uidvalidity, self.name)

    def search(self, query: Query, within: Uids, budget: float) -> Iterator[Progress | Found]:
        """Evaluate a query; yields at least each 50 ms of work, the answer last. Raises StoreError."""
        return evaluate(
            query,
            self.columns(),
            self._messages,
            within,
            clock.monotonic,
            index=self._text_index() if needs_text(query) else None,
        )

    def _text_index(self) -> TextIndex | None:
        """What saves reading messages to look for text; None: nothing is kept on disk."""
        if self._text is None and self._index is not None and self.text_limit is not None:
            self._text = TextIndex(
                self._index, self.guid, self.uidvalidity, self._messages, self.text_limit, self._complain
            )
        return self._text

    # In the time that nobody waits for

    @property
    def has_chores(self) -> bool:
        """Whether `work` may find something to do."""
        return self._chores is not None or self._chored != self._extent()

    def _extent(self) -> tuple[int, int]:
        columns = self.columns()
        return len(columns.uids), columns.uidnext

    def work(self) -> None:
        """A slice of what can be done while the client is quiet: the text index of mailboxes whose text was searched. Raises nothing."""
        if self._chores is None:
            self._chored = self._extent()
            index = self._text_index() if self._synced else None
            if index is None:
                return
            self._chores = index.work(self.columns().uids)
        deadline = clock.monotonic() + CHORE_SLICE
        for _ in self._chores:
            if clock.monotonic() >= deadline:
                return
        self._chores = None

    def sort(
        self, program: Program, uids: Uids, scores: Mapping[int, int] | None = None
    ) -> Iterator[Progress | Found]:
        """UIDs in the order of a sort program; yields at least each 50 ms of work, the answer last. scores: by UID, for
        RELEVANCY. Raises StoreError.
        """
        return sort_messages(
            program, self.columns(), self._messages, self._keys, uids, clock.monotonic, scores
        )

    def thread(self, algorithm: Algorithm, uids: Uids) -> Iterator[Progress | Threads]:
        """Messages put into threads; yields at least each 50 ms of work, the answer last. Raises StoreError."""
        return thread_messages(algorithm, self.columns(), self._messages, self._keys, uids, clock.monotonic)

    # Writing

    def draft(self) -> DraftBody:
        """A new message to write into; `append` or `replace` takes it. Raises PermissionDenied, NoSpace, StoreError."""
        return self._driver.draft()

    def _lock(self) -> float:
        if not self.writable:
            raise PermissionDenied("Permission denied")
        return clock.monotonic() + LOCK_SECONDS

    def _catch_up(self, locked: Locked) -> None:
        """Under the lock: know what others did before anything is changed. Raises InUse if nothing could be noted."""
        if not self._synced:
            return
        self._history.follow()
        if not self._stamp or self._driver.stamp() != self._stamp:
            self._take(locked.sync(self.columns(), self._stamp), LOCK_SECONDS)
        self._history.probe(LOCK_SECONDS)

    def _merge_placed(self, rows: Sequence[Row]) -> None:
        """Take what was saved into the columns, if everything before it was told."""
        if self._synced and rows and rows[-1].uid < self._driver.told:
            self._note(rows, (), (), self._driver.told, wait=LOCK_SECONDS)
        if rows:
            self._note_unclaimed(rows[0].uid)
        self._stamp = self._driver.settled_stamp() if self._stamp else b""

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

    def append(self, drafts: Sequence[Draft]) -> Appended:
        """Save messages, all or none; durable when it returns. Raises NoSpace, InUse, LimitReached, StoreError."""
        deadline = self._lock()
        for draft in drafts:
            draft.body.finish(draft.internaldate)
        with self._driver.lock(deadline) as locked:
            self._catch_up(locked)
            drafts = [draft._replace(keywords=self._spelled(draft.keywords)) for draft in drafts]
            rows = locked.save(drafts)
            self._merge_placed(rows)
        return Appended(self._driver.uidvalidity, array("I", [row.uid for row in rows]))

    def copy(self, uids: Uids, to: Mailbox, *, move: bool) -> Copied:
        """As `copying` to its end; with move, the originals go when all copies are durable.

        Raises MessageGone, NoSpace, InUse, StoreError.
        """
        if move and not self.writable:
            raise PermissionDenied("Permission denied")
        copied = _finished(self.copying(uids, to))
        if move:
            self.expunge(uids)
        return copied

    def copying(self, uids: Uids, to: Mailbox) -> Generator[None, None, Copied]:
        """Copy messages, all or none, durable; pauses at least each 50 ms of work and returns what became of them.

        Closed before its end, nothing is placed. Raises MessageGone, NoSpace, InUse, StoreError.
        """
        for attempt in range(RETRIES):
            try:
                return (yield from self._copying(uids, to))
            except Moved:
                self._look_again(attempt)
        raise InUse("Timeout while waiting for lock")

    def moving(self, uids: Uids, to: Mailbox) -> Iterator[Copied | None]:
        """Move messages, CHUNK of them at a time: None is a pause, each Copied is what was moved, durably, and is no longer here.

        Closed before its end, what was not told yet stays where it was. Raises as `copying`; what was moved before stays moved.
        """
        if not self.writable:
            raise PermissionDenied("Permission denied")
        for start in range(0, len(uids), CHUNK):
            part = uids[start : start + CHUNK]
            copying = self.copying(part, to)
            while True:
                try:
                    next(copying)
                except StopIteration as stop:
                    copied: Copied = stop.value
                    break
                yield None
            self.expunge(part)
            yield copied

    def _copying(self, uids: Uids, to: Mailbox) -> Generator[None, None, Copied]:
        if not self._synced:
            self.refresh()
        if not set(uids).issubset(self._history.ledger.column(UIDS)):
            raise MessageGone("Some of the requested messages no longer exist.")
        with to._driver.lock(to._lock()) as locked:
            to._catch_up(locked)
            placed = yield from locked.link(self._driver, self._rows_for(to, uids))
            if placed is not None:
                to._merge_placed(placed)
        if placed is None:
            destination = yield from to._copying_octets(self, uids)
        else:
            destination = array("I", [row.uid for row in placed])
        return Copied(to._driver.uidvalidity, array("I", uids), destination)

    def _rows_for(self, to: Mailbox, uids: Uids) -> Iterator[Row]:
        """Rows with keywords as the other mailbox spells them, looked up as they are needed."""
        spelled: dict[frozenset[str], frozenset[str]] = {}
        for start in range(0, len(uids), CHUNK):
            for row in self._rows(uids[start : start + CHUNK]):
                words = row.keywords
                if words not in spelled:
                    spelled[words] = to._spelled(words)
                yield row._replace(keywords=spelled[words]) if words else row

    def _copying_octets(self, origin: Mailbox, uids: Uids) -> Generator[None, None, Uids]:
        drafts: list[Draft] = []
        try:
            for start in range(0, len(uids), READ_BATCH):
                rows = self._rows_of(origin, uids[start : start + READ_BATCH])
                identities = origin._driver.identities([row.uid for row in rows])
                for row, identity in zip(rows, identities, strict=True):
                    body = self._driver.draft()
                    drafts.append(Draft(body, row.flags, row.keywords, row.internaldate, identity))
                    yield from _pouring(origin.body(row.uid), body)
                    body.finish(row.internaldate)
            return self.append(drafts).uids
        except BaseException:
            for draft in drafts:
                draft.body.abandon()
            raise

    def _rows_of(self, origin: Mailbox, uids: Uids) -> list[Row]:
        dates = origin._driver.dates(uids)
        rows = origin._rows(uids)
        if len(rows) < len(uids):
            raise MessageGone("Some of the requested messages no longer exist.")
        return [row._replace(internaldate=date) for row, (date, _) in zip(rows, dates, strict=True)]

    def replace(self, uid: int, to: Mailbox, draft: Draft) -> Appended:
        """Save a message and expunge another one in its stead (RFC 8508). Raises as `append`, MessageGone."""
        if not self._rows([uid]):
            raise MessageGone("Some of the requested messages no longer exist.")
        appended = to.append([draft])
        self.expunge([uid])
        return appended

    def expunge(self, uids: Uids) -> Uids:
        """Remove messages for good; those that are gone now. Works on a full disk. Raises InUse, StoreError."""
        gone = array("I")
        for start in range(0, len(uids), CHUNK):
            with self._driver.lock(self._lock()) as locked:
                self._catch_up(locked)
                rows = self._rows(uids[start : start + CHUNK])
                removed = locked.remove(rows)
                self._note((), (), removed, wait=LOCK_SECONDS)
                self._stamp = self._driver.settled_stamp() if self._stamp else b""
            for uid in removed:
                self._messages.forget(uid)
                self._keys.forget(uid)
            gone.extend(removed)
        return gone

    def store(
        self,
        uids: Uids,
        op: Operation,
        flags: int,
        keywords: frozenset[str],
        unchanged_since: int | None = None,
    ) -> Stored:
        """Change flags; on disk before it returns. Raises LimitReached, NoSpace, InUse, StoreError."""
        changed, modified, gone = array("I"), array("I"), array("I")
        keywords = self._spelled(keywords)
        for start in range(0, len(uids), CHUNK):
            with self._driver.lock(self._lock()) as locked:
                self._catch_up(locked)
                part = _Store(self, locked, op, flags, keywords, unchanged_since)
                part.run(uids[start : start + CHUNK])
            changed.extend(part.changed)
            modified.extend(part.modified)
            gone.extend(part.gone)
        return Stored(changed, modified, gone)

    def _rows(self, uids: Uids) -> list[Row]:
        """The messages that are there, as the columns have them."""
        ledger = self._history.ledger
        flags, keywords, seen = ledger.column(FLAGS), ledger.column(KEYWORDS), self._driver.private_seen()
        rows = []
        for uid in uids:
            place = ledger.place(uid)
            if place >= 0:
                bits = flags[place] if seen is None else flags[place] & ~SEEN | (SEEN if uid in seen else 0)
                words = ledger.sets[keywords[place]]
                rows.append(Row(uid, Ref(b""), bits, words, UNKNOWN_DATE, None, b"", None))
        return rows

    def _spelled(self, keywords: frozenset[str]) -> frozenset[str]:
        """Keywords in the spelling that the mailbox has already; they are the same whatever their case (RFC 3501 section 2.3.2)."""
        if not keywords:
            return keywords
        defined = self.keywords()
        known = {word.lower(): word for word in defined}
        spelled = frozenset(known.get(word.lower(), word) for word in keywords)
        if len(spelled | defined) > MAX_KEYWORDS:
            raise LimitReached("Too many keywords in this mailbox")
        return spelled

    # The index

    def discard_index(self) -> None:
        """Before the first refresh: believe nothing of the index; it is written anew from the store, with modseqs beyond all that were given."""
        self._opened = True
        self._history.discard()
        self._messages.discard()

    def check_index(self) -> list[str]:
        """What is damaged in the index's files, a line each."""
        return self._history.check()

    def measure(self, uid: int) -> None:
        """Read a message for its true size. Raises StoreError."""
        self._messages.size(uid)

    def forget_answers(self, uids: Uids) -> None:
        """What was rendered of these messages is to be rendered again; if there are any, that of all."""
        if uids:
            self._messages.discard()
            self._key_files.discard()

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
            self._history.stamp, ledger.uidvalidity, guid, ledger.uidnext, uids, remembered
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
        if self._index is None or self._index_failed or not self._synced or not self._driver.uidvalidity:
            return
        try:
            moved, everything = self._driver.moved(), self._driver.remembered
            self._generation = names.keep(self._index, self._generation, moved, everything)
            self._driver.kept()
            stamp = b"" if self._history.owed or not self._stamp else self._driver.lasting_stamp()
            self._history.keep(stamp, self._generation)
        except FileNotFoundError:  # the mailbox was deleted, and its index with it
            return
        except OSError as error:
            self._complain(f"write({names.NAME}) failed: {error.strerror}")
        except MailboxReplaced:
            return
        except StoreError as error:
            self._complain(f"{snapshot.NAME} is not written: {error}")

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
        self._chores = None
        if self._text is not None:
            self._text.close()
        if self._index is not None:
            os.close(self._index)
            self._index = None


class _Store:
    """One STORE of up to CHUNK messages under the lock."""

    def __init__(
        self,
        mailbox: Mailbox,
        locked: Locked,
        op: Operation,
        flags: int,
        keywords: frozenset[str],
        unchanged_since: int | None,
    ) -> None:
        self.mailbox = mailbox
        self.locked = locked
        self.op = op
        self.flags = flags
        self.keywords = keywords
        self.unchanged_since = unchanged_since
        self.changed: list[int] = []
        self.modified: list[int] = []
        self.gone: list[int] = []

    def run(self, uids: Uids) -> None:
        box = self.mailbox
        waiting: Sequence[int] = uids
        for _ in range(RETRIES):
            if not waiting:
                break
            waiting = self._attempt(waiting)
        if waiting:
            raise InUse("Timeout while waiting for lock")
        box._stamp = box._driver.settled_stamp() if box._stamp else b""

    def _attempt(self, uids: Uids) -> list[int]:
        """Set what can be set; UIDs that somebody else changed meanwhile, to be looked at again."""
        box = self.mailbox
        ledger = box._history.ledger
        wanted: list[Row] = []
        there = box._rows(uids)
        present = {row.uid for row in there}
        self.gone.extend(uid for uid in uids if uid not in present)
        for row in there:
            if (
                self.unchanged_since is not None
                and ledger.column(MODSEQS)[ledger.place(row.uid)] > self.unchanged_since
            ):
                self.modified.append(row.uid)
                continue
            target = self._target(row)
            if target.flags != row.flags or target.keywords != row.keywords:
                wanted.append(target)
        if not wanted:
            return []
        again: list[int] = []
        done: list[Row] = []
        for target, answer in zip(wanted, self.locked.flags(wanted), strict=True):
            if isinstance(answer, Gone):
                self.gone.append(answer.uid)
                box._stamp = b""
            elif isinstance(answer, Changed):
                done.append(answer.row)
                again.append(answer.row.uid)
                box._stamp = b""
            else:
                done.append(target)
                self.changed.append(target.uid)
        if done and box._note((), done, (), wait=LOCK_SECONDS) is Noted.HELD:
            raise InUse("Timeout while waiting for lock")
        return again

    def _target(self, row: Row) -> Row:
        flags, keywords = self.flags, self.keywords
        if self.op is Operation.ADD:
            flags, keywords = row.flags | flags, row.keywords | keywords
        elif self.op is Operation.REMOVE:
            flags, keywords = row.flags & ~flags, row.keywords - keywords
        uid, ref, _, _, internaldate, savedate, guid, size = row
        return Row(uid, ref, flags, keywords, internaldate, savedate, guid, size)


def _pouring(body: Body, draft: DraftBody) -> Iterator[None]:
    """Copy the octets of one message, with a pause behind each piece."""
    at = 0
    try:
        while True:
            data = body.read(at, POUR)
            if not data:
                return
            draft.write(data)
            at += len(data)
            yield
    finally:
        body.close()


def _finished(work: Generator[None, None, Copied]) -> Copied:
    """What work with pauses returns, without the pauses."""
    while True:
        try:
            next(work)
        except StopIteration as stop:
            copied: Copied = stop.value
            return copied


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
