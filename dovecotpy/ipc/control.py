"""The control protocol between the master and each of its children, version 1.

One SEQPACKET socketpair for each child: exec'ed ones (log, auth, fork servers) get theirs at exec, workers get theirs from
their fork server, which makes the pair before the fork and sends the master's end up with the pid. A packet is a verb and its
fields (`fields.pack`). The socket is the identity: a slot belongs to it, and its end is the end of the child's claim.

| from, to | verb and fields | descriptors | meaning |
|---|---|---|---|
| exec'ed child → master | READY version | | set up, rights given up |
| exec'ed child → master | FAILED text | | it cannot serve and ends; text is one log line |
| master → fork server | FORK count | for an auth worker: its connection | fork so many workers |
| fork server → master | FORKED pid | the master's end of the worker's control socket | |
| fork server → master | EXITED pid status [pid status …] | | workers of its ended; status as from waitpid |
| master → fork server | KILL pid | | end a worker of its own that is not reaped yet |
| master → any | RETIRE | | take nothing new, finish what is held, end |
| master → worker | GO | | touch queue or listener from now on |
| worker → master | STATE state prelogin proxying | | a login worker's state, see LoginState |
| master → login worker | LISTEN | | listen although full (the reference's tag 0) |
| master → login worker | DROP | | end the clients that are not logged in, then end |
| spare → master | TAKEN | | it took a hand-over: fork the next spare |
| spare → master | SLOT protocol user address key reuse | | may this session be? reuse: 1 when an idle worker may be named |
| master → spare | YES | the inbox of an idle worker with that key, if any | the slot is the asker's, or the worker's whose inbox came |
| master → spare | NO reason | | reason: see Refusal |
| spare → master | FORGED pid | | a hand-over that no honest login process sends |
| mail worker → master | IDLE key | the sending end of its inbox | it waits for another session of the same credentials |
| auth → master | WORKER | the worker's end of a fresh stream pair | a worker process wanted for this connection |
| master → log | REOPEN | | open the log files anew |
| master → auth | CLEAR | | drop what is cached |

A worker that got a slot for itself is a user's process from then on and is believed nothing about others: its SLOT and FORGED end the
connection, its IDLE must name the key of its own slot.
"""

from __future__ import annotations

import enum
import socket
from typing import NamedTuple

from dovecotpy.ipc import fdpass, fields

VERSION = 1
MAX_PACKET = 8192


class Verb(enum.StrEnum):
    """The first field of a packet."""

    READY = "READY"
    FAILED = "FAILED"
    FORK = "FORK"
    FORKED = "FORKED"
    EXITED = "EXITED"
    KILL = "KILL"
    RETIRE = "RETIRE"
    GO = "GO"
    STATE = "STATE"
    LISTEN = "LISTEN"
    DROP = "DROP"
    TAKEN = "TAKEN"
    SLOT = "SLOT"
    YES = "YES"
    NO = "NO"
    FORGED = "FORGED"
    IDLE = "IDLE"
    WORKER = "WORKER"
    REOPEN = "REOPEN"
    CLEAR = "CLEAR"


_VERBS = {verb.value: verb for verb in Verb}


class LoginState(enum.IntEnum):
    """What a login worker tells of itself; only growing with one process per connection."""

    LISTENING = 0
    FULL_PRELOGINS = 1
    FULL_LOGINS = 2


class Refusal(enum.StrEnum):
    """Why the master gives no slot."""

    TOO_MANY_PROCESSES = "max_mail_processes"
    TOO_MANY_CONNECTIONS = "mail_max_userip_connections"
    SHUTTING_DOWN = "shutting_down"


class Message(NamedTuple):
    """One packet of the control protocol."""

    verb: Verb
    fields: tuple[str, ...]
    descriptors: tuple[int, ...]

    def number(self, index: int) -> int:
        """A field as a number. Raises ControlError."""
        try:
            return int(self.fields[index])
        except (IndexError, ValueError) as error:
            raise ControlError(f"{self.verb}: field {index} is no number") from error

    def text(self, index: int) -> str:
        """A field as text. Raises ControlError."""
        try:
            return self.fields[index]
        except IndexError as error:
            raise ControlError(f"{self.verb}: field {index} is missing") from error


class ControlError(Exception):
    """The other side broke the control protocol. Log: one line; the connection is given up."""


def encode(verb: Verb, *values: str | int) -> bytes:
    """One packet's bytes."""
    return fields.pack(verb, *values)


def decode(packet: fdpass.Packet) -> Message:
    """One received packet. Raises ControlError after closing its descriptors."""
    parts = fields.texts(packet.data)
    verb = _VERBS.get(parts[0])
    if verb is None:
        packet.close()
        raise ControlError(f"unknown verb {parts[0][:40]!r}")
    if packet.truncated:
        packet.close()
        raise ControlError(f"{verb}: packet too long")
    return Message(verb, tuple(parts[1:]), packet.descriptors)


def send(sock: socket.socket, verb: Verb, *values: str | int, descriptors: tuple[int, ...] = ()) -> None:
    """Send one packet. Raises OSError."""
    fdpass.send(sock, encode(verb, *values), descriptors)


def receive(sock: socket.socket, flags: int = 0) -> Message | None:
    """The next packet; None at the end of the connection. Raises ControlError, OSError (BlockingIOError).

    A peer that ends with packets of ours unread resets the connection: that is its end too.
    """
    try:
        packet = fdpass.receive(sock, MAX_PACKET, flags)
    except ConnectionResetError:
        return None
    if not packet.data:
        packet.close()
        return None
    return decode(packet)
