"""The items that the store answers FETCH with, and which of them are kept by the settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dovecotpy.message import fields
from dovecotpy.storage.index.rendered import Kinds

Item = bytes
ENVELOPE = b"ENVELOPE"
BODY = b"BODY"
BODYSTRUCTURE = b"BODYSTRUCTURE"
SIZE = b"RFC822.SIZE"
PREVIEW = b"PREVIEW"
PREVIEW_LAZY = b"PREVIEW LAZY"
"""As PREVIEW, or NIL where that would have to be worked out first (RFC 8970 section 4)."""
FIELDS = b"HEADER.FIELDS "
"""Begins the item of some header fields; see `fields_item`."""


class Kind:
    """What kept values are of, by number; the numbers are part of the form of the cache."""

    ENVELOPE, DATE, FIELDS = 1, 3, 4
    BODY, BODYSTRUCTURE, SIZE = 20, 21, 22
    PREVIEW = 30


KINDS = {
    ENVELOPE: Kind.ENVELOPE,
    BODY: Kind.BODY,
    BODYSTRUCTURE: Kind.BODYSTRUCTURE,
    SIZE: Kind.SIZE,
    PREVIEW: Kind.PREVIEW,
}
_NAMES = {
    "imap.envelope": Kind.ENVELOPE,
    "date.sent": Kind.DATE,
    "imap.body": Kind.BODY,
    "imap.bodystructure": Kind.BODYSTRUCTURE,
    "mime.parts": Kind.BODYSTRUCTURE,
    "size.virtual": Kind.SIZE,
}
"""What mail_cache_fields and mail_never_cache_fields call it."""
_WHOLE = frozenset((Kind.BODY, Kind.BODYSTRUCTURE, Kind.SIZE))


def fields_item(names: Sequence[bytes]) -> Item | None:
    """What to ask `Messages` for to have these header fields; None if they are not all kept. names: in any case."""
    lowered = sorted({name.lower() for name in names})
    return FIELDS + b" ".join(lowered) if all(name in fields.NUMBERS for name in lowered) else None


class Choice(NamedTuple):
    """Which values are kept, by the settings."""

    of_header: Kinds
    of_body: Kinds
    whole: bool
    """The body is looked at as soon as the header is."""

    @property
    def keys(self) -> bool:
        """Keys that SORT and THREAD go by are kept: fields and dates are."""
        return Kind.FIELDS in self.of_header and Kind.DATE in self.of_header


class Caching(NamedTuple):
    """What the settings say about what is kept on disk."""

    kept: Choice
    sync: bool
    """it may be synced"""
    least: int
    """messages that a mailbox has before anything is kept"""
    afresh: bool = False
    """indexes lie where stat may answer from memory: files are opened for each look"""


def choice(wanted: Sequence[str], never: Sequence[str]) -> Choice:
    """By mail_cache_fields and mail_never_cache_fields. What a header says is kept in any case."""
    excluded = {_NAMES[name] for name in never if name in _NAMES}
    if any(name[4:].lower().encode() in fields.NUMBERS for name in never if name.startswith("hdr.")):
        excluded.add(Kind.FIELDS)
    return Choice(
        tuple(kind for kind in (Kind.ENVELOPE, Kind.FIELDS, Kind.DATE) if kind not in excluded),
        tuple(kind for kind in (Kind.BODY, Kind.BODYSTRUCTURE, Kind.SIZE) if kind not in excluded),
        any(_NAMES.get(name) in _WHOLE for name in wanted),
    )
