"""Passdb drivers: a module each, found by the name that the configuration uses."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth.passdb import passwd_file, sql
from dovecotpy.auth.passdb.base import PassDatabase

DRIVERS: dict[str, Callable[[str], PassDatabase]] = {
    "passwd-file": passwd_file.PasswdFilePassdb,
    "sql": sql.SqlPassdb,
}
"""Name to what makes a database of a section's args. Raises SetupError."""

BLOCKING = frozenset({"sql"})
"""Drivers that only workers ask; the auth process does not even read their files."""
