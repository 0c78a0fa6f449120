"""COPY and MOVE: links where the store can link, else octets."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from typing import NamedTuple

from dovecotpy.message.steps import finished
from dovecotpy.storage.answers import READ_BATCH
from dovecotpy.storage.columns import UIDS, places_of
from dovecotpy.storage.driver import (
    Body,
    Draft,
    DraftBody,
    Moved,
    Row,
)
from dovecotpy.storage.errors import (
    InUse,
    MessageGone,
    PermissionDenied,
)
from dovecotpy.storage.tracked import RETRIES, Uids
from dovecotpy.storage.writing import CHUNK, Appended, Writing

POUR = 1 << 18
"""Octets of a message that are copied at a time."""


class Copied(NamedTuple):
    """Which messages became which."""

    uidvalidity: int
    source: Uids
    destination: Uids


class Copying(Writing):
    """A mailbox whose messages are copied to others."""

    def copy(self, uids: Uids, to: Copying, *, move: bool) -> Copied:
        """As `copying` to its end; with move, the originals go when all copies are durable.

        Raises MessageGone, NoSpace, InUse, StoreError.
        """
        if move and not self.writable:
            raise PermissionDenied("Permission denied")
        copied = finished(self.copying(uids, to))
        if move:
            self.expunge(uids)
        return copied

    def copying(self, uids: Uids, to: Copying) -> Generator[int, None, Copied]:
        """Copy messages, all or none, durable; pauses at least each 50 ms of work, yields how many are placed, returns what became of them.

        Closed before its end, nothing is placed. Raises MessageGone, NoSpace, InUse, StoreError.
        """
        for attempt in range(RETRIES):
            try:
                return (yield from self._copying(uids, to))
            except Moved:
                self._look_again(attempt)
        raise InUse("Timeout while waiting for lock")

    def _copying(self, uids: Uids, to: Copying) -> Generator[int, None, Copied]:
        if not self._synced:
            self.refresh()
        if -1 in places_of(self._history.ledger.column(UIDS), uids):
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

    def _rows_for(self, to: Copying, uids: Uids) -> Iterator[Row]:
        """Rows with keywords as the other mailbox spells them, looked up as they are needed."""
        spelled: dict[frozenset[str], frozenset[str]] = {}
        for start in range(0, len(uids), CHUNK):
            for row in self._rows(uids[start : start + CHUNK]):
                words = row.keywords
                if words not in spelled:
                    spelled[words] = to._spelled(words)
                yield row._replace(keywords=spelled[words]) if words else row

    def _copying_octets(self, origin: Copying, uids: Uids) -> Generator[int, None, Uids]:
        drafts: list[Draft] = []
        try:
            for start in range(0, len(uids), READ_BATCH):
                rows = self._rows_of(origin, uids[start : start + READ_BATCH])
                identities = origin._driver.identities([row.uid for row in rows])
                for row, identity in zip(rows, identities, strict=True):
                    body = self._driver.draft()
                    drafts.append(Draft(body, row.flags, row.keywords, row.internaldate, identity))
                    for _ in _pouring(origin.body(row.uid), body):
                        yield len(drafts) - 1
                    body.finish(row.internaldate)
            return self.append(drafts).uids
        except BaseException:
            for draft in drafts:
                draft.body.abandon()
            raise

    def _rows_of(self, origin: Copying, uids: Uids) -> list[Row]:
        dates = origin._driver.dates(uids)
        rows = origin._rows(uids)
        if len(rows) < len(uids):
            raise MessageGone("Some of the requested messages no longer exist.")
        return [row._replace(internaldate=date) for row, (date, _) in zip(rows, dates, strict=True)]

    def replace(self, uid: int, to: Copying, draft: Draft) -> Appended:
        """Save a message and expunge another one in its stead (RFC 8508). Raises as `append`, MessageGone."""
        if not self._rows([uid]):
            raise MessageGone("Some of the requested messages no longer exist.")
        appended = to.append([draft])
        self.expunge([uid])
        return appended


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
