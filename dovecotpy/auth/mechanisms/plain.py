"""PLAIN (RFC 4616)."""

from __future__ import annotations

from typing import ClassVar

from dovecotpy.auth.mechanisms.base import Challenge, Credentials, Mechanism, Refused, Step, text_of


class Plain(Mechanism):
    """`authorization identity NUL authentication identity NUL password`, in one response."""

    NAME: ClassVar[str] = "PLAIN"
    FLAGS: ClassVar[frozenset[str]] = frozenset({"plaintext"})

    def start(self, initial: bytes) -> Step:
        """Ask for the response unless it is there."""
        return self.step(initial) if initial else Challenge(b"")

    def step(self, data: bytes) -> Step:
        """The one response."""
        parts = data.split(b"\0")
        if len(parts) != 3:
            return Refused("invalid input")
        login_user, user, password = (text_of(part) for part in parts)
        return Credentials(user, password, "" if login_user == user else login_user)
