"""The statements of a configuration file and of all that it includes, in order, each with its file."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from typing import NamedTuple

from dovecotpy.config import grammar
from dovecotpy.config.errors import ConfigurationError, at
from dovecotpy.config.grammar import Faulty, Inclusion, Statement

MAX_FILE = 4 << 20
"""Octets of one file."""

MAX_FILES = 1000
"""Files read for one configuration: files that include each other twice would go on for ever without being recursive."""

_Identity = tuple[int, int]


class Placed(NamedTuple):
    """A statement and the file in which it stands."""

    path: str
    statement: Statement


class Source:
    """Reads a file and what it includes. `files` grows with each file that is opened."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.files: list[str] = []

    def statements(self) -> Iterator[Placed]:
        """Every statement but the inclusions. Raises ConfigurationError at the first fault."""
        try:
            text, identity = self._open(self._path)
        except (OSError, ValueError) as error:
            reason = _reason(error)
            raise ConfigurationError(f"Can't open configuration file {self._path}: {reason}") from error
        yield from self._walk(self._path, text, (identity,))

    def _walk(self, path: str, text: str, within: tuple[_Identity, ...]) -> Iterator[Placed]:
        for statement in grammar.statements(text):
            if isinstance(statement, Faulty):
                raise at(path, statement.line, statement.text)
            if isinstance(statement, Inclusion):
                yield from self._include(path, statement, within)
            else:
                yield Placed(path, statement)

    def _include(self, path: str, inclusion: Inclusion, within: tuple[_Identity, ...]) -> Iterator[Placed]:
        for included in _matching(os.path.join(os.path.dirname(path), inclusion.path)):
            try:
                text, identity = self._open(included)
            except (OSError, ValueError) as error:
                if inclusion.optional and isinstance(error, FileNotFoundError):
                    continue
                text = f"Couldn't open include file {included}: {_reason(error)}"
                raise at(path, inclusion.line, text) from error
            if identity in within:
                raise at(path, inclusion.line, "Recursive include")
            yield from self._walk(included, text, (*within, identity))

    def _open(self, path: str) -> tuple[str, _Identity]:
        """Its text and what it is on disk. Raises OSError, and ValueError past the bounds."""
        if len(self.files) >= MAX_FILES:
            raise ValueError(f"more than {MAX_FILES} files")
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE} octets")
        self.files.append(path)
        return data.decode("utf-8", "surrogateescape"), (status.st_dev, status.st_ino)


def _matching(pattern: str) -> list[str]:
    """The files that a pattern names, in order; what is no pattern, or matches nothing, is a name itself."""
    if os.path.exists(pattern) or not glob.has_magic(pattern):
        return [pattern]
    return sorted(glob.glob(pattern)) or [pattern]


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)
