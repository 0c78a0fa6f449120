"""userdb static: `uid= gid= home= any=… [allow_all_users=yes]`, the same template for all users."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result
from dovecotpy.config import variables


class StaticUserdb:
    """Fields from a template.

    Every user has them, so whether a user exists is known by the passdb alone: `allow_all_users` says that it need not be asked.
    """

    def __init__(self, args: str, complain: Callable[[str], None]) -> None:
        del complain
        self._fields: dict[str, str] = {}
        for word in args.split():
            name, equals, value = word.partition("=")
            self._fields[name] = value if equals else "1"
        self.allow_all_users = self._fields.pop("allow_all_users", "no").lower() == "yes"

    def lookup(self, request: Request) -> Found:
        """The expanded template; always OK."""
        values = request.variables()
        return Found(
            Result.OK, fields={name: variables.expand(value, values) for name, value in self._fields.items()}
        )
