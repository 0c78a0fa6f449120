"""A login worker: one thread, one epoll, the clients of one process."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy import clock
from dovecotpy.ipc import control
from dovecotpy.ipc.control import Verb
from dovecotpy.log import client as log_client
from dovecotpy.log.client import Log
from dovecotpy.login.authlink import AuthLinks
from dovecotpy.login.client import Client
from dovecotpy.login.keeper import Keeper
from dovecotpy.login.logline import LogFormat
from dovecotpy.login.mailqueue import MailQueue
from dovecotpy.login.occupancy import Occupancy
from dovecotpy.login.policy import Offer, Policy
from dovecotpy.login.poller import Poller, Ready
from dovecotpy.login.session import LoginSession, Peer

if TYPE_CHECKING:
    from dovecotpy.login.tls import Contexts

TICK = 1.0
"""Seconds between two looks at the deadlines."""
PAUSE = 1.0
"""Seconds without accepting after the descriptors or the memory of the machine ran out."""
MAPPED = "::ffff:"

_PEEKED = 64
"""Octets of a word of the master that are looked at ahead: more than the longest that matters."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_LISTEN = select.EPOLLIN | select.EPOLLEXCLUSIVE


class Listener(NamedTuple):
    """A listening socket of the master's. tls: TLS begins before the first word."""

    socket: socket.socket
    tls: bool


class Service(NamedTuple):
    """What a fork server prepared for its workers."""

    policy: Policy
    contexts: Contexts | None
    format: LogFormat
    auth_names: tuple[str, ...]
    maximum: int
    single: bool
    """one process for each connection"""
    titles: bool
    """verbose_proctitle"""
    certificate_field: str
    make_session: Callable[[Policy, Offer, Peer], LoginSession]


