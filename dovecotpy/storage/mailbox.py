"""A mailbox as protocols see it: columns that follow the store by modseq. Exists once, on top of any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.search.arrange import Threads, sort_messages, thread_messages
from dovecotpy.search.evaluate import Found, Progress, evaluate
from dovecotpy.search.query import Query, needs_text
from dovecotpy.search.sort import Program
from dovecotpy.search.thread import Algorithm
from dovecotpy.storage.answers import Batch, answers
from dovecotpy.storage.copying import Copied, Copying
from dovecotpy.storage.driver import (
    BoxDriver,
)
from dovecotpy.storage.flagging import Operation
from dovecotpy.storage.index.text import TextIndex
from dovecotpy.storage.items import Caching, Item
from dovecotpy.storage.objectid import mailbox_id
from dovecotpy.storage.tracked import Changes, Uids
from dovecotpy.storage.writing import CHUNK, Appended, Stored

CHORE_SLICE = 0.01
"""Seconds of work between two looks at a quiet client."""


__all__ = ["CHUNK", "Appended", "Changes", "Copied", "Mailbox", "Operation", "Stored"]


class Mailbox(Copying):
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
        super().__init__(driver, name, index, say, writable=writable, caching=caching)
        self._text: TextIndex | None = None
        self._chores: Iterator[None] | None = None
        self._chored = (-1, -1)
        """messages and UIDNEXT when the last chores were begun"""
        self.text_limit: int | None = 0
        """octets that the text index may have, 0 for no bound; None: there is none"""

    def fetch(self, uids: Uids, items: frozenset[Item]) -> Iterator[Batch]:
        """ENVELOPE, BODY, BODYSTRUCTURE, RFC822.SIZE and what `items.fields_item` names, ready to send and valid in every mode.

        Raises StoreError.
        """
        return answers(self._messages, self._sizes, uids, items)

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
        return self._unkept or self._chores is not None or self._chored != self._extent()

    def _extent(self) -> tuple[int, int]:
        columns = self.columns()
        return len(columns.uids), columns.uidnext

    def work(self) -> None:
        """A slice of what can be done while the client is quiet: the text index of mailboxes whose text was searched. Raises nothing."""
        if self._unkept:
            self._keep_index()
            return
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

    def measure(self, uid: int) -> None:
        """Read a message for its true size. Raises StoreError."""
        self._messages.size(uid)

    def forget_answers(self, uids: Uids) -> None:
        """What was rendered of these messages is to be rendered again; if there are any, that of all."""
        if uids:
            self._messages.discard()
            self._key_files.discard()

    def close(self) -> None:
        """Write the index if it is worth it, give everything back. Idempotent, never raises."""
        self._chores = None
        if self._text is not None:
            self._text.close()
        super().close()
