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
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy.imap.dialect import Dialect, expunge_lines, vanished_lines
from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.flags import RECENT, SYSTEM, Renderer, keyword_bytes
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.response import parenthesised, untagged
from dovecotpy.storage.columns import places_of
from dovecotpy.storage.driver import Columns

if TYPE_CHECKING:
    from dovecotpy.storage.mailbox import Mailbox

GAPS = 100_000
"""UIDs of which the missing ones are looked for in one go."""
_FLAGS = frozenset((b"FLAGS",))
_FLAGS_AND_MODSEQ = frozenset((b"UID", b"FLAGS", b"MODSEQ"))


class Kept(NamedTuple):
    """An answer that holds as long as the same messages under the same numbers are asked for."""

    uids: Sequence[int]
    numbers: Sequence[int]
    rendered: bytes


def _no_filter(name: bytes) -> bytes | None:
    return None


LINES = 1_000
"""Responses put together before they are handed out."""


class Ghost(NamedTuple):
    """A message that is gone and whose expunge was not told yet: its place in the last columns that had it."""

    columns: Columns
    place: int


class View:
    """A session's view of one open mailbox. dialect: what its client has switched on."""

    def __init__(self, mailbox: "Mailbox", *, writable: bool, dialect: Dialect | None = None) -> None:
        self.mailbox = mailbox
        self.writable = writable
        self.dialect = dialect if dialect is not None else Dialect()
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
        self.modseqs_last = mailbox.capabilities.modseq
        """modseqs mean the same to later sessions; else the mailbox was selected with NOMODSEQ"""
        self.saved: array[int] = array("I")
        """UIDs of the last search result that was saved, `$` (RFC 5182)"""
        self.answers: dict[tuple[object, ...], Kept] = {}
        """answers of SORT and THREAD that may be asked for again"""
        self.filter_value: Callable[[bytes], bytes | None] = _no_filter
        """the search keys that a filter stands for (RFC 5466), by its name in small letters"""
        self.batches: dict[tuple[int, int, int], tuple[int, int]] = {}
        """what UIDBATCHES told: how many messages there were, and the largest UID"""
        self._gone: dict[int, Ghost] = {}
        self._before_gone = 0
        """the modseq reached before the first expunge that was not told yet"""
        self._held_back = False
        self._highest_told = 0
        self._changed: set[int] = set()
        self._told: dict[int, int] = {}
        self._dated: Columns | None = None
        self._dates: Sequence[int] = ()
        self._saved_in: Columns | None = None
        self._savedates: Sequence[int] = ()

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

    def dates(self, columns: Columns) -> Sequence[int]:
        """The column of INTERNALDATE, asked for once: the store may have to look the dates up."""
        if self._dated is not columns:
            self._dated = columns
            self._dates = columns.dates
        return self._dates

    def savedates(self, columns: Columns) -> Sequence[int]:
        """The column of save dates, asked for once."""
        if self._saved_in is not columns:
            self._saved_in = columns
            self._savedates = columns.savedates
        return self._savedates

    @property
    def keeps_savedates(self) -> bool:
        """Whether the mailbox knows when messages were saved (RFC 8514)."""
        return self.mailbox.capabilities.savedate

    def spans(self, ranges: sequence.Ranges, *, by_uid: bool) -> list[tuple[int, int]]:
        """Slices of the view (start, end) that a set names, ascending. Raises Mistaken for numbers beyond the
        last. `$` names the saved messages, by number and by UID alike (RFC 5182 section 2.1).

        UIDs that are not there are left out (RFC 3501 section 6.4.8). An empty mailbox has nothing for `*` to
        name.
        """
        if ranges == [sequence.SAVED]:
            if not self.dialect.offers(b"SEARCHRES"):
                raise Mistaken("Invalid messageset")
            return self._spans_of(self.saved)
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

    def _spans_of(self, uids: Sequence[int]) -> list[tuple[int, int]]:
        indexes = [index for index in map(self.index, uids) if index >= 0]
        return [(low, high + 1) for low, high in sequence.ranges_of(indexes)]

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
        if not self._gone:
            self._before_gone = before.modseq
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

    # Modseqs (RFC 7162)

    @property
    def tells_modseqs(self) -> bool:
        """Whether responses have MODSEQ: the client wants it and the mailbox has it."""
        return self.dialect.condstore and self.modseqs_last

    @property
    def flag_items(self) -> frozenset[bytes]:
        """Items of a FETCH response that tells changed flags."""
        return _FLAGS_AND_MODSEQ if self.tells_modseqs else _FLAGS

    def need_modseqs(self) -> None:
        """Raises Mistaken if the mailbox was selected with NOMODSEQ (RFC 7162 section 3.1.2.2)."""
        if not self.modseqs_last:
            raise Mistaken("Mailbox has no permanent mod-sequences.")

    @property
    def highest(self) -> int:
        """The HIGHESTMODSEQ that may be told: below that of every expunge that was not told yet."""
        return self._before_gone if self._gone else self.modseq

    def highest_response(self) -> bytes:
        """OK [HIGHESTMODSEQ], or OK [NOMODSEQ]."""
        if not self.modseqs_last:
            return untagged(b"OK", "No permanent mod-sequences", "NOMODSEQ")
        return untagged(b"OK", "Highest", f"HIGHESTMODSEQ {self.highest}")

    def settle_highest(self) -> bytes:
        """Before a tagged answer: HIGHESTMODSEQ if the client would believe in a higher one while expunges are
        untold, and again when they are told (RFC 7162 sections 3.2 and 6).
        """
        told, self._highest_told = self._highest_told, 0
        if not self.dialect.qresync or not self.modseqs_last:
            return b""
        if self._gone and told > self.highest:
            self._held_back = True
        elif self._gone or not self._held_back:
            return b""
        else:
            self._held_back = False
        return self.highest_response()

    def heard(self, modseq: int) -> None:
        """The client was told this modseq in a response that it asked for."""
        self._highest_told = max(self._highest_told, modseq)

    def highest_of(self, uids: Sequence[int]) -> int:
        """The highest modseq of some messages; 0 if none of them is there."""
        modseqs = self.columns.modseqs
        if len(uids) == len(self.columns.uids):
            return max(modseqs, default=0)
        places = (self.place(uid) for uid in uids)
        return max((modseqs[place] for place in places if place >= 0), default=0)

    def changed_since(self, spans: Iterable[tuple[int, int]], since: int) -> list[tuple[int, int]]:
        """Slices of the view with the messages whose modseq is greater."""
        found: list[int] = []
        modseqs = self.columns.modseqs
        for start, end in spans:
            if self.aligned:
                found += [at for at in range(start, end) if modseqs[at] > since]
            else:
                places = ((at, self.place(self.uids[at])) for at in range(start, end))
                found += [at for at, place in places if place >= 0 and modseqs[place] > since]
        return [(low, high + 1) for low, high in sequence.ranges_of(found)]

    def vanished_earlier(self, since: int, known: sequence.Ranges, matched: int) -> Iterator[bytes]:
        """VANISHED (EARLIER): UIDs of `known` above `matched` that are gone, those expunged after the modseq
        where the store remembers so far back, else all.
        """
        last = self.columns.uidnext - 1
        known = [(max(low, matched + 1), min(high, last)) for low, high in known]
        known = [(low, high) for low, high in known if low <= high]
        changes = self.mailbox.changes(since) if since <= self.modseq else None
        if changes is not None and changes.complete:
            gone = sequence.common(known, sequence.settle(list(changes.vanished), last))
        else:
            gone = []
            for low, high in known:
                for start in range(low, high + 1, GAPS):
                    gone += gaps(self.columns.uids, start, min(start + GAPS - 1, high))
                    yield b""
        if gone:
            yield vanished_lines(sequence.settle(gone, last), earlier=True)

    def told(self, uids: Iterable[int]) -> None:
        """The client has just been told the flags of these messages, as they are in the columns now."""
        uids = array("I", uids)
        places, modseqs = places_of(self.columns.uids, uids), self.columns.modseqs
        self._told.update(
            (uid, modseqs[place]) for uid, place in zip(uids, places, strict=True) if place >= 0
        )

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

    def expunges(self) -> Iterator[bytes]:
        """Look at the store and tell the expunges alone. Raises StoreError."""
        self.look()
        if self._gone:
            yield from self._tell_expunges()

    def _tell_expunges(self) -> Iterator[bytes]:
        """Highest number first, so that no number moves before it is told."""
        gone = self._gone
        uids = sorted(gone)
        indexes = [self.index(uid) for uid in reversed(uids)]
        self.uids = array("I", [uid for uid in self.uids if uid not in gone])
        self.recent.difference_update(gone)
        if self.saved:
            self.saved = array("I", [uid for uid in self.saved if uid not in gone])
        self._gone = {}
        self._align()
        if self.dialect.uidonly or (self.dialect.qresync and self.modseqs_last):
            yield vanished_lines(sequence.ranges_of(uids))
            return
        for start in range(0, len(indexes), LINES):
            yield expunge_lines(indexes[start : start + LINES])

    def _tell_arrivals(self) -> Iterator[bytes]:
        new = self.columns.uids[bisect_right(self.columns.uids, self.last_uid) :]
        if not new:
            return
        recent = self.mailbox.claim_recent() if self.writable else self.mailbox.recent()
        self.uids += new
        self.last_uid = new[-1]
        self._changed.difference_update(new)
        self.recent.update(recent.intersection(new))
        yield self.counts()

    def counts(self) -> bytes:
        """EXISTS, and RECENT for a client that knows of it (RFC 9051 appendix E item 12)."""
        told = b"* %d EXISTS\r\n" % len(self.uids)
        return told if self.dialect.rev2 else told + b"* %d RECENT\r\n" % len(self.recent)

    @property
    def shown_recent(self) -> set[int]:
        """UIDs of messages of which \\Recent is told."""
        return set() if self.dialect.rev2 else self.recent

    def _tell_flags(self, by_uid: bool) -> Iterator[bytes]:
        yield self.new_keywords()
        modseqs, told = self.columns.modseqs, self._told
        changed = array("I", sorted(self._changed))
        places = places_of(self.columns.uids, changed)
        numbers = self._indexes(changed, places)
        news = [
            uid
            for uid, index, place in zip(changed, numbers, places, strict=True)
            if place >= 0 and index >= 0 and told.get(uid) != modseqs[place]
        ]
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
        uids = array("I", uids)
        columns = self.columns
        places = places_of(columns.uids, uids)
        if -1 in places:
            uids = array("I", [uid for uid, place in zip(uids, places, strict=True) if place >= 0])
            places = [place for place in places if place >= 0]
        flags = self.render.picked(columns, places, self.shown_recent)
        if self.dialect.uidonly:
            return self._flags_of_uids(uids, places, flags)
        by_uid = by_uid or self.dialect.rev2
        numbers = [index + 1 for index in self._indexes(uids, places)]
        if self.tells_modseqs:
            modseqs = [columns.modseqs[place] for place in places]
            self._highest_told = max(self._highest_told, max(modseqs, default=0))
            lines = zip(numbers, uids, flags, modseqs, strict=True)
            return b"".join([b"* %d FETCH (UID %d FLAGS %b MODSEQ (%d))\r\n" % line for line in lines])
        if by_uid:
            named = zip(numbers, uids, flags, strict=True)
            return b"".join([b"* %d FETCH (UID %d FLAGS %b)\r\n" % line for line in named])
        return b"".join([b"* %d FETCH (FLAGS %b)\r\n" % line for line in zip(numbers, flags, strict=True)])

    def _flags_of_uids(self, uids: "array[int]", places: Sequence[int], flags: Sequence[bytes]) -> bytes:
        """UIDFETCH responses with flags (RFC 9586 section 3.3)."""
        if not self.tells_modseqs:
            named = zip(uids, flags, strict=True)
            return b"".join([b"* %d UIDFETCH (FLAGS %b)\r\n" % line for line in named])
        modseqs = [self.columns.modseqs[place] for place in places]
        self._highest_told = max(self._highest_told, max(modseqs, default=0))
        lines = zip(uids, flags, modseqs, strict=True)
        return b"".join([b"* %d UIDFETCH (FLAGS %b MODSEQ (%d))\r\n" % line for line in lines])

    def _indexes(self, uids: "array[int]", places: Sequence[int]) -> Sequence[int]:
        """As `index`, of messages that are at these places of the columns."""
        if self.aligned and places and max(places) < len(self.uids):
            return places
        return places_of(self.uids, uids)

    def modseq_lines(self, uids: Iterable[int]) -> bytes:
        """A FETCH response with the modseq of each of these messages that is there, for a client that knows the
        flags (RFC 7162 section 3.1.3).
        """
        found = ((self.index(uid), self.place(uid)) for uid in uids)
        return b"".join(
            self.fetch_line(index, place, [], by_uid=True) for index, place in found if place >= 0
        )

    def fetch_line(self, index: int, place: int, pieces: list[bytes], *, by_uid: bool) -> bytes:
        """A FETCH response that was not asked for by items: with UID and MODSEQ where the client wants them (RFC
        7162 section 3.2.4).
        """
        with_modseq = self.tells_modseqs
        if (by_uid or with_modseq or self.dialect.rev2) and not self.dialect.uidonly:
            pieces = [b"UID %d" % self.uids[index], *pieces]
        if with_modseq:
            modseq = self.columns.modseqs[place]
            self._highest_told = max(self._highest_told, modseq)
            pieces.append(b"MODSEQ (%d)" % modseq)
        return b"* %d %b (%b)\r\n" % (self.number(index), self.fetch_word, b" ".join(pieces))

    @property
    def fetch_word(self) -> bytes:
        """What FETCH responses are called (RFC 9586 section 3.3)."""
        return b"UIDFETCH" if self.dialect.uidonly else b"FETCH"

    def number(self, index: int) -> int:
        """What the client calls the message at a place of the view: its number, or its UID where there are no numbers."""
        return self.uids[index] if self.dialect.uidonly else index + 1

    def flags_at(self, place: int, columns: Columns | None = None) -> bytes:
        """The flags of the message at a place of the columns (the present ones), rendered."""
        columns = columns or self.columns
        system = columns.flags[place]
        if columns.uids[place] in self.recent and not self.dialect.rev2:
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
    uids = columns.uids
    place = bisect_left(uids, uid)
    return place if place < len(uids) and uids[place] == uid else -1


def gaps(uids: "array[int]", low: int, high: int) -> list[tuple[int, int]]:
    """Ranges of UIDs from low to high that are not there, ascending."""
    start = bisect_left(uids, low)
    end = bisect_right(uids, high, start)
    if end - start == high - low + 1:
        return []
    found = []
    for first, last in sequence.ranges_of(uids[start:end]):
        if low < first:
            found.append((low, first - 1))
        low = last + 1
    if low <= high:
        found.append((low, high))
    return found


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