class Worker(Keeper):
    """One login process, from its birth to its end. set_title: shows what it holds, called only where the service wants titles."""

    def __init__(
        self,
        service: Service,
        channel: socket.socket,
        listeners: Sequence[Listener],
        log: Log,
        *,
        set_title: Callable[[str], None],
        monotonic: Callable[[], float] = clock.monotonic,
    ) -> None:
        self.policy = service.policy
        self.offer = Offer()
        self.contexts = service.contexts
        self.poller = Poller()
        self.log = log
        self.format = service.format
        self.certificate_field = service.certificate_field
        self.pid = os.getpid()
        self.make_session = service.make_session
        self.auths = AuthLinks(service.auth_names, self.pid, self.poller, self._auth_lost, self._auth_changed)
        self.queue = MailQueue(f"mail/{service.policy.service}", self.poller)
        self._service = service
        self._channel = channel
        self._listeners = list(listeners)
        self._set_title = set_title
        self._monotonic = monotonic
        self._occupancy = Occupancy(service.maximum, single=service.single)
        self._clients: dict[Client, None] = {}
        self._session_prefix = f"{int(clock.now()):x}-{self.pid:x}-"
        self._session_count = 0
        self._gone = False
        self._ending = False
        self._served = False
        self._watching = False
        self._started = False
        self._paused_until = 0.0
        self._next_tick = 0.0

    # The loop.

    def run(self) -> int:
        """Serve until there is nothing left to serve; the exit status."""
        self.start()
        while not self.finished:
            self.step(self._patience())
        self.close()
        return 0

    def start(self) -> None:
        """Listen to the master, connect to auth. Clients are accepted after the master's GO."""
        self.poller.add(self._channel.fileno(), select.EPOLLIN, self._control_ready)
        self.auths.tick(self.now())

    def close(self) -> None:
        """Let go of everything but clients, of whom there are none left when it has finished."""
        self.auths.close()
        self.queue.close()
        self.poller.close()

    def step(self, seconds: float | None) -> None:
        """Wait for something to happen, at most so long, and do it."""
        events = self.poller.wait(seconds)
        now = self.now()
        for descriptor, what in events:
            ready = self.poller.find(descriptor)
            if ready is None:
                continue
            try:
                ready(what, now)
            except Exception as error:  # noqa: BLE001 - whatever it is, the clients go on
                log_client.traceback(self.log, error)
        if now >= self._next_tick:
            self._tick(now)
        self._settle()

    def _patience(self) -> float | None:
        """Seconds until somebody must be looked after, None if nobody must."""
        restless = self._occupancy.prelogin or self._paused_until or not self.auths.connected
        if restless or any(client.restless for client in self._clients):
            return TICK
        return None

    @property
    def finished(self) -> bool:
        """There is nothing left to serve, and nothing will come."""
        if self._clients:
            return False
        return self._ending or (self._service.single and self._served)

    def _tick(self, now: float) -> None:
        self._next_tick = now + TICK
        self.auths.tick(now)
        for client in list(self._clients):
            if client.restless:
                client.tick(now)
        if self._paused_until and now >= self._paused_until:
            self._paused_until = 0.0

    def _settle(self) -> None:
        """Listen or not, tell the master, show it in the title."""
        if not self._started:
            return
        if self._watching != self._wants_clients():
            self._listen(not self._watching)
        report = self._occupancy.report()
        if report is not None and not self._gone:
            self._tell(report.state, report.prelogin, report.proxying)

    def _tell(self, *values: int) -> None:
        try:
            control.send(self._channel, Verb.STATE, *values)
        except OSError:
            self._master_gone()

    @property
    def clients(self) -> int:
        """Clients of every kind that it holds."""
        return len(self._clients)

    # Keeper.

    def now(self) -> float:
        """See Keeper."""
        return self._monotonic()

    def next_session(self) -> str:
        """See Keeper."""
        self._session_count += 1
        return f"{self._session_prefix}{self._session_count:x}"

    def client_secured(self, client: Client) -> None:
        """See Keeper."""
        self._occupancy.secured()
        self._show(client)

    def client_logged_in(self, client: Client, *, tls: bool) -> None:
        """See Keeper."""
        self._occupancy.logged_in(tls=tls)
        if not tls:
            self._clients.pop(client, None)
        self._show(client)

    def client_ended(self, client: Client, *, tls: bool) -> None:
        """See Keeper."""
        self._clients.pop(client, None)
        self._occupancy.ended(tls=tls)
        self._show(None)

    def proxy_ended(self, client: Client) -> None:
        """See Keeper."""
        self._clients.pop(client, None)
        self._occupancy.proxy_ended()
        self._show(None)

    def _show(self, client: Client | None) -> None:
        if not self._service.titles:
            return
        name = f"{self.policy.service}-login"
        if self._service.single:
            if client is not None:
                tls = " TLS" if self._occupancy.tls else ""
                self._set_title(f"{name} [{client.session.peer.remote_address}{tls}]")
            return
        count, tls_count = self._occupancy.clients, self._occupancy.tls
        connections = f"{count} connection{'' if count == 1 else 's'}"
        self._set_title(f"{name} [{connections} ({tls_count} TLS)]")

    def _auth_lost(self, text: str) -> None:
        """That auth goes is no error when everything ends: its end and the master's word of it may be noticed in either order."""
        over = self._gone or (self._ending and not self._occupancy.prelogin)
        if not over and not self._is_told_to_end():
            self.log.error(text)

    def _is_told_to_end(self) -> bool:
        """Whether the master has gone, or the next that it says is to end."""
        try:
            word = self._channel.recv(_PEEKED, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return word in (b"", Verb.RETIRE.value.encode(), Verb.DROP.value.encode())

    def _auth_changed(self) -> None:
        self.offer.update(self.auths.mechanisms())
        if self.auths.ready:
            for client in list(self._clients):
                client.auth_ready()

    # The master.

    def _control_ready(self, events: int, now: float) -> None:
        try:
            message = control.receive(self._channel, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            message = None
        if message is None:
            self._master_gone()
            return
        for descriptor in message.descriptors:
            os.close(descriptor)
        if message.verb is Verb.GO:
            self._started = True
        elif message.verb is Verb.LISTEN:
            self._occupancy.listen_although_full()
        elif message.verb is Verb.RETIRE:
            self._retire()
        elif message.verb is Verb.DROP:
            self._retire()
            self._drop_all()

    def _retire(self) -> None:
        self._ending = True
        self._occupancy.close()

    def _drop_all(self) -> None:
        for client in list(self._clients):
            client.drop("Shutting down")

    def _master_gone(self) -> None:
        """Without its master a process takes nobody; those who are logged in go on."""
        if not self._gone:
            self._gone = True
            self.poller.remove(self._channel.fileno())
            self._retire()
            self._drop_all()

    # New clients.

    def _wants_clients(self) -> bool:
        return self._occupancy.listening and not self._paused_until

    def _listen(self, wanted: bool) -> None:
        self._watching = wanted
        for listener in self._listeners:
            if wanted:
                self.poller.add(listener.socket.fileno(), _LISTEN, self._visitor(listener))
            else:
                self.poller.remove(listener.socket.fileno())
        if self._service.single and not wanted and not self._paused_until:
            self._close_listeners()

    def _visitor(self, listener: Listener) -> Ready:
        def ready(events: int, now: float) -> None:
            self._accept(listener, now)

        return ready

    def _close_listeners(self) -> None:
        for listener in self._listeners:
            listener.socket.close()
        self._listeners.clear()

    def _accept(self, listener: Listener, now: float) -> None:
        if not self._wants_clients():
            return
        try:
            sock, address = listener.socket.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            self._cannot_accept(listener, error, now)
            return
        try:
            peer = _peer(sock, address)
        except OSError:
            sock.close()
            return
        self.take(sock, peer, tls=listener.tls)
        if self._occupancy.listening:
            # behind the other processes in the kernel's list of who is woken next
            self.poller.again(listener.socket.fileno(), _LISTEN)

    def take(self, sock: socket.socket, peer: Peer, *, tls: bool) -> None:
        """A client has come. tls: TLS begins before the first word."""
        self._make_room(self._occupancy.victims())
        self._occupancy.accepted(tls=tls)
        self._served = True
        client = Client(self, sock, peer, tls=tls)
        self._clients[client] = None
        self._show(client)
        client.begin()

    def _make_room(self, count: int) -> None:
        """The oldest clients that are not logged in give way."""
        for client in list(self._clients):
            if count <= 0:
                return
            if client.yields:
                client.drop("Connection queue full")
                count -= 1

    def _cannot_accept(self, listener: Listener, error: OSError, now: float) -> None:
        if error.errno in _EXHAUSTED:
            self._paused_until = now + PAUSE
            self.log.error(f"accept() failed: {error.strerror}")
        else:
            self.poller.remove(listener.socket.fileno())
            self._listeners.remove(listener)
            self.log.error(f"accept() failed, listener given up: {error.strerror}")


def _peer(sock: socket.socket, address: tuple[str, int]) -> Peer:
    local = sock.getsockname()
    return Peer(_plain(local[0]), local[1], _plain(address[0]), address[1])


def _plain(address: str) -> str:
    """An address as people write it: no IPv4 address in IPv6 clothes, no zone."""
    if address.startswith(MAPPED) and "." in address:
        address = address[len(MAPPED) :]
    return address.partition("%")[0]
