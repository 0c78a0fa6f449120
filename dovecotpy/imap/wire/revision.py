"""What IMAP4rev2 consists of besides itself (RFC 9051 appendix E): it is offered only where all of that is."""

from __future__ import annotations

NEEDS = (
    "BINARY",
    "ENABLE",
    "ESEARCH",
    "IDLE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "MOVE",
    "NAMESPACE",
    "SEARCHRES",
    "SPECIAL-USE",
    "STATUS=SIZE",
    "UIDPLUS",
    "UNSELECT",
)
