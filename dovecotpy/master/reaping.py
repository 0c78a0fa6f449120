"""Ends of the master's own children, and signals to them alone."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from dovecotpy import clock

_STEP = 0.01


def ended() -> Iterator[tuple[int, int]]:
    """The children that have ended, each with its wait status."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        yield pid, status


def own(pid: int) -> bool:
    """Whether the pid is a child of this process that has not been reaped: nobody else can have it then."""
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill(pid: int) -> bool:
    """End a child of this process at once; False when it is none."""
    if not own(pid):
        return False
    os.kill(pid, signal.SIGKILL)
    return True


def wait(pid: int, seconds: float) -> bool:
    """Reap a child of this process within so many seconds; False when it lives longer."""
    deadline = clock.monotonic() + seconds
    while clock.monotonic() < deadline:
        try:
            if os.waitpid(pid, os.WNOHANG)[0]:
                return True
        except ChildProcessError:
            return True
        time.sleep(_STEP)
    return False
