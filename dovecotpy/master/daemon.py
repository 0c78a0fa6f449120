"""Leaving the terminal, and telling who started the server whether it serves.

The starting process waits on a pipe until the server is ready or says why it is not: its exit status is the truth.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Sequence

import daemon

UMASK = 0o077
FATAL = 89
_READY = b"ready"
_MAX = 65536


class Readiness:
    """The way back to who started the server; in the foreground that is the terminal."""

    def __init__(self, pipe: int | None) -> None:
        self._pipe = pipe

    def ready(self) -> None:
        """It serves."""
        self._tell(_READY)

    def failed(self, lines: Sequence[str]) -> None:
        """It does not, and why."""
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        if self._pipe is None:
            _write(text)
        self._tell(text)

    def _tell(self, data: bytes) -> None:
        if self._pipe is None:
            return
        with contextlib.suppress(OSError):
            os.write(self._pipe, data)
        os.close(self._pipe)
        self._pipe = None


def foreground(directory: str, keep: Sequence[int]) -> Readiness:
    """Stay with the terminal: standard output and error stay what they are."""
    daemon.DaemonContext(
        detach_process=False,
        files_preserve=list(keep),
        signal_map={},
        umask=UMASK,
        working_directory=directory,
        stdout=sys.stdout,
        stderr=sys.stderr,
    ).open()
    return Readiness(None)


def detach(directory: str, keep: Sequence[int]) -> Readiness:
    """Go into the background. Returns in the server alone; the starting process ends when the server is ready or has failed."""
    read, write = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        os.close(write)
        os._exit(_wait(read, pid))
    os.close(read)
    daemon.DaemonContext(
        detach_process=True,
        files_preserve=[*keep, write],
        signal_map={},
        umask=UMASK,
        working_directory=directory,
    ).open()
    return Readiness(write)


def _wait(pipe: int, pid: int) -> int:
    data = b""
    while len(data) < _MAX:
        part = os.read(pipe, _MAX)
        if not part:
            break
        data += part
    os.waitpid(pid, 0)
    if data == _READY:
        return 0
    _write(data or b"Fatal: the server ended at its start, see the log\n")
    return FATAL


def _write(text: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(2, text)
