"""What a declaration of a setting says, and how text becomes its value and back."""

from __future__ import annotations

import enum
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dovecotpy.config.errors import StatementError
from dovecotpy.config.values import Value

MAX_NUMBER = 0xFFFFFFFF
"""Numbers are unsigned and have 32 bits, sizes 63."""

MAX_SIZE = 0x7FFFFFFFFFFFFFFF

_NUMBER = re.compile(r"0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,19}")
_SIZE = re.compile(r"([0-9]{1,19})\s*([kmgKMG]?)[bB]?")
_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


class Kind(enum.Enum):
    """The type of a setting. The value is how the documentation calls it."""

    TEXT = "text"
    PATH = "path"
    RELATIVE_PATH = "path, relative to base_dir"
    USER = "user"
    GROUP = "group"
    FLAG = "yes or no"
    NUMBER = "number"
    OCTAL = "mode"
    SIZE = "size"
    CHOICE = "choice"
    WORDS = "list"


class Where(enum.Enum):
    """Where a setting may stand. The value is how the documentation calls it."""

    ROOT = "anywhere at root, in `server` and `protocol` blocks"
    GENERAL = "as above, but one value for all protocols: that of IMAP, or of POP3 where IMAP is not served"
    LDA = "`protocol lda`"
    AUTH = "`auth` block, or at root with `auth_` in front"
    PASSDB = "`passdb` block"
    USERDB = "`userdb` block"
    SOCKET = "`master` or `client` block of a `socket`"
    NAMESPACE = "`namespace` block"


KINDS_OF_PROCESS: Mapping[str, str] = {
    "M": "master",
    "L": "login",
    "A": "auth",
    "W": "auth-worker",
    "P": "mail",
    "I": "mail (IMAP)",
    "O": "mail (POP3)",
    "D": "deliver",
    "K": "dict",
    "J": "log",
}
"""The letters of `Setting.used_by`."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: declared once, and everything that is known of it."""

    name: str
    kind: Kind
    default: str
    """as it would stand in a file"""
    used_by: str
    """letters of KINDS_OF_PROCESS"""
    meaning: str
    unit: str = ""
    where: Where = Where.ROOT
    choices: tuple[str, ...] = ()
    """taken in any case, kept in this spelling"""
    separators: str = " \t"
    """of a list"""
    for_pop3: str | None = None
    """the default for POP3 where it differs"""
    for_lda: str | None = None
    """the default for deliver where it differs"""
    secret: bool = False
    since: str = ""
    removed: str = ""
    acted_on: bool = False
    ours: bool = False
    built_in: bool = False
    """its default names a part of this program, so no file needs to be there"""

    def parse(self, text: str, protocol: str = "imap") -> Value:
        """The typed value of what stands in a file. Raises StatementError with the text that an administrator knows."""
        if self.built_in and self._names_built_in(text, protocol):
            return self._default(protocol)
        if self.kind is Kind.FLAG:
            return _flag(text)
        if self.kind in (Kind.NUMBER, Kind.OCTAL):
            return _number(text)
        if self.kind is Kind.SIZE:
            return _size(text)
        if self.kind is Kind.WORDS:
            return (
                tuple(re.split(f"[{re.escape(self.separators)}]+", text.strip(self.separators)))
                if text
                else ()
            )
        if self.kind is Kind.CHOICE:
            return self._choice(text)
        return text

    def show(self, value: Value) -> str:
        """The value as it would stand in a file."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int):
            return f"{value:04o}" if self.kind is Kind.OCTAL else str(value)
        if isinstance(value, tuple):
            return self._joint().join(value)
        return value

    def default_value(self, protocol: str = "imap") -> Value:
        """The typed default. protocol: imap, pop3 or lda; it matters to few."""
        return self.parse(self._default(protocol), protocol)

    def resolve(self, value: Value, base_dir: str) -> Value:
        """A path that may be relative, from the root; anything else as it is."""
        if self.kind is Kind.RELATIVE_PATH and isinstance(value, str) and value:
            return os.path.join(base_dir, value)
        return value

    @property
    def per_protocol(self) -> bool:
        """Whether the default is not the same for all protocols."""
        return self.for_pop3 is not None

    def _default(self, protocol: str) -> str:
        other = {"pop3": self.for_pop3, "lda": self.for_lda}.get(protocol)
        return self.default if other is None else other

    def _names_built_in(self, text: str, protocol: str) -> bool:
        """Files of Dovecot name its program by the path where it was installed; here it is a part of this one."""
        directory, program = os.path.split(text)
        is_dovecot = directory.startswith("/") and os.path.basename(directory) == "dovecot"
        return is_dovecot and program == os.path.basename(self._default(protocol))

    def _joint(self) -> str:
        return " " if " " in self.separators else self.separators[:1]

    def _choice(self, text: str) -> str:
        for choice in self.choices:
            if choice.lower() == text.lower():
                return choice
        if self.name == "syslog_facility":
            raise StatementError(f"Unknown syslog_facility '{text}'")
        raise StatementError(f"{self.name} setting: Invalid value: {text} (one of {', '.join(self.choices)})")


def by_name(settings: Iterable[Setting]) -> dict[str, Setting]:
    """Settings by their names, in their order."""
    return {setting.name: setting for setting in settings}


def _flag(text: str) -> bool:
    wanted = text.lower()
    if wanted not in ("yes", "no"):
        raise StatementError(f"Invalid boolean: {text}")
    return wanted == "yes"


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise StatementError(f"Invalid number: {text}")
    value = int(text, 8) if text.startswith("0") and text[1:2] not in ("x", "X") else int(text, 0)
    if value > MAX_NUMBER:
        raise StatementError(f"Invalid number: {text}")
    return value


def _size(text: str) -> int:
    matched = _SIZE.fullmatch(text)
    if not matched:
        raise StatementError(f"Invalid size: {text}")
    value = int(matched[1]) * _UNITS[matched[2].lower()]
    if value > MAX_SIZE:
        raise StatementError(f"Invalid size: {text}")
    return value
