"""What comes out of the mail queue, and whether an honest login process can have sent it.

The sender is assumed hostile. The kernel says who he is and what he passed; the message itself says only whom to ask about him.
"""

from __future__ import annotations

import errno
import socket
from typing import NamedTuple

from dovecotpy.ipc import fdpass, handover

_CLIENT_FAMILIES = frozenset(map(int, (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)))
_NOW = int(socket.MSG_DONTWAIT)
MAX_WORD = 1024
"""Octets of an address, a session id or an auth name; a tag may be as long as a line before login."""


class Offer(NamedTuple):
    """A client that a login process hands over."""

    message: handover.HandOver
    sender: int
    """pid of the login process, by the kernel's word"""
    client: socket.socket
    reply: socket.socket

    def close(self) -> None:
        """Give both up: the login process sees the end of its reply pair."""
        self.client.close()
        self.reply.close()


class Forged(Exception):
    """No honest login process sends this. Log: one line with the text; the master is told `pid`, 0 where the kernel named none."""

    def __init__(self, text: str, pid: int) -> None:
        super().__init__(text)
        self.pid = pid


def take(queue: socket.socket) -> fdpass.Packet | None:
    """The next packet of the queue, None when somebody else was faster. Raises OSError."""
    try:
        return fdpass.receive(queue, handover.MAX_PACKET, _NOW)
    except BlockingIOError:
        return None
    except OSError as error:
        if error.errno in (errno.EINTR, errno.ECONNREFUSED):
            return None
        raise


def examine(packet: fdpass.Packet, login_uid: int, protocol: str) -> Offer:
    """The offer in a packet. Raises Forged after closing what came with it."""
    sender = packet.credentials
    if sender is None:
        packet.close()
        raise Forged("hand-over without credentials", 0)
    try:
        return _offer(packet, sender, login_uid, protocol)
    except (handover.HandOverError, OSError, ValueError) as error:
        packet.close()
        raise Forged(f"{error} (from pid {sender.pid}, uid {sender.uid})", sender.pid) from error


def _offer(packet: fdpass.Packet, sender: fdpass.Credentials, login_uid: int, protocol: str) -> Offer:
    if sender.uid != login_uid:
        raise ValueError("hand-over by a process that is not login_user's")
    if packet.truncated:
        raise ValueError("hand-over that was cut")
    if len(packet.descriptors) != handover.DESCRIPTORS:
        raise ValueError(f"hand-over with {len(packet.descriptors)} descriptors")
    message = handover.decode(packet.data)
    if message.protocol != protocol:
        raise ValueError(f"hand-over of another protocol, {message.protocol[:20]!r}")
    for word in (message.session, message.local_address, message.remote_address, message.auth_name):
        if len(word) > MAX_WORD or not (word.isprintable() or not word):
            raise ValueError("hand-over with broken words")
    if not message.tag.isprintable() or len(message.tag) > handover.MAX_INPUT:
        raise ValueError("hand-over with a broken tag")
    client, reply = _sockets(packet.descriptors)
    return Offer(message, sender.pid, client, reply)


def _sockets(descriptors: tuple[int, ...]) -> tuple[socket.socket, socket.socket]:
    """Client and reply; the descriptors stay the packet's to close when it raises ValueError or OSError."""
    made: list[socket.socket] = []
    try:
        made.append(socket.socket(fileno=descriptors[0]))
        made.append(fdpass.taken_over(descriptors[1]))
        if _wrong(*made):
            raise ValueError("hand-over of sockets of the wrong type")
    except (OSError, ValueError):
        for sock in made:
            sock.detach()
        raise
    return made[0], made[1]


def _wrong(client: socket.socket, reply: socket.socket) -> bool:
    return (
        _option(client, socket.SO_TYPE) != socket.SOCK_STREAM
        or _option(client, socket.SO_DOMAIN) not in _CLIENT_FAMILIES
        or _option(client, socket.SO_ACCEPTCONN) != 0
        or _option(reply, socket.SO_TYPE) != socket.SOCK_SEQPACKET
        or _option(reply, socket.SO_DOMAIN) != socket.AF_UNIX
        or _option(reply, socket.SO_ACCEPTCONN) != 0
    )


def _option(sock: socket.socket, name: int) -> int:
    """As a plain number: the socket's own properties look members of enumerations up."""
    return sock.getsockopt(socket.SOL_SOCKET, name)
