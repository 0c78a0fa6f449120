"""The subscriptions file: one name a line, in the form on disk, replaced under a dotlock.

Dovecot 2 writes a second version: a line `V<TAB>2`, an empty line, then names whose levels are parted by TABs. It is read, and kept
where it is.
"""

from __future__ import annotations

import os

from dovecotpy import clock
from dovecotpy.ipc import fields
from dovecotpy.storage import files
from dovecotpy.storage.dotlock import Dotlock
from dovecotpy.storage.maildir import courier

LOCK_SECONDS = 10.0
STALE_SECONDS = 30.0
SECOND_VERSION = b"V\t2\n"


class Subscriptions:
    """One file in an open directory. root: descriptor of the mail root, where Courier's file would be."""

    __slots__ = ("_directory", "_exclusive", "_name", "_root", "_second", "_separator", "_sync")

    def __init__(
        self, directory: int, name: str, *, root: int, separator: str, sync: bool, exclusive: bool
    ) -> None:
        self._directory = directory
        self._name = name
        self._root = root
        self._separator = separator
        self._sync = sync
        self._second = False
        self._exclusive = exclusive

    def read(self) -> list[bytes]:
        """The names in the order of the file, each once. Raises StoreError."""
        try:
            data, _ = files.read(self._directory, self._name)
        except FileNotFoundError:
            return courier.subscriptions(self._root, self._separator) or []
        except OSError as error:
            raise files.translated(error, f"read({self._name})") from error
        self._second = data.startswith(SECOND_VERSION)
        lines = data.removeprefix(SECOND_VERSION).split(b"\n")
        if self._second:
            lines = [self._from_levels(line) for line in lines]
        return list(dict.fromkeys(line.rstrip(b"\r") for line in lines if line))

    def _from_levels(self, line: bytes) -> bytes:
        return self._separator.encode().join(fields.unescape(level) for level in line.split(b"\t"))

    def _content(self, names: list[bytes]) -> bytes:
        if not self._second:
            return b"".join(each + b"\n" for each in names)
        separator = self._separator.encode()
        lines = [b"\t".join(fields.escape(level) for level in each.split(separator)) for each in names]
        return SECOND_VERSION + b"\n" + b"".join(line + b"\n" for line in lines)

    def change(self, name: bytes, wanted: bool) -> bool:
        """Add or take away a name; False if it was so already. Raises InUse, NoSpace, StoreError."""
        lock = Dotlock(self._directory, self._name + ".lock", stale=STALE_SECONDS, exclusive=self._exclusive)
        lock.take(clock.monotonic() + LOCK_SECONDS, "Timeout waiting for subscription file lock")
        try:
            names = self.read()
            if (name in names) is wanted:
                return False
            if wanted:
                names.append(name)
            else:
                names.remove(name)
            files.replace(self._directory, self._name, self._content(names), sync=self._sync)
            if self._sync:
                files.sync_directory(self._directory)
            return True
        except OSError as error:
            raise files.translated(error, f"write({os.fsdecode(self._name)})") from error
        finally:
            lock.release()
