"""Both directions of a session as DEFLATE streams (RFC 4978, RFC 1951), with bounds on memory and expansion.

Each answer is flushed, so that the client can read it at once. A session that rests gives its compressor back: behind a flush a new
one may begin, as nothing obliges it to refer to what went before. The client's history must be kept, 32 KiB at most.
"""

from __future__ import annotations

import zlib

LEVEL = 1
"""Of 9: the higher ones cost much more time than they save octets."""
MEMORY = 8
"""Of 9: with the largest window 256 KiB while the session is at work."""
_RAW = -15
"""No header, the window of 32 KiB that a client may use."""


class Corrupt(Exception):
    """The client's octets are no DEFLATE stream. str(error): for the log."""


class Streams:
    """The two streams of one session."""

    __slots__ = ("_deflate", "_inflate", "_input", "_more")

    def __init__(self) -> None:
        self._deflate: zlib._Compress | None = None
        self._inflate = zlib.decompressobj(_RAW)
        self._input = b""
        self._more = False

    def deflate(self, data: bytes) -> bytes:
        """Octets for the client, whole: what went in can be read from what comes out."""
        if self._deflate is None:
            self._deflate = zlib.compressobj(LEVEL, zlib.DEFLATED, _RAW, MEMORY)
        return self._deflate.compress(data) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    @property
    def at_work(self) -> bool:
        """Whether there is a compressor to give back."""
        return self._deflate is not None

    def rest(self) -> None:
        """Give the compressor back until there is something to say again."""
        self._deflate = None

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
