"""The names of messages in a Maildir.

`SECS.M<usec>P<pid>….<host>[,S=<octets>][,W=<octets as CRLF>]:2,<letters>[,<more>]`. The base, up to the first colon, never changes
while the message lives; what follows are its flags. Letters D F R S T are system flags, a-z keywords by `dovecot-keywords`; any other
letter and a further section after a comma belong to somebody else and are kept.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.storage import flags

SYSTEM = {"D": flags.DRAFT, "F": flags.FLAGGED, "R": flags.ANSWERED, "S": flags.SEEN, "T": flags.DELETED}
KEYWORD_LETTERS = "abcdefghijklmnopqrstuvwxyz"
MAX_DIGITS = 19
"""A W= of so many digits is taken as absent."""

_SECONDS = 10
"""Digits of the times from 2001 to 2286."""
EARLIEST, LATEST = 500_000_000, 0xFFFFFFFF
"""Unix seconds from which on a number at the beginning of a name is taken for a time: Maildir is younger than 1985."""


class Info(NamedTuple):
    """What stands after the colon."""

    flags: int
    keywords: str
    """letters a-z, as they stand"""
    unknown: str
    """other letters, kept on every change"""
    rest: str
    """a further section with its comma, kept"""


NOTHING = Info(0, "", "", "")


def base_of(name: str) -> str:
    """The part that identifies the message."""
    return name.partition(":")[0]


def parse_info(info: str) -> Info:
    """Read what follows the first colon of a name; anything but a `2,` section means no flags."""
    if not info.startswith("2,"):
        return NOTHING
    letters, comma, rest = info[2:].partition(",")
    bits = 0
    keywords = unknown = ""
    for letter in letters:
        bit = SYSTEM.get(letter)
        if bit is not None:
            bits |= bit
        elif "a" <= letter <= "z":
            keywords += letter
        else:
            unknown += letter
    return Info(bits, keywords, unknown, comma + rest)


def with_info(base: str, info: Info) -> str:
    """The name in cur/ of a message with these flags, letters in ASCII order and each once."""
    letters = {letter for letter, bit in SYSTEM.items() if info.flags & bit}
    letters.update(info.keywords, info.unknown)
    return base + ":2," + "".join(sorted(letters)) + info.rest


def order(base: str) -> tuple[int, int, str]:
    """Sort key for messages that get their UIDs together: seconds, microseconds, name."""
    seconds, _, unique = base.partition(".")
    microseconds = 0
    if unique.startswith("M"):
        digits = unique[1:].partition("P")[0]
        if digits.isdecimal() and len(digits) <= 9:
            microseconds = int(digits)
    return (int(seconds) if seconds.isdecimal() and len(seconds) <= 18 else 0, microseconds, base)


def in_order(bases: Iterable[str]) -> list[str]:
    """Sorted by `order`: as they stand where all begin with a time of ten digits, which leaves those of one second to be looked at."""
    found = sorted(bases)
    heads = _heads(found)
    count = len(found)
    if heads is None:
        return sorted(found, key=order) if count else found
    if len(set(heads)) == count:
        return found
    start = 0
    for end in range(1, count + 1):
        if end == count or heads[end] != heads[start]:
            if end - start > 1:
                found[start:end] = sorted(found[start:end], key=order)
            start = end
    return found


def are_in_order(found: Sequence[str]) -> bool:
    """Whether sorted base names stand as `in_order` puts them, as far as that is told at once."""
    heads = _heads(found)
    return heads is not None and len(set(heads)) == len(heads)


def _heads(found: Sequence[str]) -> list[str] | None:
    """The times in seconds that base names begin with; None where one does not."""
    heads = [base[: _SECONDS + 1] for base in found]
    joined = "".join(heads)
    digits = joined.replace(".", "")
    if (
        joined[_SECONDS :: _SECONDS + 1] != "." * len(heads)
        or len(digits) != _SECONDS * len(heads)
        or not (digits.isascii() and digits.isdecimal())
    ):
        return None
    return heads


def delivered(name: str) -> int | None:
    """When the message came into a Maildir, in Unix seconds, as its name says; None if that is no likely time."""
    digits = name.partition(".")[0]
    seconds = int(digits) if digits.isdecimal() and len(digits) <= 18 else 0
    return seconds if EARLIEST <= seconds <= LATEST else None


def crlf_size(base: str) -> int | None:
    """What `,W=` claims; it may lie and serves only until the body was read."""
    _, found, tail = base.partition(",W=")
    if not found:
        return None
    digits = tail.partition(",")[0] if "," in tail else tail
    return int(digits) if digits.isdecimal() and len(digits) < MAX_DIGITS else None


def sizes_of(base: str) -> str:
    """The `,S=…` and `,W=…` parts of a base name, as they stand, for a copy's name."""
    at = base.find(",")
    return base[at:] if at >= 0 and base[at + 1 : at + 3] in ("S=", "W=") else ""


class Names:
    """Makes names that no other delivery makes: time, process, a counter and 32 random bits."""

    __slots__ = ("_counter", "_host")

    def __init__(self) -> None:
        self._counter = 0
        self._host = ""

    def make(self) -> str:
        """A fresh base name without sizes."""
        return self.make_many(1)[0]

    def make_many(self, count: int) -> list[str]:
        """Fresh base names without sizes, in the order that `order` gives them."""
        if not self._host:
            host = os.uname().nodename
            self._host = host.replace("/", "\\057").replace(":", "\\072").replace(",", "\\054")
        now = clock.now()
        seconds = int(now)
        start = f"{seconds}.M{int((now - seconds) * 1000000):06}P{os.getpid()}Q"
        random = os.urandom(4 * count).hex()
        first = self._counter + 1
        self._counter += count
        end = "." + self._host
        return [f"{start}{first + at}R{random[8 * at : 8 * at + 8]}{end}" for at in range(count)]
