"""Signals become bytes on a pipe, and the loop acts on them between two events."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType

WATCHED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
_IGNORED = (signal.SIGPIPE, signal.SIGALRM, signal.SIGUSR2)
_MAX = 4096


class Signals:
    """The signals of this process from now on, in the order in which they came."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in WATCHED:
            signal.signal(number, _noticed)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)

    def fileno(self) -> int:
        """Readable when there is one."""
        return self._read

    def take(self) -> list[int]:
        """Those that came since the last call, each once."""
        data = b""
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._read, _MAX)
        return list(dict.fromkeys(data))


def _noticed(number: int, frame: FrameType | None) -> None:
    """The wakeup descriptor has said it already."""
