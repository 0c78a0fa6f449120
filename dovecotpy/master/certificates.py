"""Watches the files of TLS: a certificate that was replaced on disk serves new connections without anybody's doing."""

from __future__ import annotations

import os
from collections.abc import Iterable

SETTLED = 2.0
"""Seconds without a further change before the files are used: certificate and key are seldom replaced at the same moment."""

_Stamp = tuple[int, int, int, int]


class Certificates:
    """The files of one configuration. Times are monotonic seconds."""

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = tuple(path for path in paths if path)
        self._known = self._stamps()
        self._pending = self._known
        self._since = 0.0

    def changed(self, now: float) -> bool:
        """Look, once a second. True once for each change, when it has settled."""
        found = self._stamps()
        if found != self._pending:
            self._pending = found
            self._since = now
            return False
        if found == self._known or now - self._since < SETTLED:
            return False
        self._known = found
        return True

    def _stamps(self) -> tuple[_Stamp | None, ...]:
        return tuple(_stamp(path) for path in self._paths)


def _stamp(path: str) -> _Stamp | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
