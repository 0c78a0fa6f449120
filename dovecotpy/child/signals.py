"""What a process does when a signal comes: `signal.signal` without its way through enumerations.

The standard module answers with the old handler as a member of an enumeration, which for a function costs an exception and for a
process that was just forked some thirty pages to copy.
"""

from __future__ import annotations

from collections.abc import Callable
from types import FrameType

try:
    from _signal import SIG_DFL, SIG_IGN  # type: ignore[import-not-found]
    from _signal import signal as _set
except ImportError:  # an interpreter that has it elsewhere
    from signal import SIG_DFL, SIG_IGN
    from signal import signal as _set

DEFAULT = int(SIG_DFL)
IGNORE = int(SIG_IGN)


def on(number: int, action: Callable[[int, FrameType | None], None] | int) -> None:
    """From now on: a function called between two instructions, DEFAULT, or IGNORE. Raises ValueError outside of the main thread."""
    _set(number, action)
