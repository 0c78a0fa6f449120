"""Which mailbox names may be, whatever the format."""

from __future__ import annotations

from dovecotpy.storage.errors import InvalidMailboxName

MAX_NAME = 512
"""Octets of a name, as the client writes it."""
MAX_LEVELS = 20
"""Levels of a mailbox to be created."""
MAX_LEVEL = 200
"""Octets of each level of a mailbox to be created."""


def check(name: bytes) -> None:
    """Raises InvalidMailboxName for a name that cannot be in any namespace."""
    if not name:
        raise InvalidMailboxName("Empty mailbox name.")
    if len(name) > MAX_NAME:
        raise InvalidMailboxName("Mailbox name too long.")
    if b"\0" in name or b"\r" in name or b"\n" in name:
        raise InvalidMailboxName("Invalid mailbox name.")


def to_disk(name: bytes, separator: bytes, real: bytes) -> bytes:
    """A name without its namespace's prefix, with the format's own separator. Raises InvalidMailboxName."""
    if separator != real:
        if real in name:
            raise InvalidMailboxName(
                f"Character not allowed in mailbox name: '{real.decode('ascii', 'replace')}'"
            )
        name = name.replace(separator, real)
    if name and (name[:1] == real or name[-1:] == real or real + real in name):
        raise InvalidMailboxName("Invalid mailbox name.")
    return name


def check_new(disk: bytes, real: bytes) -> None:
    """Raises InvalidMailboxName for a name that is too deep or too long to be created."""
    levels = disk.split(real)
    if len(levels) > MAX_LEVELS or any(len(level) > MAX_LEVEL for level in levels):
        raise InvalidMailboxName("Mailbox name too long.")
