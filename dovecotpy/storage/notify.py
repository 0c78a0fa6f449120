"""Noticing what others do to directories: one inotify instance a process, polling when the machine has none left.

The kernel's events say which name came or went, so a listing taken under a watch can be completed with them.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Callable
from typing import NamedTuple

CAME_NEW = 0x100  # IN_CREATE
LEFT_FOR_GOOD = 0x200  # IN_DELETE
LEFT = 0x40  # IN_MOVED_FROM
CAME = 0x80  # IN_MOVED_TO
_DELETED_SELF = 0x400
_OVERFLOW = 0x4000
_IGNORED = 0x8000
_ONLY_DIRECTORY = 0x01000000
_DONT_FOLLOW = 0x02000000
_MASK = CAME_NEW | LEFT_FOR_GOOD | LEFT | CAME | _DELETED_SELF | _ONLY_DIRECTORY | _DONT_FOLLOW
_COMING = CAME | CAME_NEW
_HEAD = struct.Struct("iIII")
_BUFFER = 65536
MAX_PENDING = 65536
"""Events kept for one watch; past it the watch says that it does not know."""

_libc = ctypes.CDLL(None, use_errno=True)


class Event(NamedTuple):
    """A name that came to or left a directory."""

    kind: int
    name: str

    @property
    def came(self) -> bool:
        """The name is there now."""
        return bool(self.kind & (CAME | CAME_NEW))


class Watch:
    """The events of one directory since they were last taken."""

    __slots__ = ("_events", "_lost", "_watcher", "number", "own_came", "own_left")

    def __init__(self, watcher: Watcher, number: int) -> None:
        self._watcher = watcher
        self.number = number
        self._events: list[Event] = []
        self._lost = False
        self.own_came: set[bytes] = set()
        """names that we are about to put there ourselves; their events are passed over, each once"""
        self.own_left: set[bytes] = set()
        """names that we are about to take away"""

    def add(self, event: Event | None) -> None:
        """Keep an event; None: some were lost."""
        if event is None or len(self._events) >= MAX_PENDING:
            self._lost = True
            self._events.clear()
        elif not self._lost:
            self._events.append(event)

    def take(self) -> list[Event] | None:
        """The events since the last call, in order; None if some were lost, so that nothing is known."""
        events, lost = self._events, self._lost
        self._events, self._lost = [], False
        return None if lost else events

    @property
    def pending(self) -> bool:
        """Something happened that was not taken yet."""
        return self._lost or bool(self._events)

    def close(self) -> None:
        """Stop watching. Idempotent."""
        self._watcher.remove(self)


class Watcher:
    """The process's one inotify instance, opened at first use. `say`: takes the one line when there is none to be had."""

    __slots__ = ("_cwd", "_descriptor", "_dull", "_say", "_watches")

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._descriptor = -1
        self._cwd = -1
        self._dull = False
        self._watches: dict[int, list[Watch]] = {}

    def fileno(self) -> int | None:
        """What becomes readable when something happened; None without a watch."""
        return self._descriptor if self._watches else None

    def watch(self, directory: int, name: str) -> Watch | None:
        """Watch the directory `name` in an open one; None: not possible, ask the file system from time to time."""
        if self._dull or (self._descriptor < 0 and not self._open()):
            return None
        number = self._add(directory, name)
        if number < 0:
            self._give_up(ctypes.get_errno())
            return None
        watch = Watch(self, number)
        self._watches.setdefault(number, []).append(watch)
        return watch

    def _open(self) -> bool:
        try:
            self._cwd = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            self._dull = True
            return False
        descriptor: int = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if descriptor < 0:
            self._give_up(ctypes.get_errno())
            os.close(self._cwd)
            return False
        self._descriptor = descriptor
        return True

    def _add(self, directory: int, name: str) -> int:
        """A path through the open directory, so that neither /proc nor rights on parent directories are needed."""
        os.fchdir(directory)
        try:
            number: int = _libc.inotify_add_watch(self._descriptor, os.fsencode(name), _MASK)
            return number
        finally:
            os.fchdir(self._cwd)

    def _give_up(self, code: int) -> None:
        if code == errno.EMFILE:
            self._dull = True
            self._say(
                "inotify_init() failed: no instance left for this user, polling instead: grow the sysctl fs.inotify.max_user_instances"
            )
        elif code == errno.ENOSPC:
            self._dull = True
            self._say(
                "inotify_add_watch() failed: no watch left for this user, polling instead: grow the sysctl fs.inotify.max_user_watches"
                " (and fs.inotify.max_user_instances)"
            )
        elif self._descriptor < 0:
            self._dull = True

    def read(self) -> bool:
        """Hand waiting events to their watches; True if there was one."""
        found = False
        while self._descriptor >= 0:
            try:
                data = os.read(self._descriptor, _BUFFER)
            except BlockingIOError:
                break
            except OSError:
                break
            found = True
            self._distribute(data)
            if len(data) < _BUFFER // 2:
                break
        return found

    def _distribute(self, data: bytes) -> None:
        at = 0
        end = len(data)
        watched = self._watches
        unpack, size = _HEAD.unpack_from, _HEAD.size
        while at < end:
            number, mask, _, length = unpack(data, at)
            at += size + length
            if mask & _OVERFLOW:
                for watches in watched.values():
                    for watch in watches:
                        watch.add(None)
                continue
            name = data[at - length : at].rstrip(b"\0")
            for watch in watched.get(number, ()):
                own = watch.own_came if mask & _COMING else watch.own_left
                if name in own:
                    own.remove(name)
                elif mask & (_DELETED_SELF | _IGNORED):
                    watch.add(None)
                else:
                    watch.add(Event(mask & (CAME | CAME_NEW | LEFT | LEFT_FOR_GOOD), os.fsdecode(name)))

    def remove(self, watch: Watch) -> None:
        """Forget a watch; the last one of a directory ends it in the kernel too."""
        watches = self._watches.get(watch.number)
        if watches is None or watch not in watches:
            return
        watches.remove(watch)
        if not watches:
            del self._watches[watch.number]
            if self._descriptor >= 0:
                _libc.inotify_rm_watch(self._descriptor, watch.number)

    def close(self) -> None:
        """End the instance and all its watches. Idempotent; a later `watch` opens a new one."""
        self._watches.clear()
        if self._descriptor >= 0:
            os.close(self._descriptor)
            os.close(self._cwd)
            self._descriptor = self._cwd = -1
