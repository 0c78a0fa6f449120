"""The birth of a forked worker: what it does before anything of its kind, and how it leaves."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Iterable

from dovecotpy.child import signals

GARBAGE_THRESHOLD = 50_000
"""Allocations before a collection: sessions are short and make few cycles; what the fork server made is frozen."""

_MAX_DESCRIPTOR = 1 << 20
_DEFAULTS = tuple(
    int(each) for each in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
)
_PIPE = int(signal.SIGPIPE)


def born(keep: Iterable[int]) -> None:
    """Signals as a worker has them, the collector on again, and every descriptor closed but `keep` and 0-2.

    That nobody may attach it has from its fork server.
    """
    signal.set_wakeup_fd(-1)
    for number in _DEFAULTS:
        signals.on(number, signals.DEFAULT)
    signals.on(_PIPE, signals.IGNORE)
    gc.enable()
    gc.set_threshold(GARBAGE_THRESHOLD, 20, 100)
    close_all_but(keep)


def close_all_but(keep: Iterable[int]) -> None:
    """Close every descriptor above 2 that is not named."""
    low = 3
    for number in sorted(set(keep)):
        if number < low:
            continue
        os.closerange(low, number)
        low = number + 1
    os.closerange(low, _MAX_DESCRIPTOR)


def leave(status: int = 0) -> None:
    """End this worker at once, without the interpreter's farewell, which costs more than most sessions."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        status = status or 1
    os._exit(status)
