"""`dovecotpy --log-error`: one line of each level to where it belongs, so that the administrator sees where that is."""

from __future__ import annotations

import os

from dovecotpy import clock, config
from dovecotpy.config.values import Server
from dovecotpy.ipc.record import Level, Record
from dovecotpy.log.layout import Line
from dovecotpy.log.output import outputs
from dovecotpy.log.source import Source

LINES = (
    (Level.INFO, "This is Dovecot's info log"),
    (Level.WARNING, "This is Dovecot's warning log"),
    (Level.ERROR, "This is Dovecot's error log"),
    (Level.FATAL, "This is Dovecot's fatal log"),
)


class LogError(Exception):
    """A log could not be written to; the text says which."""


def write(server: Server) -> None:
    """Write the lines to the logs of this server's settings. Raises LogError."""
    try:
        errors, infos = outputs(config.for_process(server, "log", "imap"), 2)
    except OSError as error:
        raise LogError(f"Can't open log file {error.filename}: {error.strerror}") from error
    for level, text in LINES:
        line = Line(Source("master"), os.getpid(), Record(level, text))
        output = infos if line.calm else errors
        for piece in output.render(line, clock.now()):
            output.sink.put(level, piece)
        output.sink.flush()
    lost = errors.sink.lost + infos.sink.lost
    if lost:
        raise LogError(f"{lost} lines could not be written")
