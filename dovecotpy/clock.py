"""Time, read in one place: the only module that asks the wall clock."""

from __future__ import annotations

import time

_shift = 0.0


def now() -> float:
    """Seconds since the epoch, by the wall clock (plus what `shift` added). It may jump either way at any time."""
    return time.time() + _shift


def monotonic() -> float:
    """Seconds on a clock that never jumps: every interval, deadline and timeout is measured with it."""
    return time.monotonic()


def shift(seconds: float) -> None:
    """Move the wall clock of this process by so many seconds, for good. Intervals are not touched."""
    global _shift
    _shift += seconds


def local(timestamp: float) -> time.struct_time:
    """The local time of a moment, for people to read."""
    return time.localtime(timestamp)


_REALTIME_COARSE = 5


def file_time() -> float:
    """The kernel's clock that stamps local files, in ticks of milliseconds; never shifted. For comparing with an mtime alone."""
    return time.clock_gettime(_REALTIME_COARSE)
