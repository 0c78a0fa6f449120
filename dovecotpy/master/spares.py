"""How many spare mail processes wait: the target, without any process.

It doubles once a second while the spares run out and shrinks by one a second afterwards; refilling up to it is immediate.
"""

from __future__ import annotations


class SpareRule:
    """The target of one protocol.

    minimum: mail_spare_processes; maximum: max_mail_processes.
    """

    def __init__(self, minimum: int, maximum: int) -> None:
        self._minimum = max(1, minimum)
        self._maximum = maximum
        self.target = self._minimum
        self._ran_out = False

    def ran_out(self) -> None:
        """No spare was ready at some moment of this second."""
        self._ran_out = True

    def tick(self) -> None:
        """Once a second."""
        if self._ran_out:
            self.target = min(self.target * 2, max(self._maximum, self._minimum))
        elif self.target > self._minimum:
            self.target -= 1
        self._ran_out = False

    def wanted(self, spares: int, sessions: int) -> int:
        """How many spares to fork now, of `spares` waiting (or being born) and `sessions` served by others.

        One spare beyond max_mail_processes always waits, to refuse in words.
        """
        room = max(1, self._maximum + 1 - sessions)
        return max(0, min(self.target, room) - spares)
