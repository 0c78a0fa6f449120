"""How many spare mail processes wait: the target, without any process.

It doubles once a second while the spares run out, but not beyond the sessions that were there at once in that second, and shrinks by one
a second afterwards; refilling up to it is immediate. Where all processors are busy spares run out whatever their number, and each birth
more takes time from those who wait: without the bound eight clients made four hundred spares.
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
        self._busiest = 0

    def ran_out(self) -> None:
        """No spare was ready at some moment of this second."""
        self._ran_out = True

    def tick(self) -> None:
        """Once a second."""
        if self._ran_out:
            bound = max(self._minimum, min(self._busiest, self._maximum))
            self.target = max(self.target, min(self.target * 2, bound))
        elif self.target > self._minimum:
            self.target -= 1
        self._ran_out = False
        self._busiest = 0

    def wanted(self, spares: int, sessions: int) -> int:
        """How many spares to fork now, of `spares` waiting (or being born) and `sessions` served by others.

        One spare beyond max_mail_processes always waits, to refuse in words.
        """
        self._busiest = max(self._busiest, sessions)
        room = max(1, self._maximum + 1 - sessions)
        return max(0, min(self.target, room) - spares)
