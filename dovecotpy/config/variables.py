"""%-variables: the one implementation, for paths, log lines, queries and whatever else has a template.

`%` [`-`]OFFSET`.` [`0`]WIDTH modifiers letter, or `{long name}` in place of the letter. Modifiers work first, from left to right; then
OFFSET characters are skipped (negative: as many are taken from the end), then WIDTH cuts, or with a leading zero pads with zeros and
never cuts. `%H` takes WIDTH and OFFSET for itself. An unknown variable is nothing, `%%` is a percent sign.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

try:
    # the C module alone: hashlib would load OpenSSL into every mail process
    from _md5 import md5  # type: ignore[import-not-found]
except ImportError:  # an interpreter built without it
    from hashlib import md5

MAX_MODIFIERS = 10
"""What stands after that many modifiers is taken for the variable, as ever."""

MAX_WIDTH = 4096
"""A larger WIDTH or OFFSET counts as this: zero-padding must not be a way to fill the memory."""

_HASH_LIMIT = 0xFFFFFFFF

NAMES: Mapping[str, str] = {
    "u": "user",
    "n": "username",
    "d": "domain",
    "s": "service",
    "h": "home",
    "l": "lip",
    "r": "rip",
    "a": "lport",
    "b": "rport",
    "p": "pid",
    "i": "uid",
    "w": "password",
    "m": "mech",
    "c": "secured",
    "k": "cert",
    "e": "mail_pid",
}
"""The long name of each letter, `%{user}` for `%u`."""

_LETTERS = {long: letter for letter, long in NAMES.items()}

_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}
_ESCAPED = {ord(character): "\\" + character for character in "\"'\\"}


def _hexadecimal(text: str) -> str:
    digits = len(text) - len(text.lstrip("0123456789"))
    return f"{int(text[: min(digits, MAX_WIDTH)] or '0'):x}"


def _md5(text: str) -> str:
    return str(md5(text.encode("utf-8", "surrogateescape")).hexdigest())


MODIFIERS: Mapping[str, tuple[Callable[[str], str], str]] = {
    "L": (lambda text: text.translate(_LOWER), "lower case (ASCII)"),
    "U": (lambda text: text.translate(_UPPER), "upper case (ASCII)"),
    "E": (lambda text: text.translate(_ESCAPED), "a backslash before each quote and backslash"),
    "X": (_hexadecimal, "a decimal number in hexadecimal"),
    "R": (lambda text: text[::-1], "the characters backwards"),
    "M": (_md5, "MD5 in hexadecimal"),
    "D": (lambda text: text.replace(".", ",dc="), "`a.b` as `a,dc=b`"),
    "T": (lambda text: text.rstrip(" \t\r\n"), "blanks at the end go"),
}
"""What each modifier does and how the documentation says it. `H` is `hashed`: it needs the numbers before it."""

HASH = "H"


def hashed(text: str) -> int:
    """The 32-bit hash of `%H`: old directory layouts depend on its every bit."""
    value = 0
    for octet in text.encode("utf-8", "surrogateescape"):
        value = ((value << 4) + octet) & _HASH_LIMIT
        high = value & 0xF0000000
        if high:
            value ^= high >> 24
            value ^= high
    return value


class Literal(NamedTuple):
    """Text of a template that stands for itself."""

    text: str

    def evaluate(self, values: Mapping[str, str]) -> str:
        """The text."""
        return self.text


class Variable(NamedTuple):
    """One variable of a template."""

    name: str
    """its letter where it has one, else its long name"""
    offset: int = 0
    width: int = 0
    """0: all of it"""
    zeros: bool = False
    modifiers: str = ""

    def evaluate(self, values: Mapping[str, str]) -> str:
        """Its text. values: by letter or long name; what is missing is empty, never an error."""
        text = values.get(self.name)
        if text is None:
            text = values.get(NAMES.get(self.name, self.name), "")
        offset, width = self.offset, self.width
        for modifier in self.modifiers:
            if modifier == HASH:
                text = self._hash(text, offset, width)
                offset = width = 0
            else:
                text = MODIFIERS[modifier][0](text)
        return self._cut(text, offset, width)

    def _hash(self, text: str, digits: int, modulus: int) -> str:
        value = hashed(text)
        if modulus:
            value %= modulus
        return f"{value:x}".rjust(max(digits, 0), "0")

    def _cut(self, text: str, offset: int, width: int) -> str:
        text = text[offset:]
        if width == 0:
            return text
        if self.zeros:
            return text.rjust(width, "0")
        return text[:width]


@lru_cache(maxsize=256)
def parse(template: str) -> tuple[Literal | Variable, ...]:
    """A template in its pieces; neighbouring literals are one. Raises nothing: what is not understood expands to nothing."""
    pieces: list[Literal | Variable] = []
    start = 0
    while (percent := template.find("%", start)) >= 0:
        _literal(pieces, template[start:percent])
        variable, start = _variable(template, percent + 1)
        if variable is not None:
            pieces.append(variable)
        elif template[start - 1 : start] == "%" and start - 1 > percent:
            _literal(pieces, "%")
    _literal(pieces, template[start:])
    return tuple(pieces)


def expand(template: str, values: Mapping[str, str]) -> str:
    """The template with every variable replaced. values: by letter or long name."""
    if "%" not in template:
        return template
    return "".join([piece.evaluate(values) for piece in parse(template)])


def used(template: str) -> tuple[str, ...]:
    """The variables that a template uses, each once in order of appearance: letters where there are letters."""
    names = (piece.name for piece in parse(template) if isinstance(piece, Variable))
    return tuple(dict.fromkeys(names))


def for_user(user: str) -> dict[str, str]:
    """The values of %u, %n and %d; the domain is empty where there is none."""
    name, _, domain = user.partition("@")
    return {"u": user, "n": name, "d": domain}


def unknown(template: str, letters: Iterable[str]) -> tuple[str, ...]:
    """The variables of a template that are not among `letters`."""
    known = frozenset(letters)
    return tuple(name for name in used(template) if name not in known)


def _literal(pieces: list[Literal | Variable], text: str) -> None:
    if not text:
        return
    last = pieces[-1] if pieces else None
    if isinstance(last, Literal):
        pieces[-1] = Literal(last.text + text)
    else:
        pieces.append(Literal(text))


def _variable(text: str, position: int) -> tuple[Variable | None, int]:
    """The variable behind a percent sign at `position`, and where what follows it starts.

    None: it stands for nothing, or for a percent sign where that is its last character.
    """
    offset, width, zeros, position = _numbers(text, position)
    start = position
    while position - start < MAX_MODIFIERS and text[position : position + 1] in _MODIFIER_LETTERS:
        position += 1
    modifiers = text[start:position]
    name, position = _name(text, position)
    if name in ("", " ", "%"):
        return None, position
    return Variable(name, offset, width, zeros, modifiers), position


def _numbers(text: str, position: int) -> tuple[int, int, bool, int]:
    """OFFSET, WIDTH, whether zeros pad, and where the modifiers start."""
    negative = text.startswith("-", position)
    zeros, number, position = _number(text, position + negative)
    if text[position : position + 1] != ".":
        return 0, number, zeros, position
    offset = -number if negative else number
    padded, width, position = _number(text, position + 1)
    return offset, width, padded, position


def _number(text: str, position: int) -> tuple[bool, int, int]:
    start = position
    while text[position : position + 1] in _DIGITS:
        position += 1
    digits = text[start:position]
    significant = digits.lstrip("0")
    value = MAX_WIDTH if len(significant) > 4 else min(int(significant or "0"), MAX_WIDTH)
    return digits.startswith("0"), value, position


def _name(text: str, position: int) -> tuple[str, int]:
    if text[position : position + 1] != "{":
        return text[position : position + 1], position + 1
    end = text.find("}", position)
    if end < 0:
        return "", position + 1
    long = text[position + 1 : end]
    return _LETTERS.get(long, long), end + 1


_MODIFIER_LETTERS = frozenset(MODIFIERS) | {HASH}
_DIGITS = frozenset("0123456789")
