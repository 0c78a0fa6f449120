"""Dying at the n-th change of the file system, without a debugger: `os` is patched in a forked child."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

CALLS = (
    "open",
    "write",
    "pwrite",
    "pwritev",
    "rename",
    "link",
    "unlink",
    "fsync",
    "ftruncate",
    "mkdir",
    "rmdir",
    "utime",
)
ACKNOWLEDGED = b"+"


def run_until(work: Callable[[Callable[[], None]], None], calls: int) -> tuple[bool, bool]:
    """Run work in a child that is killed before its n-th call; whether it was killed, and whether it had acknowledged.

    work gets a function that it calls when it would tell the client OK.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        _die_after(work, calls, writer)
    os.close(writer)
    told = os.read(reader, 1)
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    assert os.WIFEXITED(status), status
    code = os.WEXITSTATUS(status)
    assert code in (0, 77), f"the child failed with {code}"
    return code == 77, told == ACKNOWLEDGED


def _die_after(work: Callable[[Callable[[], None]], None], calls: int, writer: int) -> None:
    left = [calls]
    real_write, real_exit = os.write, os._exit

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if left[0] == 0:
                real_exit(77)
            left[0] -= 1
            return real(*arguments, **keywords)

        return call

    for name in CALLS:
        setattr(os, name, counted(getattr(os, name)))
    try:
        work(lambda: [real_write(writer, ACKNOWLEDGED), None][1])
    except BaseException:
        import traceback

        traceback.print_exc()
        real_exit(1)
    real_exit(0)
