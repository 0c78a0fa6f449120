"""The cache of one mailbox: values by kind and UID, kept in the form in which they are sent. The files' form: `cachefile`.

What is found is looked for on disk and among what waits to be written. Writing is by whoever read a message first: under
`dovecotpy.cache.lock`, taken last of all locks and never waited for; who does not get it at once writes another time. Nothing is written
over that was committed; readers hold no lock and copy nothing. Whatever is wrong with the files, the answer is "not known" and the message is read again.

Octets count if this boot of the machine committed them, or if they were synced before a head said so. Files may be deleted at any time.
"""

from __future__ import annotations

import errno
import fcntl
import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dovecotpy.storage import files
from dovecotpy.storage.index import cachefile
from dovecotpy.storage.index.cachefile import (
    MAX_COUNT,
    MAX_VALUE,
    OVERSIZE,
    Chunk,
    Head,
    Unusable,
    Values,
    file_name,
)
from dovecotpy.storage.state import BOOT

Kinds = tuple[int, ...]
"""Kinds that are known together."""
FLUSH_OCTETS = 1 << 20
"""Octets that wait at most before they are written."""
CHUNK_LEAST = 64
"""Messages of a chunk that is written before the session ends; fewer wait for others."""
MAX_WAITING = 32 << 20
"""Octets kept in memory where there is no disk to write to; past it all are forgotten."""
SYNC_FROM = 1 << 20
"""Octets written since the last sync from which on it is worth one at the session's end."""
MANY_CHUNKS = 64
"""Chunks beyond twice the number that the messages need, from which on they are written together anew."""
DEAD_PART = 4
"""One message in so many expunged, and at least MAX_COUNT: the rest is written anew."""
QUIET = frozenset(
    (errno.ENOENT, errno.ESTALE, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)
)
"""What happens to an index directory in ordinary life: it is deleted, full, or not ours to write to."""


class Owner(NamedTuple):
    """The mailbox that a cache belongs to."""

    directory: Callable[[], int | None]
    """descriptor of its INDEX directory, kept by the caller; None: memory only"""
    identity: Callable[[], tuple[bytes, int]]
    """GUID and UIDVALIDITY; 0 where it is not known yet"""
    uids: Callable[[], Sequence[int]]
    """messages that are there, ascending"""
    complain: Callable[[str], None]
    """takes a line about a failure"""


class _File:
    """One generation of chunks as far as it was read. Never changed but for new chunks behind the known ones."""

    def __init__(self, descriptor: int, generation: bytes) -> None:
        self.descriptor = descriptor
        self.generation = generation
        self.end = 0
        self.broken = False
        """Some chunk cannot be read, so that those behind it are not found: to be written anew."""
        self.count = 0
        self.chunks: dict[int, list[Chunk]] = {}
        self.ordered: dict[int, bool] = {}
        """Whether the chunks of a kind follow each other without overlap."""
        self.recent: dict[int, tuple[Chunk, Values]] = {}
        """The section of each kind that was read last."""

    def extend(self, committed: int) -> None:
        """Take note of chunks up to the committed length. Raises OSError."""
        while self.end < committed and not self.broken:
            data = os.pread(self.descriptor, cachefile.FIRST_READ, self.end)
            try:
                size = cachefile.index_size(data)
                if size > len(data):
                    data = os.pread(self.descriptor, size, self.end)
                self._add(cachefile.parse_chunk(data, self.end, committed))
            except Unusable:
                self.broken = True

    def _add(self, chunk: Chunk) -> None:
        for kind in chunk.sections:
            chunks = self.chunks.setdefault(kind, [])
            follows = not chunks or chunks[-1].uids[-1] < chunk.uids[0]
            self.ordered[kind] = follows and self.ordered.get(kind, True)
            chunks.append(chunk)
        self.count += 1
        self.end = chunk.end

    def covering(self, kind: int, first: int, last: int) -> Iterator[Chunk]:
        """Chunks that may hold messages of this range."""
        chunks = self.chunks.get(kind, [])
        start = 0
        if self.ordered.get(kind):
            start = bisect_left(chunks, first, key=lambda chunk: chunk.uids[-1])
        for index in range(start, len(chunks)):
            chunk = chunks[index]
            if chunk.uids[0] <= last and chunk.uids[-1] >= first:
                yield chunk
            elif self.ordered[kind]:
                return

    def fill(self, kind: int, uids: "array[int]", found: list[bytes | None]) -> None:
        """Put values into the places that are still empty. Raises OSError."""
        for chunk in self.covering(kind, uids[0], uids[-1]):
            start = bisect_left(uids, chunk.uids[0])
            end = bisect_right(uids, chunk.uids[-1], start)
            if start == end or None not in found[start:end]:
                continue
            values = self.values(kind, chunk)
            if values is None:
                continue
            wanted = uids[start:end]
            first = bisect_left(chunk.uids, wanted[0])
            if chunk.uids[first : first + len(wanted)] == wanted:
                found[start:end] = values.slices(first, first + len(wanted))
            else:
                _scatter(chunk, values, wanted, start, found)

    def values(self, kind: int, chunk: Chunk) -> Values | None:
        """The values of a chunk; None if they cannot be believed. Raises OSError."""
        recent = self.recent.get(kind)
        if recent is not None and recent[0] is chunk:
            return recent[1]
        section = chunk.sections.get(kind)
        if section is None:
            return None
        try:
            data = os.pread(self.descriptor, section.length, section.at)
            values = cachefile.parse_section(data, section, len(chunk.uids))
        except Unusable:
            del chunk.sections[kind]
            return None
        self.recent[kind] = (chunk, values)
        return values

    def close(self) -> None:
        os.close(self.descriptor)


