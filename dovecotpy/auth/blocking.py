"""The databases that may block: made by the fork server of the workers, as root, and asked by its workers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dovecotpy.auth.passdb.base import PassDatabase
from dovecotpy.auth.passdb.sql import SqlPassdb
from dovecotpy.auth.sql import mysql, settings
from dovecotpy.auth.sql.database import Source
from dovecotpy.auth.userdb.base import UserDatabase
from dovecotpy.auth.userdb.sql import SqlUserdb
from dovecotpy.config.values import Passdb, Userdb


class Databases:
    """Those databases of an auth section that workers ask, by their number in it."""

    def __init__(
        self, passdbs: Sequence[Passdb], userdbs: Sequence[Userdb], complain: Callable[[str], None]
    ) -> None:
        """Reads their files; complain: is told of files that others can read. Raises SetupError."""
        self._complain = complain
        self._sources: dict[str, Source] = {}
        self.passdbs: dict[int, PassDatabase] = {
            number: SqlPassdb(self._source(each.args))
            for number, each in enumerate(passdbs)
            if each.driver == "sql"
        }
        self.userdbs: dict[int, UserDatabase] = {
            number: SqlUserdb(self._source(each.args))
            for number, each in enumerate(userdbs)
            if each.driver == "sql"
        }

    def _source(self, path: str) -> Source:
        if path not in self._sources:
            loaded = settings.load(path, self._complain)
            if loaded.driver == "mysql":
                mysql.parse(loaded.connect, path)
            self._sources[path] = Source(loaded)
        return self._sources[path]

    def inform(self, tell: Callable[[str], None]) -> None:
        """From now on `tell` hears of connections that were made."""
        for source in self._sources.values():
            source.inform = tell
