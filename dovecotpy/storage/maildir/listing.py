"""Looking into new/ and cur/, and what a look proves.

A directory that changes while it is read may leave out names that were there all the time, so a name that a listing lacks is not yet
gone. Under a watch, the kernel's events during the listing complete it: a base name that no event touched is listed exactly when it
is there. Without a watch only a listing counts during which neither mtime moved, begun when both were older than a clock tick.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy import clock

if TYPE_CHECKING:
    from dovecotpy.storage.maildir.box import MaildirBox
    from dovecotpy.storage.notify import Event

TICK = 0.05
"""Seconds within which two changes may carry the same mtime."""


class Marks(NamedTuple):
    """What changes when a Maildir does."""

    new: tuple[int, int]
    """inode and mtime in nanoseconds"""
    cur: tuple[int, int]
    uidlist: tuple[int, int]
    """inode and size; zeros where there is none"""

    @classmethod
    def of(cls, new: os.stat_result, cur: os.stat_result, uidlist: os.stat_result | None) -> Marks:
        """From what stat gave."""
        return cls(
            (new.st_ino, new.st_mtime_ns),
            (cur.st_ino, cur.st_mtime_ns),
            (0, 0) if uidlist is None else (uidlist.st_ino, uidlist.st_size),
        )

    @classmethod
    def seen_in(cls, directory: int, listed: str, path: str = "") -> Marks:
        """Of a mailbox that is not opened; a link at the end is not followed. listed: name of the uidlist. Raises OSError.

        path: empty, or what leads to the mailbox from the directory, with a slash at the end.
        """
        new, cur, uidlist = [
            os.stat(path + name, dir_fd=directory, follow_symlinks=False) for name in ("new", "cur", listed)
        ]
        return cls.of(new, cur, uidlist)

    @property
    def aged_but_cur(self) -> bool:
        """No later change of new/ can carry its mtime any more."""
        return abs(clock.file_time() - self.new[1] / 1e9) > TICK

    @property
    def aged(self) -> bool:
        """No later change can carry these mtimes any more."""
        now = clock.file_time()
        return all(abs(now - mark[1] / 1e9) > TICK for mark in (self.new, self.cur))


class Listing(NamedTuple):
    """The names in both directories."""

    new: Iterable[str]
    cur: Iterable[str]
    before: Marks
    after: Marks
    quiet: bool
    """nothing changed meanwhile: complete as it is"""
    watched: bool
    """the events meanwhile are in it"""
    touched: frozenset[str]
    """base names that came or went meanwhile"""
    missed: bool
    """events from before it were taken, which nothing but this listing shows"""
    taken: int = 0
    """events of `MaildirBox.news` that are in it"""

    def proves_gone(self, base: str) -> bool:
        """A base name that this listing lacks is gone."""
        return self.quiet or (self.watched and base not in self.touched)


def look(box: MaildirBox) -> Listing:
    """Take one listing: new/ before cur/, because messages move from the one to the other. Raises OSError.

    cur/ is not read where its mtime proves that it is what is known of it.
    """
    known = box.known if box.clean and box.loaded else None
    watched = box.watch()
    missed = watched and box.take_events() != []
    before = box.marks()
    aged = before.aged
    same = known is not None and known.cur == before.cur
    new: Iterable[str] = os.listdir(box.new_directory)
    cur: Iterable[str] = box.cur if same else os.listdir(box.cur_directory)
    after = box.marks()
    if not watched:
        return Listing(new, cur, before, after, aged and before == after, False, frozenset(), missed)
    events = box.take_events()
    if events is None:
        return Listing(new, cur, before, after, False, False, frozenset(), missed)
    taken = len(box.news)
    still = before[:2] == after[:2]
    if not events:
        return Listing(new, cur, before, after, still, still, frozenset(), missed, taken)
    in_new, in_cur = set(new), set(cur)
    for is_new, event in events:
        _apply(in_new if is_new else in_cur, event)
    touched = frozenset(event.name.partition(":")[0] for _, event in events)
    return Listing(in_new, in_cur, before, after, False, True, touched, missed, taken)


def _apply(names: set[str], event: Event) -> None:
    if event.came:
        names.add(event.name)
    else:
        names.discard(event.name)
