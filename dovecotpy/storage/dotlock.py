"""Lock files: `NAME.lock` beside what it guards, holding `pid:host` as Dovecot writes it.

A lock of a dead process of this host is stale at once. Any other one is stale when it is `STALE` seconds old and nobody touched it
while we watched it for `OBSERVED` seconds: a live holder touches its lock every 10 seconds, so a wall clock that jumps cannot
make a held lock look abandoned.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time

from dovecotpy import clock
from dovecotpy.storage.errors import InUse, NoSpace, PermissionDenied
from dovecotpy.storage.waiting import pause

STALE = 120.0
OBSERVED = 25.0
NAMELESS = 0.8
"""Seconds for which an empty lock file is watched: its maker died between making and writing it.

Less than the shortest wait for a lock. A maker that was only slow notices that its file is gone.
"""
TOUCH = 10.0
MAX_CONTENT = 512
FULL = (errno.ENOSPC, errno.EDQUOT)
_LONGEST_PAUSE = 0.02


class Dotlock:
    """One lock file; take, hold, release. Not reentrant.

    directory: descriptor of the directory. exclusive: create with O_EXCL (else link(), for old NFS).
    """

    __slots__ = ("_directory", "_exclusive", "_identity", "_name", "_observed", "_stale", "_touched")

    def __init__(self, directory: int, name: str, *, stale: float = STALE, exclusive: bool = True) -> None:
        self._directory = directory
        self._name = name
        self._stale = stale
        self._exclusive = exclusive
        self._identity: tuple[int, int] | None = None
        self._touched = 0.0
        self._observed: tuple[tuple[int, int, int], float] | None = None

    @property
    def held(self) -> bool:
        """Whether this object took the lock and did not release it."""
        return self._identity is not None

    def take(self, deadline: float, text: str) -> None:
        """Wait until the lock is ours or `clock.monotonic()` passes the deadline.

        Raises InUse(text), NoSpace when no file can be made, PermissionDenied.
        """
        began = clock.monotonic()
        while True:
            if self._create():
                return
            if self._break_stale():
                continue
            now = clock.monotonic()
            if now >= deadline:
                raise InUse(text)
            time.sleep(min(_pause(now, now - began), deadline - now))

    def keep(self) -> bool:
        """Touch the lock when it is due; False when somebody broke it, so that nothing may be written on its strength."""
        if self._identity is None:
            return False
        try:
            found = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            if (found.st_dev, found.st_ino) != self._identity:
                return False
            if clock.monotonic() - self._touched >= TOUCH:
                os.utime(self._name, dir_fd=self._directory, follow_symlinks=False)
                self._touched = clock.monotonic()
        except FileNotFoundError:
            return False
        return True

    def release(self) -> None:
        """Remove the lock if it is still ours. Idempotent."""
        if self._identity is None:
            return
        if self.keep():
            os.unlink(self._name, dir_fd=self._directory)
        self._identity = None

    def _create(self) -> bool:
        content = f"{os.getpid()}:{os.uname().nodename}".encode()
        try:
            descriptor = self._create_file()
        except FileExistsError:
            return False
        except OSError as error:
            raise _refused(error, self._name) from error
        try:
            try:
                os.write(descriptor, content)
            except OSError as error:
                if error.errno not in FULL:
                    raise
            found = os.fstat(descriptor)
            if not found.st_nlink:
                return False
            self._identity = (found.st_dev, found.st_ino)
            self._touched = clock.monotonic()
        finally:
            os.close(descriptor)
        return True

    def _create_file(self) -> int:
        mode = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        if self._exclusive:
            return os.open(self._name, mode, 0o666, dir_fd=self._directory)
        private = f"{self._name}.{os.getpid()}.{os.urandom(4).hex()}"
        descriptor = os.open(private, mode, 0o666, dir_fd=self._directory)
        try:
            os.link(private, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError:
            os.close(descriptor)
            raise
        finally:
            os.unlink(private, dir_fd=self._directory)
        return descriptor

    def _break_stale(self) -> bool:
        """Remove the lock if its holder is gone; True when it is worth trying again at once.

        Only one process can break it: the flock on the very file is had by one, and the path is compared under it.
        """
        try:
            descriptor = os.open(
                self._name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._directory
            )
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            if not self._is_stale(descriptor):
                return False
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = os.fstat(descriptor)
            there = os.stat(self._name, dir_fd=self._directory, follow_symlinks=False)
            if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino):
                os.unlink(self._name, dir_fd=self._directory)
            return True
        except FileNotFoundError:
            return True
        except OSError:
            return False
        finally:
            os.close(descriptor)

    def _is_stale(self, descriptor: int) -> bool:
        found = os.fstat(descriptor)
        content = os.read(descriptor, MAX_CONTENT)
        if not _abandoned_by_dead(content):
            seen = (found.st_dev, found.st_ino, found.st_mtime_ns)
            if self._observed is None or self._observed[0] != seen:
                self._observed = (seen, clock.monotonic())
                return False
            watched = clock.monotonic() - self._observed[1]
            if not content:
                return watched >= NAMELESS
            return watched >= OBSERVED and abs(clock.file_time() - found.st_mtime) >= self._stale
        return True


def _pause(now: float, waited: float) -> float:
    """Seconds until the next look; the clock's last digits keep those who wait from looking in step."""
    jitter = 0.5 + now * 1e6 % 1.0
    return jitter * pause(_LONGEST_PAUSE, waited)


def _abandoned_by_dead(content: bytes) -> bool:
    pid, _, host = content.partition(b":")
    if not pid.isdigit() or len(pid) > 9 or host.strip() != os.uname().nodename.encode():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _refused(error: OSError, name: str) -> Exception:
    if error.errno in FULL:
        return NoSpace("Not enough disk space")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied("Permission denied", log=f"open({name}) failed: {error.strerror}")
    return error
