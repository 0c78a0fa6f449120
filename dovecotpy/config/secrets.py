"""Files that everyone may read while a password stands in them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from dovecotpy.config import grammar
from dovecotpy.config.grammar import Assignment
from dovecotpy.config.source import MAX_FILE
from dovecotpy.config.values import Configuration

SECRET_KEYS = frozenset({"ssl_key_password", "dnpass"})
"""Settings that are passwords."""

PASSWORD_INSIDE = frozenset({"connect"})
"""Settings that may have a password in them: SQL connections."""


def exposed(configuration: Configuration) -> Iterator[str]:
    """A line for each file of the configuration, or named by a passdb or userdb, that others may read and that holds a password."""
    for path in dict.fromkeys([*configuration.files, *_databases(configuration)]):
        key = _secret_in(path) if _readable_by_others(path) else None
        if key:
            yield f"{path} holds a password ({key}) and may be read by everyone: chmod 0600 it"


def _databases(configuration: Configuration) -> Iterator[str]:
    for server in configuration.servers:
        for auth in server.auths:
            named = [(passdb.driver, passdb.args) for passdb in auth.passdbs]
            named += [(userdb.driver, userdb.args) for userdb in auth.userdbs]
            yield from (args for driver, args in named if driver in ("sql", "ldap") and args.startswith("/"))


def _readable_by_others(path: str) -> bool:
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IROTH)


def _secret_in(path: str) -> str | None:
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_FILE).decode("utf-8", "surrogateescape")
    except OSError:
        return None
    return secret_among(
        statement for statement in grammar.statements(text) if isinstance(statement, Assignment)
    )


def secret_among(assignments: Iterable[Assignment]) -> str | None:
    """The first key whose value is a password or has one in it."""
    for assignment in assignments:
        if assignment.key in SECRET_KEYS and assignment.value:
            return assignment.key
        if assignment.key in PASSWORD_INSIDE and _password_inside(assignment.value):
            return assignment.key
    return None


def _password_inside(value: str) -> bool:
    """`password=` of a connect string, or a URL of the form `driver://user:password@host`."""
    words = value.split()
    if any(word.startswith("password=") and len(word) > len("password=") for word in words):
        return True
    _, scheme, rest = value.partition("://")
    return bool(scheme) and ":" in rest.partition("@")[0] and "@" in rest
