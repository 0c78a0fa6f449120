"""userdb sql: the fields that `user_query` selects."""

from __future__ import annotations

from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result, failed, unknown
from dovecotpy.auth.sql.database import DatabaseDown, QueryFailed, Source


class SqlUserdb:
    """Column names are field names, NULL is no field. Only workers ask one."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def lookup(self, request: Request) -> Found:
        """The first row of the user."""
        try:
            rows = self._source.rows(self._source.settings.user_query, request.variables())
        except DatabaseDown as error:
            return failed(str(error))
        except QueryFailed as error:
            return failed(f"User query failed: {error}")
        if not rows:
            return unknown("Unknown user")
        return Found(Result.OK, fields={name: value for name, value in rows[0] if value is not None})
