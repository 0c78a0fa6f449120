"""Starting a long-lived child by exec: a clean environment, named descriptors, its own settings by a pipe."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from typing import NamedTuple

from dovecotpy.child import bootstrap
from dovecotpy.config.values import Settings
from dovecotpy.ipc import fdpass
from dovecotpy.master.channel import Channel

PIPE_SIZE = 65536
"""What a pipe takes at once without being asked for more."""
_DEFAULT_SIGNALS = (
    signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGPIPE, signal.SIGALRM
)  # fmt: skip


class Program(NamedTuple):
    """What is started."""

    command: tuple[str, ...]
    """path of the interpreter, and the rest of the command line"""
    role: str
    """a key of channel.MAY_SAY"""
    descriptors: Mapping[str, int]
    """by name, besides control and settings"""
    blocks: Mapping[str, Settings]
    stderr: int
    """the writing end of its kind's log"""


def start(program: Program, keep: Mapping[str, str]) -> tuple[int, Channel]:
    """The pid and the master's end of the control socket. `keep`: environment that goes on as it is. Raises OSError."""
    ours, theirs = fdpass.pair()
    with ExitStack() as afterwards:
        afterwards.callback(theirs.close)
        settings = _pipe_with(bootstrap.encode_settings(program.blocks))
        afterwards.callback(os.close, settings)
        named = {**program.descriptors, "control": theirs.fileno(), "settings": settings}
        for number in named.values():
            os.set_inheritable(number, True)
            afterwards.callback(os.set_inheritable, number, False)
        try:
            pid = _exec(program, bootstrap.environment(named, keep))
        except OSError:
            ours.close()
            raise
    return pid, Channel(ours, program.role)


def _exec(program: Program, environment: Mapping[str, str]) -> int:
    """In a process group of its own: an interrupt from the keyboard is the master's alone to act on."""
    return os.posix_spawn(
        program.command[0],
        program.command,
        environment,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, "/dev/null", os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, program.stderr, 2),
        ],
        setpgroup=0,
        setsigmask=(),
        setsigdef=_DEFAULT_SIGNALS,
    )


def _pipe_with(data: bytes) -> int:
    """The reading end of a pipe that holds all of the data. Raises OSError."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        if len(data) > PIPE_SIZE:
            fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, len(data))
        os.set_blocking(write, False)
        if os.write(write, data) < len(data):
            raise OSError(f"settings of {len(data)} octets do not fit into a pipe")
    except OSError:
        os.close(read)
        raise
    finally:
        os.close(write)
    return read
