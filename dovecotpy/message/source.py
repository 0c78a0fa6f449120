"""The CRLF form of a message as something to search in: in memory, or in windows where it is large."""

from __future__ import annotations

from dovecotpy.message.lines import Octets

WINDOW = 1 << 18
"""Octets read at once when a large message is searched."""


class TextSource:
    """A message in memory. find and startswith are those of bytes."""

    __slots__ = ("data", "find", "size", "startswith")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)
        self.find = data.find
        self.startswith = data.startswith

    def read(self, start: int, end: int) -> bytes:
        """The octets from start up to end."""
        return self.data[start:end]

    def newlines(self, start: int, end: int) -> int:
        """LFs from start up to end."""
        return newlines(self.data[start:end])


class WindowSource:
    """A large message, read in windows."""

    __slots__ = ("octets", "size")

    def __init__(self, octets: Octets) -> None:
        self.octets = octets
        self.size = octets.size

    def read(self, start: int, end: int) -> bytes:
        """The octets from start up to end."""
        return self.octets.read(start, end - start) if end > start else b""

    def startswith(self, prefix: bytes, start: int) -> bool:
        """As bytes.startswith."""
        return self.octets.read(start, len(prefix)) == prefix

    def find(self, pattern: bytes, start: int, end: int) -> int:
        """As bytes.find."""
        overlap = len(pattern) - 1
        at = start
        tail = b""
        for piece in self.octets.chunks(start, min(end, self.size), WINDOW):
            window = tail + piece
            found = window.find(pattern)
            if found >= 0:
                return at - len(tail) + found
            at += len(piece)
            tail = window[-overlap:] if overlap else b""
        return -1

    def newlines(self, start: int, end: int) -> int:
        """LFs from start up to end."""
        return sum(map(newlines, self.octets.chunks(start, end, WINDOW)))


Source = TextSource | WindowSource


def source(octets: Octets) -> Source:
    """What to search in for a message."""
    text = octets.text()
    return WindowSource(octets) if text is None else TextSource(text)


def newlines(data: bytes) -> int:
    """LFs in data; replacing them is four times as fast as bytes.count."""
    return len(data.replace(b"\n", b"\r\n")) - len(data)
