"""How often somebody looks whether a lock that another one holds is free."""

from __future__ import annotations

_SHORTEST_PAUSE = 0.0005
_IMPATIENCE = 20.0
"""How fast the pauses get shorter, per second of waiting: who waits longest looks most often, so that nobody starves among many."""


def pause(longest: float, waited: float) -> float:
    """Seconds until the next look of one who waited so many seconds. longest: seconds of the longest pause.

    Most locks are held for a millisecond or two, so that the pauses begin short; after the longest they get shorter again.
    """
    return max(_SHORTEST_PAUSE, min(longest, waited) / (1.0 + _IMPATIENCE * waited))
