"""`dovecotpy --exec-mail`: a mail session of the current user on standard input and output, without a server (as by ssh)."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

import dovecotpy
from dovecotpy import config
from dovecotpy.child import bootstrap
from dovecotpy.config import variables
from dovecotpy.config.values import Configuration, Server, Settings, Value
from dovecotpy.log.sinks import FACILITIES

PROTOCOLS = ("imap",)
MODULE = "dovecotpy.mail.standalone"


class ExecError(Exception):
    """No session: the text says why."""


def execute(configuration: Configuration, words: Sequence[str]) -> NoReturn:
    """Become the mail process. words: protocol and section, or `ext`, a program and its arguments. Raises ExecError."""
    name, *more = words
    if name == "ext":
        _external(configuration.servers[0], more)
    if name not in PROTOCOLS:
        raise ExecError(f"Unknown protocol: '{name}'")
    server = _section(configuration, more[0] if more else "")
    settings = config.for_process(server, "mail", name)
    protocol = server.protocol(name)
    blocks = {"settings": settings, "plugin": Settings(dict(protocol.plugin))}
    for number, namespace in enumerate(protocol.namespaces):
        blocks[f"namespace.{number}"] = namespace.settings()
    memory = os.memfd_create("settings", 0)
    os.write(memory, bootstrap.encode_settings(blocks))
    os.lseek(memory, 0, os.SEEK_SET)
    environment = {**_environment(server, settings, name), "DOVECOTPY_FDS": f"settings={memory}"}
    _become([sys.executable, "-I", "-m", MODULE, name], environment)


def _section(configuration: Configuration, name: str) -> Server:
    if not name:
        return configuration.servers[0]
    for server in configuration.servers:
        if server.name == name:
            return server
    raise ExecError(f"Section not found: '{name}'")


def _external(server: Server, words: Sequence[str]) -> NoReturn:
    """A program of the administrator's, with the settings in its environment."""
    if not words:
        raise ExecError("External binary parameter not given")
    settings = config.for_process(server, "mail", "imap")
    given = {name.upper(): text for name in settings if (text := _text(settings.value(name)))}
    _become(words, {**given, **_environment(server, settings, "ext")})


def _text(value: Value) -> str:
    """A setting as wrappers know it: yes is 1, no is nothing."""
    if isinstance(value, bool):
        return "1" if value else ""
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _environment(server: Server, settings: Settings, service: str) -> dict[str, str]:
    """Who the user is, where he comes from, and where the session logs."""
    kept = {
        name: os.environ[name]
        for name in ("USER", "HOME", "TZ", "TCPLOCALIP", "TCPREMOTEIP")
        if name in os.environ
    }
    if not kept.get("USER"):
        raise ExecError("USER environment missing")
    given = {"DOVECOT_VERSION": dovecotpy.__version__, "DOVECOTPY_PADDING": bootstrap.PADDING, **kept}
    if "TCPREMOTEIP" in kept:
        given["IP"] = kept["TCPREMOTEIP"]
    return {**given, **_log(server.general, settings, _values(kept, service))}


def _values(kept: Mapping[str, str], service: str) -> dict[str, str]:
    return {
        **variables.for_user(kept["USER"]),
        "h": kept.get("HOME", ""),
        "s": service.upper(),
        "l": kept.get("TCPLOCALIP", ""),
        "r": kept.get("TCPREMOTEIP", ""),
        "p": str(os.getpid()),
    }


def _log(general: Settings, settings: Settings, values: Mapping[str, str]) -> dict[str, str]:
    prefix = {"LOG_PREFIX": variables.expand(settings.text("mail_log_prefix"), values)}
    path, info_path = general.text("log_path"), general.text("info_log_path")
    if not path:
        facility = FACILITIES[general.text("syslog_facility")] << 3
        return {**prefix, "USE_SYSLOG": "1", "SYSLOG_FACILITY": str(facility)}
    return {**prefix, "LOGFILE": path, **({"INFOLOGFILE": info_path} if info_path else {})}


def _become(command: Sequence[str], environment: Mapping[str, str]) -> NoReturn:
    try:
        os.execve(command[0], list(command), dict(environment))
    except OSError as error:
        raise ExecError(f"execve({command[0]}) failed: {error.strerror}") from error
