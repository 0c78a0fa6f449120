"""The log process: `python -I -m dovecotpy.log`, with the reading ends `log.<kind>` from the master."""

from __future__ import annotations

import os
import signal
import socket
import sys

import setproctitle

import dovecotpy
from dovecotpy import clock
from dovecotpy.child import bootstrap
from dovecotpy.config import variables
from dovecotpy.config.values import Settings
from dovecotpy.ipc import control
from dovecotpy.ipc.record import Level, Record
from dovecotpy.log import source
from dovecotpy.log.layout import Layout, Line
from dovecotpy.log.server import OWN, LogServer, Output
from dovecotpy.log.sinks import FileSink, Sink, SyslogSink
from dovecotpy.log.throttle import Throttle
from dovecotpy.sandbox import kernel

EXIT_CANNOT_OPEN = 80
EXIT_FATAL = 89
CAPABILITIES = frozenset(("dac_override",))
"""What opening a log file anew may need."""


def outputs(settings: Settings, standard: int) -> tuple[Output, Output]:
    """Where errors and calm lines go; `standard`: the descriptor of /dev/stderr. Raises OSError."""
    layout = Layout(
        settings.text("log_layout"),
        settings.text("log_timestamp"),
        settings.text("mail_log_prefix"),
        variables.expand,
    )
    path, info_path = settings.text("log_path"), settings.text("info_log_path")
    errors = _file(path, layout, standard) if path else _syslog(settings.text("syslog_facility"), layout)
    if not info_path or info_path == path:
        return errors, errors
    return errors, _file(info_path, layout, standard)


def _file(path: str, layout: Layout, standard: int) -> Output:
    sink: Sink = FileSink(path, lambda count: b"".join(layout.file(_lost(count), _now())), standard)
    return Output(sink, layout.file)


def _syslog(facility: str, layout: Layout) -> Output:
    sink: Sink = SyslogSink(facility, lambda count: b"".join(layout.syslog(_lost(count), _now())))
    return Output(sink, layout.syslog)


def _now() -> float:
    return clock.now()


def _lost(count: int) -> Line:
    return Line(OWN, os.getpid(), Record(Level.WARNING, f"{count} log lines were lost"))


def main() -> int:
    """Run as the master's child; returns the exit status."""
    start = bootstrap.receive()
    channel = socket.socket(fileno=start.descriptors["control"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    setproctitle.setproctitle("log")
    settings = start.settings["settings"]
    if start.version != dovecotpy.__version__ and not settings.flag("version_ignore"):
        text = f"Dovecot version mismatch: Master is v{start.version}, log is v{dovecotpy.__version__}"
        control.send(channel, control.Verb.FAILED, text)
        return EXIT_FATAL
    try:
        errors, infos = outputs(settings, start.descriptors.get("stderr", 2))
    except OSError as error:
        control.send(channel, control.Verb.FAILED, f"Can't open log file {error.filename}: {error.strerror}")
        return EXIT_CANNOT_OPEN
    if kernel.supported():
        kernel.limit_capabilities(CAPABILITIES)
        kernel.no_new_privileges()
        kernel.not_dumpable()
    LogServer(channel, _sources(start), errors, infos, _throttle(settings)).serve()
    return 0


def _sources(start: bootstrap.Start) -> dict[source.Source, socket.socket]:
    auths = {name: start.settings["auths"].text(name) for name in start.settings.get("auths", Settings({}))}
    return {
        source.parse(name.removeprefix("log."), auths): socket.socket(fileno=number)
        for name, number in start.descriptors.items()
        if name.startswith("log.")
    }


def _throttle(settings: Settings) -> Throttle:
    lines = 0 if settings.flag("mail_debug") else settings.number("mail_log_max_lines_per_sec")
    return Throttle(lines)


if __name__ == "__main__":
    sys.exit(main())
