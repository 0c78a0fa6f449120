"""Userdb drivers: a module each, found by the name that the configuration uses."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth.userdb import passwd_file, prefetch, static
from dovecotpy.auth.userdb.base import UserDatabase

DRIVERS: dict[str, Callable[[str, Callable[[str], None]], UserDatabase]] = {
    "passwd-file": passwd_file.PasswdFileUserdb,
    "prefetch": prefetch.PrefetchUserdb,
    "static": static.StaticUserdb,
}
"""Name to what makes a database of a section's args and of what is told of faulty lines. Raises SetupError."""

BLOCKING = frozenset({"sql"})
"""Drivers that only workers ask (`blocking`); the auth process does not even read their files."""
