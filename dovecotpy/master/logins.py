"""How many login processes one protocol has: the counting rules, once a second, without any process.

The number wanted doubles while nobody listens and shrinks by one a second afterwards; between two ticks what is
missing is forked at once. With one process for each connection the
process that has been busy with an unauthenticated client for the longest gives way when all are; otherwise all are told to
listen although they are full, and each makes room for itself.
"""

from __future__ import annotations

from typing import NamedTuple


class LoginLimits(NamedTuple):
    """Settings of one protocol."""

    per_connection: bool
    """login_process_per_connection"""
    minimum: int
    """login_processes_count"""
    maximum: int
    """login_max_processes_count"""


class LoginCounts(NamedTuple):
    """What there is now."""

    processes: int
    """all of the current generation, those not born yet included"""
    listening: int
    """those that accept, or will as soon as they are born"""


class LoginOrders(NamedTuple):
    """What is to be done."""

    fork: int = 0
    drop_oldest: bool = False
    """close the process that has had an unauthenticated client for the longest"""
    listen_again: bool = False
    """tell every process to listen although it is full"""


class LoginRule:
    """The rule of one protocol with its only memory, the number wanted."""

    def __init__(self, limits: LoginLimits) -> None:
        self.limits = limits
        self.wanted = 0
        self._ran_out = False

    def ran_out(self) -> None:
        """Nobody listened at some moment of this second: counts as if nobody did at its end."""
        self._ran_out = True

    def tick(self, counts: LoginCounts) -> LoginOrders:
        """Once a second."""
        full = counts.processes >= self.limits.maximum and counts.listening == 0
        if self.wanted < self.limits.minimum:
            self.wanted = self.limits.minimum
        elif counts.listening == 0 or self._ran_out:
            self.wanted = max(self.wanted, min(self.wanted * 2, self.limits.maximum))
        elif self.wanted > self.limits.minimum:
            self.wanted -= 1
        self._ran_out = False
        fork = self.refill(counts).fork
        again = not self.limits.per_connection and counts.listening + fork == 0
        return LoginOrders(fork, full and self.limits.per_connection, again)

    def refill(self, counts: LoginCounts) -> LoginOrders:
        """Between two ticks: up to the number wanted, at once."""
        missing = self.wanted - counts.listening
        room = self.limits.maximum - counts.processes
        return LoginOrders(max(0, min(missing, room)))

    def abnormal_end(self) -> None:
        """A process ended as none should: nothing is forked before the next tick."""
        self.wanted = 0
