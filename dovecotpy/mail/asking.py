"""Asking the auth process that a hand-over names who the client is.

The socket's name has the pid in it and lies in a directory of root's; the kernel says whether the one who listens there is that pid.
"""

from __future__ import annotations

import select
import socket

from dovecotpy import clock
from dovecotpy.ipc import authmaster, fdpass
from dovecotpy.ipc.authclient import AuthProtocolError

REQUEST_SECONDS = 60.0
"""From the hand-over to the auth process's answer, connecting included."""
READ_SIZE = 16384
_NOSIGNAL = int(socket.MSG_NOSIGNAL)


class AskError(Exception):
    """The auth process gave no user. str(error): the cause, for the log; the client: an internal failure."""


class Asker:
    """Asks auth processes, one request at a time; keeps the connection to the last one asked.

    base_dir: where `auth-master.PID` stands. uids: those that an auth process may listen as.
    """

    def __init__(self, base_dir: str, uids: frozenset[int]) -> None:
        self._base_dir = base_dir.rstrip("/")
        self._uids = uids
        self._pid = 0
        self._sock: socket.socket | None = None
        self._client = authmaster.MasterClient()
        self._greeting = b""
        self._id = 0

    def ask(self, auth_pid: int, client_pid: int, client_id: int, patience: float) -> authmaster.User | None:
        """Who made the successful request `client_id` of `client_pid`; None when there is no answer yet after `patience` seconds.

        Then `answer` gives it. A kept connection that the auth process has closed meanwhile is replaced once. Raises AskError.
        """
        fresh = self._pid != auth_pid or self._sock is None
        if fresh:
            self._connect(auth_pid)
        try:
            self._request(client_pid, client_id)
            return self.answer(patience)
        except AskError:
            if fresh:
                raise
        self._connect(auth_pid)
        self._request(client_pid, client_id)
        return self.answer(patience)

    def answer(self, seconds: float) -> authmaster.User | None:
        """The user, None after `seconds` without an answer. Raises AskError."""
        if self._sock is None:
            raise AskError("auth process isn't connected")
        deadline = clock.monotonic() + seconds
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        while (left := deadline - clock.monotonic()) > 0:
            if not poll.poll(left * 1000):
                break
            for answer in self._read():
                if answer.id == self._id:
                    return self._user(answer)
        return None

    def close(self) -> None:
        """Give the connection up. Idempotent."""
        if self._sock is not None:
            self._sock.close()
        self._sock = None

    def _connect(self, auth_pid: int) -> None:
        self.close()
        path = f"{self._base_dir}/auth-master.{auth_pid}"
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(REQUEST_SECONDS)
            sock.connect(path)
            sock.settimeout(None)  # `answer` waits by itself, and a line is less than the socket holds
            peer = fdpass.peer(sock)
        except (FileNotFoundError, ConnectionRefusedError):
            sock.close()
            raise AskError(f"Authentication process {auth_pid} doesn't exist") from None
        except OSError as error:
            sock.close()
            raise AskError(f"Can't connect to auth server at {path}: {error.strerror or error}") from error
        if peer.pid != auth_pid or peer.uid not in self._uids:
            sock.close()
            raise AskError(f"{path} is served by pid {peer.pid} (uid {peer.uid})")
        self._sock = sock
        self._pid = auth_pid
        self._client = authmaster.MasterClient()
        self._greeting = self._client.hello()

    def _request(self, client_pid: int, client_id: int) -> None:
        self._id = self._id % authmaster.MAX_ID + 1
        greeting, self._greeting = self._greeting, b""
        self._send(greeting + self._client.request(self._id, client_pid, client_id))

    def _send(self, data: bytes) -> None:
        try:
            if self._sock is not None:
                self._sock.sendall(data, _NOSIGNAL)
        except OSError as error:
            raise self._died(error.strerror or "") from error

    def _read(self) -> list[authmaster.Answer]:
        try:
            data = self._sock.recv(READ_SIZE) if self._sock is not None else b""
            if not data:
                raise self._died("")
            return self._client.feed(data)
        except OSError as error:
            raise self._died(error.strerror or "") from error
        except AuthProtocolError as error:
            self.close()
            raise AskError(f"auth-master.{self._pid}: {error}") from error

    def _died(self, cause: str) -> AskError:
        self.close()
        return AskError(f"Authentication process {self._pid} died" + (f" ({cause})" if cause else ""))

    def _user(self, answer: authmaster.Answer) -> authmaster.User:
        if isinstance(answer, authmaster.User):
            return answer
        if isinstance(answer, authmaster.NotFound):
            raise AskError("Authentication request not found, it may have been claimed before or be too old")
        raise AskError("Authentication process failed" + (f": {answer.reason}" if answer.reason else ""))
