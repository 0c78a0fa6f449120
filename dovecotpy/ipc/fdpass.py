"""Packets over Unix sockets with file descriptors and the sender's credentials from the kernel."""

from __future__ import annotations

import array
import os
import socket
import struct
from typing import NamedTuple

MAX_DESCRIPTORS = 16
"""File descriptors accepted in one packet; more than the caller wants are closed by the caller."""

_CREDENTIALS = struct.Struct("iII")
CLOEXEC = int(socket.MSG_CMSG_CLOEXEC)
_NOSIGNAL = int(socket.MSG_NOSIGNAL)
_CUT = int(socket.MSG_TRUNC) | int(socket.MSG_CTRUNC)
_SOCKET = int(socket.SOL_SOCKET)
_RIGHTS = int(socket.SCM_RIGHTS)
_SENDER = int(socket.SCM_CREDENTIALS)
_UNIX = socket.AF_UNIX
_SEQPACKET = socket.SOCK_SEQPACKET
"""As plain numbers: joining the enum's members costs more than the call that they are for."""
ROOM = socket.CMSG_SPACE(MAX_DESCRIPTORS * 4) + socket.CMSG_SPACE(_CREDENTIALS.size)
"""Octets of ancillary data that a packet may bring."""


class Credentials(NamedTuple):
    """Who sent a packet or holds the other end, as the kernel says."""

    pid: int
    uid: int
    gid: int


class Packet(NamedTuple):
    """One packet as received. `truncated`: the sender's data or descriptors did not fit and are not to be trusted."""

    data: bytes
    descriptors: tuple[int, ...]
    credentials: Credentials | None
    truncated: bool

    def close(self) -> None:
        """Close every descriptor that came with it."""
        for descriptor in self.descriptors:
            os.close(descriptor)


def send(sock: socket.socket, data: bytes, descriptors: tuple[int, ...] = (), flags: int = 0) -> None:
    """Send one packet. Raises OSError (BlockingIOError when the queue is full and the socket does not block)."""
    if not descriptors:
        sock.send(data, int(flags) | _NOSIGNAL)
        return
    rights = array.array("i", descriptors).tobytes()
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)], int(flags) | _NOSIGNAL)


def receive(sock: socket.socket, size: int = 8192, flags: int = 0) -> Packet:
    """Receive one packet; an empty one with no descriptors is the end of a connected socket. Raises OSError.

    Descriptors are close-on-exec. Credentials are there when the socket has SO_PASSCRED.
    """
    data, ancillary, message_flags, _ = sock.recvmsg(size, ROOM, int(flags) | CLOEXEC)
    return packet(data, ancillary, message_flags)


def receive_into(sock: socket.socket, buffer: bytearray, flags: int = 0) -> Packet:
    """As `receive`, through a buffer that is kept: where packets may be large, each would be a mapping of its own."""
    size, ancillary, message_flags, _ = sock.recvmsg_into([buffer], ROOM, int(flags) | CLOEXEC)
    return packet(bytes(memoryview(buffer)[:size]), ancillary, message_flags)


def taken_over(number: int) -> socket.socket:
    """A descriptor that stands for a SEQPACKET socket, as an object, without asking the kernel what it is."""
    return socket.socket(_UNIX, _SEQPACKET, 0, number)


def packet(data: bytes, ancillary: list[tuple[int, int, bytes]], message_flags: int) -> Packet:
    """What recvmsg gave, with room for ROOM octets of ancillary data."""
    descriptors: tuple[int, ...] = ()
    credentials = None
    for level, kind, payload in ancillary:
        if level != _SOCKET:
            continue
        if kind == _RIGHTS:
            received = array.array("i")
            received.frombytes(payload[: len(payload) - len(payload) % 4])
            descriptors += tuple(received)
        elif kind == _SENDER:
            credentials = Credentials(*_CREDENTIALS.unpack(payload[: _CREDENTIALS.size]))
    return Packet(data, descriptors, credentials, bool(message_flags & _CUT))


def peer(sock: socket.socket) -> Credentials:
    """Who connected or made the other end of a connected Unix socket (SO_PEERCRED)."""
    data = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Credentials(*_CREDENTIALS.unpack(data))


def pair(kind: int = socket.SOCK_SEQPACKET) -> tuple[socket.socket, socket.socket]:
    """A connected pair of Unix sockets that keep packet boundaries (or a stream, with SOCK_STREAM)."""
    return socket.socketpair(socket.AF_UNIX, kind)
