"""What the auth process decides: the requests of its clients, and who claims them. It owns no socket.

A request of a client is in one of these states:

    CONTINUE  the client is to answer a challenge
    WORKING   databases are being asked
    DELAYED   it failed; the client is told a little later, so that guessing is slow
    ACCEPTED  it succeeded and waits to be claimed, once and within CLAIM_SECONDS, by a mail process
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Protocol, TypeVar

from dovecotpy import clock
from dovecotpy.auth.chain import PassChain, UserChain, UserFound, Verdict
from dovecotpy.auth.jobs import Job, Work
from dovecotpy.auth.loop import Loop, Timer
from dovecotpy.auth.mechanisms import MECHANISMS
from dovecotpy.auth.mechanisms.base import Challenge, Credentials, Mechanism, Refused, Step
from dovecotpy.auth.names import NameRefused, NameRules
from dovecotpy.auth.report import Report
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result
from dovecotpy.ipc import authclient
from dovecotpy.ipc.authclient import AuthProtocolError, AuthServerConnection

CLAIM_SECONDS = 210.0
"""After this a successful request that nobody claimed is forgotten; a login that has not ended by then never will."""
CLAIM_CHECK_SECONDS = 5.0
MAX_OF_CONNECTION = 1024
"""Unanswered requests of one connection; beyond it they fail at once, temporarily."""
MAX_OF_ADDRESS = 64
"""Unanswered requests of one remote address, unless it is ours or trusted; beyond it they fail at once, temporarily."""
JITTER_SECONDS = 0.5
"""Added to the failure delay by chance: the moment of the answer tells nothing."""

Answer = TypeVar("Answer")


class Submit(Protocol):
    """What gives jobs to workers: `workers.WorkerPool.submit`."""

    def __call__(self, job: Job, address: str, done: Callable[[Found], None]) -> None:
        """Have a job done and tell `done` what was found."""


@dataclass(frozen=True, slots=True)
class Policy:
    """Settings of the auth section that decide about requests."""

    mechanisms: tuple[str, ...]
    """names in capitals, each in MECHANISMS, in the administrator's order"""
    names: NameRules = field(default_factory=NameRules)
    failure_delay: int = 2
    """seconds"""
    require_certificate: bool = False
    user_from_certificate: bool = False
    trusted: Callable[[str], bool] = lambda address: False
    """whether an address is exempt from MAX_OF_ADDRESS"""


class State(Enum):
    """Where a request is; see the module's text."""

    CONTINUE = auto()
    WORKING = auto()
    DELAYED = auto()
    ACCEPTED = auto()


class Pending:
    """One request of a client."""

    __slots__ = ("accepted_at", "id", "mechanism", "owner", "request", "state", "timer")

    def __init__(self, owner: ClientSession, id: int, request: Request, mechanism: Mechanism) -> None:
        self.owner: ClientSession | None = owner
        self.id = id
        self.request = request
        self.mechanism = mechanism
        self.state = State.CONTINUE
        self.accepted_at = 0.0
        self.timer: Timer | None = None


