"""The log process's loop: records in from each kind's socket pair, lines out to the sinks.

It ends when the last process that could send has gone, so it outlives the master and every session.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Mapping

import dovecotpy
from dovecotpy import clock
from dovecotpy.ipc import control, fdpass, record
from dovecotpy.ipc.record import Level, Record
from dovecotpy.log.layout import Line
from dovecotpy.log.output import Output
from dovecotpy.log.source import OWN, Source
from dovecotpy.log.throttle import Throttle, Verdict

MAX_BATCH = 64
"""Records read from one kind before the others have their turn."""
MAX_LOGIN_LINES = 5000
"""Lines a second of one login process: more than clients can cause, less than fills a disk in an hour."""
MAX_STDERR_LINES = 100
"""Lines a second that a mail process may write to stderr, as libraries and tracebacks do; its own records have a setting."""
TICK = 1.0
"""Seconds between two looks at what was throttled or lost."""

_NOW = int(socket.MSG_DONTWAIT)


class LogServer:
    """Serves the sources until all of them have ended.

    errors, infos: where warnings and graver, and the calm lines go; they may be one.
    """

    def __init__(
        self,
        channel: socket.socket,
        sources: Mapping[Source, socket.socket],
        errors: Output,
        infos: Output,
        throttle: Throttle,
    ) -> None:
        self._channel: socket.socket | None = channel
        self._sources = {sock.fileno(): (source, sock) for source, sock in sources.items()}
        self._errors = errors
        self._infos = infos
        self._throttle = throttle
        self._stderr_throttle = Throttle(MAX_STDERR_LINES)
        self._login_throttle = Throttle(MAX_LOGIN_LINES)
        self._retiring = False
        self._poll = select.poll()

    def serve(self) -> None:
        """Say READY, then write until the end. Raises OSError when the control socket breaks at READY."""
        assert self._channel is not None
        self._poll.register(self._channel, select.POLLIN)
        for descriptor in self._sources:
            self._poll.register(descriptor, select.POLLIN)
        control.send(self._channel, control.Verb.READY, dovecotpy.__version__)
        tick = clock.monotonic() + TICK
        while self._wanted():
            busy = self._turn(max(0.0, tick - clock.monotonic()))
            if clock.monotonic() >= tick:
                tick = clock.monotonic() + TICK
                self._look_back()
            self._flush()
            if self._retiring and not busy:
                break
        self._infos.sink.close()
        if self._errors.sink is not self._infos.sink:
            self._errors.sink.close()

    def write(self, line: Line) -> None:
        """One line to the sink that its level belongs to."""
        output = self._infos if line.calm else self._errors
        for piece in output.render(line, clock.now()):
            output.sink.put(line.record.level, piece)

    def _wanted(self) -> bool:
        return any(source != OWN for source, _ in self._sources.values())

    def _turn(self, timeout: float) -> bool:
        """Serve what is ready; False when nothing was."""
        wait = 0 if self._retiring else int(timeout * 1000) + 1
        ready = self._poll.poll(wait)
        for descriptor, _ in ready:
            if descriptor in self._sources:
                self._read(descriptor)
            elif self._channel is not None and descriptor == self._channel.fileno():
                self._obey(self._channel)
        return bool(ready)

    def _obey(self, channel: socket.socket) -> None:
        try:
            message = control.receive(channel)
        except (OSError, control.ControlError):
            message = None
        if message is None:
            self._poll.unregister(channel)
            channel.close()
            self._channel = None
        elif message.verb is control.Verb.REOPEN:
            self._reopen()
        elif message.verb is control.Verb.RETIRE:
            self._retiring = True

    def _reopen(self) -> None:
        sinks = [self._errors.sink]
        if self._infos.sink is not self._errors.sink:
            sinks.append(self._infos.sink)
        for sink in sinks:
            try:
                sink.reopen()
            except OSError as error:
                self._say(Level.ERROR, f"Can't open log file {error.filename} anew: {error.strerror}")

    def _read(self, descriptor: int) -> None:
        source, sock = self._sources[descriptor]
        for _ in range(MAX_BATCH):
            try:
                packet = fdpass.receive(sock, record.MAX_PACKET, _NOW)
            except BlockingIOError:
                return
            except OSError:
                self._end(descriptor)
                return
            packet.close()
            if packet.credentials is None and not packet.data:
                self._end(descriptor)
                return
            self._take(source, packet)

    def _take(self, source: Source, packet: fdpass.Packet) -> None:
        pid = packet.credentials.pid if packet.credentials else 0
        throttle = self._throttle_of(source, packet.data.startswith(record.MARK))
        for said in record.decode(packet.data):
            line = Line(source, pid, said)
            verdict = throttle.judge(pid, clock.monotonic()) if throttle else Verdict.WRITE
            if verdict is Verdict.FIRST_DROPPED:
                warning = "Sending log messages too fast, throttling.."
                self.write(line._replace(record=said._replace(level=Level.ERROR, text=warning)))
            elif verdict is Verdict.WRITE:
                self.write(line)

    def _throttle_of(self, source: Source, is_record: bool) -> Throttle | None:
        if source.mail:
            return self._throttle if is_record else self._stderr_throttle
        return self._login_throttle if source.login else None

    def _end(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        self._sources.pop(descriptor)[1].close()

    def _look_back(self) -> None:
        now = clock.monotonic()
        throttles = (
            (self._throttle, " (see mail_log_max_lines_per_sec)"),
            (self._stderr_throttle, ""),
            (self._login_throttle, ""),
        )
        for throttle, hint in throttles:
            for pid, dropped in throttle.expired(now):
                text = f"process {pid} sent log messages too fast, {dropped} lines were dropped"
                self._say(Level.WARNING, text + hint)

    def _say(self, level: Level, text: str) -> None:
        self.write(Line(OWN, 0, Record(level, text)))

    def _flush(self) -> None:
        self._errors.sink.flush()
        if self._infos.sink is not self._errors.sink:
            self._infos.sink.flush()
