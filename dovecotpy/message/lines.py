"""A message in the form that IMAP and POP3 promise: every line ends with CRLF.

Files on disk usually end lines with LF alone. A LF counts as CRLF; a CRLF stays as it is; a lone CR is an
ordinary octet. Offsets and sizes of the whole package are octets of this form.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from typing import Protocol

BLOCK = 262_144
"""Octets of the stored form between two checkpoints of a large message."""

WHOLE = 1 << 20
"""A message of up to this many stored octets is converted once and kept; a larger one is read in blocks."""


MEASURED = 4 << 20
"""Octets of the stored form that are read between two pauses."""


class Body(Protocol):
    """What the store gives for a message: octets by position, immutable while open."""

    @property
    def size(self) -> int:
        """Octets as stored."""

    @property
    def crlf(self) -> bool:
        """True if the stored form already ends every line with CRLF."""

    def read(self, at: int, n: int) -> bytes:
        """Up to n octets from position at; fewer only at the end."""


class BytesBody:
    """A body that is already in memory (a message being delivered, a decoded part, a test)."""

    __slots__ = ("crlf", "data", "size")

    def __init__(self, data: bytes, crlf: bool = False) -> None:
        self.data = data
        self.size = len(data)
        self.crlf = crlf

    def read(self, at: int, n: int) -> bytes:
        """Up to n octets from position at."""
        return self.data[at : at + n]


def crlf(data: bytes) -> bytes:
    """The CRLF form: each LF without a CR before it gets one."""
    if b"\r" in data:
        if b"\r\n" in data[:1000] and data.replace(b"\r", b"").replace(b"\n", b"\r\n") == data:
            return data  # single octets are found much faster than pairs
        data = data.replace(b"\r\n", b"\n")
    return data.replace(b"\n", b"\r\n")


def crlf_size(data: bytes) -> int:
    """len(crlf(data))."""
    if b"\r" in data:
        return len(crlf(data))
    return 2 * len(data) - len(data.replace(b"\n", b""))


class Octets:
    """The CRLF form of a stored message, read by position in bounded memory.

    A message above WHOLE keeps two numbers for each BLOCK (where the block starts as stored and as CRLF)
    and the block read last.
    """

    __slots__ = ("_at", "_block", "_body", "_index", "_newlines", "_size", "_stored", "_text")

    def __init__(self, body: Body) -> None:
        self._body = body
        self._text: bytes | None = None
        self._newlines = -1
        self._size = body.size if body.crlf else -1
        self._stored = array("Q", [0])
        self._at = array("Q", [0])
        self._index = -1
        self._block = b""

    @classmethod
    def of(cls, data: bytes) -> Octets:
        """The CRLF form of octets in memory."""
        return cls(BytesBody(data))

    @property
    def size(self) -> int:
        """Octets of the CRLF form. The first use reads the whole message unless it is stored so."""
        if self._size < 0:
            text = self.text()
            if text is not None:
                self._size = len(text)
            else:
                for _ in self.measure():
                    continue
        return self._size

    def measure(self) -> Iterator[None]:
        """Find out the size of a large message, with a pause after each MEASURED octets."""
        if self._size >= 0:
            return
        told = self._stored[-1]
        while self._stored[-1] < self._body.size:
            self._extend()
            if self._stored[-1] - told >= MEASURED:
                told = self._stored[-1]
                yield
        self._size = self._at[-1]

    def text(self) -> bytes | None:
        """The whole CRLF form if the message is small enough to be kept (WHOLE), else None."""
        if self._text is None and self._body.size <= WHOLE:
            data = self._read(0, self._body.size)
            if self._body.crlf:
                self._text = data
            elif b"\r" in data:
                self._text = crlf(data)
            else:
                self._text = data.replace(b"\n", b"\r\n")
                self._newlines = len(self._text) - len(data)
        return self._text

    def newlines_from(self, start: int) -> int:
        """LFs of a message that is kept, from a place in its CRLF form on."""
        text = self.text() or b""
        if self._newlines < 0:
            return len(text[start:].replace(b"\n", b"\r\n")) - len(text) + start
        return self._newlines - text.count(b"\n", 0, start)

    def read(self, at: int, n: int) -> bytes:
        """Up to n octets from position at of the CRLF form; fewer only at the end."""
        text = self.text()
        if text is not None:
            return text[at : at + n]
        return b"".join(self.chunks(at, at + n))

    def chunks(self, start: int, end: int, chunk: int = BLOCK) -> Iterator[bytes]:
        """The octets from start up to end (or the end of the message), in pieces of at most chunk octets."""
        text = self.text()
        if text is not None:
            end = min(end, len(text))
            for at in range(start, end, chunk):
                yield text[at : min(at + chunk, end)]
        elif self._body.crlf:
            yield from self._stored_chunks(start, min(end, self._body.size), chunk)
        else:
            yield from self._converted_chunks(start, end, chunk)

    def _stored_chunks(self, start: int, end: int, chunk: int) -> Iterator[bytes]:
        while start < end:
            piece = self._read(start, min(chunk, end - start))
            if not piece:
                return
            yield piece
            start += len(piece)

    def _converted_chunks(self, start: int, end: int, chunk: int) -> Iterator[bytes]:
        while start < end:
            while self._at[-1] <= start and self._stored[-1] < self._body.size:
                self._extend()
            index = bisect_right(self._at, start) - 1
            if index + 1 >= len(self._at):
                return
            offset = start - self._at[index]
            block = self._converted(index)
            piece = block[offset : offset + min(chunk, end - start)]
            yield piece
            start += len(piece)

    def _extend(self) -> None:
        """Convert the next block and note where the one after it starts."""
        index = len(self._stored) - 1
        start = self._stored[index]
        data = self._read(start, BLOCK)
        if not data:
            raise EOFError("message is shorter than its size")
        if data[-1] == 13 and len(data) > 1 and start + len(data) < self._body.size:
            data = data[:-1]  # a CRLF is never cut in two
        self._block = crlf(data)
        self._index = index
        self._stored.append(start + len(data))
        self._at.append(self._at[index] + len(self._block))

    def _converted(self, index: int) -> bytes:
        if index != self._index:
            start = self._stored[index]
            self._block = crlf(self._read(start, self._stored[index + 1] - start))
            self._index = index
        return self._block

    def _read(self, at: int, n: int) -> bytes:
        """Exactly n stored octets, or as many as there are."""
        data = self._body.read(at, n)
        if len(data) == n or not data:
            return data
        pieces = [data]
        have = len(data)
        while have < n:
            data = self._body.read(at + have, n - have)
            if not data:
                break
            pieces.append(data)
            have += len(data)
        return b"".join(pieces)
