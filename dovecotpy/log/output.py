"""The sinks that the settings ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.config import variables
from dovecotpy.config.values import Settings
from dovecotpy.ipc.record import Level, Record
from dovecotpy.log.layout import Layout, Line
from dovecotpy.log.sinks import FileSink, Sink, SyslogSink
from dovecotpy.log.source import OWN


class Output(NamedTuple):
    """A sink and how lines look in it."""

    sink: Sink
    render: Callable[[Line, float], list[bytes]]


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
    sink: Sink = FileSink(path, lambda count: b"".join(layout.file(_lost(count), clock.now())), standard)
    return Output(sink, layout.file)


def _syslog(facility: str, layout: Layout) -> Output:
    sink: Sink = SyslogSink(facility, lambda count: b"".join(layout.syslog(_lost(count), clock.now())))
    return Output(sink, layout.syslog)


def _lost(count: int) -> Line:
    return Line(OWN, os.getpid(), Record(Level.WARNING, f"{count} log lines were lost"))
