"""userdb prefetch: what the passdb said already, in its `userdb_…` fields."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result


class PrefetchUserdb:
    """Fields that came with the password. A look-up without a login has none, so a further userdb must follow for it."""

    def __init__(self, args: str, complain: Callable[[str], None]) -> None:
        del args, complain

    def lookup(self, request: Request) -> Found:
        """The passdb's `userdb_…` fields."""
        if request.userdb_fields is None:
            return Found(Result.UNKNOWN, text="passdb didn't return userdb entries")
        return Found(Result.OK, fields=dict(request.userdb_fields))
