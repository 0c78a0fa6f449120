"""`dovecot-keywords`: which keyword each letter a-z of a file name means, `<0..25> <keyword>` a line.

Written under the uidlist lock, with an mtime that is a second later each time at least, because that is how Dovecot
notices a change: it compares whole seconds.
"""

from __future__ import annotations

import os

from dovecotpy.storage import files
from dovecotpy.storage.files import NOWHERE, Shared
from dovecotpy.storage.maildir.filename import KEYWORD_LETTERS

NAME = "dovecot-keywords"
SLOTS = len(KEYWORD_LETTERS)
SECOND = 1_000_000_000


class Keywords:
    """The table as read last. `control`: descriptor of the directory it is in."""

    __slots__ = ("_control", "_identity", "letters", "names", "untouched")

    def __init__(self, control: int) -> None:
        self._control = control
        self._identity = NOWHERE
        self.untouched = True
        """never looked at yet"""
        self.names: dict[str, str] = {}
        """letter to keyword"""
        self.letters: dict[str, str] = {}
        """keyword to letter"""

    @property
    def full(self) -> bool:
        """Every letter is taken."""
        return len(self.names) >= SLOTS

    def refresh(self) -> bool:
        """Read the file if it is another one than last time; True if so. Lines that make no sense are passed over. Raises OSError."""
        self.untouched = False
        if files.identify(self._control, NAME) == self._identity:
            return False
        try:
            data, self._identity = files.read(self._control, NAME)
        except FileNotFoundError:
            data, self._identity = b"", NOWHERE
        self._set(_parse(data))
        return True

    def _set(self, names: dict[str, str]) -> None:
        self.names = names
        self.letters = {keyword: letter for letter, keyword in names.items()}

    def define(self, wanted: list[str], *, sync: bool, shared: Shared | None = None) -> None:
        """Give letters to keywords that have none, as far as letters go. Under the uidlist lock, after `refresh`. Raises OSError."""
        free = [letter for letter in KEYWORD_LETTERS if letter not in self.names]
        fresh = dict(zip(free, (keyword for keyword in wanted if keyword not in self.letters), strict=False))
        if not fresh:
            return
        names = dict(sorted((self.names | fresh).items()))
        lines = [f"{KEYWORD_LETTERS.index(letter)} {keyword}\n" for letter, keyword in names.items()]
        before = self._identity.changed // SECOND
        self._identity = files.replace(
            self._control, NAME, os.fsencode("".join(lines)), sync=sync, shared=shared
        )
        if self._identity.changed // SECOND <= before:
            later = (before + 1) * SECOND
            os.utime(NAME, ns=(later, later), dir_fd=self._control, follow_symlinks=False)
            self._identity = files.identify(self._control, NAME)
        self._set(names)


def _parse(data: bytes) -> dict[str, str]:
    names: dict[str, str] = {}
    seen: set[str] = set()
    for line in os.fsdecode(data).split("\n"):
        number, _, keyword = line.partition(" ")
        if not number.isdigit() or len(number) > 2 or int(number) >= SLOTS or not keyword or keyword in seen:
            continue
        names[KEYWORD_LETTERS[int(number)]] = keyword
        seen.add(keyword)
    return names
