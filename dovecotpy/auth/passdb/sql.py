"""passdb sql: the password and fields that `password_query` selects."""

from __future__ import annotations

from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result, failed, unknown
from dovecotpy.auth.sql.database import DatabaseDown, QueryFailed, Source


class SqlPassdb:
    """Column names are field names, NULL is no field. Only workers ask one."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def lookup(self, request: Request) -> Found:
        """The one row of the user."""
        try:
            rows = self._source.rows(self._source.settings.password_query, request.variables())
        except DatabaseDown as error:
            return failed(str(error))
        except QueryFailed as error:
            return failed(f"Password query failed: {error}")
        if not rows:
            return unknown()
        if len(rows) > 1:
            return failed("Password query returned multiple matches")
        return self._found(dict(rows[0]))

    def _found(self, columns: dict[str, str | None]) -> Found:
        scheme = self._source.settings.default_pass_scheme
        if not columns.keys() & {"password", "password_noscheme", "nopassword"}:
            return failed("Password query must return a field named 'password'")
        stored, bare = columns.pop("password", None), columns.pop("password_noscheme", None)
        if bare is not None:
            stored = "{" + scheme + "}" + bare
        fields = {name: value for name, value in columns.items() if value is not None}
        return Found(Result.OK, stored, fields, scheme)
