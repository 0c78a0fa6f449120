"""Flags and keywords between the wire and the store."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from dovecotpy.imap.errors import Mistaken, Refused
from dovecotpy.imap.wire.tokens import Atom, Token
from dovecotpy.storage import flags as bits
from dovecotpy.storage.driver import Columns

MAX_KEYWORDS = 2_000
"""Keywords in one command; beyond: NO [LIMIT]. The store bounds those of a mailbox."""
RECENT = 32
"""Bit beside those of `storage.flags` for what only a session knows."""
_KEYWORD_FORBIDDEN = b'(){ %*"\\]'

SYSTEM = tuple(bits.NAMES[bit] for bit in (bits.ANSWERED, bits.FLAGGED, bits.DELETED, bits.SEEN, bits.DRAFT))


class Flags(NamedTuple):
    """System flags as bits of `storage.flags`, and keywords."""

    system: int
    keywords: frozenset[str]


def parse_flags(tokens: Iterable[Token], max_keyword: int, known: Collection[str] = frozenset()) -> Flags:
    """Flags as a client names them. max_keyword: octets of a keyword that is not among those known; beyond: NO
    [LIMIT]. Raises Mistaken, Refused.
    """
    system = 0
    keywords: dict[str, str] = {}
    for token in tokens:
        if not isinstance(token, Atom):
            raise Mistaken("Flags list contains non-atoms.")
        if token[:1] == b"\\":
            bit = bits.BITS.get(bytes(token.lower()))
            if bit is None:
                raise Mistaken(f"Invalid system flag {token.decode('ascii')}")
            system |= bit
        else:
            name = _keyword(token)
            if len(name) > max_keyword and name.lower() not in {each.lower() for each in known}:
                raise Refused("Keyword length too long", "LIMIT")
            keywords.setdefault(name.lower(), name)
    if len(keywords) > MAX_KEYWORDS:
        raise Refused("Too many keywords", "LIMIT")
    return Flags(system, frozenset(keywords.values()))


def _keyword(token: Atom) -> str:
    if token.translate(None, _KEYWORD_FORBIDDEN) != token:
        raise Refused("Invalid characters in keyword", "CANNOT")
    return token.decode("ascii")


def keyword_bytes(keywords: Iterable[str]) -> list[bytes]:
    """Keywords for the wire, in a steady order."""
    return sorted(keyword.encode("ascii", "replace") for keyword in keywords)


def _system_names(system: int) -> list[bytes]:
    names = [name for bit, name in bits.NAMES.items() if system & bit]
    if system & RECENT:
        names.append(b"\\Recent")
    return names


_WITHOUT_KEYWORDS = tuple(b"(" + b" ".join(_system_names(system)) + b")" for system in range(64))


class Renderer:
    """Renders the flags of messages, each distinct combination once."""

    __slots__ = ("_sets", "_known")

    def __init__(self) -> None:
        self._sets: tuple[frozenset[str], ...] = ()
        self._known: dict[int, bytes] = {}

    def one(self, system: int, keywords: frozenset[str]) -> bytes:
        """The list of one message; `system` may have RECENT."""
        if not keywords:
            return _WITHOUT_KEYWORDS[system]
        return b"(" + b" ".join(_system_names(system) + keyword_bytes(keywords)) + b")"

    def many(self, columns: Columns, start: int, end: int, recent: set[int]) -> list[bytes]:
        """The lists of the messages at these places of the columns. recent: UIDs."""
        system = columns.flags[start:end]
        keywords = columns.keywords[start:end]
        return self._rendered(columns, system, keywords, columns.uids[start:end] if recent else (), recent)

    def picked(self, columns: Columns, places: Sequence[int], recent: set[int]) -> list[bytes]:
        """The lists of the messages at these places of the columns. recent: UIDs."""
        if isinstance(places, range):
            return self.many(columns, places.start, places.stop, recent)
        system, keywords, uids = columns.flags, columns.keywords, columns.uids
        return self._rendered(
            columns,
            [system[place] for place in places],
            [keywords[place] for place in places],
            [uids[place] for place in places] if recent else (),
            recent,
        )

    def _rendered(
        self,
        columns: Columns,
        system: Sequence[int],
        keywords: Sequence[int],
        uids: Sequence[int],
        recent: set[int],
    ) -> list[bytes]:
        """uids: empty where none can be recent."""
        if any(keywords):
            rendered = self._with_keywords(columns, list(system), list(keywords))
        else:
            rendered = [_WITHOUT_KEYWORDS[value] for value in system]
        for place, uid in enumerate(uids):
            if uid in recent:
                rendered[place] = self.one(system[place] | RECENT, columns.keyword_sets[keywords[place]])
        return rendered

    def _with_keywords(self, columns: Columns, system: list[int], keywords: list[int]) -> list[bytes]:
        if columns.keyword_sets is not self._sets:
            self._sets = columns.keyword_sets
            self._known = {}
        known = self._known
        keys = [index << 8 | value for index, value in zip(keywords, system, strict=True)]
        for key in set(keys).difference(known):
            known[key] = self.one(key & 0xFF, columns.keyword_sets[key >> 8])
        return [known[key] for key in keys]
