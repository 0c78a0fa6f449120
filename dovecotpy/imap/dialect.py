"""What one client may use and has switched on, and the forms that responses have by it.

Whatever says that a message is gone or has changed comes from here, so that another form of it
(VANISHED for EXPUNGE, RFC 7162 section 3.2.10) has one place.
"""

from __future__ import annotations

from collections.abc import Sequence

from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.registry import extension
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.revision import NEEDS

CONDSTORE = extension("CONDSTORE")
QRESYNC = extension("QRESYNC", requires=("CONDSTORE", "ENABLE"))
OBJECTID = extension("OBJECTID")
SAVEDATE = extension("SAVEDATE")

UIDONLY = extension("UIDONLY", requires=("ENABLE",))

UTF8 = extension("UTF8=ACCEPT", requires=("ENABLE",))
IMAP4REV2 = extension("IMAP4rev2", requires=NEEDS).upper()

ENABLES: dict[bytes, tuple[bytes, ...]] = {
    CONDSTORE: (),
    QRESYNC: (CONDSTORE,),
    UIDONLY: (),
    UTF8: (),
    IMAP4REV2: (),
}
"""What ENABLE may name (RFC 5161), with what each brings along."""
MAX_LINE = 8_000
"""Octets of one VANISHED response, about (RFC 7162 section 4)."""


class Dialect:
    """disabled: extensions that this client is not offered, in capitals."""

    __slots__ = ("disabled", "enabled")

    def __init__(self, disabled: frozenset[bytes] = frozenset()) -> None:
        self.disabled = disabled
        self.enabled: set[bytes] = set()

    def offers(self, capability: bytes) -> bool:
        """Whether an extension is not switched off by the administrator."""
        return capability not in self.disabled

    def enable(self, capability: bytes) -> bool:
        """Switch an extension on, with what it brings along; False if it was on or is not offered."""
        if capability in self.enabled or capability not in ENABLES or not self.offers(capability):
            return False
        self.enabled.update((capability, *ENABLES[capability]))
        return True

    @property
    def condstore(self) -> bool:
        """Whether the client wants to hear of modseqs (RFC 7162 section 3.1)."""
        return CONDSTORE in self.enabled

    @property
    def qresync(self) -> bool:
        """Whether the client switched QRESYNC on (RFC 7162 section 3.2.3)."""
        return QRESYNC in self.enabled

    @property
    def uidonly(self) -> bool:
        """Whether messages are named by UID alone (RFC 9586)."""
        return UIDONLY in self.enabled

    @property
    def rev2(self) -> bool:
        """Whether the client speaks IMAP4rev2 (RFC 9051)."""
        return IMAP4REV2 in self.enabled

    @property
    def utf8(self) -> bool:
        """Whether names and quoted strings are UTF-8 (RFC 6855 section 3)."""
        return UTF8 in self.enabled or IMAP4REV2 in self.enabled

    def need_numbers(self) -> None:
        """A message number was used. Raises Mistaken [UIDREQUIRED] if there are none."""
        if self.uidonly:
            raise Mistaken("Message numbers are not allowed once UIDONLY is enabled.", "UIDREQUIRED")


def expunge_lines(indexes: Sequence[int]) -> bytes:
    """EXPUNGE responses. indexes: places in the view, descending, so that no number moves before it is told."""
    return (b"* %d EXPUNGE\r\n" * len(indexes)) % tuple(index + 1 for index in indexes)


def vanished_lines(ranges: Sequence[tuple[int, int]], *, earlier: bool = False) -> bytes:
    """VANISHED responses for ascending ranges of UIDs (RFC 7162 section 3.2.10)."""
    word = b"* VANISHED (EARLIER) " if earlier else b"* VANISHED "
    step = MAX_LINE // 22
    lines = [word + sequence.render(ranges[at : at + step]) for at in range(0, len(ranges), step)]
    return b"".join(line + b"\r\n" for line in lines)
