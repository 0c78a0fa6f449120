"""Whether mail lies on NFS, as far as the configuration tells where it lies (nfs_check)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator

MOUNTS = "/proc/self/mountinfo"
"""What is mounted where (proc_pid_mountinfo(5))."""
_ESCAPE = re.compile(r"\\([0-7]{3})")
_VARIABLE = re.compile(r"[%~].*")


def on_nfs(locations: Iterable[str]) -> Iterator[str]:
    """The fixed beginnings of mail locations that lie on NFS, each once."""
    mounts = _mounts()
    for path in dict.fromkeys(path for location in locations for path in _paths(location)):
        if _file_system(path, mounts).startswith("nfs"):
            yield path


def _paths(location: str) -> Iterator[str]:
    """The directories that a location names, up to the first variable: `maildir:/srv/mail/%d/%n:INDEX=/srv/index` names two."""
    for part in location.split(":"):
        path = part.rpartition("=")[2]
        if path.startswith("/"):
            fixed = _VARIABLE.sub("", path)
            yield fixed if fixed == path else fixed.rpartition("/")[0] or "/"


def _mounts() -> dict[str, str]:
    """File systems by mount point; of several at one place, the last."""
    found = {}
    try:
        with open(MOUNTS, encoding="utf-8", errors="surrogateescape") as lines:
            for line in lines:
                fields = line.split(" ")
                where = _ESCAPE.sub(lambda digits: chr(int(digits[1], 8)), fields[4])
                found[where] = fields[fields.index("-") + 1]
    except (OSError, ValueError, IndexError):
        return found
    return found


def _file_system(path: str, mounts: dict[str, str]) -> str:
    """The type of the file system that a path lies on; empty: not known."""
    path = os.path.realpath(path)
    while path not in mounts:
        if path == "/":
            return ""
        path = os.path.dirname(path)
    return mounts[path]
