"""The sender to the mail queue: hand-overs go out in order, wait while the queue is full, and come back as an answer.

Each worker connects a sender of its own to `mail/<protocol>` in login_dir. A hand-over makes its descriptors only when it is its turn,
so that waiting clients cost one descriptor each.
"""

from __future__ import annotations

import errno
import select
import socket
from collections import deque
from typing import Protocol

from dovecotpy.ipc import fdpass, handover
from dovecotpy.ipc.handover import Accepted, Denied, Refused
from dovecotpy.login.poller import Poller

RECONNECT_AFTER = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOTCONN, errno.EPIPE, errno.EDESTADDRREQ}
)
"""Errors of a sender whose queue was bound anew."""
FULL = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS})

_MAX_ANSWER = 8192


class Passenger(Protocol):
    """A client that is to be handed over."""

    def message(self) -> bytes:
        """The hand-over's datagram."""

    def descriptor(self) -> int:
        """What goes with it: the client, or the plaintext end of its TLS. Raises OSError."""

    def departed(self) -> None:
        """It is in the queue: what `descriptor` made for it can be closed here."""

    def answered(self, answer: Accepted | Denied) -> None:
        """The mail process has it, or nobody has."""


class Departure:
    """A client in the queue or on its way, whose answer is awaited on the reply pair."""

    __slots__ = ("_poller", "_passenger", "_reply")

    def __init__(self, poller: Poller, passenger: Passenger, reply: socket.socket) -> None:
        self._poller = poller
        self._passenger = passenger
        self._reply = reply
        poller.add(reply.fileno(), select.EPOLLIN, self._ready)

    def _ready(self, events: int, now: float) -> None:
        try:
            data = self._reply.recv(_MAX_ANSWER, socket.MSG_DONTWAIT)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        self._poller.remove(self._reply.fileno())
        self._reply.close()
        self._passenger.answered(handover.decode_answer(data))


class MailQueue:
    """The way to the mail processes. path: of the queue, relative to the root or working directory."""

    def __init__(self, path: str, poller: Poller) -> None:
        self._path = path
        self._poller = poller
        self._socket: socket.socket | None = None
        self._waiting: deque[Passenger] = deque()
        self._watching = False

    @property
    def waiting(self) -> int:
        """Clients for whom the queue has no room yet."""
        return len(self._waiting)

    def submit(self, passenger: Passenger) -> None:
        """Hand a client over as soon as there is room; `answered` is called, perhaps before this returns."""
        self._waiting.append(passenger)
        if not self._watching:
            self._send_waiting()

    def close(self) -> None:
        """Disconnect for good."""
        if self._socket is not None:
            self._unwatch()
            self._socket.close()
            self._socket = None

    def _send_waiting(self) -> None:
        while self._waiting:
            passenger = self._waiting[0]
            try:
                sent = self._send(passenger)
            except OSError as error:
                self._waiting.popleft()
                text = f"mail queue {self._path}: {error.strerror or error}"
                passenger.answered(Denied(Refused.INTERNAL, text))
                continue
            if not sent:
                self._watch()
                return
            self._waiting.popleft()
        self._unwatch()

    def _send(self, passenger: Passenger) -> bool:
        """Whether there was room. Raises OSError."""
        ours, theirs = fdpass.pair()
        try:
            self._deliver(passenger.message(), (passenger.descriptor(), theirs.fileno()))
        except OSError as error:
            ours.close()
            if error.errno in FULL:
                return False
            raise
        finally:
            theirs.close()
        passenger.departed()
        Departure(self._poller, passenger, ours)
        return True

    def _deliver(self, message: bytes, descriptors: tuple[int, int]) -> None:
        """Send one datagram; over a new connection where the queue was bound anew. Raises OSError."""
        if self._socket is not None:
            try:
                fdpass.send(self._socket, message, descriptors, socket.MSG_DONTWAIT)
                return
            except OSError as error:
                if error.errno not in RECONNECT_AFTER:
                    raise
                self.close()
        self._connect()
        assert self._socket is not None
        fdpass.send(self._socket, message, descriptors, socket.MSG_DONTWAIT)

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            raise
        self._socket = sock

    def _watch(self) -> None:
        if not self._watching and self._socket is not None:
            self._poller.add(self._socket.fileno(), select.EPOLLOUT, self._room)
            self._watching = True

    def _unwatch(self) -> None:
        if self._watching and self._socket is not None:
            self._poller.remove(self._socket.fileno())
        self._watching = False

    def _room(self, events: int, now: float) -> None:
        self._send_waiting()
