"""The loop of one session: the only place that waits for its client.

It writes what the session gives before it asks for more, so a client that does not read holds up its own session only and nothing
large is ever built. The control socket is the lifeline from the master: its end is the server's end where `shutdown_clients` says so.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
from typing import NamedTuple, Protocol

from dovecotpy import clock
from dovecotpy.child import signals
from dovecotpy.ipc import control, fdpass
from dovecotpy.ipc.control import Verb
from dovecotpy.mail.compression import Corrupt, Streams
from dovecotpy.mail.session import Session

WRITE_STALL = 300.0
"""Seconds without progress in writing before the client is given up."""
BATCH = 65536
"""Octets of small chunks that are gathered into one write."""
GATHER_SECONDS = 0.02
"""What is gathered waits no longer than this for more."""
SMALL_READ = 4096
LARGE_READ = 65536
LINGER_SECONDS = 2.0
LINGER_OCTETS = 1 << 20
"""Input that came too late is read away for so long and so much, or the kernel would throw away our last words with it."""
LONGEST_SLEEP = 3600.0

_ENDING = (int(signal.SIGTERM), int(signal.SIGINT))
_NOW = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
_READ_NOW = int(socket.MSG_DONTWAIT)
_DEAD = select.POLLHUP | select.POLLERR | select.POLLNVAL


class Channel(Protocol):
    """What the runner needs of a client's socket, so that two pipes can stand in for one."""

    def recv(self, size: int, flags: int, /) -> bytes:
        """As socket.recv."""

    def send(self, data: bytes | memoryview, flags: int, /) -> int:
        """As socket.send."""

    def shutdown(self, how: int, /) -> None:
        """As socket.shutdown."""

    def fileno(self) -> int:
        """As socket.fileno."""


class Outcome(NamedTuple):
    """How a session ended."""

    text: str
    """for the log line"""
    received: int
    sent: int
    server_ends: bool
    """the master has gone, wants this process to retire, or a signal said so"""


