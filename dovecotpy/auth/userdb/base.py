"""What a userdb driver is."""

from __future__ import annotations

from typing import Protocol

from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found


class UserDatabase(Protocol):
    """Where users' mail is. `lookup` may block in drivers that only workers ask."""

    def lookup(self, request: Request) -> Found:
        """The fields of `request.user`. Raises nothing that a user or a database can cause."""
