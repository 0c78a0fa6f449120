"""What is told to the administrator when a configuration cannot be used."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ConfigurationError(Exception):
    """The file cannot be used. `lines` are what the administrator reads, in order; the caller adds its fatal line and status 89."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class StatementError(Exception):
    """A fault of one statement, without its place: who knows file and line makes a ConfigurationError of it."""


def at(path: str, line: int, text: str) -> ConfigurationError:
    """The error at a place of a file, in the words that log watchers know."""
    return ConfigurationError(f"Error in configuration file {path} line {line}: {text}")


def nearest(name: str, known: Iterable[str]) -> str:
    """` (did you mean …?)` when something known is spelled much like it, else nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.75)
    return f" (did you mean {found[0]}?)" if found else ""
