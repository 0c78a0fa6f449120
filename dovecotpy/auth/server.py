"""The sockets of the auth process: it accepts, reads, writes; what is said decides `service`."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable

from dovecotpy.auth.client import ClientSession
from dovecotpy.auth.loop import Loop, Stream
from dovecotpy.auth.master import MasterSession
from dovecotpy.auth.service import AuthService
from dovecotpy.ipc import fdpass
from dovecotpy.ipc.authclient import AuthProtocolError

ACCEPTS = 32
"""Connections taken at a time, so that those who are there are served meanwhile."""
NO_DESCRIPTORS_SECONDS = 1.0

Session = ClientSession | MasterSession
Start = Callable[[Callable[[bytes], None], socket.socket], Session]


class Server:
    """The listeners of one auth process and what came by them."""

    def __init__(self, loop: Loop, service: AuthService) -> None:
        self._loop = loop
        self._service = service
        self._client_listeners: list[socket.socket] = []
        self._master_listeners: list[socket.socket] = []
        self._clients: set[Stream] = set()
        self._masters: set[Stream] = set()
        self._retiring = False

    def listen_for_logins(self, listener: socket.socket) -> None:
        """The shared socket of the login processes: a client's pid must be the kernel's."""
        self._listen_for_clients(listener, must_prove_pid=True)

    def listen_for_clients(self, listener: socket.socket) -> None:
        """A socket of the administrator's, for Postfix and others; only a client that says its true pid can be claimed from."""
        self._listen_for_clients(listener, must_prove_pid=False)

    def _listen_for_clients(self, listener: socket.socket, *, must_prove_pid: bool) -> None:
        def start(send: Callable[[bytes], None], sock: socket.socket) -> Session:
            pid = fdpass.peer(sock).pid
            return ClientSession(
                self._service, send, pid, must_prove_pid=must_prove_pid, has_gone=lambda: _has_gone(sock)
            )

        self._client_listeners.append(listener)
        self._watch(listener, start, self._clients)

    def listen_for_masters(self, listener: socket.socket) -> None:
        """A master socket: mail processes and deliver."""

        def start(send: Callable[[bytes], None], sock: socket.socket) -> Session:
            return MasterSession(self._service, send)

        self._master_listeners.append(listener)
        self._watch(listener, start, self._masters)

    def retire(self) -> None:
        """Take no new clients; end when those that are there have gone."""
        self._retiring = True
        for listener in self._client_listeners:
            self._loop.forget(listener)
            listener.close()
        self._client_listeners.clear()
        self._look_at_end()

    def _look_at_end(self) -> None:
        if self._retiring and not self._clients and not self._masters:
            self._loop.stop()

    def _watch(self, listener: socket.socket, start: Start, streams: set[Stream]) -> None:
        listener.setblocking(False)
        self._loop.watch(listener, lambda events: self._accept(listener, start, streams))

    def _accept(self, listener: socket.socket, start: Start, streams: set[Stream]) -> None:
        for _ in range(ACCEPTS):
            try:
                sock, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    self._pause(listener, start, streams, error)
                return
            self._connected(sock, start, streams)

    def _pause(self, listener: socket.socket, start: Start, streams: set[Stream], error: OSError) -> None:
        self._service.report.lasting(f"accept() failed: {error.strerror}")
        self._loop.forget(listener)

        def resume() -> None:
            if listener.fileno() >= 0:
                self._watch(listener, start, streams)

        self._loop.later(NO_DESCRIPTORS_SECONDS, resume)

    def _connected(self, sock: socket.socket, start: Start, streams: set[Stream]) -> None:
        session: Session | None = None

        def feed(data: bytes) -> None:
            if session is None:
                return
            try:
                session.feed(data)
            except AuthProtocolError as error:
                self._service.report.plain(str(error))
                stream.close()

        def closed() -> None:
            streams.discard(stream)
            if session is not None:
                session.closed()
            self._look_at_end()

        stream = Stream(self._loop, sock, feed, closed)
        streams.add(stream)
        session = start(stream.send, sock)


def _has_gone(sock: socket.socket) -> bool:
    try:
        return sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
