"""From what a client calls himself to the user name that databases are asked for."""

from __future__ import annotations

from dataclasses import dataclass

from dovecotpy.config import variables

MAX_NAME = 1024
"""Characters of a user name."""


class NameRefused(Exception):
    """The name cannot be one of a user. Log: this text with auth_verbose. Client: as a wrong password."""


@dataclass(frozen=True, slots=True)
class NameRules:
    """The settings that shape names."""

    default_realm: str = ""
    characters: str = ""
    """allowed ones; empty: all"""
    translation: str = ""
    """pairs of characters, from and to"""
    format: str = ""
    master_separator: str = ""

    def split_master(self, name: str) -> tuple[str, str]:
        """`login user`, `master user` of a name with the separator; the second is empty in any other."""
        if not self.master_separator or self.master_separator not in name:
            return name, ""
        login, _, master = name.partition(self.master_separator)
        return login, master

    def apply(self, name: str) -> str:
        """The name as databases know it. Raises NameRefused."""
        if not name:
            raise NameRefused("Empty username")
        if len(name) > MAX_NAME:
            raise NameRefused("Too long username")
        if self.default_realm and "@" not in name:
            name = f"{name}@{self.default_realm}"
        if self.translation:
            name = name.translate(self._table())
        name = self._allowed(name)
        if not self.format:
            return name
        # unlike 1.x no value is escaped here: what comes out is a name, and it is parsed no further
        formatted = variables.expand(self.format, variables.for_user(name))
        if not formatted:
            raise NameRefused("Empty username")
        return formatted

    def _table(self) -> dict[int, str]:
        pairs = self.translation
        return {ord(pairs[index]): pairs[index + 1] for index in range(0, len(pairs) - 1, 2)}

    def _allowed(self, name: str) -> str:
        if name.isprintable() and not (self.characters and name.strip(self.characters)):
            return name  # nothing is left when all of its characters are stripped: no need to look at each
        for character in name:
            if self.characters and character not in self.characters:
                octet = character.encode("utf-8", "surrogateescape")[0]
                raise NameRefused(f"Username contains disallowed character: 0x{octet:02x}")
            if character < " " or character == "\x7f":
                raise NameRefused(f"Username contains disallowed character: 0x{ord(character):02x}")
        return name
