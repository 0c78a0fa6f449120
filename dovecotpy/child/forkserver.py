"""The loop of a fork server: it forks workers when the master asks, reaps them, and does nothing else.

It has imported what its kind needs and given up what it can before it comes here. Each worker gets one end of a control socketpair
made before its fork; the master gets the other with the pid.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from typing import NamedTuple

import dovecotpy
from dovecotpy.child import worker
from dovecotpy.ipc import control, fdpass
from dovecotpy.sandbox import kernel


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
        while True:
            ready = {descriptor for descriptor, _ in self._poll.poll()}
            if wakeup_read in ready:
                os.read(wakeup_read, 4096)
                self._reap()
            if self._channel.fileno() in ready and not self._obey():
                return

    def _obey(self) -> bool:
        message = control.receive(self._channel)
        if message is None or message.verb is control.Verb.RETIRE:
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
        ours, theirs = fdpass.pair()
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            control.send(self._channel, control.Verb.FAILED, f"fork() failed: {error.strerror}")
            return
        if pid == 0:
            ours.close()
            self._become(theirs, descriptors)
        theirs.close()
        self._children.add(pid)
        control.send(self._channel, control.Verb.FORKED, pid, descriptors=(ours.fileno(),))
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
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._children.discard(pid)
            control.send(self._channel, control.Verb.EXITED, pid, status)


def _noticed(number: int, frame: object) -> None:
    """The wakeup descriptor has said it already."""
