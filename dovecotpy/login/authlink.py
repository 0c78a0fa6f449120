"""The connections of a login process to the auth processes, and the requests that wait for an answer.

One connection for each auth section, reconnected each second while it is lost. What was asked over a lost connection
fails as temporary: nobody is told that his password is wrong because an auth process died.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

from dovecotpy.ipc.authclient import AuthClient, AuthProtocolError, Continue, Fail, Handshake, Mechanism, Ok
from dovecotpy.login.poller import Poller

MAX_REQUESTS = 1024
"""Unanswered requests of one login process; one more is a temporary failure at once."""
MAX_PENDING = 1 << 20
"""Octets that wait for an auth process that does not read; beyond, requests are temporary failures at once."""
RECONNECT = 1.0
"""Seconds between two tries to connect."""
HANDSHAKE = 30.0
"""Seconds that an auth process has to finish its handshake."""

_FLAGS = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
_TEMPORARY: Mapping[str, str] = {"temp": ""}


class Question(NamedTuple):
    """What is asked of an auth process for a client."""

    mechanism: str
    service: str
    secured: bool
    local_address: str
    remote_address: str
    local_port: int
    remote_port: int
    valid_certificate: bool
    certificate_user: str
    session: str
    initial: bytes | None


class Asker(Protocol):
    """Who waits for an answer."""

    def auth_challenged(self, data: bytes) -> None:
        """The auth process wants to know more."""

    def auth_succeeded(self, event: Ok) -> None:
        """It is who it says."""

    def auth_failed(self, user: str, fields: Mapping[str, str]) -> None:
        """It is not, or (field `temp`) nobody knows."""


class Request(NamedTuple):
    """A request under way: the auth section, the process behind it, and its id there."""

    link: AuthLink
    pid: int
    id: int

    @property
    def name(self) -> str:
        """The auth section."""
        return self.link.name


class AuthLink:
    """The connection to one auth section's processes. path: of its socket; complain: is told of its loss, once."""

    def __init__(
        self,
        name: str,
        path: str,
        pid: int,
        poller: Poller,
        complain: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self.name = name
        self.mechanisms: tuple[Mechanism, ...] = ()
        self.server_pid = 0
        self._path = path
        self._pid = pid
        self._poller = poller
        self._tell = complain
        self._changed = changed
        self._socket: socket.socket | None = None
        self._client = AuthClient()
        self._out = bytearray()
        self._requests: dict[int, Asker] = {}
        self._last_id = 0
        self._retry_at = 0.0
        self._deadline = 0.0
        self._complained = False

    @property
    def ready(self) -> bool:
        """Requests can be sent."""
        return self._socket is not None and self._client.ready

    @property
    def unanswered(self) -> int:
        """Requests that wait."""
        return len(self._requests)

    def tick(self, now: float) -> None:
        """Connect if it is time to, give up a handshake that takes too long. now: monotonic seconds."""
        if self._socket is None:
            if now >= self._retry_at:
                self._connect(now)
        elif not self._client.ready and now >= self._deadline:
            self._lose(
                f"Timeout waiting for handshake from auth server. my pid={self._pid}, server={self._path}",
                now,
            )

    def ask(self, asker: Asker, question: Question) -> int:
        """Send a request; its id, or 0 when it cannot be asked. Nothing is called back before this returns."""
        if not self.ready or len(self._out) > MAX_PENDING:
            return 0
        number = self._next_id()
        try:
            line = self._client.request(
                number,
                question.mechanism,
                service=question.service,
                secured=question.secured,
                lip=question.local_address,
                rip=question.remote_address,
                lport=question.local_port,
                rport=question.remote_port,
                valid_client_cert=question.valid_certificate,
                cert_username=question.certificate_user,
                session=question.session,
                resp=question.initial,
            )
        except AuthProtocolError:
            return 0
        self._requests[number] = asker
        self._write(line)
        return number

    def answer(self, number: int, data: bytes) -> None:
        """Send the client's answer to a challenge."""
        if number in self._requests:
            self._write(self._client.reply(number, data))

    def cancel(self, number: int) -> None:
        """Forget a request."""
        if self._requests.pop(number, None) is not None and self._socket is not None:
            self._write(self._client.cancel(number))

    def close(self) -> None:
        """Disconnect for good; who waits is not called."""
        self._requests.clear()
        self._disconnect()

    def ready_for(self, events: int, now: float) -> None:
        """The poller's word about the socket."""
        try:
            if events & select.EPOLLOUT:
                self._flush()
            if events & ~select.EPOLLOUT:
                self._receive(now)
        except AuthProtocolError as error:
            self._lose(str(error), now)
        except OSError as error:
            self._lose(f"auth server {self._path}: {error.strerror}", now)

    def _next_id(self) -> int:
        while True:
            self._last_id = self._last_id % 0xFFFFFFFF + 1
            if self._last_id not in self._requests:
                return self._last_id

    def _connect(self, now: float) -> None:
        self._retry_at = now + RECONNECT
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            sock.connect(self._path)
        except OSError as error:
            sock.close()
            self._complain(f"Can't connect to auth server at {self._path}: {error.strerror}")
            return
        self._socket = sock
        self._client = AuthClient()
        self._deadline = now + HANDSHAKE
        self._poller.add(sock.fileno(), select.EPOLLIN, self.ready_for)
        self._write(self._client.hello(self._pid))

    def _complain(self, text: str) -> None:
        """One line for each time that the connection is lost, not one a second."""
        if not self._complained:
            self._complained = True
            self._tell(text)

    def _receive(self, now: float) -> None:
        if self._socket is None:
            return
        try:
            data = self._socket.recv(65536, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return
        if not data:
            self._lose(f"auth server {self._path}: connection closed", now)
            return
        for event in self._client.feed(data):
            self._dispatch(event)

    def _dispatch(self, event: Handshake | Continue | Ok | Fail) -> None:
        if isinstance(event, Handshake):
            self.mechanisms = event.mechanisms
            self.server_pid = event.spid
            self._complained = False
            self._changed()
        elif isinstance(event, Continue):
            asker = self._requests.get(event.id)
            if asker is not None:
                asker.auth_challenged(event.data)
        else:
            asker = self._requests.pop(event.id, None)
            if asker is None:
                return
            if isinstance(event, Ok):
                asker.auth_succeeded(event)
            else:
                asker.auth_failed(event.user, event.fields)

    def _write(self, data: bytes) -> None:
        if self._socket is None:
            return
        if self._out:
            self._out += data
            return
        try:
            sent = self._socket.send(data, _FLAGS)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return  # the poller tells of the loss, after whoever writes now has been told that he waits
        if sent < len(data):
            self._out += data[sent:]
            self._poller.change(self._socket.fileno(), select.EPOLLIN | select.EPOLLOUT)

    def _flush(self) -> None:
        if self._socket is None:
            return
        try:
            sent = self._socket.send(self._out, _FLAGS)
        except (BlockingIOError, InterruptedError):
            return
        del self._out[:sent]
        if not self._out:
            self._poller.change(self._socket.fileno(), select.EPOLLIN)

    def _disconnect(self) -> None:
        if self._socket is not None:
            self._poller.remove(self._socket.fileno())
            self._socket.close()
        self._socket = None
        self._client = AuthClient()
        self._out.clear()

    def _lose(self, text: str, now: float) -> None:
        self._complain(text)
        self._disconnect()
        self._retry_at = now + RECONNECT
        waiting = list(self._requests.values())
        self._requests.clear()
        self._changed()
        for asker in waiting:
            asker.auth_failed("", _TEMPORARY)


class AuthLinks:
    """Every auth section's connection, in the order of the file."""

    def __init__(
        self,
        names: Sequence[str],
        pid: int,
        poller: Poller,
        complain: Callable[[str], None],
        changed: Callable[[], None],
    ) -> None:
        self._links = [AuthLink(name, name, pid, poller, complain, changed) for name in names]

    @property
    def ready(self) -> bool:
        """Somebody can be asked."""
        return any(link.ready for link in self._links)

    @property
    def connected(self) -> bool:
        """Everybody can be asked."""
        return all(link.ready for link in self._links)

    @property
    def several(self) -> bool:
        """There is more than one to ask."""
        return len(self._links) > 1

    def mechanisms(self) -> list[Mechanism]:
        """What they offer, in the order of the file; what is lost now will come back, so it still counts."""
        return [mechanism for link in self._links for mechanism in link.mechanisms]

    def tick(self, now: float) -> None:
        """See AuthLink.tick."""
        for link in self._links:
            link.tick(now)

    def close(self) -> None:
        """Disconnect for good."""
        for link in self._links:
            link.close()

    def ask(self, asker: Asker, question: Question, after: AuthLink | None = None) -> Request | None:
        """Ask the first that offers the mechanism, or the first behind `after`; None when nobody can be asked now."""
        if sum([link.unanswered for link in self._links]) >= MAX_REQUESTS:
            return None
        links = self._links if after is None else self._links[self._links.index(after) + 1 :]
        for link in links:
            if link.ready and any(known.name == question.mechanism for known in link.mechanisms):
                number = link.ask(asker, question)
                if number:
                    return Request(link, link.server_pid, number)
        return None