class AuthService:
    """Requests of all connections of this process."""

    def __init__(
        self,
        policy: Policy,
        passdbs: PassChain,
        userdbs: UserChain,
        submit: Submit,
        loop: Loop,
        report: Report,
    ) -> None:
        self.policy = policy
        self.report = report
        self.pid = os.getpid()
        self.cookie = os.urandom(16).hex()
        self._passdbs = passdbs
        self._userdbs = userdbs
        self._submit = submit
        self._loop = loop
        self._claimable: dict[int, ClientSession] = {}
        self._unanswered: Counter[str] = Counter()
        self._connections = 0
        loop.later(CLAIM_CHECK_SECONDS, self._expire)

    # ---- connections ----

    def next_connection(self) -> int:
        """The number of a new client connection."""
        self._connections += 1
        return self._connections

    def mechanisms(self) -> tuple[authclient.Mechanism, ...]:
        """What clients are offered."""
        return tuple(authclient.Mechanism(name, MECHANISMS[name].FLAGS) for name in self.policy.mechanisms)

    def enter(self, session: ClientSession) -> None:
        """A client with a proved pid: its requests can be claimed. Raises AuthProtocolError for a pid that is there already."""
        known = self._claimable.get(session.pid)
        if known is not None and not known.has_gone():
            raise AuthProtocolError(
                f"BUG: Authentication client gave a PID {session.pid} of existing connection"
            )
        self._claimable[session.pid] = session

    def knows(self, session: ClientSession) -> bool:
        """Whether requests of this client can be claimed."""
        return self._claimable.get(session.pid) is session

    def leave(self, session: ClientSession) -> None:
        """A client's connection has ended."""
        if self._claimable.get(session.pid) is session:
            del self._claimable[session.pid]

    # ---- requests of clients ----

    def has_room(self, request: Request, unanswered: int) -> bool:
        """Whether one more request of this connection and address may begin."""
        if unanswered >= MAX_OF_CONNECTION:
            self.report.lasting(
                f"Too many unanswered authentication requests of one client (limit {MAX_OF_CONNECTION})"
            )
            return False
        address = self._counted(request)
        if address and self._unanswered[address] >= MAX_OF_ADDRESS:
            text = f"Too many unanswered authentication requests of {address} (limit {MAX_OF_ADDRESS})"
            self.report.lasting(text + " - see login_trusted_networks")
            return False
        return True

    def begin(self, pending: Pending) -> None:
        """A request counts from now until `end`."""
        address = self._counted(pending.request)
        if address:
            self._unanswered[address] += 1

    def end(self, pending: Pending) -> None:
        """A request is answered or given up."""
        address = self._counted(pending.request)
        if not address:
            return
        self._unanswered[address] -= 1
        if self._unanswered[address] <= 0:
            del self._unanswered[address]

    def _counted(self, request: Request) -> str:
        """The address that a request counts for; empty for none."""
        address = request.remote_address
        if not address or address == request.local_address or self.policy.trusted(address):
            return ""
        return address

    def authenticate(
        self, request: Request, credentials: Credentials, done: Callable[[Verdict], None]
    ) -> None:
        """Ask the passdbs; `done` may be called before this returns."""
        try:
            self._name(request, credentials)
        except NameRefused as error:
            self.report.info(request, request.mechanism.lower() or "auth", str(error))
            done(Verdict(Result.MISMATCH))
            return
        request.password = credentials.password
        self._run(self._passdbs.authenticate(request), request, done, Verdict(Result.INTERNAL))

    def _name(self, request: Request, credentials: Credentials) -> None:
        policy, name, login = self.policy, credentials.user, credentials.login_user
        if policy.user_from_certificate and request.certificate_user:
            request.user = request.original_user = request.certificate_user
            return
        if not login:
            login, master = policy.names.split_master(name)
            name, login = (master, login) if master else (login, "")
        request.original_user = request.user = name
        request.user = policy.names.apply(name)
        if login:
            login = policy.names.apply(login)
            request.login_user = "" if login == request.user else login

    def delay(self, verdict: Verdict, request: Request) -> float:
        """Seconds until a failure is told."""
        if "nodelay" in request.fields or not self.policy.failure_delay:
            return 0.0
        chance = int.from_bytes(os.urandom(2), "big") / 65536
        return self.policy.failure_delay + chance * JITTER_SECONDS

    # ---- requests of mail processes ----

    def claim(self, client_pid: int, client_id: int) -> Request | None:
        """The successful request of a client, which is forgotten with that; None (and a log line) when there is none."""
        session = self._claimable.get(client_pid)
        if session is None:
            self.report.plain(f"Master requested auth for nonexisting client {client_pid}")
            return None
        pending = session.pending.get(client_id)
        if pending is None:
            self.report.plain(f"Master request {client_pid}.{client_id} not found")
            return None
        if pending.state is not State.ACCEPTED:
            self.report.plain(f"Master requested unfinished authentication request {client_pid}.{client_id}")
            return None
        del session.pending[client_id]
        return pending.request

    def find_user(self, request: Request, done: Callable[[UserFound], None], *, logged_in: bool) -> None:
        """Ask the userdbs; without a login the name's rules are applied first."""
        if not logged_in:
            try:
                request.original_user = request.user
                request.user = self.policy.names.apply(request.user)
            except NameRefused as error:
                self.report.info(request, "userdb", str(error))
                done(UserFound(Result.UNKNOWN))
                return
        work = self._userdbs.find(request, logged_in=logged_in)
        self._run(work, request, done, UserFound(Result.INTERNAL))

    # ---- work ----

    def _run(
        self, work: Work[Answer], request: Request, done: Callable[[Answer], None], broken: Answer
    ) -> None:
        """Run a generator of jobs to its end. broken: the answer where it fails by a fault of ours."""

        def resume(found: Found | None) -> None:
            try:
                job = next(work) if found is None else work.send(found)
            except StopIteration as stop:
                done(stop.value)
            except Exception as error:  # noqa: BLE001 - one request must not end the process that all share
                self.report.traceback(request, error)
                done(broken)
            else:
                self._submit(job, request.remote_address, resume)

        resume(None)

    def later(self, seconds: float, action: Callable[[], None]) -> Timer:
        """Do something later."""
        return self._loop.later(seconds, action)

    def _expire(self) -> None:
        limit = clock.monotonic() - CLAIM_SECONDS
        for session in self._claimable.values():
            session.forget_accepted(limit)
        self._loop.later(CLAIM_CHECK_SECONDS, self._expire)


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
        self.number = service.next_connection()
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

    def forget_accepted(self, before: float) -> None:
        """Forget what succeeded before that moment and was not claimed."""
        for pending in list(self.pending.values()):
            if pending.state is State.ACCEPTED and pending.accepted_at < before:
                del self.pending[pending.id]

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
        seconds = self._service.delay(verdict, request)
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
            pending.accepted_at = clock.monotonic()
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
        service=event.service,
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
    reason = verdict.reason or request.fields.get("reason", "")
    if reason:
        fields["reason"] = reason
    return fields


def _hidden(line: bytes) -> str:
    """A line for the log, without passwords."""
    parts = line.rstrip(b"\n").decode("utf-8", "backslashreplace").split("\t")
    return "\t".join("pass=<hidden>" if part.startswith("pass=") else part for part in parts)
