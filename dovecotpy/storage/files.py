"""Small files in a directory that is held open: reading one whole, replacing one in one step."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeVar

from dovecotpy import clock
from dovecotpy.storage.errors import Internal, NoSpace, PermissionDenied, StoreError

READ = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
STALE_TRIES = 3
TEMPORARY_SECONDS = 36 * 3600
"""A temporary file that did not change for so long belongs to a process that died."""
FINE_CHANGES = 8
"""Changes at once that all get times of their own, which a coarse clock does not do."""
Result = TypeVar("Result")
_CHUNK = 1 << 20


class Identity(NamedTuple):
    """Which file, as far as stat tells: another inode or size is another content."""

    device: int
    inode: int
    size: int
    changed: int
    """mtime in nanoseconds"""


NOWHERE = Identity(0, 0, -1, 0)
"""The identity of a file that does not exist."""


def identity(found: os.stat_result) -> Identity:
    """From what stat gave."""
    return Identity(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


def identify(directory: int, name: str) -> Identity:
    """The identity of a file, NOWHERE if there is none."""
    try:
        return identity(os.stat(name, dir_fd=directory, follow_symlinks=False))
    except FileNotFoundError:
        return NOWHERE


def _patient(call: Callable[[], Result]) -> Result:
    """A call on a file that another machine may replace meanwhile (ESTALE): then once more."""
    for _ in range(STALE_TRIES):
        try:
            return call()
        except OSError as error:
            if error.errno != errno.ESTALE:
                raise
    return call()


def stat_afresh(directory: int, name: str) -> os.stat_result:
    """What a network file system's server says now: opening asks it, stat may answer from memory. Raises OSError."""
    return _patient(lambda: _stat_once(directory, name))


def stat_of(directory: int, name: str, *, afresh: bool) -> os.stat_result:
    """`stat_afresh`, or what stat says; links are not followed. Raises OSError."""
    return stat_afresh(directory, name) if afresh else os.stat(name, dir_fd=directory, follow_symlinks=False)


def _stat_once(directory: int, name: str) -> os.stat_result:
    descriptor = os.open(name, READ, dir_fd=directory)
    try:
        return os.fstat(descriptor)
    finally:
        os.close(descriptor)


def read(directory: int, name: str, start: int = 0) -> tuple[bytes, Identity]:
    """Content from a place on, and what it was read of. Raises OSError."""
    return _patient(lambda: _read_once(directory, name, start))


def _read_once(directory: int, name: str, start: int) -> tuple[bytes, Identity]:
    descriptor = os.open(name, READ, dir_fd=directory)
    try:
        found = os.fstat(descriptor)
        left = found.st_size - start
        pieces = []
        while left > 0:
            data = os.pread(descriptor, min(left, _CHUNK), start)
            if not data:
                break
            pieces.append(data)
            start += len(data)
            left -= len(data)
        return b"".join(pieces), identity(found)
    finally:
        os.close(descriptor)


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything. Raises OSError."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


class Shared(NamedTuple):
    """Mode and group that new files and directories take from `dovecot-shared`; None: the umask decides."""

    mode: int
    group: int


def adopt(descriptor: int, shared: Shared | None, *, directory: bool = False) -> None:
    """Give a new file or directory the shared mode and group, as far as the process may."""
    if shared is None:
        return
    mode = shared.mode & 0o666
    if directory:
        mode |= (mode & 0o444) >> 2
    try:
        os.fchown(descriptor, -1, shared.group)
        os.fchmod(descriptor, mode)
    except PermissionError:
        os.fchmod(descriptor, mode & 0o600 | (0o100 if directory else 0))


@contextmanager
def replacing(directory: int, name: str) -> Iterator[int]:
    """The descriptor of a new file, to be written; at the end of the block it stands in place of the old one. Raises OSError; nothing is left
    behind when the block raises.
    """
    temporary = f"{name}.tmp.{os.getpid()}.{os.urandom(4).hex()}"
    descriptor = os.open(temporary, CREATE, 0o666, dir_fd=directory)
    try:
        try:
            yield descriptor
        finally:
            os.close(descriptor)
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        os.unlink(temporary, dir_fd=directory)
        raise


def replace(directory: int, name: str, data: bytes, *, sync: bool, shared: Shared | None = None) -> Identity:
    """Put new content in place of a file. Raises OSError; nothing is left behind then."""
    with replacing(directory, name) as descriptor:
        adopt(descriptor, shared)
        write_all(descriptor, data)
        if sync:
            os.fsync(descriptor)
        return identity(os.fstat(descriptor))


def sweep(directory: int, names: Iterable[str]) -> None:
    """Remove those of these files that nobody can be writing any more; what cannot be removed stays."""
    for name in names:
        try:
            entry = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISREG(entry.st_mode) and clock.file_time() - entry.st_ctime > TEMPORARY_SECONDS:
                os.unlink(name, dir_fd=directory)
        except OSError:
            continue


def sweep_temporary(directory: int, start: str) -> None:
    """`sweep` for what `replacing` leaves when it is killed, of files whose names begin so. Raises OSError."""
    names = os.listdir(directory)
    sweep(directory, [name for name in names if name.startswith(start) and ".tmp." in name])


def is_fine(directory: int) -> bool:
    """Whether two changes of a directory here never carry the same mtime if somebody looked at it in between.

    So it is on local file systems since Linux 6.13; elsewhere changes within one tick of the kernel's clock look like one.
    """
    try:
        descriptor = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600, dir_fd=directory)
    except OSError:
        return False
    try:
        before = os.fstat(descriptor).st_mtime_ns
        for number in range(FINE_CHANGES):
            os.pwrite(descriptor, b"x", number)
            now = os.fstat(descriptor).st_mtime_ns
            if now <= before:
                return False
            before = now
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def sync_directory(descriptor: int) -> None:
    """Make names durable; a file system that cannot sync a directory does not need it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS):
            raise


def translated(error: OSError, what: str) -> StoreError:
    """What a failed system call means for the client; `what` names call and file for the log."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return NoSpace("Not enough disk space")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(
            "Permission denied",
            log=f"{what} failed: {error.strerror} (euid={os.geteuid()}, egid={os.getegid()})",
        )
    return Internal.because(f"{what} failed: {error.strerror}")
