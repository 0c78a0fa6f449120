"""Passdb drivers: a module each, found by the name that the configuration uses."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth.passdb import passwd_file
from dovecotpy.auth.passdb.base import PassDatabase

DRIVERS: dict[str, Callable[[str, Callable[[str], None]], PassDatabase]] = {
    "passwd-file": passwd_file.PasswdFilePassdb,
}
"""Name to what makes a database of a section's args and of what is told of faulty lines. Raises SetupError."""

BLOCKING = frozenset({"sql"})
"""Drivers that only workers ask (`blocking`); the auth process does not even read their files."""
