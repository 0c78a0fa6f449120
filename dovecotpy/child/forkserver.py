"""The loop of a fork server: it forks workers when the master asks, reaps them, and does nothing else.

It has imported what its kind needs and given up what it can before it comes here. Each worker gets one end of a control socketpair
made before its fork; the master gets the other with the pid.

After each fork, every page that the fork server writes is one that the kernel copies, and each function, type or name that it uses is on
one. So between two forks it does little and that plainly: an order to fork is read, and a birth is told, without the ways of `control`
and without socket objects of Python's own, and the ends of workers are gathered for a moment.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import sys
from _socket import socketpair
from collections.abc import Callable
from typing import NamedTuple

import dovecotpy
from dovecotpy import clock
from dovecotpy.child import worker
from dovecotpy.ipc import control, fdpass
from dovecotpy.sandbox import kernel

GATHER_SECONDS = 0.05
"""From one look who has ended to the next: the first end is told at once, those that follow close together."""
MAX_ENDS = 100
"""Ends told in one packet."""

_FORK = control.encode(control.Verb.FORK) + b"\t"
_FORKED = control.encode(control.Verb.FORKED) + b"\t%d"
_UNIX = int(socket.AF_UNIX)
_SEQPACKET = int(socket.SOCK_SEQPACKET)
_SOCKET = int(socket.SOL_SOCKET)
_RIGHTS = int(socket.SCM_RIGHTS)
_NOSIGNAL = int(socket.MSG_NOSIGNAL)
_pack = struct.Struct("i").pack


class Birth(NamedTuple):
    """What a new worker has of its fork server."""

    control: socket.socket
    """its own control socket"""
    descriptors: tuple[int, ...]
    """what came with the master's FORK, such as the connection of an auth worker"""


class ForkServer:
    """Serves FORK, KILL and RETIRE until the master's end of `channel` is gone.

    run: what a worker does; it returns the exit status. keep: descriptors that a worker keeps besides its control socket, what came with FORK,
    and 0-2.
    """

    def __init__(
        self, channel: socket.socket, run: Callable[[Birth], int], keep: tuple[int, ...] = ()
    ) -> None:
        self._channel = channel
        self._run = run
        self._keep = keep
        self._children: set[int] = set()
        self._poll = select.poll()
        self._buffer = bytearray(control.MAX_PACKET)

    def serve(self) -> None:
        """Freeze the heap, say READY, then serve. Returns when told to retire or when the master has gone. Raises OSError."""
        wakeup_read, wakeup_write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, _noticed)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self._poll.register(self._channel, select.POLLIN)
        self._poll.register(wakeup_read, select.POLLIN)
        if kernel.supported():
            kernel.not_dumpable()  # of the memory, so that every worker has it from birth
        gc.disable()
        gc.collect()
        gc.freeze()
        control.send(self._channel, control.Verb.READY, dovecotpy.__version__)
        try:
            self._loop(wakeup_read)
        except (BrokenPipeError, ConnectionResetError):
            return  # the master has gone while we spoke to it

    def _loop(self, wakeup_read: int) -> None:
        orders = select.poll()
        orders.register(self._channel, select.POLLIN)
        due = looked = 0.0  # when those that have ended are looked for, 0: nobody has; when they last were
        while True:
            ready = orders.poll(max(0.0, due - clock.monotonic()) * 1000) if due else self._poll.poll()
            for number, _ in ready:
                if number == wakeup_read:
                    due = max(clock.monotonic(), looked + GATHER_SECONDS)
                elif not self._obey():
                    return
            now = clock.monotonic() if due else 0.0
            if due and now >= due:
                due, looked = 0.0, now
                os.read(wakeup_read, 4096)
                self._reap()

    def _obey(self) -> bool:
        try:
            size, ancillary, flags, _ = self._channel.recvmsg_into(
                [self._buffer], fdpass.ROOM, fdpass.CLOEXEC
            )
        except ConnectionResetError:
            return False
        if size and not ancillary and self._buffer.startswith(_FORK):
            for _ in range(int(self._buffer[len(_FORK) : size])):
                self._fork(())
            return True
        packet = fdpass.packet(bytes(self._buffer[:size]), ancillary, flags)
        return bool(size) and self._obey_another(control.decode(packet))

    def _obey_another(self, message: control.Message) -> bool:
        """What is seldom asked for."""
        if message.verb is control.Verb.RETIRE:
            return False
        if message.verb is control.Verb.FORK:
            for _ in range(message.number(0)):
                self._fork(message.descriptors)
        elif message.verb is control.Verb.KILL and message.number(0) in self._children:
            os.kill(message.number(0), signal.SIGKILL)
        for descriptor in message.descriptors:
            os.close(descriptor)
        return True

    def _fork(self, descriptors: tuple[int, ...]) -> None:
        ours, theirs = socketpair(_UNIX, _SEQPACKET)
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            control.send(self._channel, control.Verb.FAILED, f"fork() failed: {error.strerror}")
            return
        if pid == 0:
            ours.close()
            self._become(fdpass.taken_over(theirs.detach()), descriptors)
        theirs.close()
        self._children.add(pid)
        rights = (_SOCKET, _RIGHTS, _pack(ours.fileno()))
        self._channel.sendmsg((_FORKED % pid,), (rights,), _NOSIGNAL)
        ours.close()

    def _become(self, own: socket.socket, descriptors: tuple[int, ...]) -> None:
        status = 1
        try:
            worker.born((own.fileno(), *descriptors, *self._keep))
            self._channel.detach()
            status = self._run(Birth(own, descriptors))
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:  # noqa: BLE001 (whatever it is, a child never returns into the fork server's loop)
            sys.excepthook(*sys.exc_info())
        finally:
            worker.leave(status)

    def _reap(self) -> None:
        ends: list[int] = []
        while len(ends) < 2 * MAX_ENDS:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            self._children.discard(pid)
            ends += (pid, status)
        if ends:
            control.send(self._channel, control.Verb.EXITED, *ends)
            self._reap()


def _noticed(number: int, frame: object) -> None:
    """The wakeup descriptor has said it already."""
