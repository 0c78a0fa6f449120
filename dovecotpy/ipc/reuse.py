"""Passing a client on to an idle mail process of the same credentials, version 1.

A root spare took the hand-over, asked the auth process and the master; the master's YES carried the sending end of the idle worker's
inbox, a SEQPACKET pair made for this one use. The spare sends one packet with two descriptors, client and reply; the worker
answers `taken` on the same pair. EOF instead: the worker has gone, the spare serves the client itself. What the worker is told was
verified by root; it runs as the user already and could not use more rights if it were told of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dovecotpy.ipc import fields, handover

VERSION = 1
MAX_PACKET = 196608
"""Octets of one packet; a user with more fields than fit is served by the spare itself."""
DESCRIPTORS = 2
TAKEN = b"taken"


class Passed(NamedTuple):
    """A client with the user that root found for him."""

    message: handover.HandOver
    user: str
    uid: int
    home: str
    """as seen from inside the chroot"""
    mail: str
    fields: Mapping[str, str]


class ReuseError(Exception):
    """A packet that no spare sends. Log: one line; the worker ends."""


def encode(passed: Passed) -> bytes:
    """The packet's bytes. Raises ReuseError when they would be too many."""
    extra = [f"{name}={value}" for name, value in passed.fields.items()]
    data = fields.pack(
        VERSION, handover.encode(passed.message), passed.user, passed.uid, passed.home, passed.mail, *extra
    )
    if len(data) > MAX_PACKET:
        raise ReuseError("a user with too many fields to be passed on")
    return data


def decode(data: bytes) -> Passed:
    """What `encode` was given. Raises ReuseError."""
    parts = fields.split(data)
    if len(parts) < 6 or parts[0] != b"%d" % VERSION or not parts[3].isdigit():
        raise ReuseError("broken packet in the inbox")
    try:
        message = handover.decode(parts[1])
    except handover.HandOverError as error:
        raise ReuseError(str(error)) from error
    user, _, home, mail, *extra = (part.decode("utf-8", "surrogateescape") for part in parts[2:])
    named = dict(part.partition("=")[::2] for part in extra)
    return Passed(message, user, int(parts[3]), home, mail, named)
