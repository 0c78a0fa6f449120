"""The databases that may block: made by the fork server of the workers, as root, and asked by its workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dovecotpy.auth.passdb.base import PassDatabase
from dovecotpy.auth.passdb.sql import SqlPassdb
from dovecotpy.auth.sql import settings
from dovecotpy.auth.sql.binding import Query
from dovecotpy.auth.sql.database import Source
from dovecotpy.auth.userdb.base import UserDatabase
from dovecotpy.auth.userdb.sql import SqlUserdb
from dovecotpy.config.values import Passdb, Userdb


class Databases:
    """Those databases of an auth section that workers ask, by their number in it."""

    def __init__(self, passdbs: Sequence[Passdb], userdbs: Sequence[Userdb]) -> None:
        """Reads their files. Raises SetupError."""
        self._sources: dict[str, Source] = {}
        self.passdbs: dict[int, PassDatabase] = {}
        self.userdbs: dict[int, UserDatabase] = {}
        self.password_queries: dict[int, Query] = {}
        self.user_queries: dict[int, Query] = {}
        for number, passdb in enumerate(passdbs):
            if passdb.driver == "sql":
                source = self._source(passdb.args)
                self.passdbs[number] = SqlPassdb(source)
                self.password_queries[number] = source.settings.password_query
        for number, userdb in enumerate(userdbs):
            if userdb.driver == "sql":
                source = self._source(userdb.args)
                self.userdbs[number] = SqlUserdb(source)
                self.user_queries[number] = source.settings.user_query

    def _source(self, path: str) -> Source:
        if path not in self._sources:
            self._sources[path] = Source(settings.load(path))
        return self._sources[path]

    def inform(self, tell: Callable[[str], None]) -> None:
        """From now on `tell` hears of connections that were made."""
        for source in self._sources.values():
            source.inform = tell
