"""Who sends records: the kinds of process that have a socket pair to the log each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

MAIL_KINDS = frozenset(("imap", "pop3"))


class Source(NamedTuple):
    """One kind of process."""

    kind: str
    """master, log, auth, auth-worker, imap-login, pop3-login, imap, pop3"""
    name: str = ""
    """the auth section, of the kinds that have one"""

    @property
    def mail(self) -> bool:
        """Whether its processes serve one user each."""
        return self.kind in MAIL_KINDS

    @property
    def login(self) -> bool:
        """Whether its processes face strangers."""
        return self.kind.endswith("-login")


OWN = Source("log")
"""The log process itself: its pair, which is its stderr, does not keep it alive."""


def parse(word: str, auths: Mapping[str, str]) -> Source:
    """The source in a descriptor's name such as `imap` or `auth.0`; `auths` has the sections' names by number."""
    kind, _, number = word.partition(".")
    return Source(kind, auths.get(number, number) if number else "")