def _scatter(
    chunk: Chunk, values: Values, wanted: "array[int]", start: int, found: list[bytes | None]
) -> None:
    uids = chunk.uids
    for place, uid in enumerate(wanted, start):
        index = bisect_left(uids, uid)
        if index < len(uids) and uids[index] == uid:
            found[place] = values.slices(index, index + 1)[0]


class Rendered:
    """Values of one mailbox's messages. Nothing here raises: what fails is not known, or not kept."""

    def __init__(self, owner: Owner, *, sync: bool, least: int) -> None:
        """sync: whether what is written may be synced. least: messages that the mailbox must have before anything is written."""
        self._owner = owner
        self._sync = sync
        self._least = least
        self._identity = (b"", 0)
        self._file: _File | None = None
        self._waiting: dict[Kinds, dict[int, Sequence[bytes]]] = {}
        self._group: dict[int, Kinds] = {}
        self._octets = 0
        self._flush_at = FLUSH_OCTETS
        self._fresh = 0
        self._unwritable = False

    # Finding

    def look(self) -> None:
        """Take note of what other sessions wrote."""
        identity = self._owner.identity()
        if identity != self._identity:
            self._begin(identity)
        directory = self._owner.directory()
        if directory is None or not identity[1]:
            return
        try:
            self._follow(directory, self._head(directory))
        except OSError as error:
            self._failed("read", error)

    def _begin(self, identity: tuple[bytes, int]) -> None:
        """Another mailbox: nothing that was known is of it."""
        self._identity = identity
        self._waiting.clear()
        self._octets = 0
        self._drop_file()

    def find(self, kind: int, uids: "array[int]") -> list[bytes | None]:
        """Values, parallel to uids (ascending); None where they are not known. OVERSIZE: see cachefile."""
        found: list[bytes | None] = [None] * len(uids)
        if self._file is not None and uids:
            try:
                self._file.fill(kind, uids, found)
            except OSError as error:
                self._failed("read", error)
        waiting = self._waiting.get(self._group.get(kind, ()))
        if waiting and None in found:
            place = self._group[kind].index(kind)
            for at, uid in enumerate(uids):
                if uid in waiting and found[at] is None:
                    found[at] = waiting[uid][place]
        return found

    def holds(self, kind: int) -> int:
        """Messages of which a value of this kind may be known."""
        chunks = self._file.chunks.get(kind, ()) if self._file is not None else ()
        return sum(len(chunk.uids) for chunk in chunks) + len(
            self._waiting.get(self._group.get(kind, ()), ())
        )

    # Keeping

    def keep(self, kinds: Kinds, uid: int, values: Sequence[bytes]) -> None:
        """Remember values of one message, parallel to kinds, which are always the same for a kind."""
        waiting = self._waiting_for(kinds)
        waiting[uid] = self._bounded(values)
        if len(waiting) % MAX_COUNT == 0 or self._octets >= self._flush_at:
            self._relieve()

    def keep_all(self, uids: Sequence[int], columns: Mapping[int, Sequence[bytes]]) -> None:
        """Remember values of several messages, by kind, parallel to uids; kinds that may be known one without the other."""
        full = False
        for kind, values in columns.items():
            waiting = self._waiting_for((kind,))
            before = len(waiting) // MAX_COUNT
            waiting.update(zip(uids, zip(self._bounded(values), strict=True), strict=True))
            full = full or len(waiting) // MAX_COUNT > before
        if full or self._octets >= self._flush_at:
            self._relieve()

    def _waiting_for(self, kinds: Kinds) -> dict[int, Sequence[bytes]]:
        waiting = self._waiting.get(kinds)
        if waiting is None:
            waiting = self._waiting[kinds] = {}
            self._group.update((kind, kinds) for kind in kinds)
        return waiting

    def _bounded(self, values: Sequence[bytes]) -> Sequence[bytes]:
        """Values that are to wait, none too long."""
        octets = sum(map(len, values))
        if octets > MAX_VALUE:
            values = [value if len(value) <= MAX_VALUE else OVERSIZE for value in values]
            octets = sum(map(len, values))
        self._octets += octets
        return values

    def _relieve(self) -> None:
        """Write what waits, or forget it where it cannot be written and is much."""
        self.flush()
        if self._octets >= MAX_WAITING:
            self._waiting.clear()
            self._octets = 0
        self._flush_at = self._octets + FLUSH_OCTETS

    def forget(self, uid: int) -> None:
        """The message is gone for good."""
        for waiting in self._waiting.values():
            waiting.pop(uid, None)

    def discard(self) -> None:
        """Believe nothing that was kept, by whomever; from now on everything is kept anew."""
        self._begin(self._identity)
        directory = self._owner.directory()
        try:
            if directory is not None:
                os.unlink(cachefile.HEAD, dir_fd=directory)
        except FileNotFoundError:
            return
        except OSError as error:
            self._failed("write", error)

    def flush(self) -> None:
        """Write what waits, if nobody else writes now."""
        if any(self._waiting.values()):
            self._write(self._append)

    def settle(self) -> None:
        """A command that read messages is at its end: write what waits, if it is worth a chunk, for sessions that begin now."""
        if sum(map(len, self._waiting.values())) >= CHUNK_LEAST:
            self.flush()

    def close(self) -> None:
        """Write what is worth it and give everything back. Idempotent."""
        self.flush()
        if self._file is not None and self._worn(self._file):
            self._write(self._rewrite)
        elif self._fresh >= SYNC_FROM and self._sync:
            self._write(self._settle)
        self._waiting.clear()
        self._drop_file()

    def _write(self, how: Callable[[int, Head], object]) -> None:
        """Do something under the lock with the head as it is then; without the lock, nothing."""
        directory = self._owner.directory()
        if directory is None or self._unwritable or self._owner.identity() != self._identity:
            return
        if not self._identity[1] or len(self._owner.uids()) < self._least:
            return
        lock = -1
        try:
            lock = _lock(directory)
            if lock >= 0:
                head = self._head(directory)
                if head is not None and self._follow(directory, head) and self._in_place(directory):
                    how(directory, head)
                else:
                    how(directory, self._start(directory))
        except OSError as error:
            self._failed("write", error)
        finally:
            if lock >= 0:
                os.close(lock)

    def _append(self, directory: int, head: Head) -> None:
        """Write what waits behind what is committed, then the head."""
        assert self._file is not None
        if self._file.broken:
            head = self._rewrite(directory, head)
        end = head.committed
        descriptor = os.open(
            file_name(head.generation), os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=directory
        )
        try:
            for kinds, waiting in self._waiting.items():
                uids = array("I", sorted(waiting))
                known = zip(*[self._on_disk(kind, uids) for kind in kinds], strict=True)
                wanted = [uid for uid, row in zip(uids, known, strict=True) if None in row]
                for start in range(0, len(wanted), MAX_COUNT):
                    part = wanted[start : start + MAX_COUNT]
                    chunk = cachefile.pack_chunk(part, _columns(kinds, [waiting[uid] for uid in part]))
                    end = _put(descriptor, chunk, end)
        finally:
            os.close(descriptor)
        self._commit(directory, head._replace(committed=end, boot=BOOT.encode()))
        self._fresh += end - head.committed
        for waiting in self._waiting.values():
            waiting.clear()
        self._octets = 0

    def _on_disk(self, kind: int, uids: "array[int]") -> list[bytes | None]:
        """As `find`, without what waits. Raises OSError."""
        found: list[bytes | None] = [None] * len(uids)
        if self._file is not None and uids:
            self._file.fill(kind, uids, found)
        return found

    def _commit(self, directory: int, head: Head) -> None:
        """Say what counts from now on, and know it ourselves. Raises OSError."""
        descriptor = os.open(
            cachefile.HEAD, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666, dir_fd=directory
        )
        try:
            os.pwrite(descriptor, cachefile.pack_head(head), 0)
        finally:
            os.close(descriptor)
        self._follow(directory, head)

    def _start(self, directory: int) -> Head:
        """A generation without anything in it. Raises OSError."""
        head = Head(*self._identity, os.urandom(8), 0, 0, BOOT.encode())
        os.close(os.open(file_name(head.generation), files.CREATE, 0o666, dir_fd=directory))
        self._commit(directory, head)
        _sweep(directory, head.generation)
        return head

    def _settle(self, directory: int, head: Head) -> None:
        """Make what is committed durable, then say so. Raises OSError."""
        assert self._file is not None
        os.fdatasync(self._file.descriptor)
        self._commit(directory, head._replace(synced=head.committed))
        self._fresh = 0

    # Writing anew

    def _worn(self, file: _File) -> bool:
        """Whether much of the file is of no use any more, or in too many pieces."""
        if file.broken:
            return True
        live = self._owner.uids()
        per_kinds = dict.fromkeys(self._group.values(), 0)
        needed = 0
        for chunks in file.chunks.values():
            held = sum(len(chunk.uids) for chunk in chunks)
            if held >= MAX_COUNT and held - len(live) > held // DEAD_PART:
                return True
            needed = max(needed, len(chunks) and held // MAX_COUNT + 1)
        return file.count > 2 * needed * max(len(per_kinds), 1) + MANY_CHUNKS

    def _rewrite(self, directory: int, head: Head) -> Head:
        """Write the values of live messages into the next generation; the old one goes. Raises OSError."""
        old = self._file
        assert old is not None
        new = head._replace(generation=os.urandom(8), synced=0, boot=BOOT.encode())
        descriptor = os.open(file_name(new.generation), files.CREATE, 0o666, dir_fd=directory)
        try:
            end = 0
            for kinds in _groups(old):
                end = self._copy(old, kinds, descriptor, end)
            if self._sync:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        new = new._replace(committed=end, synced=end if self._sync else 0)
        self._commit(directory, new)
        self._fresh = 0
        _sweep(directory, new.generation)
        return new

    def _copy(self, old: _File, kinds: Kinds, descriptor: int, end: int) -> int:
        live = array("I", self._owner.uids())
        for start in range(0, len(live), MAX_COUNT):
            uids = live[start : start + MAX_COUNT]
            columns: list[list[bytes | None]] = []
            for kind in kinds:
                found: list[bytes | None] = [None] * len(uids)
                old.fill(kind, uids, found)
                columns.append(found)
            rows = _whole_rows(uids, columns)
            if rows:
                chunk = cachefile.pack_chunk(
                    [uid for uid, _ in rows], _columns(kinds, [row for _, row in rows])
                )
                end = _put(descriptor, chunk, end)
        return end

    # The files

    def _head(self, directory: int) -> Head | None:
        """What is committed for this mailbox; None: nothing. Raises OSError."""
        try:
            descriptor = os.open(cachefile.HEAD, files.READ, dir_fd=directory)
        except FileNotFoundError:
            return None
        try:
            record = os.pread(descriptor, cachefile.HEAD_SIZE, 0)
        finally:
            os.close(descriptor)
        try:
            head = cachefile.parse_head(record)
        except Unusable:
            return None
        if (head.guid, head.uidvalidity) != self._identity:
            return None
        if not BOOT or head.boot != BOOT.encode():
            head = head._replace(committed=head.synced)
        return head

    def _follow(self, directory: int, head: Head | None) -> bool:
        """Know what a head speaks of; False if there is nothing of it. Raises OSError."""
        if head is None:
            return False
        file = self._file
        if file is None or file.generation != head.generation or file.end > head.committed:
            try:
                descriptor = os.open(file_name(head.generation), files.READ, dir_fd=directory)
            except FileNotFoundError:
                return False
            self._drop_file()
            file = self._file = _File(descriptor, head.generation)
        file.extend(head.committed)
        return True

    def _in_place(self, directory: int) -> bool:
        """Whether the file that we read is still the one of its name."""
        if self._file is None:
            return False
        there = files.identify(directory, file_name(self._file.generation))
        ours = os.fstat(self._file.descriptor)
        return (there.device, there.inode) == (ours.st_dev, ours.st_ino)

    def _drop_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _failed(self, what: str, error: OSError) -> None:
        """Do without: what is known in memory stays."""
        if what == "write":
            self._unwritable = True
        else:
            self._drop_file()
        if error.errno not in QUIET:
            self._owner.complain(f"{what}({cachefile.HEAD}) failed: {error.strerror}")


def _lock(directory: int) -> int:
    """The lock's descriptor, or -1 if another has it now. Raises OSError."""
    mode = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(cachefile.LOCK, mode, 0o666, dir_fd=directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        held = os.fstat(descriptor)
        there = os.stat(cachefile.LOCK, dir_fd=directory, follow_symlinks=False)
        if (held.st_dev, held.st_ino) == (there.st_dev, there.st_ino):
            return descriptor
    except BlockingIOError:
        os.close(descriptor)
        return -1
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return -1


def _put(descriptor: int, data: bytes, at: int) -> int:
    """Write everything at a place; the place behind it. Raises OSError."""
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view = view[written:]
        at += written
    return at


def _columns(kinds: Kinds, rows: Sequence[Sequence[bytes]]) -> list[tuple[int, Sequence[bytes]]]:
    """Each kind with its values, from rows of messages."""
    return [(kind, [row[place] for row in rows]) for place, kind in enumerate(kinds)]


def _whole_rows(
    uids: "array[int]", columns: Sequence[Sequence[bytes | None]]
) -> list[tuple[int, Sequence[bytes]]]:
    """Messages of which a value of each column is known, and these values."""
    rows: list[tuple[int, Sequence[bytes]]] = []
    for uid, row in zip(uids, zip(*columns, strict=True), strict=True):
        known = [value for value in row if value is not None]
        if len(known) == len(row):
            rows.append((uid, known))
    return rows


def _groups(file: _File) -> list[Kinds]:
    """Kinds that stand together in chunks."""
    found = dict.fromkeys(tuple(chunk.sections) for chunks in file.chunks.values() for chunk in chunks)
    found.pop((), None)  # nothing of that chunk could be believed
    return list(found)


def _sweep(directory: int, generation: bytes) -> None:
    """Remove the chunks of every other generation. Raises OSError."""
    current = file_name(generation)
    for name in os.listdir(directory):
        if cachefile.is_file_name(name) and name != current:
            try:
                os.unlink(name, dir_fd=directory)
            except FileNotFoundError:
                continue
