"""The log process: its pairs outlive it, so that another one goes on where it ended."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterable, Mapping

from dovecotpy.ipc import control, fdpass
from dovecotpy.ipc.control import Verb
from dovecotpy.master.backoff import Backoff
from dovecotpy.master.channel import discard
from dovecotpy.master.children import Child, Process
from dovecotpy.master.service import Host, Service
from dovecotpy.master.spawn import Program

ROOM = 1 << 20
"""Octets of records that may wait for the log process, of each kind; the kernel may allow fewer."""


class Pair:
    """One kind's socket pair. Both ends stay open in the master."""

    def __init__(self) -> None:
        self.writer, self.reader = fdpass.pair()
        self.writer.setblocking(False)
        self.writer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ROOM)
        self.reader.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)

    def broken(self) -> bool:
        """Whether a child shut it down for everybody of its kind."""
        poll = select.poll()
        poll.register(self.reader, select.POLLRDHUP)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Let go of both ends."""
        self.writer.close()
        self.reader.close()


class LogService(Service):
    """The log process and the pairs of all kinds."""

    name = "log"

    def __init__(self, host: Host, program: Callable[[Mapping[str, int], int], Program]) -> None:
        super().__init__(host)
        self.pairs: dict[str, Pair] = {}
        self.program = program
        """makes the program of the descriptors `log.<kind>` and the stderr"""
        self.process: Process | None = None
        self._starts = Backoff()

    def provide(self, kinds: Iterable[str]) -> bool:
        """See that these kinds have pairs. True when some had none: the log process must be started anew to read them."""
        missing = [kind for kind in kinds if kind not in self.pairs]
        for kind in missing:
            self.pairs[kind] = Pair()
        return bool(missing)

    def writer(self, kind: str) -> socket.socket:
        """The end that the processes of a kind write to."""
        return self.pairs[kind].writer

    def start(self) -> None:
        """Exec the log process. Raises OSError."""
        readers = {f"log.{kind}": pair.reader.fileno() for kind, pair in self.pairs.items()}
        program = self.program(readers, self.writer("log").fileno())
        self.process = self.host.launch(self, "log", program)

    @property
    def ready(self) -> bool:
        """Whether it is."""
        return self.process is not None and self.process.ready

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.process is None

    def reopen(self) -> None:
        """After a rotation."""
        if self.process is not None:
            self.process.channel.send(Verb.REOPEN)

    def renew(self) -> None:
        """The process that runs ends when it has written what waits; another one, with what holds now, follows it."""
        if self.process is not None:
            self.process.expected = True
            self.process.channel.send(Verb.RETIRE)

    def broken_kinds(self) -> list[str]:
        """Kinds whose pair was shut down by one of their processes; they have new ones now, and their processes must too."""
        broken = [kind for kind, pair in self.pairs.items() if pair.broken()]
        for kind in broken:
            self.pairs.pop(kind).close()
            self.pairs[kind] = Pair()
        return broken

    def tick(self) -> None:
        """Start it again when it has ended."""
        self.process_lasts(self.process, self._starts)
        if self.process is None and self.begun and self._starts.may_try(self.host.now()):
            try:
                self.start()
            except OSError:
                self._starts.failed(self.host.now())

    def settle(self) -> None:
        """One that ended as it was told is followed at once."""
        if self.process is None and self.begun and not self._starts.failing:
            self.tick()

    def said(self, child: Child, message: control.Message) -> None:
        """READY or FAILED."""
        discard(message)
        if isinstance(child, Process):
            self.process_said(child, message)

    def hung_up(self, child: Child) -> None:
        """It ends."""
        if child is self.process:
            self.process = None

    def ended(self, child: Child, status: int) -> None:
        """It was reaped."""
        if isinstance(child, Process):
            self.process_ended(child, status, self._starts)

    def close(self) -> None:
        """The master ends: the log process goes on until the last writer has gone."""
        for pair in self.pairs.values():
            pair.close()
        self.pairs.clear()
