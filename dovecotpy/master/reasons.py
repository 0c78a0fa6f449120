"""How a child's end reads in the log."""

from __future__ import annotations

import os

OPEN_LOG = 80
EXEC_FAILED = 84
FATAL = 89

_MEANINGS = {
    80: " (Can't open log file)",
    81: " (Can't write to log file)",
    82: " (Internal logging error)",
    83: " (Out of memory)",
    84: " (exec() failed)",
    89: " (Fatal failure)",
}


def describe(pid: int, kind: str, status: int, said_why: bool = False) -> str:
    """The error line for a child that ended with this wait status; empty when there is nothing to say.

    kind: `login`, `imap`, `auth`, … or `unknown`. said_why: it sent its own fatal line, which status 89 stands for.
    """
    if os.WIFSIGNALED(status):
        return f"child {pid} ({kind}) killed with signal {os.WTERMSIG(status)}"
    code = os.waitstatus_to_exitcode(status)
    if code == 0:
        return f"unknown child {pid} exited successfully" if kind == "unknown" else ""
    if said_why and code in (OPEN_LOG, FATAL):
        return ""
    return f"child {pid} ({kind}) returned error {code}{_MEANINGS.get(code, '')}"


def abnormal(status: int) -> bool:
    """Whether a wait status is anything but a quiet end."""
    return not os.WIFEXITED(status) or os.WEXITSTATUS(status) != 0
