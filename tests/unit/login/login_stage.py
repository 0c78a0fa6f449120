"""A stage for login workers: a scripted auth process and a mail process that take their parts in the test's own thread."""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from typing import Any

from dovecotpy.config.values import Settings, Value
from dovecotpy.ipc import control, fdpass, handover, record
from dovecotpy.ipc.authclient import AuthServerConnection, Cancel, ClientHello, Mechanism, Request, Response
from dovecotpy.ipc.handover import Accepted, Denied, HandOver
from dovecotpy.log.client import Log
from dovecotpy.login import policy
from dovecotpy.login.imap import ImapLogin
from dovecotpy.login.logline import LogFormat
from dovecotpy.login.tls import Contexts
from dovecotpy.login.worker import Listener, Service, Worker
from tests.unit.login.login_certificates import Pair

PLAIN = Mechanism("PLAIN", frozenset({"plaintext"}))
LOGIN = Mechanism("LOGIN", frozenset({"plaintext"}))
SCRAM = Mechanism("SCRAM-SHA-256", frozenset({"mutual-auth"}))

DEFAULTS: dict[str, Value] = {
    "protocol": "imap",
    "login_greeting": "Dovecot ready.",
    "login_greeting_capability": True,
    "imap_capability": "",
    "imap_disabled_extensions": (),
    "disable_plaintext_auth": True,
    "ssl": "no",
    "ssl_min_protocol": "TLSv1.2",
    "ssl_cipher_list": "",
    "ssl_cert_file": "",
    "ssl_key_file": "",
    "ssl_key_password": "",
    "ssl_ca_file": "",
    "ssl_verify_client_cert": False,
    "ssl_cert_username_field": "commonName",
    "verbose_ssl": False,
    "verbose_proctitle": False,
    "imap_id_send": (),
    "imap_id_log": (),
    "login_trusted_networks": (),
    "login_log_format_elements": "user=<%u> method=%m rip=%r lip=%l %c",
    "login_log_format": "%$: %s",
    "login_max_connections": 256,
    "login_process_per_connection": False,
    "login_process_size": 64,
    "login_dir": ".",
    "login_user": "nobody",
    "login_chroot": True,
}


def settings(**changes: Value) -> Settings:
    """The settings of a login process, with some changed."""
    return Settings({**DEFAULTS, **changes})


class Clock:
    """A monotonic clock that the test moves."""

    def __init__(self) -> None:
        self.value = 1000.0

    def __call__(self) -> float:
        return self.value


class FakeAuth:
    """An auth process: knows `users`, and does what the test sets."""

    def __init__(self, path: str = "default", pid: int = 4242) -> None:
        self.users = {"demo": "demo"}
        self.fields: dict[str, dict[str, str]] = {}
        """extra fields of the OK of a user"""
        self.failures: dict[str, dict[str, str]] = {}
        """fields of the FAIL of a user"""
        self.mechanisms = [PLAIN, LOGIN]
        self.silent = False
        """no request is answered"""
        self.mute = False
        """no handshake is sent"""
        self.requests: list[Request] = []
        self.cancelled: list[int] = []
        self.hellos: list[int] = []
        self.pid = pid
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(16)
        self._listener.setblocking(False)
        self._peers: dict[socket.socket, AuthServerConnection] = {}
        self._half: dict[int, bytes] = {}

    def pump(self) -> None:
        """Do what is due."""
        with contextlib.suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            self._peers[sock] = AuthServerConnection()
            if not self.mute:
                sock.send(AuthServerConnection.hello(self.mechanisms, self.pid, 1, "00"))
        for sock, connection in list(self._peers.items()):
            self._serve(sock, connection)

    def drop(self) -> None:
        """Lose every connection."""
        for sock in self._peers:
            sock.close()
        self._peers.clear()

    def close(self) -> None:
        self.drop()
        self._listener.close()
        os.unlink(self.path)

    def _serve(self, sock: socket.socket, connection: AuthServerConnection) -> None:
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            sock.close()
            del self._peers[sock]
            return
        for event in connection.feed(data):
            if isinstance(event, ClientHello):
                self.hellos.append(event.pid)
            elif isinstance(event, Request):
                self.requests.append(event)
                self._answer(sock, event)
            elif isinstance(event, Response):
                self._respond(sock, event)
            elif isinstance(event, Cancel):
                self.cancelled.append(event.id)

    def _answer(self, sock: socket.socket, request: Request) -> None:
        if self.silent:
            return
        if request.mechanism == "PLAIN" and request.resp is not None:
            self._decide(sock, request.id, request.resp)
        elif request.mechanism == "LOGIN":
            sock.send(AuthServerConnection.challenge(request.id, b"Username:"))
        elif request.mechanism == "SCRAM-SHA-256":
            sock.send(AuthServerConnection.ok(request.id, "demo", {}, b"v=signature"))
        else:
            sock.send(AuthServerConnection.challenge(request.id, b""))

    def _respond(self, sock: socket.socket, event: Response) -> None:
        request = next(request for request in self.requests if request.id == event.id)
        if request.mechanism == "LOGIN":
            if event.id not in self._half:
                self._half[event.id] = event.data
                sock.send(AuthServerConnection.challenge(event.id, b"Password:"))
                return
            self._decide(sock, event.id, b"\0" + self._half.pop(event.id) + b"\0" + event.data)
        else:
            self._decide(sock, event.id, event.data)

    def _decide(self, sock: socket.socket, number: int, resp: bytes) -> None:
        _, user, password = (resp.decode("utf-8", "replace").split("\0") + ["", ""])[:3]
        if user not in self.failures and self.users.get(user) == password:
            sock.send(AuthServerConnection.ok(number, user, self.fields.get(user, {})))
        else:
            sock.send(AuthServerConnection.fail(number, user, self.failures.get(user, {})))


