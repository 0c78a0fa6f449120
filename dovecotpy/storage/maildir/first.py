"""The first sight of a Maildir that nobody gave UIDs yet: names become lines and columns at once, without an object for each message.

What is anything but plain is left to `sync.py`: many messages in new/, names that stand twice or without flags, another program's list of UIDs, a
mailbox that several users share, a directory that does not hold still.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, repeat
from operator import eq
from typing import TYPE_CHECKING

from dovecotpy import clock
from dovecotpy.storage import files
from dovecotpy.storage.driver import Arrivals, Blocks, Delta
from dovecotpy.storage.errors import NoSpace, PermissionDenied
from dovecotpy.storage.maildir import courier, filename, uidlist
from dovecotpy.storage.maildir.listing import Marks
from dovecotpy.storage.maildir.uidlist import Uidlist

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox

CHUNK = 8192
"""Messages that are taken apart at once."""
LARGE = 50_000
"""Messages from which on the list of UIDs is not kept in memory, and names wait packed to be written down."""
MOST_NEW = 1000
"""Messages in new/ that get their UIDs behind all others, whatever their names say."""
LOCK_SECONDS = 10.0
_FOLDER = "cur/"


class Sighted:
    """The names of a first listing, as an index remembers names. uids: ascending; packed: CHUNK names each, NULs between them."""

    def __init__(self, uids: "array[int]", packed: list[bytes]) -> None:
        self._uids = uids
        self._packed = packed
        self._step = CHUNK
        self._open: tuple[int, list[str]] = (-1, [])

    def find(self, uid: int) -> str | None:
        """As `Remembered.find`."""
        place = bisect_left(self._uids, uid)
        if place == len(self._uids) or self._uids[place] != uid:
            return None
        number = place // self._step
        if self._open[0] != number:
            self._open = number, _unpacked(self._packed[number])
        return _FOLDER + self._open[1][place % self._step]

    def several(self, uids: Sequence[int]) -> dict[int, str]:
        """As `Remembered.several`."""
        found = ((uid, self.find(uid)) for uid in uids)
        return {uid: path for uid, path in found if path is not None}

    def all(self) -> Iterable[tuple[int, str]]:
        """As `Remembered.all`."""
        return Blocks(self._blocks())

    def _blocks(self) -> Iterator[tuple["array[int]", list[str]]]:
        for number, packed in enumerate(self._packed):
            uids = self._uids[number * self._step : (number + 1) * self._step]
            yield uids, (_FOLDER + os.fsdecode(packed).replace("\0", "\0" + _FOLDER)).split("\0")

    def close(self) -> None:
        """As `Remembered.close`; the names stay."""
        self._open = (-1, [])


class FirstSight:
    """One of them."""

    def __init__(self, box: MaildirBox) -> None:
        self.box = box

    def run(self) -> Delta | None:
        """None: not plain, and nothing was done that would be in the way. Raises MailboxReplaced, InUse, StoreError, OSError."""
        box = self.box
        if not self._may_be_plain():
            return None
        watched = box.watch()
        if watched:
            box.take_events()
            box.news.clear()
            box.news_lost = False
        before = box.marks()
        aged = before.aged
        waiting = os.listdir(box.new_directory)
        names = os.listdir(box.cur_directory)
        after = box.marks()
        if not (box.take_events() == [] if watched else aged and before == after):
            return None
        names.sort()
        moves = moves_of(waiting, names)
        if not names or moves is None or not put_in_order(names):
            return None
        names += moves.values()
        large = len(names) >= LARGE
        count = len(names)
        packed = _packed(names)
        try:
            first = self._assign(packed, count, large, moves)
        except (PermissionDenied, NoSpace):
            return None
        if not first:
            return None
        recent = list(range(first + count - len(moves), first + count))
        return self._told(packed, array("I", range(first, first + count)), after, large, recent)

    def _may_be_plain(self) -> bool:
        box = self.box
        if (
            box.told
            or box.names
            or box.ghosts
            or not box.loaded
            or box.shared is not None
            or not box.writable
        ):
            return False
        if box.uidvalidity or box.uidlist.uids or box.context.options.mail_nfs_storage:
            return False
        box.refresh_keywords()
        if box.keywords.full or files.identify(box.control, uidlist.NAME) != files.NOWHERE:
            return False
        return courier.uids(box.directory) is None and not courier.keywords(box.directory)

    def _assign(self, packed: list[bytes], count: int, large: bool, moves: dict[str, str]) -> int:
        """Write the list and take messages from new/; the first UID, or 0 where somebody else is at work too."""
        box = self.box
        box.expected = count
        with box.lock(clock.monotonic() + LOCK_SECONDS) as locked:
            if box.uidlist.uids or not box.is_fresh:
                return 0
            box.is_fresh = False
            parts = (_taken_apart(each)[::2] for each in packed)
            first = locked.assign_many(parts, count, keep=not large)
            return first if all(self._move(name, target) for name, target in moves.items()) else 0

    def _move(self, name: str, target: str) -> bool:
        box = self.box
        box.expect(True, False, name)
        box.expect(False, True, target)
        try:
            os.rename(name, target, src_dir_fd=box.new_directory, dst_dir_fd=box.cur_directory)
        except OSError:
            return False
        return True

    def _told(
        self, packed: list[bytes], uids: "array[int]", after: Marks, large: bool, recent: list[int]
    ) -> Delta:
        box = self.box
        arrivals = self._columns(packed, uids)
        box.told = max(box.told, box.uidlist.uidnext)
        box.start_from(Sighted(uids, packed), uids, first=True)
        box.know(Marks(after.new, after.cur, box.listed_mark()), clean=not box.watched)
        box.rely_on_events(after, 0)
        if recent:
            box.settle(own=True)
        if large:
            box.uidlist.close()
            box.uidlist = Uidlist(box.control)
        return Delta([], [], [], box.stamp(), recent, box.told, True, arrivals)

    def _columns(self, packed: list[bytes], uids: "array[int]") -> Arrivals:
        box = self.box
        flags, words, sizes = array("B"), array("I"), array("q")
        bits: dict[str, int] = {}
        numbers: dict[str, int] = {}
        sets: dict[frozenset[str], int] = {frozenset(): 0}
        for each in packed:
            apart = _taken_apart(each)
            infos = apart[1::2]
            for info in set(infos).difference(bits):
                bits[info], keywords = box.understood(info)
                numbers[info] = sets.setdefault(keywords, len(sets))
            flags.frombytes(bytes(map(bits.__getitem__, infos)))
            words.extend(map(numbers.__getitem__, infos))
            if b",W=" in each:
                sizes.extend([-1 if size is None else size for size in map(filename.crlf_size, apart[::2])])
            else:
                sizes.extend(repeat(-1, len(infos)))
        return Arrivals(uids, flags, words, tuple(sets), sizes)


def put_in_order(names: list[str]) -> bool:
    """Put sorted names as UIDs are given; False where one is not plain: hidden, without flags, or its base name stands twice."""
    for start in range(0, len(names), CHUNK):
        part = names[start : start + CHUNK + 1]
        text = ":".join(part)
        if ":." in ":" + text or text.count(":2,") != len(part) or text.count(":") != 2 * len(part) - 1:
            return False
        bases = text.split(":")[::2]
        if any(map(eq, bases, islice(bases, 1, None))):
            return False
        if len(names) < LARGE and not filename.are_in_order(bases):
            names[:] = _in_order(names)
            return True
    return True


def moves_of(waiting: list[str], names: list[str]) -> dict[str, str] | None:
    """Names in new/ and what they are to be in cur/, in the order of their UIDs; None where one is not plain. names: sorted, of cur/."""
    if len(waiting) > MOST_NEW or any(name[0] == "." or ":" in name for name in waiting):
        return None
    for base in waiting:
        place = bisect_left(names, base + ":")
        if place < len(names) and names[place].startswith(base + ":"):
            return None
    return {base: base + ":2," for base in filename.in_order(waiting)}


def _in_order(names: Sequence[str]) -> list[str]:
    by_base = {name.partition(":")[0]: name for name in names}
    return list(map(by_base.__getitem__, filename.in_order(by_base)))


def _packed(names: list[str]) -> list[bytes]:
    """The names, which are taken out of the list meanwhile: both together are too much of a very large mailbox."""
    names.reverse()
    packed = []
    while names:
        part = names[-CHUNK:]
        del names[-CHUNK:]
        part.reverse()
        packed.append(os.fsencode("\0".join(part)))
    return packed


def _taken_apart(data: bytes) -> list[str]:
    """Base names and endings in turn."""
    return os.fsdecode(data).replace("\0", ":").split(":")


def _unpacked(data: bytes) -> list[str]:
    return os.fsdecode(data).split("\0")
