"""The line grammar of dovecot.conf: text in, statements out. It opens no file and knows no setting.

Lines are `key = value`, `type [name] {`, `}`, `!include PATH` and `!include_try PATH`. Leading and trailing blanks go. `#` starts a
comment anywhere outside quotes. A value that begins and ends with the same quote loses both, and its backslash escapes. A line that
ends in a backslash goes on in the next one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from dovecotpy.config.errors import StatementError

BLANKS = " \t"

_ESCAPE = re.compile(r"\\(.?)", re.DOTALL)


class Assignment(NamedTuple):
    """`key = value`"""

    line: int
    key: str
    value: str


class Opening(NamedTuple):
    """`type [name] {`"""

    line: int
    type: str
    name: str

    def __str__(self) -> str:
        return f"{self.type} {self.name}".strip()


class Closing(NamedTuple):
    """`}`"""

    line: int


class Inclusion(NamedTuple):
    """`!include PATH`, or `!include_try PATH` where the file may be missing."""

    line: int
    path: str
    optional: bool


class Faulty(NamedTuple):
    """A line that is none of these; the caller stops here."""

    line: int
    text: str


Statement = Assignment | Opening | Closing | Inclusion | Faulty


def statements(text: str) -> Iterator[Statement]:
    """The statements of a file, each with the number of the line where it starts, from 1. Raises nothing."""
    for line, content in logical_lines(text):
        try:
            yield _statement(line, content)
        except StatementError as error:
            yield Faulty(line, str(error))


def logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines without comments and outer blanks, continued ones joined, empty ones left out."""
    pieces: list[str] = []
    start = 0
    for number, raw in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        content = without_comment(raw.removesuffix("\r").lstrip(BLANKS)).rstrip(BLANKS)
        if not content:
            continue
        start = start if pieces else number
        if content.endswith("\\"):
            pieces.append(content[:-1])
            continue
        yield start, "".join([*pieces, content])
        pieces = []
    if pieces:
        yield start, "".join(pieces).rstrip(BLANKS)


def without_comment(content: str) -> str:
    """A line up to its comment. A quote that nobody closes protects the rest of its line."""
    position = 0
    while position < len(content):
        character = content[position]
        if character == "#":
            return content[:position]
        if character in "\"'":
            position = _closing_quote(content, position)
        position += 1
    return content


def unquoted(value: str) -> str:
    """A value without the quotes around all of it; any other value as it is."""
    if len(value) < 2 or value[0] not in "\"'" or value[-1] != value[0]:
        return value
    return unescaped(value[1:-1])


def unescaped(text: str) -> str:
    """Text without the backslashes that protect the character after them."""
    return _ESCAPE.sub(r"\1", text)


def _closing_quote(content: str, opening: int) -> int:
    """Where the quote that opens there is closed; the end of the line when nowhere."""
    quote = content[opening]
    position = opening + 1
    while position < len(content) and content[position] != quote:
        position += 2 if content[position] == "\\" else 1
    return position


def _statement(line: int, content: str) -> Statement:
    if "\0" in content:
        raise StatementError("Unexpected NUL character")
    if content == "}":
        return Closing(line)
    key, rest = _key(content)
    if key in ("!include", "!include_try"):
        return Inclusion(line, _included(rest), key == "!include_try")
    if rest.startswith("="):
        if not key:
            raise StatementError("Expecting a name before '='")
        return Assignment(line, key, unquoted(rest[1:].lstrip(BLANKS)))
    return _opening(line, key, rest)


def _key(content: str) -> tuple[str, str]:
    """The key, which ends at a blank or `=`, and what follows without the blanks between."""
    end = 0
    while end < len(content) and content[end] not in " \t=":
        end += 1
    return content[:end], content[end:].lstrip(BLANKS)


def _included(rest: str) -> str:
    path = unquoted(rest)
    if not path:
        raise StatementError("Expecting a file name after !include")
    return path


def _opening(line: int, key: str, rest: str) -> Opening:
    name, brace = ("", rest) if rest.startswith("{") else _section_name(rest)
    if brace != "{" or not key:
        raise StatementError("Expecting '='")
    return Opening(line, key, name)


def _section_name(rest: str) -> tuple[str, str]:
    name, _, brace = rest.replace("\t", " ").partition(" ")
    return name, brace.lstrip(BLANKS)
