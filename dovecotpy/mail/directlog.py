"""The log of a session that no master watches: a file, syslog, or stderr, as its environment says."""

from __future__ import annotations

import contextlib
import os
import socket
import syslog
from collections.abc import Mapping

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.log.client import Log

_WORDS = {
    Level.DEBUG: "Info: ",
    Level.INFO: "Info: ",
    Level.WARNING: "Warning: ",
    Level.ERROR: "Error: ",
    Level.FATAL: "Fatal: ",
    Level.PANIC: "Panic: ",
}
_PRIORITIES = {
    Level.DEBUG: syslog.LOG_INFO,
    Level.INFO: syslog.LOG_INFO,
    Level.WARNING: syslog.LOG_WARNING,
    Level.ERROR: syslog.LOG_ERR,
    Level.FATAL: syslog.LOG_CRIT,
    Level.PANIC: syslog.LOG_CRIT,
}
_VISIBLE = dict.fromkeys((*range(32), 127), "?")


def choose(environment: Mapping[str, str]) -> Log:
    """The log that LOG_TO_MASTER, USE_SYSLOG, LOGFILE, INFOLOGFILE, LOGSTAMP and LOG_PREFIX ask for."""
    if "LOG_TO_MASTER" in environment:
        return Log(_socket(2))
    if "USE_SYSLOG" in environment:
        return SyslogLog(environment.get("LOG_PREFIX", ""), environment.get("SYSLOG_FACILITY", ""))
    if "LOGFILE" in environment:
        return FileLog(environment)
    return Log(None)


def _socket(number: int) -> socket.socket | None:
    try:
        return socket.socket(fileno=os.dup(number))
    except OSError:
        return None


class FileLog(Log):
    """Appends to LOGFILE, and what is no more than information to INFOLOGFILE where that is named. Raises OSError when made."""

    __slots__ = ("_errors", "_information", "_prefix")

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__(None)
        self._prefix = environment.get("LOG_PREFIX", "")
        self._errors = _open(environment["LOGFILE"])
        name = environment.get("INFOLOGFILE", "")
        self._information = _open(name) if name else self._errors

    def say(self, level: Level, text: str, user: str = "", session: str = "", address: str = "") -> None:
        """One line with the local time."""
        now = clock.local(clock.now())
        stamp = f"{now.tm_year:04}-{now.tm_mon:02}-{now.tm_mday:02} {now.tm_hour:02}:{now.tm_min:02}:{now.tm_sec:02}"
        line = f"dovecot: {stamp} {_WORDS[level]}{self._prefix}{text.translate(_VISIBLE)}\n"
        number = self._information if level in (Level.DEBUG, Level.INFO) else self._errors
        with contextlib.suppress(OSError):
            os.write(number, line.encode("utf-8", "backslashreplace"))


class SyslogLog(Log):
    """Writes to syslog as `dovecot`."""

    __slots__ = ("_prefix",)

    def __init__(self, prefix: str, facility: str) -> None:
        super().__init__(None)
        self._prefix = prefix
        syslog.openlog("dovecot", 0, int(facility) if facility.isdigit() else syslog.LOG_MAIL)

    def say(self, level: Level, text: str, user: str = "", session: str = "", address: str = "") -> None:
        """One line."""
        word = _WORDS[level] if level in (Level.FATAL, Level.PANIC) else ""
        syslog.syslog(_PRIORITIES[level], (word + self._prefix + text).translate(_VISIBLE))


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
