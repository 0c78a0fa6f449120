"""The master's end of a child's control socket: it never blocks, and what a child may say depends on its kind."""

from __future__ import annotations

import contextlib
import os
import socket
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from dovecotpy.ipc import control, fdpass
from dovecotpy.ipc.control import Verb

MAX_QUEUED = 256
"""Packets that wait for a child that does not read; one more and the child is given up."""
MAX_BATCH = 32
"""Packets read from one child before the others have their turn."""

MAY_SAY: Mapping[str, frozenset[Verb]] = {
    "log": frozenset((Verb.READY, Verb.FAILED)),
    "auth": frozenset((Verb.READY, Verb.FAILED, Verb.WORKER)),
    "fork server": frozenset((Verb.READY, Verb.FAILED, Verb.FORKED, Verb.EXITED)),
    "login worker": frozenset((Verb.STATE,)),
    "mail worker": frozenset((Verb.TAKEN, Verb.SLOT, Verb.FORGED, Verb.IDLE)),
    "auth worker": frozenset(),
}
"""What each role may ask of the master; anything else is a breach and ends the connection."""


class _Queued(NamedTuple):
    packet: bytes
    descriptors: tuple[int, ...]

    def close(self) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


class Channel:
    """One child's control socket. `role` is a key of MAY_SAY."""

    def __init__(self, sock: socket.socket, role: str) -> None:
        self._sock = sock
        self._number = sock.fileno()
        self._allowed = MAY_SAY[role]
        self._queue: deque[_Queued] = deque()
        self.crowded: set[int] = set()
        """where the descriptor is put when packets wait; the loop gives all channels the same set"""
        self.ended = False
        """nothing more will come and nothing more is sent"""
        self.breach = ""
        """how the child broke the protocol; empty: it did not"""

    def fileno(self) -> int:
        """The descriptor, also after `close`: it is the key that the loop knows it by."""
        return self._number

    @property
    def waiting(self) -> bool:
        """Whether packets wait for room."""
        return bool(self._queue)

    def send(self, verb: Verb, *values: str | int, descriptors: tuple[int, ...] = ()) -> None:
        """Send, or queue when there is no room. Never raises; a connection that cannot be written to is `ended`."""
        packet = control.encode(verb, *values)
        if not self._queue and self._try(packet, descriptors):
            return
        if self.ended:
            return
        if len(self._queue) >= MAX_QUEUED:
            self._breach(f"does not read its control socket ({MAX_QUEUED} packets wait)")
            self.crowded.add(self._number)
            return
        self._queue.append(_Queued(packet, tuple(os.dup(number) for number in descriptors)))
        self.crowded.add(self._number)

    def flush(self) -> None:
        """There is room again."""
        while self._queue and self._try(*self._queue[0]):
            self._queue.popleft().close()

    def receive(self, most: int = MAX_BATCH) -> list[control.Message]:
        """What the child said, at most so many packets; sets `ended` at the end of the connection and at a breach."""
        messages: list[control.Message] = []
        while not self.ended and len(messages) < most:
            try:
                message = control.receive(self._sock, socket.MSG_DONTWAIT)
            except BlockingIOError:
                break
            except control.ControlError as error:
                self._breach(str(error))
                break
            except OSError:
                message = None
            if message is None:
                self.ended = True
            elif message.verb not in self._allowed:
                discard(message)
                self._breach(f"said {message.verb}, which is not its to say")
            else:
                messages.append(message)
        return messages

    def close(self) -> None:
        """Let go: the child sees the end. Idempotent."""
        self.ended = True
        while self._queue:
            self._queue.popleft().close()
        self._sock.close()

    def _breach(self, text: str) -> None:
        self.breach = text
        self.ended = True

    def _try(self, packet: bytes, descriptors: tuple[int, ...]) -> bool:
        try:
            fdpass.send(self._sock, packet, descriptors, socket.MSG_DONTWAIT)
            return True
        except BlockingIOError:
            return False
        except OSError:
            self.ended = True
            return False


def discard(message: control.Message) -> None:
    """Close what came with a message that nobody wants."""
    for descriptor in message.descriptors:
        with contextlib.suppress(OSError):
            os.close(descriptor)
