"""Userdb drivers: a module each, found by the name that the configuration uses."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth.userdb import passwd_file, prefetch, sql, static
from dovecotpy.auth.userdb.base import UserDatabase

DRIVERS: dict[str, Callable[[str], UserDatabase]] = {
    "passwd-file": passwd_file.PasswdFileUserdb,
    "prefetch": prefetch.PrefetchUserdb,
    "sql": sql.SqlUserdb,
    "static": static.StaticUserdb,
}
"""Name to what makes a database of a section's args. Raises SetupError."""

BLOCKING = frozenset({"sql"})
"""Drivers that only workers ask; the auth process does not even read their files."""
