"""One database as a worker sees it: a connection that comes when it is first needed and is replaced when it was lost."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.pool import QueuePool

from dovecotpy import clock
from dovecotpy.auth.sql import mysql
from dovecotpy.auth.sql.binding import Query
from dovecotpy.auth.sql.settings import SqlSettings

MAX_RETRY_SECONDS = 8
"""Longest time after a failed connect in which requests fail without another try (1.x: 1800)."""
REPEAT_WITHIN_SECONDS = 1.0
"""A query whose connection was lost is sent once more, but not when the database let it wait: it would wait again."""
MAX_ROWS = 2
"""Rows that are fetched: more than one is an error or too much already."""
SQLITE_BUSY_SECONDS = 5


class DatabaseDown(Exception):
    """There is no connection. Log: this text once while it lasts; client: temporary failure."""


class QueryFailed(Exception):
    """The database refused the query. Log: this text; client: temporary failure."""


Row = list[tuple[str, str | None]]
"""Columns in order, by name; None for NULL."""


class Database:
    """Runs queries. Its first query connects: not before the fork, a connection must not be shared by processes."""

    def __init__(self, settings: SqlSettings, inform: Callable[[str], None]) -> None:
        """inform: is told when a connection was made. Raises SetupError."""
        self._driver = settings.driver
        self._name = settings.connect
        self._engine = self._make_engine(settings, inform)
        self._failures = 0
        self._blocked_until = 0.0
        self._down = ""

    def _make_engine(self, settings: SqlSettings, inform: Callable[[str], None]) -> sqlalchemy.Engine:
        options: dict[str, Any] = {
            "poolclass": QueuePool,
            "pool_size": 1,
            "max_overflow": 0,
            "pool_pre_ping": True,
            "pool_reset_on_return": None,
            "isolation_level": "AUTOCOMMIT",
            "hide_parameters": True,
        }
        if settings.driver == "mysql":
            connector = mysql.Connector(mysql.parse(settings.connect, settings.path), inform)
            self._name = connector.name()
            return sqlalchemy.create_engine("mysql+pymysql://", creator=connector, **options)
        path = settings.connect
        self._name = path
        return sqlalchemy.create_engine("sqlite://", creator=lambda: _open_sqlite(path), **options)

    def rows(self, query: Query, given: dict[str, str]) -> list[Row]:
        """The first rows of the query's answer. given: %-variables by letter. Raises DatabaseDown, QueryFailed."""
        values = query.values(given)
        if not all(map(_is_text, values)):
            return []
        connection, begun = self._connection(), clock.monotonic()
        try:
            return self._run(connection, query, values)
        except exc.DBAPIError as error:
            lost = error.connection_invalidated and clock.monotonic() - begun < REPEAT_WITHIN_SECONDS
            if not lost:
                raise QueryFailed(_text(error)) from error
        finally:
            connection.close()
        return self._again(query, values)

    def _again(self, query: Query, values: tuple[str, ...]) -> list[Row]:
        """Once more: the connection was lost between its check and the query's end."""
        connection = self._connection()
        try:
            return self._run(connection, query, values)
        except exc.DBAPIError as error:
            raise QueryFailed(_text(error)) from error
        finally:
            connection.close()

    def _run(self, connection: sqlalchemy.Connection, query: Query, values: tuple[str, ...]) -> list[Row]:
        result = connection.exec_driver_sql(query.text, values)
        if not result.returns_rows:
            return []
        names = list(result.keys())
        rows = result.fetchmany(MAX_ROWS)
        result.close()
        return [[(name, _plain(value)) for name, value in zip(names, row, strict=True)] for row in rows]

    def _connection(self) -> sqlalchemy.Connection:
        now = clock.monotonic()
        if now < self._blocked_until:
            raise DatabaseDown(self._down)
        try:
            connection = self._engine.connect()
        except (exc.SQLAlchemyError, OSError) as error:
            wait = min(2**self._failures, MAX_RETRY_SECONDS)
            self._failures += 1
            self._blocked_until = clock.monotonic() + wait
            self._down = (
                f"{self._driver}: Connect failed to {self._name}: {_text(error)} - "
                f"waiting for {wait} seconds before retry"
            )
            raise DatabaseDown(self._down) from error
        self._failures = 0
        return connection

    def close(self) -> None:
        """Let the connection go."""
        self._engine.dispose()


class Source:
    """The database of one settings file, for all sections that name it.

    Made before the fork, with all that has to be imported; connected to after it.
    """

    def __init__(self, settings: SqlSettings) -> None:
        """Raises SetupError."""
        self.settings = settings
        self.inform: Callable[[str], None] = lambda text: None
        """is told when a connection was made"""
        self._database = Database(settings, lambda text: self.inform(text))

    def rows(self, query: Query, given: dict[str, str]) -> list[Row]:
        """As `Database.rows`."""
        return self._database.rows(query, given)


def _open_sqlite(path: str) -> sqlite3.Connection:
    """The user database is the administrator's: it is read and never made."""
    uri = "file:" + path.replace("%", "%25").replace("?", "%3f").replace("#", "%23") + "?mode=ro"
    return sqlite3.connect(uri, uri=True, timeout=SQLITE_BUSY_SECONDS, isolation_level=None)


def _is_text(value: str) -> bool:
    """What is not UTF-8 is nobody's name or password in a database of text."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def _plain(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    return str(value)


def _text(error: BaseException) -> str:
    """What the database said, on one line, without the statement and its values."""
    original = getattr(error, "orig", None) or error
    arguments = getattr(original, "args", ())
    said = str(arguments[-1]) if arguments else str(original)
    return " ".join(said.split())
