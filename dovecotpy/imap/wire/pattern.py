"""The patterns of LIST and LSUB: `*` matches anything, `%` anything but the hierarchy separator (RFC 3501
section 6.3.8).

A pattern is run as a set of states in one integer, so the work is one step for each octet of a name whatever
the pattern.
"""

from __future__ import annotations

MAX_PATTERN = 1_000
"""Octets of a pattern, reference included; beyond: NO [LIMIT]."""


class Pattern:
    """One compiled pattern. `separator`: one octet."""

    __slots__ = ("text", "_literals", "_any", "_level", "_wild", "_end", "_separator")

    def __init__(self, text: bytes, separator: bytes) -> None:
        self.text = text
        self._separator = separator[0]
        self._literals: dict[int, int] = {}
        self._any = self._level = 0
        bit = 1
        for octet in _collapse(text):
            if octet == 0x2A:
                self._any |= bit
            elif octet == 0x25:
                self._level |= bit
            else:
                self._literals[octet] = self._literals.get(octet, 0) | bit
            bit <<= 1
        self._wild = self._any | self._level
        self._end = bit

    def matches(self, name: bytes) -> bool:
        """Whether the whole name matches. INBOX is found in any case."""
        if self._run(name):
            return True
        if name[:5] == b"INBOX" and self.text[:5] != b"INBOX" and self.text[:5].upper() == b"INBOX":
            return Pattern(b"INBOX" + self.text[5:], bytes((self._separator,)))._run(name)
        return False

    def _run(self, name: bytes) -> bool:
        wild = self._wild
        states = 1 | (1 & wild) << 1
        for octet in name:
            staying = states & (self._any if octet == self._separator else wild)
            moved = (states & self._literals.get(octet, 0)) << 1
            states = staying | moved
            states |= (states & wild) << 1
            if not states:
                return False
        return bool(states & self._end)


def _collapse(text: bytes) -> bytes:
    """Wildcards in a row as one: with `*` among them they match anything, else one level."""
    collapsed = bytearray()
    for octet in text:
        if octet in b"*%" and collapsed and collapsed[-1] in b"*%":
            if octet == 0x2A:
                collapsed[-1] = octet
        else:
            collapsed.append(octet)
    return bytes(collapsed)


def parents(name: bytes, separator: bytes) -> list[bytes]:
    """The levels above a name, highest first."""
    pieces = name.split(separator)
    return [separator.join(pieces[:count]) for count in range(1, len(pieces))]