class Runner:
    """Runs one session on one client until it is over.

    received: octets that the client had sent before (they came with the hand-over).
    """

    def __init__(
        self,
        session: Session,
        client: Channel,
        lifeline: socket.socket,
        *,
        shutdown_clients: bool,
        received: int = 0,
        output: Channel | None = None,
    ) -> None:
        self._session = session
        self._client = client
        self._output = output or client
        self._lifeline = lifeline
        self._shutdown_clients = shutdown_clients
        self._received = received
        self._sent = 0
        self._room = SMALL_READ
        self._over = ""
        self._retired = False
        self._signalled = 0
        self._poll = select.poll()
        self._watched: dict[int, int] = {}
        self._streams: Streams | None = None

    def run(self) -> Outcome:
        """Serve until the end. What the session raises is let through; the client stays open for a last word."""
        self._watch(self._lifeline.fileno(), select.POLLIN)
        session = self._session
        while not self._over:
            worked = session.working
            chunk = self._gather()
            if chunk:
                self._write(chunk)
            elif session.ended is not None:
                self._over = session.ended.text
                self._linger()
            elif session.working or not worked:
                self._look()
            if self._streams is None and not self._over:
                self._begin_compression()
        return Outcome(self._over, self._received, self._sent, self._retired or bool(self._signalled))

    @property
    def sent(self) -> int:
        """Octets written so far."""
        return self._sent

    @property
    def received(self) -> int:
        """Octets read so far."""
        return self._received

    def stop(self, number: int) -> None:
        """A signal asks for the end; called by its handler. The lifeline becomes readable, so no wait misses it."""
        self._signalled = number
        with contextlib.suppress(OSError):
            self._lifeline.shutdown(socket.SHUT_RD)

    def last_word(self, data: bytes) -> None:
        """Say something in the session's place, if the client takes it at once."""
        if self._streams is not None:
            data = self._streams.deflate(data)
        with contextlib.suppress(OSError):
            self._output.send(data, _NOW)

    def _begin_compression(self) -> None:
        """Where the session asked for it (RFC 4978): what it said so far is out as it is."""
        early = self._session.compressed_from_here()
        if early is not None:
            self._streams = Streams()
            self._streams.take(early)

    def _gather(self) -> bytes:
        """What the session has to say, small chunks joined."""
        pull = self._session.pull
        chunk = pull()
        size = len(chunk)
        if not size or size >= BATCH:
            return chunk
        until = clock.monotonic() + GATHER_SECONDS
        parts = [chunk]
        while size < BATCH and clock.monotonic() < until:
            chunk = pull()
            if not chunk:
                break
            parts.append(chunk)
            size += len(chunk)
        return b"".join(parts) if len(parts) > 1 else parts[0]

    def _write(self, chunk: bytes) -> None:
        """Write all of it, however slowly the client reads; `_over` is set when that cannot be."""
        if self._streams is not None:
            chunk = self._streams.deflate(chunk)
        try:
            done = self._output.send(chunk, _NOW)
        except BlockingIOError:
            done = 0
        except OSError as error:
            self._lost(error)
            return
        self._sent += done
        if done < len(chunk):
            self._write_slowly(memoryview(chunk)[done:])

    def _write_slowly(self, rest: memoryview) -> None:
        deadline = clock.monotonic() + WRITE_STALL
        while rest:
            if not self._writable(deadline):
                return
            try:
                done = self._output.send(rest, _NOW)
            except BlockingIOError:
                continue
            except OSError as error:
                self._lost(error)
                return
            self._sent += done
            rest = rest[done:]
            deadline = clock.monotonic() + WRITE_STALL

    def _writable(self, deadline: float) -> bool:
        """Wait until the client takes more; False when it is given up."""
        number = self._output.fileno()
        self._only(number, select.POLLOUT)
        while True:
            left = deadline - clock.monotonic()
            if left <= 0:
                self._session.disconnected()
                self._over = "Disconnected for inactivity in reading our output"
                return False
            ready = dict(self._poll.poll(left * 1000))
            if number in ready:
                return True
            if self._lifeline.fileno() in ready and self._heard():
                self._session.disconnected()
                self._over = "Server shutting down"
                return False

    def _look(self) -> None:
        """Wait for the client, the mailbox, the clock or the master, and tell the session."""
        session = self._session
        wait = session.wait()
        number = self._client.fileno()
        reading = session.wants_input()
        inflating = reading and self._streams is not None and self._streams.waiting
        reading = reading and not inflating
        self._only(number, select.POLLIN if reading else 0, wait.fileno)
        busy = session.working or inflating
        seconds = 0.0 if busy else min(max(wait.interval, 0.0), LONGEST_SLEEP)
        ready = dict(self._poll.poll(seconds * 1000))
        if self._lifeline.fileno() in ready and self._heard():
            session.shut_down()
            return
        events = ready.get(number, 0)
        if events and reading:
            self._read()
        elif events & _DEAD:
            self._lost(None)
        elif inflating:
            self._inflate()
        if wait.fileno in ready or not (ready or busy):
            session.tick()

    def _read(self) -> None:
        try:
            data = self._client.recv(self._room, _READ_NOW)
        except BlockingIOError:
            return
        except OSError as error:
            self._lost(error)
            return
        if not data:
            self._lost(None)
            return
        if len(data) == self._room:
            self._room = LARGE_READ
        self._received += len(data)
        if self._streams is None:
            self._session.feed(data)
        else:
            self._streams.take(data)
            self._inflate()

    def _inflate(self) -> None:
        """Give the session one read's worth of what the client said, however much more it may inflate to."""
        streams = self._streams
        assert streams is not None
        try:
            data = streams.inflate(LARGE_READ)
        except Corrupt as error:
            self._session.disconnected()
            self._over = f"Disconnected: {error}"
            return
        if data:
            self._session.feed(data)
        elif streams.ended:
            self._lost(None)

    def _heard(self) -> bool:
        """Read the lifeline; True when the server's end is this session's end."""
        try:
            message = control.receive(self._lifeline, _READ_NOW)
        except BlockingIOError:
            return False
        except (OSError, control.ControlError):
            message = None
        if self._signalled:
            return True
        if message is not None:
            self._retired = self._retired or message.verb is Verb.RETIRE
            for descriptor in message.descriptors:
                socket.close(descriptor)
            return False
        self._retired = True
        if self._shutdown_clients:
            return True
        self._go_on_alone()
        return False

    def _go_on_alone(self) -> None:
        """The master has gone and the session stays: from now on the lifeline is only the bell of `stop`."""
        self._poll.unregister(self._lifeline.fileno())
        self._watched.pop(self._lifeline.fileno(), None)
        self._lifeline.close()
        self._lifeline, self._bell = fdpass.pair()
        self._watch(self._lifeline.fileno(), select.POLLIN)

    def _lost(self, error: OSError | None) -> None:
        """The client has gone."""
        self._session.disconnected()
        ended = self._session.ended
        self._over = ended.text if ended is not None else "Connection closed"
        if error is not None and self._over == "Connection closed":
            self._over = f"Connection closed: {error.strerror}"

    def _linger(self) -> None:
        """End our side, then read away what the client still sent: an unread octet at close() is a reset that can eat our last words."""
        with contextlib.suppress(OSError):
            if not self._client.recv(SMALL_READ, _READ_NOW):
                return
            self._output.shutdown(socket.SHUT_WR)
            until = clock.monotonic() + LINGER_SECONDS
            budget = LINGER_OCTETS
            self._only(self._client.fileno(), select.POLLIN)
            while budget > 0 and (left := until - clock.monotonic()) > 0 and self._poll.poll(left * 1000):
                data = self._client.recv(LARGE_READ, _READ_NOW)
                if not data:
                    return
                budget -= len(data)

    def _only(self, number: int, events: int, other: int | None = None) -> None:
        """Watch the client for these events, `other` for input, the lifeline, and nothing else."""
        wanted = {number: events, self._lifeline.fileno(): select.POLLIN}
        if other is not None:
            wanted[other] = select.POLLIN
        if wanted == self._watched:
            return
        for old in self._watched.keys() - wanted.keys():
            self._poll.unregister(old)
            del self._watched[old]
        for key, value in wanted.items():
            self._watch(key, value)

    def _watch(self, number: int, events: int) -> None:
        if self._watched.get(number) != events:
            self._poll.register(number, events)
            self._watched[number] = events


class Signals:
    """SIGTERM and SIGINT end a session with its BYE (the reference: TERM with a warning, INT silently)."""

    TERMINATE = int(signal.SIGTERM)

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.received = 0
        """the signal that came, or 0"""

    def __enter__(self) -> Signals:
        for number in _ENDING:
            signals.on(number, self._noticed)
        return self

    def __exit__(self, *raised: object) -> None:
        for number in _ENDING:
            signals.on(number, signals.DEFAULT)

    def _noticed(self, number: int, frame: object) -> None:
        self.received = number
        self._runner.stop(number)
