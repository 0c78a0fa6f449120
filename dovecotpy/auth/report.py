"""The auth process's log lines: `SUBSYSTEM(user,ip): text`."""

from __future__ import annotations

from dovecotpy import clock
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found
from dovecotpy.log import client as log_client
from dovecotpy.log.client import Log

REPEAT_SECONDS = 60
"""A fault that lasts is said again after so long, not at each request that meets it."""
MAX_LASTING = 64
"""Different lasting faults that are remembered."""


class Report:
    """What is logged, and when."""

    def __init__(
        self, log: Log, *, verbose: bool = False, debug: bool = False, passwords: bool = False
    ) -> None:
        self._log = log
        self._verbose = verbose or debug or passwords
        self._debug = debug or passwords
        self.passwords = passwords
        """whether passwords may be logged"""
        self._lasting: dict[str, float] = {}

    @property
    def debugging(self) -> bool:
        """Whether debug lines are wanted: the caller need not make them otherwise."""
        return self._debug

    def info(self, request: Request, subsystem: str, text: str) -> None:
        """A line for auth_verbose."""
        if self._verbose:
            self._log.info(f"{subsystem}({request.label}): {text}", **_about(request))

    def debug(self, request: Request, subsystem: str, text: str) -> None:
        """A line for auth_debug."""
        if self._debug:
            self._log.debug(f"{subsystem}({request.label}): {text}", **_about(request))

    def error(self, request: Request, subsystem: str, text: str) -> None:
        """A line that the administrator must see."""
        self._log.error(f"{subsystem}({request.label}): {text}", **_about(request))

    def found(self, request: Request, driver: str, found: Found) -> None:
        """Why a database's answer lets nobody in."""
        if not found.text:
            return
        if not found.error:
            self.info(request, driver, found.text)
        elif _is_lasting(found.text):
            self.lasting(found.text)
        else:
            self.error(request, driver, found.text)

    def lasting(self, text: str) -> None:
        """An error of the whole service: said when it comes and once a minute while it lasts."""
        now, kind = clock.monotonic(), text.partition(" - ")[0]
        if now - self._lasting.get(kind, -REPEAT_SECONDS) < REPEAT_SECONDS:
            return
        if len(self._lasting) >= MAX_LASTING:
            self._lasting.clear()
        self._lasting[kind] = now
        self._log.error(text)

    def plain(self, text: str) -> None:
        """An error of a connection or of the process itself."""
        self._log.error(text)

    def traceback(self, request: Request, error: BaseException) -> None:
        """A fault of ours that failed one request."""
        log_client.traceback(self._log, error, **_about(request))

    def trace(self, text: str) -> None:
        """A debug line of a connection."""
        if self._debug:
            self._log.debug(text)


def _is_lasting(text: str) -> bool:
    """Whether it is a fault of the service, the same for every user."""
    return ": Connect failed to " in text or text.startswith("Auth worker")


def _about(request: Request) -> dict[str, str]:
    return {"user": request.user, "session": request.session, "address": request.remote_address}
