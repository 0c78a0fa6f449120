"""Whether what is known of a Maildir is still true: stats of its directories, stamps of them, and the watch."""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING

from dovecotpy.storage import files
from dovecotpy.storage.driver import (
    Wait,
)
from dovecotpy.storage.errors import (
    MailboxReplaced,
)
from dovecotpy.storage.files import Shared
from dovecotpy.storage.maildir import uidlist
from dovecotpy.storage.maildir.context import Context
from dovecotpy.storage.maildir.keywords import Keywords
from dovecotpy.storage.maildir.listing import Marks
from dovecotpy.storage.maildir.places import Places
from dovecotpy.storage.maildir.uidlist import Uidlist

if TYPE_CHECKING:
    from dovecotpy.storage.notify import Event, Watch


UNSETTLED_SECONDS = 1.0
"""Until the next look while the last one could not settle everything, such as a lock that another writer held."""
MAX_NEWS = 10_000
"""Events of others that are kept to be applied to what is known; past it a listing is cheaper."""
_STAMP = struct.Struct("<QqQqQQ")


class Watched(Places):
    """The directories of one mailbox."""

    def __init__(self, context: Context, shown: str, directory: int, control: int) -> None:
        super().__init__()
        self.context = context
        self.shown = shown
        self.directory = directory
        self.control = control
        self.new_directory = self.cur_directory = self.tmp_directory = -1
        self.uidlist = Uidlist(control, afresh=context.options.mail_nfs_storage)
        self.keywords = Keywords(control)
        self.shared: Shared | None = None
        """of a mailbox that several users share, where \\Seen is each one's own"""
        self._fine: bool | None = None
        """two changes never carry the same mtime, if somebody looked in between; None: not known yet"""
        self.clean = False
        """the mtimes in `known` were older than a clock tick, so that no change can hide behind them"""
        self.exact: Marks | None = None
        """what the names were true of before the events in `news`; None: the watch does not say everything that changed"""
        self.news: list[tuple[bool, Event]] = []
        """what others did since: (in new/, event)"""
        self.news_lost = False
        self._watches: tuple[Watch, Watch] | None = None

    def _unwatch(self) -> None:
        for watch in self._watches or ():
            watch.close()
        self._watches = None

    # What is known

    def marks(self) -> Marks:
        """Stat of both directories and of the uidlist. Raises MailboxReplaced, OSError."""
        if self.context.options.mail_nfs_storage:
            return self._marks_afresh()
        new = os.fstat(self.new_directory)
        cur = os.fstat(self.cur_directory)
        if not cur.st_nlink or not new.st_nlink:
            raise MailboxReplaced("Mailbox was deleted")
        try:
            listed = os.stat(uidlist.NAME, dir_fd=self.control, follow_symlinks=False)
        except FileNotFoundError:
            return Marks.of(new, cur, None)
        return Marks.of(new, cur, listed)

    def _marks_afresh(self) -> Marks:
        try:
            new = files.stat_afresh(self.directory, "new")
            cur = files.stat_afresh(self.directory, "cur")
        except FileNotFoundError:
            raise MailboxReplaced("Mailbox was deleted") from None
        try:
            listed = files.stat_afresh(self.control, uidlist.NAME)
        except FileNotFoundError:
            return Marks.of(new, cur, None)
        return Marks.of(new, cur, listed)

    def settled_stamp(self) -> bytes:
        """As `stamp`, as of the end of our last write; what happened since is for the next `stamp` to say."""
        return b"" if self.known is None else packed(self.known)

    def listed_mark(self) -> tuple[int, int]:
        """Of the uidlist as it was read last, as in `marks`."""
        identity = self.uidlist.identity
        return (0, 0) if identity == files.NOWHERE else (identity.inode, identity.size)

    def stamp(self) -> bytes:
        """Equal to an earlier one: proven unchanged since. Empty: not known. Raises MailboxReplaced, StoreError."""
        try:
            now = self.marks()
        except OSError as error:
            raise files.translated(error, f"stat({self.shown})") from error
        if self._watches is not None and self.take_events() != []:
            self.known = None
        if self.known is None or now != self.known:
            return b""
        return packed(now)

    def lasting_stamp(self) -> bytes:
        """A stamp that still proves something when nobody watches any more; empty: the last change is too fresh."""
        stamp = self.stamp()
        if not stamp or self.known is None:
            return b""
        if self.known.aged or (self._alone and self.known.aged_but_cur):
            return stamp
        return self.proof()

    def proof(self) -> bytes:
        """What proves at once that nothing changed since our last write, where no two changes can carry the same mtime.

        A change is in the directory's mtime a moment before its event can be read, but under the directory's lock, which looking for a name
        that was never there waits for.
        """
        if self.known is None or self._watches is None:
            return b""
        if self._fine is None:
            self._fine = files.is_fine(self.tmp_directory)
        if not self._fine:
            return b""
        never = f".{self.context.names.make()}"
        for directory in (self.new_directory, self.cur_directory):
            files.identify(directory, never)
        if self.take_events() != []:
            self.known = None
            return b""
        return packed(self.known)

    @property
    def _alone(self) -> bool:
        """What other programs do in cur/ may be seen later."""
        return self.context.options.maildir_very_dirty_syncs

    def settle(self, own: bool) -> None:
        """After changes of ours: what is known stays known if the watch saw nothing but them, else a listing is due.

        No watch shows what others wrote into State, so that a mailbox with anything there is always looked at again.
        """
        if not own:
            self.doubt()
        if self.known is None:
            return
        unseen = self.keywords.full or self.shared is not None
        if unseen or (self._watches is None and not self._alone):
            self.known = None
            return
        now = self.marks()
        if self._watches is None:
            self.know(now._replace(new=self.known.new), clean=True)
            return
        if self.take_events() == []:
            self.know(now, clean=False)
            if self.exact is not None and not self.news:
                self.exact = now
        else:
            self.known = None

    def absorb_events(self) -> None:
        """In the midst of many changes of ours: take the watch's events before there are too many of them."""
        if self._watches is not None and self.take_events() != []:
            self.known = None

    def know(self, marks: Marks, *, clean: bool) -> None:
        """The names are true of these marks."""
        self.known, self.clean = marks, clean

    def rely_on_events(self, marks: Marks, taken: int) -> None:
        """The names are true of these marks and of the first `taken` events of `news`; what comes after is in the others."""
        if self._watches is not None and not self.news_lost:
            self.exact = marks
            del self.news[:taken]

    def doubt(self) -> None:
        """Something is not as we thought it was: only a listing tells."""
        self.known = self.exact = None
        for watch in self._watches or ():
            watch.own_came.clear()
            watch.own_left.clear()

    # The watch

    def watch(self) -> bool:
        """Watch both directories from now on; False: not possible."""
        if self._watches is not None:
            return True
        if self.context.options.mail_nfs_storage:
            return False
        new = self.context.watcher.watch(self.directory, "new")
        if new is None:
            return False
        cur = self.context.watcher.watch(self.directory, "cur")
        if cur is None:
            new.close()
            return False
        self._watches = (new, cur)
        self.exact = None
        self.news.clear()
        if self.known is not None:
            if self.marks() != self.known:
                self.known = None
            elif self.clean and not self.behind:
                self.exact = self.known
        return True

    @property
    def watched(self) -> bool:
        """There is a watch, which must be told of our own changes."""
        return self._watches is not None

    def expect(self, is_new: bool, came: bool, name: str) -> None:
        """A change that we are about to make ourselves."""
        if self._watches is not None:
            watch = self._watches[0 if is_new else 1]
            (watch.own_came if came else watch.own_left).add(os.fsencode(name))

    def expect_renames(self, steps: Sequence[tuple[bool, str, str]]) -> None:
        """Renames that we are about to make ourselves: from new/ or not, old name, name in cur/."""
        if self._watches is None:
            return
        new, cur = self._watches
        cur.own_came.update(_encoded([target for _, _, target in steps]))
        cur.own_left.update(_encoded([name for is_new, name, _ in steps if not is_new]))
        new.own_left.update(_encoded([name for is_new, name, _ in steps if is_new]))

    def take_events(self) -> list[tuple[bool, Event]] | None:
        """What others did since the last call: (in new/, event); None if some were lost."""
        if self._watches is None:
            return None
        if not self.context.watcher.read() and not (self._watches[0].pending or self._watches[1].pending):
            return []
        taken: list[tuple[bool, Event]] = []
        lost = False
        for is_new, watch in ((True, self._watches[0]), (False, self._watches[1])):
            events = watch.take()
            if events is None:
                lost = True
                continue
            taken += [(is_new, event) for event in events]
        self.news += taken
        if lost or len(self.news) > MAX_NEWS:
            self.exact, self.news_lost = None, True
            self.news.clear()
        return None if lost else taken

    def events(self) -> Wait:
        """How to notice what others do."""
        watched = self.watch()
        interval = self.context.options.interval
        if self.known is None and interval:
            interval = min(interval, UNSETTLED_SECONDS)
        return Wait(self.context.watcher.fileno() if watched else None, interval)

    def drain(self) -> bool:
        """Read what the descriptor has; True when the mailbox may have changed."""
        if self._watches is None:
            return True
        events = self.take_events()
        if events == []:
            return False
        self.known = None
        return True


def unpacked(stamp: bytes) -> Marks | None:
    """What a stamp says; None if it is not one."""
    try:
        numbers = _STAMP.unpack(stamp)
    except struct.error:
        return None
    return Marks(numbers[:2], numbers[2:4], numbers[4:])


def packed(marks: Marks) -> bytes:
    """The stamp of what a mailbox looks like."""
    return _STAMP.pack(*marks.new, *marks.cur, *marks.uidlist)


def _encoded(names: Sequence[str]) -> list[bytes]:
    """As the kernel has them."""
    return os.fsencode("\0".join(names)).split(b"\0") if names else []
