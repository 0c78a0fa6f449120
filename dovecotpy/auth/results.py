"""What a look-up can end in."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum


class Result(IntEnum):
    """The end of one passdb or userdb look-up; also what travels between the auth process and its workers."""

    OK = 1
    MISMATCH = 0
    INTERNAL = -1
    """nobody knows: the database is down, a query is wrong"""
    SCHEME = -2
    """known, but not in the form that the mechanism needs"""
    UNKNOWN = -3
    DISABLED = -4
    EXPIRED = -5


@dataclass(frozen=True, slots=True)
class Found:
    """What one database said.

    fields: the remaining fields in the database's order, those without a value as the empty text (bare words of a passwd-file).
    """

    result: Result
    password: str | None = None
    """as stored, with or without a scheme; None: no password field. A worker that compared already gives the empty text"""
    fields: dict[str, str] = field(default_factory=dict)
    default_scheme: str = "PLAIN"
    text: str = ""
    """for the log: why it is not OK"""
    error: bool = False
    """whether `text` is always logged, as an error; otherwise with auth_verbose alone"""


def failed(text: str) -> Found:
    """An internal failure; the text is an error in the log."""
    return Found(Result.INTERNAL, text=text, error=True)


def unknown(text: str = "unknown user") -> Found:
    """There is no such user."""
    return Found(Result.UNKNOWN, text=text)
