"""The pid file: a lock that dies with its holder, and the pid for people and scripts."""

from __future__ import annotations

import contextlib
import fcntl
import os

NAME = "master.pid"
_MODE = 0o644
_TRIES = 5


class AlreadyRunning(Exception):
    """Another master holds the file. The text is what the administrator reads."""


class PidFile:
    """`base_dir/master.pid`, locked from the start to the end of a master.

    The lock is taken before the detach and goes on in the detached process, which keeps `descriptor`; no other child may have it.
    """

    def __init__(self, path: str, descriptor: int, warning: str) -> None:
        self.path = path
        self.descriptor = descriptor
        self.warning = warning
        """what to log about the file that was found; empty: nothing"""

    def write(self) -> None:
        """Put this process's pid into it. Raises OSError."""
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, b"%d\n" % os.getpid(), 0)

    def remove(self) -> None:
        """A clean end: the name goes, then the lock."""
        with contextlib.suppress(OSError):
            os.unlink(self.path)
        with contextlib.suppress(OSError):
            os.close(self.descriptor)


def take(path: str) -> PidFile:
    """Lock the file. Raises AlreadyRunning, OSError."""
    for _ in range(_TRIES):
        existed = os.path.exists(path)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        try:
            if _lock(descriptor, path):
                found = _read(descriptor)
                _refuse_another_server(path, found)
                warning = f"Empty PID file in {path}, overriding" if existed and not found else ""
                os.fchmod(descriptor, _MODE)
                return PidFile(path, descriptor, warning)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
    raise AlreadyRunning(f"Dovecot is already running ({path} changes hands)")


def _lock(descriptor: int, path: str) -> bool:
    """False when the file lost its name meanwhile: another master has just ended. Raises AlreadyRunning."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        pid = _read(descriptor) or "?"
        raise AlreadyRunning(f"Dovecot is already running with PID {pid} (read from {path})") from error
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    return False


def _read(descriptor: int) -> str:
    """The pid in it; empty when there is none."""
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return text if text.isascii() and text.isdigit() else ""


def _refuse_another_server(path: str, pid: str) -> None:
    """A Dovecot keeps such a file without our lock. Raises AlreadyRunning."""
    if pid and int(pid) != os.getpid() and _is_dovecot(int(pid)):
        raise AlreadyRunning(f"Dovecot is already running with PID {pid} (read from {path})")


def _is_dovecot(pid: int) -> bool:
    """Whether that process lives and is a Dovecot: a pid that was given to another program since is stale."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return False
    name, _, rest = text.partition("(")[2].rpartition(")")
    return name == "dovecot" and rest.split()[0] not in ("Z", "X")
