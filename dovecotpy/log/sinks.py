"""Where lines go: a file, a descriptor that was open at the start, or syslog. None of them ever blocks a sender.

What cannot be written is dropped and counted; the next line that can be is preceded by the count.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from collections.abc import Callable
from typing import Protocol

from dovecotpy import clock
from dovecotpy.ipc.record import Level

FACILITIES = {
    "kern": 0, "user": 1, "mail": 2, "daemon": 3, "auth": 4, "syslog": 5, "lpr": 6, "news": 7, "uucp": 8, "cron": 9,
    "authpriv": 10, "ftp": 11, "local0": 16, "local1": 17, "local2": 18, "local3": 19, "local4": 20, "local5": 21,
    "local6": 22, "local7": 23,
}  # fmt: skip
"""syslog_facility by name (RFC 5424 section 6.2.1)."""
SYSLOG = "/dev/log"
STDERR = "/dev/stderr"
MAX_WAITING = 1000
"""Lines gathered for one write."""

_SEVERITIES = {
    Level.DEBUG: 7,
    Level.INFO: 6,
    Level.WARNING: 4,
    Level.ERROR: 3,
    Level.FATAL: 2,
    Level.PANIC: 2,
}
_RECONNECT = 1.0
_FLAGS = int(socket.MSG_DONTWAIT) | int(socket.MSG_NOSIGNAL)


class Sink(Protocol):
    """What takes finished lines."""

    lost: int
    """lines that could not be written since the last one that could"""

    def put(self, level: Level, line: bytes) -> None:
        """Take one line; a file's with its LF."""

    def flush(self) -> None:
        """Write what waits. Never raises."""

    def reopen(self) -> None:
        """Open anew what stands under the name now. Raises OSError, the old one stays open then."""

    def close(self) -> None:
        """Write what waits and let go."""


class FileSink:
    """A log file, appended to.

    path: of the file; the special `/dev/stderr` is the descriptor `standard`. lost_line: makes the line with the count.
    """

    def __init__(self, path: str, lost_line: Callable[[int], bytes], standard: int = 2) -> None:
        self._path = path
        self._standard = standard
        self._lost_line = lost_line
        self._waiting: list[bytes] = []
        self._broken = False
        self.lost = 0
        self._descriptor = self._open()

    def put(self, level: Level, line: bytes) -> None:
        """Take one line with its LF."""
        self._waiting.append(line)
        if len(self._waiting) >= MAX_WAITING:
            self.flush()

    def flush(self) -> None:
        """One write for all that waits."""
        lines, self._waiting = self._waiting, []
        if self.lost:
            lines.insert(0, self._lost_line(self.lost))
        if not lines:
            return
        data = b"".join(lines)
        written = self._write(b"\n" + data if self._broken else data)
        if self._broken and written:
            self._broken = False
            written -= 1
        self._count(lines, written)

    def reopen(self) -> None:
        """After a rotation: the file that has the name now."""
        self.flush()
        fresh = self._open()
        self._let_go()
        self._descriptor = fresh

    def close(self) -> None:
        """Write what waits and close."""
        self.flush()
        self._let_go()

    def _let_go(self) -> None:
        if self._descriptor != self._standard:
            os.close(self._descriptor)

    def _open(self) -> int:
        if self._path == STDERR:
            return self._standard
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
        return os.open(self._path, flags, 0o600)

    def _write(self, data: bytes) -> int:
        written = 0
        while written < len(data):
            try:
                count = os.write(self._descriptor, data[written:])
            except InterruptedError:
                continue
            except OSError:
                break
            written += count
        return written

    def _count(self, lines: list[bytes], written: int) -> None:
        """Lines that were not written whole are lost; one that was cut is ended before the next."""
        had_count = self.lost > 0
        for number, line in enumerate(lines):
            if written >= len(line):
                written -= len(line)
                if number == 0 and had_count:
                    self.lost = 0
                continue
            self._broken = self._broken or written > 0
            written = 0
            if not (number == 0 and had_count):
                self.lost += 1


class SyslogSink:
    """The local syslog by its datagram socket (RFC 3164's form, as the C library sends it)."""

    def __init__(self, facility: str, lost_line: Callable[[int], bytes], path: str = SYSLOG) -> None:
        self._facility = FACILITIES[facility] << 3
        self._path = path
        self._lost_line = lost_line
        self._sock: socket.socket | None = None
        self._not_before = 0.0
        self.lost = 0

    def put(self, level: Level, line: bytes) -> None:
        """Send one line."""
        if self.lost and self._send(Level.WARNING, self._lost_line(self.lost)):
            self.lost = 0
        if self.lost or not self._send(level, line):
            self.lost += 1

    def flush(self) -> None:
        """Say what was lost, if it can be said now."""
        if self.lost and self._send(Level.WARNING, self._lost_line(self.lost)):
            self.lost = 0

    def reopen(self) -> None:
        """Find the socket anew at the next line."""
        self.close()
        self._not_before = 0.0

    def close(self) -> None:
        """Let go of the socket."""
        if self._sock is not None:
            self._sock.close()
            self._sock = None

    def _send(self, level: Level, line: bytes) -> bool:
        stamp = time.strftime("%b %e %H:%M:%S", clock.local(clock.now())).encode()
        data = b"<%d>%s dovecot: %s" % (self._facility | _SEVERITIES[level], stamp, line)
        for _ in range(2):
            if self._sock is None and not self._connect():
                return False
            assert self._sock is not None
            try:
                self._sock.send(data, _FLAGS)
                return True
            except BlockingIOError:
                return False
            except OSError as error:
                self.close()
                if error.errno == errno.EMSGSIZE:
                    return False
        return False

    def _connect(self) -> bool:
        if clock.monotonic() < self._not_before:
            return False
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            sock.connect(self._path)
        except OSError:
            sock.close()
            self._not_before = clock.monotonic() + _RECONNECT
            return False
        self._sock = sock
        return True


def ordinary_file(path: str) -> bool:
    """Whether `path` is a file whose directory must exist and be writable: no device, pipe or empty name."""
    if not path or path == STDERR:
        return False
    with contextlib.suppress(OSError):
        return stat.S_ISREG(os.stat(path).st_mode)
    return True
