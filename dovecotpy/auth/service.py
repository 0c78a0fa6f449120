"""What the auth process decides: the requests of its clients, and who claims them. It owns no socket.

A request of a client is in one of these states:

    CONTINUE  the client is to answer a challenge
    WORKING   databases are being asked
    DELAYED   it failed; the client is told a little later, so that guessing is slow
    ACCEPTED  it succeeded and waits to be claimed, once and within CLAIM_SECONDS, by a mail process
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol, TypeVar

from dovecotpy import clock
from dovecotpy.auth.chain import PassChain, UserChain, UserFound, Verdict
from dovecotpy.auth.jobs import Job, Work
from dovecotpy.auth.loop import Loop, Timer
from dovecotpy.auth.mechanisms import MECHANISMS
from dovecotpy.auth.mechanisms.base import Credentials, Mechanism
from dovecotpy.auth.names import NameRefused, NameRules
from dovecotpy.auth.report import Report
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result
from dovecotpy.ipc import authclient
from dovecotpy.ipc.authclient import AuthProtocolError

if TYPE_CHECKING:
    from dovecotpy.auth.client import ClientSession

CLAIM_SECONDS = 210.0
"""After this a successful request that nobody claimed is forgotten, and one whose challenge nobody answered: the login is long over."""
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

    __slots__ = ("id", "mechanism", "owner", "request", "since", "state", "timer")

    def __init__(self, owner: ClientSession, id: int, request: Request, mechanism: Mechanism) -> None:
        self.owner: ClientSession | None = owner
        self.id = id
        self.request = request
        self.mechanism = mechanism
        self.state = State.CONTINUE
        self.since = clock.monotonic()
        """when the client had its say, or when it was accepted"""
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
        self._sessions: set[ClientSession] = set()
        self._claimable: dict[int, ClientSession] = {}
        self._unanswered: dict[str, int] = {}
        self._connections = 0
        loop.later(CLAIM_CHECK_SECONDS, self._expire)

    # ---- connections ----

    def join(self, session: ClientSession) -> int:
        """A new client connection; its number."""
        self._sessions.add(session)
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
        self._sessions.discard(session)
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
        if address and self._unanswered.get(address, 0) >= MAX_OF_ADDRESS:
            text = f"Too many unanswered authentication requests of {address} (limit {MAX_OF_ADDRESS})"
            self.report.lasting(text + " - see login_trusted_networks")
            return False
        return True

    def begin(self, pending: Pending) -> None:
        """A request counts from now until `end`."""
        address = self._counted(pending.request)
        if address:
            self._unanswered[address] = self._unanswered.get(address, 0) + 1

    def end(self, pending: Pending) -> None:
        """A request is answered or given up."""
        address = self._counted(pending.request)
        if not address:
            return
        left = self._unanswered.get(address, 0) - 1
        if left > 0:
            self._unanswered[address] = left
        else:
            self._unanswered.pop(address, None)

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

    def delay(self, request: Request, since: float) -> float:
        """Seconds until a failure is told. since: when the client had its say, so that what it cost to decide is not seen."""
        if "nodelay" in request.fields or not self.policy.failure_delay:
            return 0.0
        chance = int.from_bytes(os.urandom(2), "big") / 65536
        return max(0.0, since + self.policy.failure_delay + chance * JITTER_SECONDS - clock.monotonic())

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
        for session in self._sessions:
            session.forget_old(limit)
        self._loop.later(CLAIM_CHECK_SECONDS, self._expire)
