"""What a protocol session shows to the runner that owns its socket."""

from __future__ import annotations

from typing import Protocol

from dovecotpy.storage.driver import Wait


class End(Protocol):
    """Why a session is over."""

    @property
    def text(self) -> str:
        """For the log line, such as `Disconnected: Logged out`."""


class Session(Protocol):
    """One client's session: octets in, octets out, no socket."""

    @property
    def ended(self) -> End | None:
        """Set when nothing more will come after what `pull` still gives."""

    @property
    def working(self) -> bool:
        """A command is at work: `pull` may give nothing now and something at the next call."""

    @property
    def within_literal(self) -> bool:
        """A literal was announced to the client and is not all out: a line of text now would be taken for a part of it."""

    def feed(self, data: bytes) -> None:
        """Octets from the client."""

    def pull(self) -> bytes:
        """The next chunk for the client, at most about 64 KiB; empty: nothing to say now. Works for at most 100 ms."""

    def wants_input(self) -> bool:
        """False while a command is at work or enough input waits."""

    def compressed_from_here(self) -> bytes | None:
        """None, or, once: both directions are DEFLATE streams behind what `pull` gave; these octets came compressed already."""

    def wait(self) -> Wait:
        """The descriptor to watch besides the client, and the seconds until `tick` is wanted."""

    def tick(self) -> None:
        """Time has passed or the descriptor is readable."""

    def disconnected(self) -> None:
        """The client has gone: clean up, keep what was acknowledged."""

    def shut_down(self) -> None:
        """The server ends: say so and end."""
