"""The right to write the index of a mailbox and to give modseqs: an flock on the INDEX directory itself, held for moments.

A kernel lock, so that it goes with its holder; on the directory, so that nobody can delete it under a holder. File systems that lock
no directories (NFS) get a file in it, `dovecotpy.index.lock`. Taken after the mailbox's own lock, never while State is asked.
"""

from __future__ import annotations

import fcntl
import os
import time

from dovecotpy import clock
from dovecotpy.storage import files
from dovecotpy.storage.errors import InUse
from dovecotpy.storage.waiting import pause

NAME = "dovecotpy.index.lock"
_LONGEST_PAUSE = 0.01


class IndexLock:
    """One lock; take, release. directory: descriptor, kept by the caller."""

    __slots__ = ("_afresh", "_descriptor", "_directory", "_is_file")

    def __init__(self, directory: int, *, afresh: bool = False) -> None:
        self._directory = directory
        self._afresh = afresh
        self._descriptor = -1
        self._is_file = False

    def take(self, seconds: float) -> None:
        """Wait so long at most. Raises InUse, OSError where there can be no lock."""
        began = clock.monotonic()
        while not self._try():
            waited = clock.monotonic() - began
            if waited >= seconds:
                raise InUse("Timeout while waiting for lock")
            time.sleep(min(pause(_LONGEST_PAUSE, waited), seconds - waited))

    def _try(self) -> bool:
        if self._descriptor < 0 and not self._is_file:
            self._descriptor = os.open(".", files.DIRECTORY, dir_fd=self._directory)
        if not self._is_file:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                return False
            except OSError:
                self.close()
                self._is_file = True
        return self._try_file()

    def _try_file(self) -> bool:
        """A lock on a file that was deleted meanwhile is none."""
        while True:
            if self._descriptor < 0:
                mode = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
                self._descriptor = os.open(NAME, mode, 0o666, dir_fd=self._directory)
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if self._is_there():
                    return False
            else:
                if self._is_there():
                    return True
            self.close()

    def _is_there(self) -> bool:
        mine = os.fstat(self._descriptor)
        try:
            there = files.stat_of(self._directory, NAME, afresh=self._afresh)
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino)

    def release(self) -> None:
        """Let others have it."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
