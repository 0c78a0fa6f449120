"""LOGIN (draft-murchison-sasl-login): two prompts, for clients that know nothing better."""

from __future__ import annotations

from typing import ClassVar

from dovecotpy.auth.mechanisms.base import Challenge, Credentials, Mechanism, Step, text_of


class Login(Mechanism):
    """`Username:`, `Password:`; an initial response is the user."""

    NAME: ClassVar[str] = "LOGIN"
    FLAGS: ClassVar[frozenset[str]] = frozenset({"plaintext"})

    def __init__(self) -> None:
        self._user: str | None = None

    def start(self, initial: bytes) -> Step:
        """Ask for the user, or with an initial response at once for the password."""
        return self.step(initial) if initial else Challenge(b"Username:")

    def step(self, data: bytes) -> Step:
        """First the user, then the password."""
        if self._user is None:
            self._user = text_of(data)
            return Challenge(b"Password:")
        return Credentials(self._user, text_of(data))
