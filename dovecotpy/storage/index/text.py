"""The text index of a mailbox: which messages hold a key, told from files of collation keys where those have the messages.

What a search asks about and the files do not have is read, put into the files and looked at there. Messages that are not there in the
end, or about which the files cannot say it for certain, are named as unknown: the search reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Protocol

from dovecotpy.message.text import BodyText, HeaderText
from dovecotpy.search import query as q
from dovecotpy.search.evaluate import Occurrences
from dovecotpy.storage.errors import StoreError
from dovecotpy.storage.index.textfile import (
    BODIES,
    CHUNK_MESSAGES,
    CHUNK_OCTETS,
    HEADERS,
    MAX_TEXT,
    ODD,
    UNREAD,
    Record,
    TextFile,
)

PASSED = 4096
"""Messages that are there already looked at between two pauses."""
TOGETHER = 64
"""Headers read between two pauses."""
MAX_WAITING = 8
"""Chunks that wait for the lock; past it their messages are read again another time."""


class Reader(Protocol):
    """Reads what is not in the files yet. None: the message is gone."""

    def header_keys(self, uids: Sequence[int]) -> Iterator[HeaderText | None]:
        """As storage.source.Messages.header_keys."""

    def text_keys(
        self, uid: int, most: int, *, with_header: bool
    ) -> Generator[None, None, tuple[HeaderText | None, BodyText | None] | None]:
        """As storage.source.Messages.text_keys."""


class TextIndex:
    """The text index as one session uses it. Raises what the reader raises, nothing else.

    directory: of the INDEX, not taken over. most: octets of both files together, 0 for no bound. complain: told once why nothing can
    be written.
    """

    def __init__(
        self,
        directory: int,
        guid: bytes,
        uidvalidity: int,
        reader: Reader,
        most: int,
        complain: Callable[[str], None],
    ) -> None:
        self._reader = reader
        self._most = most
        self._complain = complain
        self._usable = True
        self._headers = _Writer(TextFile(directory, HEADERS, 1, guid, uidvalidity))
        self._bodies = _Writer(TextFile(directory, BODIES, 2, guid, uidvalidity))

    @property
    def size(self) -> int:
        """Octets of both files."""
        return self._headers.file.size + self._bodies.file.size

    # What a search asks

    def occurrences(
        self, term: "q.Header | q.Body | q.Text", key: bytes, uids: Sequence[int]
    ) -> Generator[int, None, Occurrences]:
        """Which of the messages match a term. key: of its text. Yields how many messages are done, between two pieces of work."""
        if not _can_look_for(term, key):
            return Occurrences(set(), set(uids))
        if isinstance(term, q.Header):
            yield from self._complete(self._headers, uids, self._read_headers)
            return (yield from self._in_fields(term.name.upper(), key, uids))
        if isinstance(term, q.Body):
            yield from self._complete(self._bodies, uids, self._read_bodies_alone)
            return (yield from self._in_area(self._bodies.file, 1, key, uids))
        yield from self._complete(self._bodies, uids, self._read_bodies)
        yield from self._complete(self._headers, uids, self._read_headers)
        result = yield from self._in_area(self._headers.file, 0, key, uids)
        for area in (0, 1):
            left = [uid for uid in uids if uid not in result.holding]
            more = yield from self._in_area(self._bodies.file, area, key, left)
            result.holding.update(more.holding)
            result.unknown.update(more.unknown)
        result.unknown.difference_update(result.holding)
        return result

    def _in_fields(self, name: bytes, key: bytes, uids: Sequence[int]) -> Generator[int, None, Occurrences]:
        """Messages with a field of this name that holds the key."""
        holding: set[int] = set()
        unknown = {uid for uid in uids if uid not in self._headers.file}
        done = 0
        for number, part in self._headers.file.chunks_of(uids).items():
            hits = self._headers.file.look(number, 0, key, part, UNREAD | ODD)
            if hits is None:
                unknown.update(part)
                continue
            for uid, flags, start, end in hits.found:
                if flags:
                    unknown.add(uid)
                elif _in_field(hits.data, start, end, name, key):
                    holding.add(uid)
            done += len(part)
            yield done
        return Occurrences(holding, unknown)

    def _in_area(
        self, file: TextFile, area: int, key: bytes, uids: Sequence[int]
    ) -> Generator[int, None, Occurrences]:
        """Messages with the key anywhere in an area."""
        holding: set[int] = set()
        unknown = {uid for uid in uids if uid not in file}
        done = 0
        for number, part in file.chunks_of(uids).items():
            hits = file.look(number, area, key, part, UNREAD)
            if hits is None:
                unknown.update(part)
                continue
            for uid, flags, _, _ in hits.found:
                (unknown if flags & UNREAD else holding).add(uid)
            done += len(part)
            yield done
        return Occurrences(holding, unknown)

    # Reading what is missing

    def _complete(
        self,
        writer: "_Writer",
        uids: Sequence[int],
        read: "Callable[[Sequence[int]], Generator[int, None, None]]",
    ) -> Generator[int, None, None]:
        writer.file.refresh()
        for done in range(0, len(uids), PASSED):
            yield done
            missing = [uid for uid in uids[done : done + PASSED] if uid not in writer]
            for read_now in read(missing):
                yield done + read_now
        self._flush()

    @property
    def _may_grow(self) -> bool:
        return self._usable and not (self._most and self.size > self._most)

    def _read_headers(self, uids: Sequence[int]) -> Generator[int, None, None]:
        for start in range(0, len(uids), TOGETHER):
            if not self._may_grow:
                return
            part = uids[start : start + TOGETHER]
            for uid, header in zip(part, self._reader.header_keys(part), strict=True):
                if header is not None:
                    self._headers.add(_header_record(uid, header))
            self._flush_full()
            yield start

    def _read_bodies_alone(self, uids: Sequence[int]) -> Generator[int, None, None]:
        return self._read_bodies(uids, with_header=False)

    def _read_bodies(self, uids: Sequence[int], *, with_header: bool = True) -> Generator[int, None, None]:
        for done, uid in enumerate(uids):
            if not self._may_grow:
                return
            for _ in self._read_body(uid, with_header=with_header):
                yield done
            self._flush_full()
            yield done

    def _read_body(self, uid: int, *, with_header: bool) -> Generator[None, None, None]:
        keys = yield from self._reader.text_keys(uid, MAX_TEXT, with_header=with_header)
        if keys is None:
            return
        header, body = keys
        if header is not None and uid not in self._headers:
            self._headers.add(_header_record(uid, header))
        if body is None:
            self._bodies.add(Record(uid, UNREAD, (b"", b"")))
        else:
            self._bodies.add(Record(uid, 0, (body.parts, body.body)))

    def _flush_full(self) -> None:
        if self._bodies.full or self._headers.full:
            self._flush()

    def _flush(self) -> None:
        """Write what was read. Without success the messages stay unknown."""
        try:
            self._headers.flush()
            self._bodies.flush()
        except OSError as error:
            self._usable = False
            self._complain(f"write(dovecotpy.text) failed: {error.strerror}")

    # In the time that nobody waits for

    def work(self, uids: Iterable[int]) -> Generator[None, None, None]:
        """Read what the files do not have, if they are in use at all, and leave out what is gone where that is much.

        Yields between two pieces of work; may be given up at any of them. Raises nothing.
        """
        present = list(uids)
        for writer, read in ((self._bodies, self._read_bodies), (self._headers, self._read_headers)):
            writer.file.refresh()
            if not writer.file.places:
                continue
            try:
                for _ in self._complete(writer, present, read):
                    yield
                yield from writer.file.compact(frozenset(present))
            except (OSError, StoreError):
                return

    def close(self) -> None:
        """Give descriptors back. Idempotent."""
        self._headers.file.close()
        self._bodies.file.close()


class _Writer:
    """A file and the records that wait to be added to it."""

    def __init__(self, file: TextFile) -> None:
        self.file = file
        self._waiting: dict[int, Record] = {}
        self._octets = 0

    def __contains__(self, uid: int) -> bool:
        return uid in self.file or uid in self._waiting

    def add(self, record: Record) -> None:
        self._waiting[record.uid] = record
        self._octets += sum(map(len, record.areas))

    @property
    def full(self) -> bool:
        return len(self._waiting) >= CHUNK_MESSAGES or self._octets >= CHUNK_OCTETS

    def flush(self) -> None:
        """Add what waits. Raises OSError; where somebody else writes just now, it goes on waiting, as far as there is room."""
        if not self._waiting:
            return
        try:
            self.file.append(list(self._waiting.values()))
        except BlockingIOError:
            if (
                len(self._waiting) < MAX_WAITING * CHUNK_MESSAGES
                and self._octets < MAX_WAITING * CHUNK_OCTETS
            ):
                return
        self._waiting.clear()
        self._octets = 0


def _header_record(uid: int, header: HeaderText) -> Record:
    if len(header.key) > MAX_TEXT:
        return Record(uid, UNREAD, (b"",))
    return Record(uid, ODD if header.odd else 0, (header.key,))


def _can_look_for(term: "q.Header | q.Body | q.Text", key: bytes) -> bool:
    """Whether the files can answer for this key: line ends are not kept as they were, nor blanks around a field."""
    if not key or b"\n" in key or b"\r" in key:
        return False
    if isinstance(term, q.Header):
        return term.name.isascii() and b":" not in term.name and key.strip() == key
    return True


def _in_field(data: "bytes | bytearray", start: int, end: int, name: bytes, key: bytes) -> bool:
    """Whether a key stands in the value of a field of this name between two places."""
    at = data.find(key, start, end)
    while at >= 0:
        line = data.rfind(b"\n", start, at) + 1 or start
        line_end = data.find(b"\n", at, end)
        if line_end < 0:
            line_end = end
        colon = data.find(b":", line, line_end)
        if colon >= 0 and data[line:colon].rstrip() == name and data.find(key, colon + 1, line_end) >= 0:
            return True
        at = data.find(key, line_end, end)
    return False
