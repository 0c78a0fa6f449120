"""The log process: `python -I -m dovecotpy.log`, with the reading ends `log.<kind>` from the master."""

from __future__ import annotations

import signal
import socket
import sys

import dovecotpy
from dovecotpy.child import bootstrap
from dovecotpy.child.title import set_title
from dovecotpy.config.values import Settings
from dovecotpy.ipc import control
from dovecotpy.log import output, source
from dovecotpy.log.server import LogServer
from dovecotpy.log.throttle import Throttle
from dovecotpy.sandbox import kernel

EXIT_CANNOT_OPEN = 80
EXIT_FATAL = 89
CAPABILITIES = frozenset(("dac_override",))
"""What opening a log file anew may need."""


def main() -> int:
    """Run as the master's child; returns the exit status."""
    start = bootstrap.receive()
    channel = socket.socket(fileno=start.descriptors["control"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    set_title("log")
    settings = start.settings["settings"]
    if start.version != dovecotpy.__version__ and not settings.flag("version_ignore"):
        text = f"Dovecot version mismatch: Master is v{start.version}, log is v{dovecotpy.__version__}"
        control.send(channel, control.Verb.FAILED, text)
        return EXIT_FATAL
    try:
        errors, infos = output.outputs(settings, start.descriptors.get("stderr", 2))
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
