"""One connection of the client protocol: login processes, Postfix, Exim. It owns no socket."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy import clock
from dovecotpy.auth.chain import Verdict
from dovecotpy.auth.mechanisms import MECHANISMS
from dovecotpy.auth.mechanisms.base import Challenge, Refused, Step
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Result
from dovecotpy.auth.service import AuthService, Pending, State
from dovecotpy.ipc import authclient
from dovecotpy.ipc.authclient import AuthProtocolError, AuthServerConnection


class ClientSession:
    """One client connection: octets in, octets out through `send`."""

    def __init__(
        self,
        service: AuthService,
        send: Callable[[bytes], None],
        peer_pid: int,
        *,
        must_prove_pid: bool,
        has_gone: Callable[[], bool] = lambda: False,
    ) -> None:
        """peer_pid: the kernel's word. must_prove_pid: a login process, whose own word must be the same."""
        self._service = service
        self._send = send
        self._peer_pid = peer_pid
        self._must_prove_pid = must_prove_pid
        self._protocol = AuthServerConnection()
        self._unanswered = 0
        self._closed = False
        self.has_gone = has_gone
        """whether the other side has closed the connection already, though nobody has looked"""
        self.pending: dict[int, Pending] = {}
        self.number = service.join(self)
        hello = self._protocol.hello(service.mechanisms(), service.pid, self.number, service.cookie)
        send(hello)

    @property
    def pid(self) -> int:
        """The client's pid by its own word; 0 before it said so."""
        return self._protocol.pid

    def feed(self, data: bytes) -> None:
        """Octets of the client. Raises AuthProtocolError: log its text and end the connection."""
        for event in self._protocol.feed(data):
            if isinstance(event, authclient.Request):
                self._begin(event)
            elif isinstance(event, authclient.Response):
                self._continue(event)
            elif isinstance(event, authclient.Broken):
                self._broken(event)
            elif isinstance(event, authclient.Cancel):
                self._cancel(event.id)
            else:
                self._hello(event.pid)

    def closed(self) -> None:
        """The connection has ended: nothing of it can be claimed any more."""
        self._closed = True
        self._service.leave(self)
        for pending in list(self.pending.values()):
            self._drop(pending)

    def forget_old(self, before: float) -> None:
        """Forget what was accepted before that moment and not claimed, or begun before it and not continued."""
        for pending in list(self.pending.values()):
            if pending.state in (State.ACCEPTED, State.CONTINUE) and pending.since < before:
                self._drop(pending)

    def _hello(self, pid: int) -> None:
        self._service.report.trace(f"new auth connection: pid={pid}")
        if pid == self._peer_pid:
            self._service.enter(self)
        elif self._must_prove_pid:
            raise AuthProtocolError(f"Authentication client of PID {self._peer_pid} said it's PID {pid}")

    def _begin(self, event: authclient.Request) -> None:
        if event.id in self.pending:
            raise AuthProtocolError(f"BUG: Authentication client {self.pid} sent a duplicate ID {event.id}")
        if event.mechanism not in self._service.policy.mechanisms:
            raise AuthProtocolError(
                f"BUG: Authentication client {self.pid} requested unsupported authentication mechanism "
                f"{event.mechanism[:80]}"
            )
        request = _request(event)
        if self._service.report.debugging:
            self._trace(
                f"AUTH\t{event.id}\t{event.mechanism}\tservice={event.service}\trip={event.rip}\tresp=<hidden>"
            )
        if self._service.policy.require_certificate and not event.valid_client_cert:
            self._service.report.info(request, "auth", "Client didn't present valid SSL certificate")
            self._answer(
                self._protocol.fail(event.id, "", {"reason": "Client didn't present valid SSL certificate"})
            )
            return
        if not self._service.has_room(request, self._unanswered):
            self._answer(self._protocol.fail(event.id, "", {"temp": ""}))
            return
        pending = Pending(self, event.id, request, MECHANISMS[event.mechanism]())
        self.pending[event.id] = pending
        self._unanswered += 1
        self._service.begin(pending)
        self._step(pending, pending.mechanism.start(event.resp or b""))

    def _continue(self, event: authclient.Response) -> None:
        self._trace(f"CONT\t{event.id}\t<hidden>")
        pending = self.pending.get(event.id)
        if pending is None:
            self._answer(self._protocol.fail(event.id, "", {"reason": "Timeouted"}))
        elif pending.state is not State.CONTINUE:
            self._refuse(pending, "Unexpected continuation")
        else:
            self._step(pending, pending.mechanism.step(event.data))

    def _broken(self, event: authclient.Broken) -> None:
        pending = self.pending.get(event.id)
        if pending is not None and event.initial:
            raise AuthProtocolError(f"BUG: Authentication client {self.pid} sent a duplicate ID {event.id}")
        if pending is not None:
            self._refuse(pending, event.reason)
        else:
            self._answer(self._protocol.fail(event.id, "", {"reason": event.reason}))

    def _cancel(self, id: int) -> None:
        pending = self.pending.get(id)
        if pending is not None:
            self._drop(pending)

    def _step(self, pending: Pending, step: Step) -> None:
        pending.since = clock.monotonic()
        if isinstance(step, Challenge):
            self._answer(self._protocol.challenge(pending.id, step.data))
        elif isinstance(step, Refused):
            self._service.report.info(pending.request, pending.request.mechanism.lower(), step.text)
            self._decided(pending, Verdict(Result.MISMATCH))
        else:
            pending.state = State.WORKING
            self._service.authenticate(pending.request, step, lambda verdict: self._decided(pending, verdict))

    def _decided(self, pending: Pending, verdict: Verdict) -> None:
        request = pending.request
        if pending.owner is None:
            return
        if verdict.ok:
            self._accept(pending)
            return
        request.password = ""
        pending.state = State.DELAYED
        seconds = self._service.delay(request, pending.since)
        line = self._protocol.fail(pending.id, request.user, _failure_fields(verdict, request))
        if seconds:
            pending.timer = self._service.later(seconds, lambda: self._fail(pending, line))
        else:
            self._fail(pending, line)

    def _accept(self, pending: Pending) -> None:
        request = pending.request
        fields = {name: value for name, value in request.fields.items() if name != "nodelay"}
        if "proxy" in fields or "proxy_maybe" in fields:
            fields.setdefault("pass", request.password)
        request.password = ""
        self._settled(pending)
        if request.nologin or not self._service.knows(self):
            self.pending.pop(pending.id, None)
        else:
            pending.state = State.ACCEPTED
            pending.since = clock.monotonic()
        self._answer(self._protocol.ok(pending.id, request.user, fields))

    def _fail(self, pending: Pending, line: bytes) -> None:
        self._settled(pending)
        pending.owner = None
        self.pending.pop(pending.id, None)
        self._answer(line)

    def _refuse(self, pending: Pending, reason: str) -> None:
        """End a request whose client broke the protocol."""
        self._drop(pending)
        self._answer(self._protocol.fail(pending.id, "", {"reason": reason}))

    def _drop(self, pending: Pending) -> None:
        if pending.state is not State.ACCEPTED:
            self._settled(pending)
        pending.owner = None
        self.pending.pop(pending.id, None)
        if pending.timer is not None:
            pending.timer.cancel()

    def _settled(self, pending: Pending) -> None:
        self._unanswered -= 1
        self._service.end(pending)

    def _answer(self, line: bytes) -> None:
        if self._closed:
            return
        if self._service.report.debugging:
            self._service.report.trace(f"client out: {_hidden(line)}")
        self._send(line)

    def _trace(self, text: str) -> None:
        if self._service.report.debugging:
            self._service.report.trace(f"client in: {text}")


def _request(event: authclient.Request) -> Request:
    return Request(
        event.service,
        mechanism=event.mechanism,
        local_address=event.lip,
        remote_address=event.rip,
        local_port=event.lport,
        remote_port=event.rport,
        secured=event.secured,
        valid_certificate=event.valid_client_cert,
        certificate_user=event.cert_username,
        nologin=event.nologin,
        session=event.session,
    )


def _failure_fields(verdict: Verdict, request: Request) -> dict[str, str]:
    fields: dict[str, str] = {}
    if verdict.temporary:
        fields["temp"] = ""
    if verdict.result is Result.DISABLED:
        fields["user_disabled"] = ""
    if verdict.result is Result.EXPIRED:
        fields["pass_expired"] = ""
    reason = verdict.reason or request.fields.get("reason", "")
    if reason:
        fields["reason"] = reason
    return fields


def _hidden(line: bytes) -> str:
    """A line for the log, without passwords."""
    parts = line.rstrip(b"\n").decode("utf-8", "backslashreplace").split("\t")
    return "\t".join("pass=<hidden>" if part.startswith("pass=") else part for part in parts)
