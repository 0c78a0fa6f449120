"""The client side of the log: how every process says a line.

Logging never raises and never blocks. A record that finds no room is dropped and counted; the next one that
finds room is preceded by the count. Without a socket (a tool run by hand) lines go to stderr.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from types import TracebackType

from dovecotpy.ipc import record
from dovecotpy.ipc.record import Level

MAX_FRAMES = 40
"""Places named in a traceback; of a longer one the innermost are kept."""

_FLAGS = int(socket.MSG_DONTWAIT) | int(socket.MSG_NOSIGNAL)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + "/"
_NAMES = {
    Level.DEBUG: "Debug: ",
    Level.INFO: "Info: ",
    Level.WARNING: "Warning: ",
    Level.ERROR: "Error: ",
    Level.FATAL: "Fatal: ",
    Level.PANIC: "Panic: ",
}


class Log:
    """The log as one process sees it."""

    __slots__ = ("_sock", "lost")

    def __init__(self, sock: socket.socket | None) -> None:
        self._sock = sock
        self.lost = 0
        """lines that found no room since the last one that did"""

    def debug(self, text: str, *, user: str = "", session: str = "", address: str = "") -> None:
        """What only somebody who looks for a fault wants to read; the caller asks the settings first."""
        self.say(Level.DEBUG, text, user, session, address)

    def info(self, text: str, *, user: str = "", session: str = "", address: str = "") -> None:
        """What happened, as expected."""
        self.say(Level.INFO, text, user, session, address)

    def warning(self, text: str, *, user: str = "", session: str = "", address: str = "") -> None:
        """What the administrator may want to change."""
        self.say(Level.WARNING, text, user, session, address)

    def error(self, text: str, *, user: str = "", session: str = "", address: str = "") -> None:
        """What failed."""
        self.say(Level.ERROR, text, user, session, address)

    def fatal(self, text: str, *, user: str = "", session: str = "", address: str = "") -> None:
        """Why this process ends."""
        self.say(Level.FATAL, text, user, session, address)

    def panic(self, text: str, *, user: str = "", session: str = "", address: str = "") -> None:
        """What can only be a fault of ours."""
        self.say(Level.PANIC, text, user, session, address)

    def say(self, level: Level, text: str, user: str = "", session: str = "", address: str = "") -> None:
        """One line of any level."""
        if self._sock is None:
            _to_stderr(level, text)
            return
        if self.lost and self._send(record.Record(Level.WARNING, f"{self.lost} log lines were lost")):
            self.lost = 0
        if self.lost or not self._send(record.Record(level, text, user, session, address)):
            self.lost += 1

    def fileno(self) -> int:
        """The descriptor that it writes to."""
        return 2 if self._sock is None else self._sock.fileno()

    def _send(self, line: record.Record) -> bool:
        if self._sock is None:
            return False
        try:
            self._sock.send(record.encode(line), _FLAGS)
        except (OSError, ValueError):
            return False
        return True


def stderr(log: Log) -> None:
    """What is written to stderr from now on (by libraries, by an uncaught error) goes to the log."""
    number = log.fileno()
    if number == 2:
        return
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.flush()
    os.dup2(number, 2, inheritable=True)


def traceback(
    log: Log, error: BaseException, *, user: str = "", session: str = "", address: str = ""
) -> None:
    """One error line with what was raised and where: our own fault, so the administrator can report it."""
    log.error(f"Internal error: {describe(error)}", user=user, session=session, address=address)


def describe(error: BaseException) -> str:
    """In one line: what was raised, the places from the outermost call inwards, and what caused it."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        parts.append(f"{type(current).__name__}: {_text(current)} [{places(current.__traceback__)}]")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return " caused by ".join(parts)


def places(trace: TracebackType | None) -> str:
    """The places of a traceback, `file:line function` joined by ` > `."""
    found: list[str] = []
    while trace is not None:
        code = trace.tb_frame.f_code
        found.append(f"{code.co_filename.removeprefix(_PACKAGE)}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " > ".join(found[-MAX_FRAMES:])


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error that it belongs to
        return "(no text)"


def _to_stderr(level: Level, text: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        os.write(2, (_NAMES[level] + text + "\n").encode("utf-8", "backslashreplace"))
