"""One client of a login process, from accept to its end or to the hand-over: the runner of a session before login."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Concatenate, ParamSpec

from dovecotpy.ipc import handover
from dovecotpy.ipc.authclient import Ok
from dovecotpy.ipc.handover import Accepted, Denied, HandOver
from dovecotpy.log import client as log_client
from dovecotpy.login import session as sessions
from dovecotpy.login.asking import Asking
from dovecotpy.login.authlink import Question
from dovecotpy.login.connection import GONE, IN, OUT, Connection
from dovecotpy.login.keeper import Keeper
from dovecotpy.login.logline import line_values, transport_of
from dovecotpy.login.luggage import Luggage
from dovecotpy.login.proxy import Proxy
from dovecotpy.login.session import Peer
from dovecotpy.login.stream import StreamLost

if TYPE_CHECKING:
    pass

LOGIN_TIME = 180.0
"""Seconds from accept within which a client must be logged in."""
HANDSHAKE_TIME = 60.0
"""Seconds for a TLS handshake."""
SLOW_AUTH = 30.0
"""Seconds after which a client is told that it waits for the auth process."""
FAREWELL_TIME = 10.0
"""Seconds that a client has to take the last words."""

_TEMPORARY: Mapping[str, str] = {"temp": ""}

_HANDSHAKE = 0
_WAITING = 1
_TALKING = 2
_STARTING_TLS = 3
_DEPARTING = 4
_LEAVING = 5
_PROXYING = 6
_FAREWELL = 7
_CLOSED = 8

P = ParamSpec("P")


def _contained(method: Callable[Concatenate[Client, P], None]) -> Callable[Concatenate[Client, P], None]:
    """A fault of ours in serving a client is a line in the log and ends that client alone."""

    def call(client: Client, /, *args: P.args, **kwargs: P.kwargs) -> None:
        try:
            method(client, *args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other clients go on
            client.fault(error)

    call.__doc__ = method.__doc__
    return call


class Client(Connection):
    """One connection. tls: TLS begins before the first word (imaps)."""

    __slots__ = (
        "id",
        "session",
        "_state",
        "_born",
        "_since",
        "_told",
        "_starved",
        "_counted_tls",
        "_tls_error",
        "_asking",
        "_tag",
        "_luggage",
        "_proxy",
        "_mail_pid",
        "_logged",
    )

    def __init__(self, keeper: Keeper, sock: socket.socket, peer: Peer, *, tls: bool) -> None:
        super().__init__(keeper, sock)
        self.id = keeper.next_session()
        self.session = keeper.make_session(keeper.policy, keeper.offer, peer)
        self._state = _WAITING
        self._born = self._since = keeper.now()
        self._told = False
        self._starved = True
        self._counted_tls = tls
        self._tls_error = ""
        self._asking = Asking(self, keeper.auths)
        self._tag = ""
        self._luggage = Luggage()
        self._proxy: Proxy | None = None
        self._mail_pid = 0
        self._logged = False

    # What the worker calls.

    @_contained
    def begin(self) -> None:
        """Greet the client, or wait for its handshake."""
        if self._counted_tls:
            self._begin_tls()
        else:
            self._greet()

    @_contained
    def auth_ready(self) -> None:
        """An auth process can be asked: who waited for that is greeted."""
        if self._state == _WAITING:
            self._greet()

    @property
    def yields(self) -> bool:
        """Whether it may be ended for another's sake: not while a mail process is about to take it."""
        return self._state < _DEPARTING

    @property
    def restless(self) -> bool:
        """Whether `tick` must be called."""
        return self._state != _PROXYING or (self._proxy is not None and self._proxy.restless)

    @property
    def proxying(self) -> bool:
        """Whether it is logged in."""
        return self._state == _PROXYING

    @_contained
    def drop(self, reason: str) -> None:
        """End it for the server's sake, without a word to the client."""
        if self.yields:
            self.session.end(reason)
            self._proceed()

    @_contained
    def tick(self, now: float) -> None:
        """Look at the deadlines. now: monotonic seconds."""
        if self._proxy is not None:
            self._proxy.tick(now)
        elif self._state == _FAREWELL:
            if now - self._since >= FAREWELL_TIME:
                self._close()
        elif self.yields:
            self._tick_before_login(now)

    def _tick_before_login(self, now: float) -> None:
        if now - self._born >= LOGIN_TIME:
            talks = self._state == _TALKING
            self.session.end("Inactivity", "Disconnected for inactivity." if talks else "")
            self._proceed()
        elif self._state == _HANDSHAKE:
            if now - self._since >= HANDSHAKE_TIME:
                self.session.end("Inactivity")
                self._proceed()
        elif now - self._since >= SLOW_AUTH and not self._told and self._awaits_auth():
            self._told = True
            self.session.waiting()
            self._write()

    def _awaits_auth(self) -> bool:
        return self._state == _WAITING or self._asking.request is not None and self.session.busy

    def fault(self, error: Exception) -> None:
        """A fault of ours: log it, end this client, and it alone."""
        keeper = self._keeper
        log_client.traceback(
            keeper.log,
            error,
            user=self.session.user,
            session=self.id,
            address=self.session.peer.remote_address,
        )
        try:
            self._close()
        except Exception as second:  # noqa: BLE001 - the same, in cleaning up
            log_client.traceback(keeper.log, second, session=self.id)

    # What the auth process answers.

    @_contained
    def auth_challenged(self, data: bytes) -> None:
        """See authlink.Asker."""
        if self._state != _TALKING:
            return
        self.session.challenged(data)
        self._proceed()

    @_contained
    def auth_succeeded(self, event: Ok) -> None:
        """See authlink.Asker."""
        if self._state != _TALKING:
            return
        self.session.succeeded(event.user, event.fields, event.resp)
        self._proceed()

    @_contained
    def auth_failed(self, user: str, fields: Mapping[str, str]) -> None:
        """See authlink.Asker. A plaintext password is tried with the next auth section, where there is one."""
        if self._state != _TALKING:
            self._asking.forget()
            return
        if self._asking.ask_next():
            return
        self.session.failed(user, fields)
        self._proceed()

    # What the mail queue asks and tells.

    def message(self) -> bytes:
        """See mailqueue.Passenger."""
        if self._luggage.message is None:
            self._luggage.message = handover.encode(self._hand_over())
        return self._luggage.message

    def descriptor(self) -> int:
        """See mailqueue.Passenger."""
        return self._socket.fileno() if self._tls is None else self._luggage.plaintext_end()

    def departed(self) -> None:
        """See mailqueue.Passenger."""
        self._luggage.departed()

    @_contained
    def answered(self, answer: Accepted | Denied) -> None:
        """See mailqueue.Passenger."""
        if self._state != _LEAVING:
            return
        self._luggage.departed()
        if isinstance(answer, Accepted):
            self._mail_pid = answer.pid
            self._let_go()
            return
        self._luggage.unload()
        self._state = _TALKING
        self.session.refused(answer)
        self._proceed()

    # The client's socket.

    @_contained
    def _ready(self, events: int, now: float) -> None:
        if self._state == _TALKING:
            self._talk(events)
        elif self._state == _HANDSHAKE:
            self._shake()
        elif self._state in (_STARTING_TLS, _DEPARTING, _FAREWELL):
            self._proceed()
        elif events & GONE:
            self._lost("")
        else:
            self._watch(0)

    def _talk(self, events: int) -> None:
        if self._pending:
            self._proceed()
        elif self.session.busy:
            if events & GONE:
                self._lost("")
            else:
                self._watch(0)
        elif self._starved:
            self._receive()
        else:
            self._proceed()

    def _receive(self) -> None:
        try:
            data = None if self._ended else self._stream.receive()
        except StreamLost as error:
            self._lost(str(error))
            return
        if data:
            self.session.feed(data)
        elif data is not None:
            self._ended = True
        self._proceed()

    def _proceed(self) -> None:
        """Do what the session wants, write what it says, watch for what is needed next."""
        session = self.session
        self._starved = False
        if self._pending:
            self._write()
        while not self._pending or session.finished:
            action = session.act()
            if action is None and session.full:
                self._write()
                continue
            if action is None:
                self._starved = True
                break
            self._do(action)
            if self._state == _CLOSED:
                return
            if session.full:
                self._write()
        if self._state == _CLOSED:
            return
        self._write()
        if self._pending or self._state == _CLOSED:
            return
        if self._state == _FAREWELL:
            self._close()
        elif self._state == _STARTING_TLS:
            self._begin_tls()
        elif self._state == _DEPARTING:
            self._leave()
        elif self._state == _TALKING:
            self._await_input()

    def _await_input(self) -> None:
        if self.session.busy:
            if self._watched is None:
                self._watch(0)
        elif self._ended:
            self.session.disconnected()
            self._proceed()
        else:
            self._watch(IN | (OUT if self._stream.wants_write else 0))

    def _do(self, action: sessions.Action) -> None:
        if isinstance(action, sessions.Attempt):
            self._ask(action)
        elif isinstance(action, sessions.HandOver):
            self._tag = action.tag
            self._asking.succeeded()
            self._state = _DEPARTING
        elif isinstance(action, sessions.Note):
            self._say(action.text)
        elif isinstance(action, sessions.Respond):
            self._since = self._keeper.now()
            self._asking.respond(action.data)
        elif isinstance(action, sessions.Cancel):
            self._asking.cancel()
        elif isinstance(action, sessions.StartTls):
            self._state = _STARTING_TLS
        else:
            self._finish(action.message)

    def _write(self) -> None:
        """Write what waits and what the session says; watch for room when there is none."""
        data = self._pending + self.session.take_output() if self._pending else self.session.take_output()
        try:
            self._send(data)
        except StreamLost as error:
            self._pending = b""
            self._lost(str(error))

    # The steps of its life.

    def _greet(self) -> None:
        if not self._keeper.auths.ready:
            self._state = _WAITING
            self._watch(0)
            return
        self._state = _TALKING
        self.session.start()
        self._proceed()

    def _begin_tls(self) -> None:
        contexts = self._keeper.contexts
        if contexts is None:
            self.session.end("TLS initialization failed.", "TLS initialization failed.")
            self._state = _TALKING
            self._proceed()
            return
        self._stream = self._tls = contexts.stream(self._socket, self.session.peer.remote_address)
        self._since = self._keeper.now()
        if not self._counted_tls:
            self._counted_tls = True
            self._keeper.client_secured(self)
        self._state = _HANDSHAKE
        self._watch(IN)

    def _shake(self) -> None:
        assert self._tls is not None
        try:
            done = self._tls.handshake()
        except StreamLost as error:
            if str(error):
                self._tls_error = f": SSL_accept() failed: {error}"
            self._lost("")
            return
        if not done:
            self._watch(OUT if self._stream.wants_write else IN)
            return
        greeted = self.session.busy
        self.session.secured_by_tls()
        if greeted:
            self._state = _TALKING
            self._proceed()
        else:
            self._greet()

    def _ask(self, attempt: sessions.Attempt) -> None:
        peer, keeper = self.session.peer, self._keeper
        valid, user = self._certificate()
        question = Question(
            attempt.mechanism,
            self.session.policy.service,
            self.session.secured,
            peer.local_address,
            peer.remote_address,
            peer.local_port,
            peer.remote_port,
            valid,
            user,
            self.id,
            attempt.initial,
        )
        self._since = keeper.now()
        self._told = False
        if not self._asking.ask(question):
            self.session.failed("", _TEMPORARY)

    def _leave(self) -> None:
        """Everything is written that is due before the mail process speaks: hand the client over."""
        self._state = _LEAVING
        self._unwatch()
        self._keeper.queue.submit(self)

    def _hand_over(self) -> HandOver:
        session, peer, request = self.session, self.session.peer, self._asking.request
        assert request is not None
        return HandOver(
            session.policy.service,
            request.name,
            request.pid,
            request.id,
            peer.local_address,
            peer.remote_address,
            peer.local_port,
            peer.remote_port,
            "TLS" if session.tls else "secured" if session.local else "",
            self._tls is not None,
            self.id,
            self._tag,
            session.take_input(),
        )

    def _let_go(self) -> None:
        """A mail process has the client: nothing is written to it here any more but what comes out of the mail process."""
        self._say("Login")
        self._logged = True
        self._asking.forget()
        inner = self._luggage.take_inner()
        if inner is None:
            self._state = _CLOSED
            self._socket.close()
            self._keeper.client_logged_in(self, tls=False)
            return
        self._state = _PROXYING
        keeper = self._keeper
        self._proxy = Proxy(
            keeper.poller, self._stream, self._socket.fileno(), inner, self._proxy_over, keeper.now()
        )
        keeper.client_logged_in(self, tls=True)

    def _proxy_over(self) -> None:
        self._state = _CLOSED
        self._proxy = None
        self._keeper.proxy_ended(self)

    def _lost(self, why: str) -> None:
        """The client's connection is gone."""
        if self._state == _FAREWELL:
            self._close()
            return
        if self._state == _CLOSED:
            return
        self._pending = b""
        self.session.disconnected()
        while (action := self.session.act()) is not None:
            if isinstance(action, (sessions.Finish, sessions.Note, sessions.Cancel)):
                self._do(action)
        self._close()

    def _finish(self, message: str) -> None:
        self._asking.cancel()
        if not self._logged:
            self._logged = True
            self._say(message)
        if self._state not in (_FAREWELL, _CLOSED):
            self._state = _FAREWELL
            self._since = self._keeper.now()

    def _close(self) -> None:
        if self._state == _CLOSED:
            return
        if self._proxy is not None:
            self._proxy.close()
            return
        self._state = _CLOSED
        self._asking.cancel()
        self._unwatch()
        self._luggage.unload()
        self._discard_input()
        self._stream.close()
        self._keeper.client_ended(self, tls=self._counted_tls)

    def _say(self, message: str) -> None:
        keeper, session = self._keeper, self.session
        security, cipher = transport_of(session, self._tls, self._tls_error, keeper.format)
        values = line_values(session.policy.service, session.user, session.mechanism, session.peer)
        values |= {"p": str(keeper.pid), "c": security, "k": cipher, "e": str(self._mail_pid or "")}
        line = keeper.format.line(message, values)
        keeper.log.info(line, user=session.user, session=self.id, address=session.peer.remote_address)
