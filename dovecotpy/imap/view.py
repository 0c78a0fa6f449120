"""What a client was told of its selected mailbox: UIDs by message number, followed by modseq.

The store goes on while a client looks away. `View` holds the UIDs in the order of their message numbers, the
columns that its client's knowledge was taken from, and what must still be told: expunges that a command did
not allow to be told (RFC 3501 section 7.4.1), new messages, changed flags. UIDs ascend, so what is new is
whatever lies beyond the largest UID told, and without untold expunges a message number is a place in the
columns.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.flags import RECENT, SYSTEM, Renderer, keyword_bytes
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.response import parenthesised, untagged
from dovecotpy.storage.driver import Columns

if TYPE_CHECKING:
    from dovecotpy.storage.mailbox import Mailbox


class Kept(NamedTuple):
    """An answer that holds as long as the same messages under the same numbers are asked for."""

    uids: Sequence[int]
    numbers: Sequence[int]
    rendered: bytes


LINES = 1_000
"""Responses put together before they are handed out."""


class Ghost(NamedTuple):
    """A message that is gone and whose expunge was not told yet: its place in the last columns that had it."""

    columns: Columns
    place: int


class View:
    """A session's view of one open mailbox."""

    def __init__(self, mailbox: "Mailbox", *, writable: bool) -> None:
        self.mailbox = mailbox
        self.writable = writable
        self.render = Renderer()
        self.modseq = mailbox.refresh()
        self.recent: set[int] = set(mailbox.claim_recent() if writable else mailbox.recent())
        self.columns: Columns = mailbox.columns()
        self.modseq = self.columns.modseq
        self.uids: array[int] = self.columns.uids[:]
        self.last_uid = self.uids[-1] if self.uids else 0
        self.keywords: frozenset[str] = mailbox.keywords()
        self.recent.intersection_update(self.uids)
        self.aligned = True
        """whether the message at index i of the view is the one at index i of the columns"""
        self.answers: dict[tuple[object, ...], Kept] = {}
        """answers of SORT and THREAD that may be asked for again"""
        self._gone: dict[int, Ghost] = {}
        self._changed: set[int] = set()
        self._told: dict[int, int] = {}

    # What the client knows

    def ghost(self, uid: int) -> Ghost | None:
        """What is left of a message whose expunge was not told yet."""
        ghost = self._gone.get(uid)
        return ghost if ghost is not None and ghost.place >= 0 else None

    def place(self, uid: int) -> int:
        """Index of a message in the columns; -1 if it is not there."""
        return place_in(self.columns, uid)

    def index(self, uid: int) -> int:
        """Index of a message in the view (its number less one); -1 if the client does not know it."""
        index = bisect_left(self.uids, uid)
        return index if index < len(self.uids) and self.uids[index] == uid else -1

    def spans(self, ranges: sequence.Ranges, *, by_uid: bool) -> list[tuple[int, int]]:
        """Slices of the view (start, end) that a set names, ascending. Raises Mistaken for numbers beyond the
        last.

        UIDs that are not there are left out (RFC 3501 section 6.4.8). An empty mailbox has nothing for `*` to
        name.
        """
        if by_uid:
            return self._uid_spans(ranges)
        count = len(self.uids)
        if not count:
            if not all(sequence.STAR in pair for pair in ranges):
                raise Mistaken("Invalid messageset")
            return []
        settled = sequence.settle(ranges, count)
        if settled and settled[-1][1] > count:
            raise Mistaken("Invalid messageset")
        return [(low - 1, high) for low, high in settled]

    def _uid_spans(self, ranges: sequence.Ranges) -> list[tuple[int, int]]:
        if not self.uids:
            return []
        spans: list[tuple[int, int]] = []
        for low, high in sequence.settle(ranges, self.uids[-1]):
            start = bisect_left(self.uids, low)
            end = bisect_right(self.uids, high, start)
            if start < end:
                spans.append((start, end))
        return spans

    def uids_of(self, spans: Iterable[tuple[int, int]]) -> "array[int]":
        """The UIDs in some slices of the view."""
        uids = array("I")
        for start, end in spans:
            uids += self.uids[start:end]
        return uids

    # Following the store

    def look(self) -> None:
        """Take note of what happened in the store. Tells nothing yet. Raises StoreError."""
        if self.mailbox.refresh() == self.modseq:
            return
        before = self.columns
        changes = self.mailbox.changes(self.modseq)
        self.columns = self.mailbox.columns()
        self.modseq = self.columns.modseq
        if changes.complete:
            vanished = changes.vanished
        else:
            vanished = sequence.ranges_of(sorted(set(self.uids).difference(self.columns.uids)))
        for low, high in vanished:
            self._lose(before, low, high)
        for uid in changes.appeared:
            self._gone.pop(uid, None)
        self._changed.update(changes.changed)
        self._align()

    def _align(self) -> None:
        self.aligned = self.columns.uids[: len(self.uids)] == self.uids

    def _lose(self, before: Columns, low: int, high: int) -> None:
        start = bisect_left(self.uids, low)
        for uid in self.uids[start : bisect_right(self.uids, high, start)]:
            if uid in self._gone:
                continue
            self._gone[uid] = Ghost(before, place_in(before, uid))

    def told(self, uids: Iterable[int]) -> None:
        """The client has just been told the flags of these messages, as they are in the columns now."""
        places = {uid: self.place(uid) for uid in uids}
        modseqs = self.columns.modseqs
        self._told.update({uid: modseqs[place] for uid, place in places.items() if place >= 0})

    def untold(self, uids: Iterable[int]) -> set[int]:
        """Those of these messages whose flags changed without the client having been told yet."""
        return self._changed.intersection(uids)

    def updates(self, *, expunges: bool, arrivals: bool, by_uid: bool = False) -> Iterator[bytes]:
        """Look at the store and tell what is new, in legal order: EXPUNGE, EXISTS, RECENT, FETCH. Raises
        StoreError.

        expunges: EXPUNGE may be told now. arrivals: new messages may be told now. by_uid: FETCH responses
        name UIDs.
        """
        self.look()
        if expunges and self._gone:
            yield from self._tell_expunges()
        if arrivals:
            yield from self._tell_arrivals()
        if self._changed:
            yield from self._tell_flags(by_uid)

    def _tell_expunges(self) -> Iterator[bytes]:
        """Highest number first, so that no number moves before it is told."""
        gone = self._gone
        indexes = [self.index(uid) for uid in sorted(gone, reverse=True)]
        self.uids = array("I", [uid for uid in self.uids if uid not in gone])
        self.recent.difference_update(gone)
        self._gone = {}
        self._align()
        for start in range(0, len(indexes), LINES):
            part = [index + 1 for index in indexes[start : start + LINES]]
            yield (b"* %d EXPUNGE\r\n" * len(part)) % tuple(part)

    def _tell_arrivals(self) -> Iterator[bytes]:
        new = self.columns.uids[bisect_right(self.columns.uids, self.last_uid) :]
        if not new:
            return
        recent = self.mailbox.claim_recent() if self.writable else self.mailbox.recent()
        self.uids += new
        self.last_uid = new[-1]
        self._changed.difference_update(new)
        self.recent.update(recent.intersection(new))
        yield b"* %d EXISTS\r\n* %d RECENT\r\n" % (len(self.uids), len(self.recent))

    def _tell_flags(self, by_uid: bool) -> Iterator[bytes]:
        yield self.new_keywords()
        modseqs = self.columns.modseqs
        news = []
        for uid in sorted(self._changed):
            place = self.place(uid)
            if place >= 0 and self.index(uid) >= 0 and self._told.get(uid) != modseqs[place]:
                news.append(uid)
        self._changed.clear()
        self._told.clear()
        for start in range(0, len(news), LINES):
            yield self.flags_lines(news[start : start + LINES], by_uid=by_uid)

    def new_keywords(self) -> bytes:
        """FLAGS and PERMANENTFLAGS again if the mailbox has keywords that the client was not told of, else
        nothing.
        """
        keywords = self.mailbox.keywords()
        if keywords <= self.keywords:
            return b""
        self.keywords = keywords
        return self.flags_response()

    def flags_lines(self, uids: Iterable[int], *, by_uid: bool) -> bytes:
        """A FETCH response with the flags of each of these messages that is there."""
        found = ((self.index(uid), self.place(uid)) for uid in uids)
        return b"".join(self._flags_line(index, place, by_uid) for index, place in found if place >= 0)

    def _flags_line(self, index: int, place: int, by_uid: bool) -> bytes:
        rendered = self.flags_at(place)
        if by_uid:
            return b"* %d FETCH (UID %d FLAGS %b)\r\n" % (index + 1, self.uids[index], rendered)
        return b"* %d FETCH (FLAGS %b)\r\n" % (index + 1, rendered)

    def flags_at(self, place: int, columns: Columns | None = None) -> bytes:
        """The flags of the message at a place of the columns (the present ones), rendered."""
        columns = columns or self.columns
        system = columns.flags[place]
        if columns.uids[place] in self.recent:
            system |= RECENT
        return self.render.one(system, columns.keyword_sets[columns.keywords[place]])

    def flags_response(self) -> bytes:
        """FLAGS and PERMANENTFLAGS (RFC 3501 sections 7.2.6 and 7.1)."""
        names = [*SYSTEM, *keyword_bytes(self.keywords)]
        flags = b"* FLAGS " + parenthesised(names) + b"\r\n"
        if not self.writable:
            return flags + untagged(b"OK", "Read-only mailbox.", "PERMANENTFLAGS ()")
        if len(self.keywords) < self.mailbox.capabilities.max_keywords:
            names.append(b"\\*")
        code = "PERMANENTFLAGS " + parenthesised(names).decode("ascii")
        return flags + untagged(b"OK", "Flags permitted.", code)


def place_in(columns: Columns, uid: int) -> int:
    """Index of a message in some columns; -1 if it is not there."""
    place = bisect_left(columns.uids, uid)
    return place if place < len(columns.uids) and columns.uids[place] == uid else -1


def with_flag(columns: Columns, bit: int, *, absent: bool = False) -> Sequence[int]:
    """Places in the columns of the messages that have (or have not) a system flag, ascending."""
    wanted = bytes((bool(value & bit) is not absent) for value in range(256))
    marks = columns.flags.tobytes().translate(wanted)
    places = []
    place = marks.find(1)
    while place >= 0:
        places.append(place)
        place = marks.find(1, place + 1)
    return places
