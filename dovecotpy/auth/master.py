"""One connection on a master socket: mail processes claim requests, deliver looks users up."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth.chain import UserFound
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Result
from dovecotpy.auth.service import AuthService
from dovecotpy.ipc import authmaster
from dovecotpy.ipc.authmaster import MasterServerConnection

MAX_UNANSWERED = 64
"""Requests of one connection at a time; beyond it they fail."""


class MasterSession:
    """Octets in, octets out through `send`."""

    def __init__(self, service: AuthService, send: Callable[[bytes], None]) -> None:
        self._service = service
        self._send = send
        self._protocol = MasterServerConnection()
        self._unanswered = 0
        self._closed = False
        send(self._protocol.hello(service.pid))

    def feed(self, data: bytes) -> None:
        """Octets of the other side. Raises AuthProtocolError: log its text and end the connection."""
        for event in self._protocol.feed(data):
            if self._service.report.debugging:
                self._trace("in", "\t".join((type(event).__name__, *map(str, event))))
            if isinstance(event, authmaster.Broken):
                self._answer(self._protocol.failed(event.id, event.reason))
            elif self._unanswered >= MAX_UNANSWERED:
                self._answer(self._protocol.failed(event.id, "Too many requests"))
            elif isinstance(event, authmaster.Claim):
                self._claim(event)
            else:
                self._find(event.id, _request(event), logged_in=False)

    def closed(self) -> None:
        """The connection has ended."""
        self._closed = True

    def _claim(self, event: authmaster.Claim) -> None:
        request = self._service.claim(event.client_pid, event.client_id)
        if request is None:
            self._answer(self._protocol.not_found(event.id))
        else:
            self._find(event.id, request, logged_in=True)

    def _find(self, id: int, request: Request, *, logged_in: bool) -> None:
        self._unanswered += 1
        self._service.find_user(request, lambda found: self._found(id, found), logged_in=logged_in)

    def _found(self, id: int, found: UserFound) -> None:
        self._unanswered -= 1
        if found.result is Result.OK:
            self._answer(self._protocol.user(id, found.user, found.fields))
        elif found.result is Result.INTERNAL:
            self._answer(
                self._protocol.failed(
                    id, "Internal error occurred. Refer to server log for more information."
                )
            )
        else:
            self._answer(self._protocol.not_found(id))

    def _answer(self, line: bytes) -> None:
        if not self._closed:
            if self._service.report.debugging:
                self._trace("out", line.rstrip(b"\n").decode("utf-8", "backslashreplace"))
            self._send(line)

    def _trace(self, direction: str, what: str) -> None:
        self._service.report.trace(f"master {direction}: {what}")


def _request(event: authmaster.Lookup) -> Request:
    return Request(
        service=event.service,
        user=event.user,
        local_address=event.lip,
        remote_address=event.rip,
        local_port=event.lport,
        remote_port=event.rport,
        session=event.session,
    )
