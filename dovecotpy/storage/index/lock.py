"""`dovecotpy.index.lock` in the INDEX directory: held by whoever writes the index and gives modseqs, for moments.

A kernel lock, so that it goes with its holder. Taken after the mailbox's own lock, never while State is asked.
"""

from __future__ import annotations

import fcntl
import os
import time

from dovecotpy import clock
from dovecotpy.storage.errors import InUse

NAME = "dovecotpy.index.lock"
_FIRST_PAUSE = 0.0005
_LONGEST_PAUSE = 0.01


class IndexLock:
    """One lock; take, release. directory: descriptor, kept by the caller."""

    __slots__ = ("_descriptor", "_directory")

    def __init__(self, directory: int) -> None:
        self._directory = directory
        self._descriptor = -1

    def take(self, seconds: float) -> None:
        """Wait so long at most. Raises InUse, OSError where there can be no lock."""
        deadline = clock.monotonic() + seconds
        pause = _FIRST_PAUSE
        while True:
            if self._try():
                return
            left = deadline - clock.monotonic()
            if left <= 0:
                raise InUse("Timeout while waiting for lock")
            time.sleep(min(pause, left))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _try(self) -> bool:
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
            there = os.stat(NAME, dir_fd=self._directory, follow_symlinks=False)
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
