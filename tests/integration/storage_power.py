"""Power failures without a power switch: what `os` is asked to do is recorded, and every state a disk may be left in is made again.

What a file system promises is: octets of a file that was synced, entries of a directory that was synced, and that a rename is done
or not. Anything else may be there or not: the octets of one file, and of each directory any first part of what was done to it, by
itself. SQLite's file counts as a whole, as of each commit.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

STATE = "dovecotpy-state"
NOBODY = 99999999
"""No process has this id."""
Tree = dict[str, bytes | None]
"""paths below the root to octets; None for a directory"""


class File:
    """Octets now, and those that a power failure leaves for certain."""

    def __init__(self, data: bytes = b"") -> None:
        self.data = bytearray(data)
        self.synced = data


class Directory:
    """Entries that are certain, and what was done since."""

    def __init__(self) -> None:
        self.synced: dict[str, Node] = {}
        self.since: list[tuple[dict[str, Node | None], int]] = []
        """what became of names, and the number of the rename that it is half of"""

    def entries(self, kept: int) -> dict[str, Node]:
        found = dict(self.synced)
        for changes, _ in self.since[:kept]:
            for name, node in changes.items():
                if node is None:
                    found.pop(name, None)
                else:
                    found[name] = node
        return found


Node = File | Directory


class Disk:
    """A recorder below one directory. `states`: each with the number of promises made before it."""

    def __init__(self, root: Path, seed: int = 0, guesses: int = 2) -> None:
        self._root = root
        self._nodes: dict[int, Node] = {}
        self._chance = random.Random(seed)
        self._guesses = guesses
        self._seen: set[int] = set()
        self._state = b""
        self._renames = 0
        self._halves: dict[int, tuple[Directory, Directory]] = {}
        """renames between directories of which one was not synced yet"""
        self.promises: list[Any] = []
        self.states: list[tuple[int, Tree]] = []
        self._top = self._scan(root)

    def promise(self, what: object) -> None:
        """The client has its OK."""
        self.promises.append(what)
        self._record()

    # The disk at the beginning

    def _scan(self, path: Path) -> Directory:
        directory = Directory()
        self._nodes[path.stat().st_ino] = directory
        for each in path.iterdir():
            if each.is_dir():
                directory.synced[each.name] = self._scan(each)
            elif each.name == STATE:
                self._state = each.read_bytes()
            else:
                directory.synced[each.name] = self._nodes[each.stat().st_ino] = File(each.read_bytes())
        return directory

    def _node_of(self, descriptor: int) -> Node | None:
        return self._nodes.get(os.fstat(descriptor).st_ino)

    def _place(self, path: str | os.PathLike[str], dir_fd: int | None) -> tuple[Directory, str] | None:
        text = os.fspath(path)
        if dir_fd is None or os.path.isabs(text):
            head, name = os.path.split(os.path.abspath(text))
            try:
                number = os.stat(head).st_ino
            except OSError:
                return None
        else:
            head, name = os.path.split(text)
            assert not head, text
            number = os.fstat(dir_fd).st_ino
        directory = self._nodes.get(number)
        return (directory, name) if isinstance(directory, Directory) else None

    # What is done to it

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Everything that this process asks `os` for is noted."""
        wrapped = {
            "open": self._open,
            "write": self._write,
            "pwrite": self._pwrite,
            "ftruncate": self._ftruncate,
            "fsync": self._fsync,
            "fdatasync": self._fsync,
            "rename": self._rename,
            "replace": self._rename,
            "link": self._link,
            "unlink": self._unlink,
            "mkdir": self._mkdir,
            "rmdir": self._unlink,
        }
        real = {name: getattr(os, name) for name in wrapped}
        for name, wrapper in wrapped.items():
            setattr(os, name, _bound(wrapper, real[name]))
        connect = sqlite3.connect
        sqlite3.connect = self._connect(connect)  # type: ignore[assignment]
        try:
            self._record()
            yield
        finally:
            sqlite3.connect = connect
            for name, original in real.items():
                setattr(os, name, original)

    def _open(
        self, real: Callable[..., int], path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> int:
        place = self._place(path, dir_fd) if flags & (os.O_CREAT | os.O_TRUNC) else None
        there = place is not None and os.access(path, os.F_OK, dir_fd=dir_fd, follow_symlinks=False)
        descriptor = real(path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            self._nodes.pop(os.fstat(descriptor).st_ino, None)  # perhaps that of a file which is gone
        if place is not None and place[1] != STATE:
            if not there:
                file = self._nodes[os.fstat(descriptor).st_ino] = File()
                self._enter(place, file)
            elif flags & os.O_TRUNC:
                node = self._node_of(descriptor)
                assert isinstance(node, File)
                node.data.clear()
                self._record()
        return descriptor

    def _write(self, real: Callable[..., int], descriptor: int, data: Any) -> int:
        node = self._node_of(descriptor)
        at = os.fstat(descriptor).st_size
        count = real(descriptor, data)
        if isinstance(node, File):
            if not _appends(descriptor):
                at = os.lseek(descriptor, 0, os.SEEK_CUR) - count
            self._put(node, at, bytes(data)[:count])
        return count

    def _pwrite(self, real: Callable[..., int], descriptor: int, data: Any, at: int) -> int:
        node = self._node_of(descriptor)
        count = real(descriptor, data, at)
        if isinstance(node, File):
            self._put(node, at, bytes(data)[:count])
        return count

    def _put(self, node: File, at: int, data: bytes) -> None:
        if len(node.data) < at:
            node.data.extend(bytes(at - len(node.data)))
        node.data[at : at + len(data)] = data
        self._record()

    def _ftruncate(self, real: Callable[..., None], descriptor: int, size: int) -> None:
        real(descriptor, size)
        node = self._node_of(descriptor)
        if isinstance(node, File):
            del node.data[size:]
            self._record()

    def _fsync(self, real: Callable[..., None], descriptor: int) -> None:
        real(descriptor)
        node = self._node_of(descriptor)
        if isinstance(node, File):
            node.synced = bytes(node.data)
        elif isinstance(node, Directory):
            self._settle(node, len(node.since))

    def _rename(
        self,
        real: Callable[..., None],
        old: Any,
        new: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
    ) -> None:
        source, target = self._place(old, src_dir_fd), self._place(new, dst_dir_fd)
        node = self._nodes.get(os.stat(old, dir_fd=src_dir_fd, follow_symlinks=False).st_ino)
        real(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)
        if source is None or target is None or node is None:
            return
        if source[0] is target[0]:
            source[0].since.append(({source[1]: None, target[1]: node}, 0))
        else:
            self._renames += 1
            self._halves[self._renames] = (source[0], target[0])
            target[0].since.append(({target[1]: node}, self._renames))
            source[0].since.append(({source[1]: None}, self._renames))
        self._record()

    def _settle(self, directory: Directory, count: int) -> None:
        """The first of what was done to a directory is durable, and so is the other half of each rename among it."""
        done, directory.since, directory.synced = (
            directory.since[:count],
            directory.since[count:],
            directory.entries(count),
        )
        for _, number in done:
            for other in self._halves.pop(number, ()):
                place = [each for _, each in other.since].index(number) + 1 if other is not directory else 0
                self._settle(other, place)

    def _together(self, kept: dict[int, int]) -> None:
        """Keep what belongs to what is kept."""
        changed = True
        while changed:
            changed = False
            for number, pair in self._halves.items():
                places = [[each for _, each in half.since].index(number) + 1 for half in pair]
                if any(kept[id(half)] >= place for half, place in zip(pair, places, strict=True)):
                    for half, place in zip(pair, places, strict=True):
                        if kept[id(half)] < place:
                            kept[id(half)], changed = place, True

    def _link(
        self,
        real: Callable[..., None],
        old: Any,
        new: Any,
        *,
        src_dir_fd: int | None = None,
        dst_dir_fd: int | None = None,
        follow_symlinks: bool = True,
    ) -> None:
        node = self._nodes.get(os.stat(old, dir_fd=src_dir_fd, follow_symlinks=False).st_ino)
        place = self._place(new, dst_dir_fd)
        real(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=follow_symlinks)
        if place is not None and node is not None:
            self._enter(place, node)

    def _unlink(self, real: Callable[..., None], path: Any, *, dir_fd: int | None = None) -> None:
        place = self._place(path, dir_fd)
        real(path, dir_fd=dir_fd)
        if place is not None:
            place[0].since.append(({place[1]: None}, 0))
            self._record()

    def _mkdir(
        self, real: Callable[..., None], path: Any, mode: int = 0o777, *, dir_fd: int | None = None
    ) -> None:
        place = self._place(path, dir_fd)
        real(path, mode, dir_fd=dir_fd)
        if place is not None:
            made = self._nodes[os.stat(path, dir_fd=dir_fd).st_ino] = Directory()
            self._enter(place, made)

    def _enter(self, place: tuple[Directory, str], node: Node) -> None:
        place[0].since.append(({place[1]: node}, 0))
        self._record()

    def _connect(self, connect: Callable[..., sqlite3.Connection]) -> Callable[..., sqlite3.Connection]:
        def wrapped(path: str, **keywords: Any) -> sqlite3.Connection:
            disk = self

            class Noting(sqlite3.Connection):
                def execute(self, *arguments: Any) -> sqlite3.Cursor:  # type: ignore[override]
                    found = super().execute(*arguments)
                    if not self.in_transaction:
                        disk._note_state(path)
                    return found

            return connect(path, factory=Noting, **keywords)

        return wrapped

    def _note_state(self, path: str) -> None:
        data = Path(path).read_bytes()
        if data != self._state:
            self._state = data
            self._record()

    # What a power failure may leave

    def _record(self) -> None:
        """Nothing kept, everything kept, and some guesses."""
        choices: list[Callable[[int], int]] = [lambda count: 0, lambda count: count]
        choices += [lambda count: self._chance.randint(0, count)] * self._guesses
        for entries in choices:
            for octets in (0, 1):
                tree = self._left(entries, octets)
                key = hash(
                    (
                        len(self.promises),
                        tuple(sorted((path, data) for path, data in tree.items() if data is not None)),
                        len(tree),
                    )
                )
                if key not in self._seen:
                    self._seen.add(key)
                    self.states.append((len(self.promises), tree))

    def _left(self, entries: Callable[[int], int], octets: int) -> Tree:
        tree: Tree = {}
        directories = [node for node in self._nodes.values() if isinstance(node, Directory)]
        directories += [half for pair in self._halves.values() for half in pair]
        kept = {id(directory): entries(len(directory.since)) for directory in directories}
        self._together(kept)
        waiting: list[tuple[str, Directory]] = [("", self._top)]
        while waiting:
            path, directory = waiting.pop()
            for name, node in directory.entries(kept[id(directory)]).items():
                below = f"{path}/{name}" if path else name
                if isinstance(node, Directory):
                    tree[below] = None
                    waiting.append((below, node))
                else:
                    tree[below] = bytes(node.data) if octets else node.synced
        if self._state:
            tree[STATE] = self._state
        return tree


def _appends(descriptor: int) -> bool:
    import fcntl

    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_APPEND)


def _bound(wrapper: Callable[..., Any], real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return wrapper(real, *arguments, **keywords)

    return call


def restore(tree: Tree, root: Path) -> None:
    """Put a state on a disk. Whoever held a lock is dead."""
    root.mkdir(parents=True)
    for path in sorted(tree):
        data = tree[path]
        if data is None:
            (root / path).mkdir(parents=True, exist_ok=True)
    for path, data in tree.items():
        if data is not None:
            if path.endswith(".lock") and data:
                data = b"%d:%s" % (NOBODY, os.uname().nodename.encode())
            (root / path).write_bytes(data)