class FakeMail:
    """A mail process: takes hand-overs, and says the OK or does what the test sets."""

    def __init__(self) -> None:
        os.makedirs("mail", exist_ok=True)
        self.queue = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.queue.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.queue.bind("mail/imap")
        self.answer: Accepted | Denied | None = Accepted(777)
        """None: the taker dies"""
        self.absent = False
        """nobody takes"""
        self.taken: list[HandOver] = []
        self.senders: list[int] = []
        self.sessions: list[socket.socket] = []

    def pump(self) -> None:
        if self.absent:
            return
        try:
            packet = fdpass.receive(self.queue, handover.MAX_PACKET, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        assert packet.credentials is not None
        assert len(packet.descriptors) == handover.DESCRIPTORS
        message = handover.decode(packet.data)
        self.taken.append(message)
        self.senders.append(packet.credentials.pid)
        client = socket.socket(fileno=packet.descriptors[0])
        reply = socket.socket(fileno=packet.descriptors[1])
        with reply:
            if self.answer is None:
                client.close()
                return
            reply.send(handover.encode_answer(self.answer))
        if isinstance(self.answer, Denied):
            client.close()
            return
        client.setblocking(False)
        client.send(message.tag.encode() + b" OK Logged in.\r\n")
        self.sessions.append(client)

    def close(self) -> None:
        for sock in self.sessions:
            sock.close()
        self.queue.close()
        os.unlink("mail/imap")


class Caller:
    """A client: non-blocking, pumped by the stage."""

    def __init__(self, stage: Stage, sock: socket.socket) -> None:
        self.stage = stage
        self.socket = sock
        self.received = b""
        self.closed = False
        sock.setblocking(False)

    def send(self, data: bytes) -> None:
        """Send everything, letting the others play."""
        view = memoryview(data)

        def sent() -> bool:
            nonlocal view
            with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                while view:
                    view = view[self.socket.send(view) :]
            return not view

        self.stage.until(sent)

    def pump(self) -> None:
        while not self.closed:
            try:
                data = self.socket.recv(65536)
            except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except (ConnectionError, ssl.SSLError):
                data = b""
            self.received += data
            self.closed = not data

    def expect(self, what: bytes) -> bytes:
        """Wait until it was received; everything up to it is taken out and returned."""

        def there() -> bool:
            self.pump()
            return what in self.received or self.closed

        self.stage.until(there)
        assert what in self.received, (what, self.received)
        end = self.received.index(what) + len(what)
        found, self.received = self.received[:end], self.received[end:]
        return found

    def say(self, line: bytes, answer: bytes) -> bytes:
        """Send a line, wait for an answer."""
        self.send(line + b"\r\n")
        return self.expect(answer)

    def expect_end(self) -> bytes:
        """Wait until the server has closed; what was received by then."""

        def ended() -> bool:
            self.pump()
            return self.closed

        self.stage.until(ended)
        return self.received

    def secure(self, context: ssl.SSLContext | None = None) -> None:
        """Begin TLS."""
        context = context or client_context()
        self.socket = context.wrap_socket(
            self.socket, do_handshake_on_connect=False, suppress_ragged_eofs=True
        )

        def done() -> bool:
            try:
                self.socket.do_handshake()  # type: ignore[attr-defined]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return False
            return True

        self.stage.until(done)

    def reset(self) -> None:
        """Go without a goodbye."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()
        self.closed = True

    def close(self) -> None:
        self.socket.close()
        self.closed = True


class Stage:
    """A worker with everybody it talks to. It must be made in a directory of its own: socket paths are relative."""

    def __init__(
        self, contexts: Contexts | None = None, auths: tuple[str, ...] = ("default",), **changes: Any
    ) -> None:
        verbose = changes.pop("auth_verbose", False)
        certificate_field = changes.pop("certificate_field", "")
        given = settings(**changes)
        self.clock = Clock()
        self.auths = {name: FakeAuth(name, 4242 + index) for index, name in enumerate(auths)}
        self.auth = self.auths[auths[0]]
        self.mail = FakeMail()
        self.master, channel = fdpass.pair()
        self._records, log_end = fdpass.pair()
        self.master.setblocking(False)
        self._records.setblocking(False)
        self.listener = _listener()
        self.tls_listener = _listener()
        self.titles: list[str] = []
        self.states: list[tuple[int, ...]] = []
        self.lines: list[str] = []
        self._callers: list[Caller] = []
        self._log_end = log_end
        self._channel = channel
        service = Service(
            policy.from_settings(given, verbose=verbose),
            contexts,
            LogFormat(given.text("login_log_format_elements"), given.text("login_log_format")),
            auths,
            given.number("login_max_connections"),
            given.flag("login_process_per_connection"),
            given.flag("verbose_proctitle"),
            certificate_field,
            ImapLogin,
        )
        listeners = [Listener(self.listener.dup(), False), Listener(self.tls_listener.dup(), True)]
        for listener in listeners:
            listener.socket.setblocking(False)
        self._listeners = listeners
        self.worker = Worker(
            service, channel, listeners, Log(log_end), set_title=self.titles.append, monotonic=self.clock
        )
        self.worker.start()

    def go(self) -> Stage:
        """Let the worker begin, with its auth process connected."""
        self.tell(control.Verb.GO)
        self.until(lambda: bool(self.states) and self.worker.auths.connected)
        return self

    def tell(self, verb: control.Verb) -> None:
        """A word of the master's."""
        control.send(self.master, verb)

    def call(self, *, tls: bool = False, source: str = "127.0.0.2") -> Caller:
        """A new client; from another address than the server's, unless told otherwise."""
        listener = self.tls_listener if tls else self.listener
        sock = socket.create_connection(listener.getsockname(), source_address=(source, 0))
        caller = Caller(self, sock)
        self._callers.append(caller)
        return caller

    def step(self) -> None:
        """Everybody does what is due."""
        if not self.over:
            self.worker.step(0.001)
        for auth in self.auths.values():
            auth.pump()
        self.mail.pump()
        while (message := self._heard()) is not None:
            if message.verb is control.Verb.STATE:
                self.states.append(tuple(message.number(index) for index in range(3)))
        with contextlib.suppress(BlockingIOError):
            while data := self._records.recv(record.MAX_PACKET):
                self.lines += [each.text for each in record.decode(data)]

    def _heard(self) -> control.Message | None:
        try:
            return control.receive(self.master)
        except OSError:
            return None

    def until(self, done: Callable[[], bool], seconds: float = 10.0) -> None:
        """Play until something is so."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, ("nothing happened", self.lines, self.states)
            self.step()

    def rounds(self, count: int = 5) -> None:
        """Play for a while."""
        for _ in range(count):
            self.step()

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, in steps in which deadlines are looked at."""
        self.clock.value += seconds
        self.rounds(3)

    @property
    def over(self) -> bool:
        """The worker has ended."""
        return self.worker.finished

    def close(self) -> None:
        for caller in self._callers:
            caller.close()
        for auth in self.auths.values():
            auth.close()
        self.mail.close()
        self.worker.close()
        for listener in self._listeners:
            listener.socket.close()
        for sock in (
            self.master,
            self._channel,
            self._records,
            self._log_end,
            self.listener,
            self.tls_listener,
        ):
            sock.close()


@contextlib.contextmanager
def stage(contexts: Contexts | None = None, *, start: bool = True, **changes: Any) -> Iterator[Stage]:
    """A stage for one test."""
    made = Stage(contexts, **changes)
    try:
        yield made.go() if start else made
    finally:
        made.close()


def client_context() -> ssl.SSLContext:
    """TLS as a client speaks it, without looking at the certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def certified(pair: Pair | None) -> ssl.SSLContext:
    """TLS as a client speaks it that has a certificate."""
    context = client_context()
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return context


def _listener() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(64)
    return sock
