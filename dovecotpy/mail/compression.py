"""Both directions of a session as DEFLATE streams (RFC 4978, RFC 1951), with bounds on memory and expansion.

Each answer is flushed, so that the client can read it at once.
"""

from __future__ import annotations

import zlib

LEVEL = 1
"""Of 9: the higher ones cost much more time than they save octets."""
MEMORY = 7
OUR_WINDOW = 14
"""Base 2 logarithm. With MEMORY the compressor takes 128 KiB; twice as much would save 2 % of the octets."""
_RAW = -15
"""No header, the window of 32 KiB that a client may use."""


class Corrupt(Exception):
    """The client's octets are no DEFLATE stream. str(error): for the log."""


class Streams:
    """The two streams of one session."""

    __slots__ = ("_deflate", "_inflate", "_input", "_more")

    def __init__(self) -> None:
        self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, -OUR_WINDOW, MEMORY)
        self._inflate = zlib.decompressobj(_RAW)
        self._input = b""
        self._more = False

    def deflate(self, data: bytes) -> bytes:
        """Octets for the client, whole: what went in can be read from what comes out."""
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def take(self, data: bytes) -> None:
        """Compressed octets from the client."""
        self._input += data
        self._more = True

    @property
    def waiting(self) -> bool:
        """`inflate` may have something without more input."""
        return self._more

    @property
    def ended(self) -> bool:
        """The client ended its stream, and nothing can follow."""
        return self._inflate.eof

    def inflate(self, room: int) -> bytes:
        """At most so many octets of what the client said. Raises Corrupt."""
        try:
            data = self._inflate.decompress(self._input, room)
        except zlib.error as error:
            raise Corrupt(f"Invalid compressed data: {error}") from error
        self._input = self._inflate.unconsumed_tail
        self._more = self._inflate.eof or bool(self._input) or len(data) == room
        return data
