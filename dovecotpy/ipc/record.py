"""The log record that every process sends to the log process, version 1.

One packet on the SEQPACKET pair of the sender's *kind*: 0x02, then the fields level, user, session, address, text. A packet that does not
begin with 0x02 is what a process (or a library in it) wrote to stderr: its lines are errors. The kind comes from the pair and
the pid from the kernel, so a record says neither.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from dovecotpy.ipc import fields

MARK = b"\x02"
MAX_TEXT = 8192
"""Octets of text in one record; the rest of a longer text is cut."""
MAX_PACKET = 2 * MAX_TEXT + 4096


class Level(enum.StrEnum):
    """How grave a line is; debug stands in files as info."""

    DEBUG = "d"
    INFO = "i"
    WARNING = "w"
    ERROR = "e"
    FATAL = "f"
    PANIC = "p"


_LEVELS = {level.value: level for level in Level}


class Record(NamedTuple):
    """One line for the log. `user`, `session` and `address` are empty where there is none."""

    level: Level
    text: str
    user: str = ""
    session: str = ""
    address: str = ""


def encode(record: Record) -> bytes:
    """The packet; control characters in the text are made visible by the log process."""
    text = record.text[:MAX_TEXT]
    return MARK + fields.pack(record.level, record.user[:255], record.session[:64], record.address[:64], text)


def decode(data: bytes) -> list[Record]:
    """The records in a packet: one, or one for each line that was written to stderr."""
    if data[:1] == MARK:
        parts = fields.texts(data[1:])
        level = _LEVELS.get(parts[0])
        if level is not None and len(parts) == 5:
            return [Record(level, parts[4], parts[1], parts[2], parts[3])]
    lines = data.decode("utf-8", "surrogateescape").splitlines()
    return [Record(Level.ERROR, line[:MAX_TEXT]) for line in lines if line.strip()]
