"""`dovecotpy`: starts the server, or says what it would run with."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NamedTuple

import dovecotpy
from dovecotpy import config
from dovecotpy.cli import execmail, logerror
from dovecotpy.config.values import Configuration
from dovecotpy.master import plan, start

DEFAULT_PATH = "/etc/dovecot/dovecot.conf"
FATAL = 89
USAGE = """\
Usage: dovecotpy [-F] [-c <config file>] [-p] [-n] [-a] [--version]
       [--build-options] [--log-error]
       [--exec-mail <protocol> [<section>]] [--exec-mail ext <binary> [<args>]]
"""
BUILD_OPTIONS = """\
Build options: ioloop=epoll notify=inotify ipv6 openssl
Mail storages: maildir
SQL drivers: mysql sqlite
Passdb: passwd-file prefetch sql static
Userdb: passwd-file prefetch sql static
"""


class Arguments(NamedTuple):
    """The command line, taken apart."""

    action: str = "run"
    """run, changed, all, version, build-options, log-error or exec-mail"""
    path: str = DEFAULT_PATH
    foreground: bool = False
    ask_password: bool = False
    rest: tuple[str, ...] = ()
    """what follows --exec-mail"""


class UsageError(Exception):
    """The command line makes no sense; the text says why."""


_ACTIONS = {
    "-n": "changed",
    "-a": "all",
    "--version": "version",
    "--build-options": "build-options",
    "--log-error": "log-error",
}


def parse(words: Sequence[str]) -> Arguments:
    """Take the command line apart. Raises UsageError."""
    found = Arguments()
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "-F":
            found = found._replace(foreground=True)
        elif word == "-p":
            found = found._replace(ask_password=True)
        elif word == "-c":
            if not left:
                raise UsageError("Missing config file argument")
            found = found._replace(path=left.pop(0))
        elif word == "--exec-mail":
            if not left:
                raise UsageError("Missing protocol argument")
            return found._replace(action="exec-mail", rest=tuple(left))
        elif word in _ACTIONS:
            found = found._replace(action=_ACTIONS[word])
        else:
            raise UsageError(f"Unknown argument: {word}")
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Run; returns the exit status."""
    try:
        arguments = parse(sys.argv[1:] if words is None else words)
    except UsageError as error:
        sys.stderr.write(f"{USAGE}Fatal: {error}\n")
        return FATAL
    if arguments.action == "version":
        print(dovecotpy.__version__)
        return 0
    if arguments.action == "build-options":
        sys.stdout.write(BUILD_OPTIONS)
        return 0
    path = os.path.abspath(arguments.path)
    if arguments.action == "run":
        return start.start(_options(arguments, path), plan.commands())
    try:
        configuration = start.read(path).configuration
        return _act(arguments, configuration)
    except (start.Refused, execmail.ExecError, logerror.LogError) as error:
        lines = error.lines if isinstance(error, start.Refused) else [f"Fatal: {error}"]
        for line in lines:
            print(line, file=sys.stderr)
        return FATAL


def _options(arguments: Arguments, path: str) -> start.Options:
    return start.Options(path, arguments.foreground, arguments.ask_password)


def _act(arguments: Arguments, configuration: Configuration) -> int:
    """Everything that needs a configuration but starts no server. Raises what `main` reports."""
    if arguments.action == "log-error":
        print("Writing to error logs and killing myself..", flush=True)
        logerror.write(configuration.servers[0])
        return 0
    if arguments.action == "exec-mail":
        execmail.execute(configuration, arguments.rest)
    for line in configuration.warnings:
        print(f"Warning: {line}", file=sys.stderr)
    sys.stdout.write(config.dump(configuration, everything=arguments.action == "all"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
