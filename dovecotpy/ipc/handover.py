"""The hand-over of an authenticated client from a login process to a mail process, version 1.

One datagram on the mail queue (`login_dir/mail/<protocol>`) with two descriptors: the client (or, where TLS is proxied, the
plaintext end of a stream socketpair) and one end of a fresh SEQPACKET reply pair. The message names no user and no uid: the
sender is assumed hostile, so the mail process asks the auth process `auth_pid` for the request `auth_id` of the sender's pid,
which it has from the kernel. Until the answer only the login process writes to the client, afterwards only the mail process.
EOF on the reply pair: nobody has the client.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from dovecotpy.ipc import fields

VERSION = 1
MAX_INPUT = 32768
"""Octets that the client sent behind its login command and that travel along; login stops reading beyond."""
MAX_PACKET = MAX_INPUT * 2 + 8192
DESCRIPTORS = 2


class HandOver(NamedTuple):
    """What a login process says of the client that it hands over."""

    protocol: str
    """`imap` or `pop3`"""
    auth_name: str
    """the auth section that answered"""
    auth_pid: int
    auth_id: int
    local_address: str
    remote_address: str
    local_port: int
    remote_port: int
    security: str
    """`TLS`, `secured` or empty, as %c"""
    tls_proxied: bool
    session: str
    """id of the session, the same in the lines of every process"""
    tag: str
    """the tag that the mail process answers; empty for POP3"""
    client_input: bytes
    """what the client sent behind its login command"""


class Refused(enum.StrEnum):
    """Why no mail process serves the client: login chooses the words for the client."""

    INTERNAL = "internal"
    TOO_MANY_PROCESSES = "processes"
    TOO_MANY_CONNECTIONS = "connections"
    SHUTTING_DOWN = "shutdown"


class Accepted(NamedTuple):
    """The mail process `pid` has the client."""

    pid: int


class Denied(NamedTuple):
    """No mail process has the client. `text`: for the log line of the login process."""

    reason: Refused
    text: str


class HandOverError(Exception):
    """A message that no honest login process sends. Log: one line; the master is told the sender's pid."""


def encode(message: HandOver) -> bytes:
    """The datagram's bytes."""
    return fields.pack(
        VERSION,
        message.protocol,
        message.auth_name,
        message.auth_pid,
        message.auth_id,
        message.local_address,
        message.remote_address,
        message.local_port,
        message.remote_port,
        message.security,
        int(message.tls_proxied),
        message.session,
        message.tag,
        message.client_input,
    )


def decode(data: bytes) -> HandOver:
    """The message in a datagram. Raises HandOverError."""
    parts = fields.split(data)
    if len(parts) != len(HandOver._fields) + 1:
        raise HandOverError(f"hand-over with {len(parts)} fields")
    if parts[0] != b"%d" % VERSION:
        raise HandOverError(f"hand-over version {parts[0][:20]!r}")
    client_input = parts.pop()
    if len(client_input) > MAX_INPUT:
        raise HandOverError("hand-over with too much input")
    try:
        words = [part.decode("ascii") for part in parts[1:]]
        numbers = [int(words[index]) for index in (2, 3, 6, 7)]
    except ValueError as error:
        raise HandOverError("hand-over with broken fields") from error
    if numbers[0] <= 0 or numbers[1] <= 0 or words[9] not in ("0", "1"):
        raise HandOverError("hand-over with fields out of range")
    return HandOver(
        words[0],
        words[1],
        numbers[0],
        numbers[1],
        words[4],
        words[5],
        numbers[2],
        numbers[3],
        words[8],
        words[9] == "1",
        words[10],
        words[11],
        client_input,
    )


def encode_answer(answer: Accepted | Denied) -> bytes:
    """The packet on the reply pair."""
    if isinstance(answer, Accepted):
        return fields.pack("ok", answer.pid)
    return fields.pack("no", answer.reason.value, answer.text)


def decode_answer(data: bytes) -> Accepted | Denied:
    """The packet on the reply pair; anything else than an answer, an empty one (EOF) too, is an internal refusal."""
    parts = fields.texts(data)
    if parts[0] == "ok" and len(parts) == 2 and parts[1].isascii() and parts[1].isdigit():
        return Accepted(int(parts[1]))
    if parts[0] == "no" and len(parts) == 3 and parts[1] in list(Refused):
        return Denied(Refused(parts[1]), parts[2])
    return Denied(Refused.INTERNAL, "no mail process answered")
