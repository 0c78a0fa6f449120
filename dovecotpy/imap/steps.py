"""The work of searching and sorting in steps, bounded."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

from dovecotpy import clock
from dovecotpy.imap.errors import Refused

SLICE = 0.05
"""Seconds that the store may search between two looks at the client."""
MAX_WORK = 600.0
"""Seconds that one command may search, waiting for the client left out. What it read so far is kept in the text index, so that asking again
goes on from there.
"""

Step = TypeVar("Step")


def bounded(steps: Iterator[Step]) -> Iterator[Step]:
    """The steps of a search, until it has worked for MAX_WORK. Then raises Refused [LIMIT]."""
    left = MAX_WORK
    while True:
        began = clock.monotonic()
        step = next(steps, None)
        left -= clock.monotonic() - began
        if step is None:
            return
        yield step
        if left < 0:
            raise Refused("The search takes too long.", "LIMIT")
