"""System flags as bits, shared by every format and protocol."""

from __future__ import annotations

ANSWERED = 1
FLAGGED = 2
DELETED = 4
SEEN = 8
DRAFT = 16

NAMES: dict[int, bytes] = {
    ANSWERED: b"\\Answered",
    FLAGGED: b"\\Flagged",
    DELETED: b"\\Deleted",
    SEEN: b"\\Seen",
    DRAFT: b"\\Draft",
}
BITS: dict[bytes, int] = {name.lower(): bit for bit, name in NAMES.items()}
ALL = ANSWERED | FLAGGED | DELETED | SEEN | DRAFT
