"""The SQL settings file that `args` of a passdb or userdb names: connection and queries."""

from __future__ import annotations

from dataclasses import dataclass

from dovecotpy.auth.setup import SetupError
from dovecotpy.auth.sql import binding
from dovecotpy.config import errors, grammar

DRIVERS = {"mysql": binding.MYSQL, "sqlite": binding.SQLITE}
"""Databases that `driver` may name."""

_DEFAULTS = {
    "driver": "",
    "connect": "",
    "default_pass_scheme": "PLAIN-MD5",
    "password_query": "SELECT username, domain, password FROM users WHERE username = '%n' AND domain = '%d'",
    "user_query": "SELECT home, uid, gid FROM users WHERE username = '%n' AND domain = '%d'",
    "update_query": "UPDATE users SET password = '%w' WHERE username = '%n' AND domain = '%d'",
}


@dataclass(frozen=True, slots=True)
class SqlSettings:
    """One file's settings; queries are bound already."""

    path: str
    driver: str
    connect: str
    default_pass_scheme: str
    password_query: binding.Query
    user_query: binding.Query

    def __repr__(self) -> str:
        """Without the connect string, which holds a password."""
        return f"SqlSettings({self.path!r}, {self.driver!r})"


def load(path: str) -> SqlSettings:
    """Read the file. Raises SetupError."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            text = file.read()
    except OSError as error:
        raise SetupError(f"sql: Can't open configuration file {path}: {error.strerror}") from error
    return parse(path, text)


def parse(path: str, text: str) -> SqlSettings:
    """The settings in the text of a file. Raises SetupError, with file and line."""
    values, lines = _assignments(path, text)
    for name in ("driver", "connect"):
        if not values[name]:
            what = "driver" if name == "driver" else "connect string"
            raise SetupError(f"sql: {what} not set in configuration file {path}")
    dialect = DRIVERS.get(values["driver"])
    if dialect is None:
        hint = errors.nearest(values["driver"], DRIVERS)
        raise _error(path, lines["driver"], f"Unknown database driver '{values['driver']}'{hint}")
    bound = {
        name: _bound(path, lines.get(name, 0), values[name], dialect)
        for name in ("password_query", "user_query")
    }
    return SqlSettings(
        path,
        values["driver"],
        values["connect"],
        values["default_pass_scheme"],
        bound["password_query"],
        bound["user_query"],
    )


def _assignments(path: str, text: str) -> tuple[dict[str, str], dict[str, int]]:
    values, lines = dict(_DEFAULTS), dict[str, int]()
    for statement in grammar.statements(text):
        if isinstance(statement, grammar.Faulty):
            raise _error(path, statement.line, statement.text)
        if not isinstance(statement, grammar.Assignment):
            raise _error(path, statement.line, "Expecting '='")
        if statement.key not in _DEFAULTS:
            hint = errors.nearest(statement.key, _DEFAULTS)
            raise _error(path, statement.line, f"Unknown setting: {statement.key}{hint}")
        values[statement.key] = statement.value
        lines[statement.key] = statement.line
    return values, lines


def _bound(path: str, line: int, template: str, dialect: binding.Dialect) -> binding.Query:
    try:
        return binding.bind(template, dialect)
    except binding.BindingError as error:
        raise _error(path, line, str(error)) from error


def _error(path: str, line: int, text: str) -> SetupError:
    return SetupError(f"Error in configuration file {path} line {line}: {text}")
