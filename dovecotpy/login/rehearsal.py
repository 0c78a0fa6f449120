"""A few logins of the fork server's own, before it forks: what they leave in memory, every worker would have to make by itself.

The interpreter rewrites program text after its first calls, and each page that a worker writes is a page that the kernel copies for it:
a worker of one client would do little else. The rehearsal has a directory of its own below login_dir with an auth process and a mail
queue that it plays itself, no client and no log; where it cannot be had, workers are slower.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket

from dovecotpy.ipc import control, fdpass, handover
from dovecotpy.ipc.authclient import AuthServerConnection, Mechanism
from dovecotpy.ipc.control import Verb
from dovecotpy.log.client import Log
from dovecotpy.login.session import Peer
from dovecotpy.login.worker import Service, Worker

TIMES = 12
"""The interpreter has rewritten everything after some ten calls."""
PATIENCE = 1.0
"""Seconds for any step; they take microseconds."""

_PEER = Peer("192.0.2.1", 143, "192.0.2.1", 50000)
_AUTH = "auth"
_HELLO = AuthServerConnection.hello([Mechanism("PLAIN", frozenset({"plaintext"}))], 2, 1, "0" * 32)


def rehearse(service: Service, directory: str) -> None:
    """Leave nothing but memory behind. directory: login_dir. Raises OSError where the working directory cannot be had back."""
    policy = service.policy._replace(tls_required=False, plaintext_disabled=False)
    alone = service._replace(policy=policy, contexts=None, auth_names=(_AUTH,), single=False, titles=False)
    queue = f"mail/{policy.service}"
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    scratch = os.path.join(directory, f"rehearsal.{os.getpid()}")
    try:
        with contextlib.suppress(OSError, ValueError, IndexError):
            os.makedirs(scratch + "/mail", 0o700)
            os.chdir(scratch)
            with _Stage(alone, queue) as stage:
                for _ in range(TIMES):
                    stage.play()
    finally:
        _remove(scratch, (_AUTH, queue), ("mail", ""))
        os.fchdir(before)
        os.close(before)


def _remove(scratch: str, files: tuple[str, ...], directories: tuple[str, ...]) -> None:
    for name in files:
        with contextlib.suppress(OSError):
            os.unlink(os.path.join(scratch, name))
    for name in directories:
        with contextlib.suppress(OSError):
            os.rmdir(os.path.join(scratch, name))


class _Stage:
    """An auth process and a mail process, played here; a new worker each time, as each is born."""

    def __init__(self, service: Service, queue: str) -> None:
        self._service = service
        self._kept = contextlib.ExitStack()
        self._auth = self._bound(socket.SOCK_STREAM, _AUTH)
        self._auth.listen()
        self._queue = self._bound(socket.SOCK_DGRAM, queue)

    def __enter__(self) -> _Stage:
        return self

    def __exit__(self, *error: object) -> None:
        self._kept.close()

    def _bound(self, kind: int, path: str) -> socket.socket:
        sock = self._kept.enter_context(socket.socket(socket.AF_UNIX, kind))
        sock.settimeout(PATIENCE)
        sock.bind(path)
        return sock

    def play(self) -> None:
        """One worker, one client. Raises OSError."""
        with contextlib.ExitStack() as kept:
            master, channel = map(kept.enter_context, fdpass.pair())
            _, records = map(kept.enter_context, fdpass.pair())
            outer, inner = map(kept.enter_context, fdpass.pair(socket.SOCK_STREAM))
            worker = Worker(self._service, channel, (), Log(records), set_title=_silent)
            kept.callback(worker.close)
            worker.start()
            auth = kept.enter_context(self._auth.accept()[0])
            for sock in (auth, outer):
                sock.settimeout(PATIENCE)
            auth.recv(8192)
            auth.send(_HELLO)
            control.send(master, Verb.GO)
            _steps(worker)
            self._log_in(worker, inner, outer, auth)

    def _log_in(
        self, worker: Worker, inner: socket.socket, outer: socket.socket, auth: socket.socket
    ) -> None:
        worker.take(inner, _PEER, tls=False)
        outer.recv(8192)
        outer.send(b"a LOGIN name word\r\n")
        _steps(worker)
        number = auth.recv(8192).split(b"\t", 2)[1]
        auth.send(AuthServerConnection.ok(int(number), "name", {}))
        _steps(worker)
        client, reply = fdpass.receive(self._queue, handover.MAX_PACKET).descriptors
        os.write(reply, handover.encode_answer(handover.Accepted(os.getpid())))
        os.close(reply)
        os.close(client)
        _steps(worker)


def _steps(worker: Worker) -> None:
    """Whatever is ready now."""
    while select.select([worker.poller.fileno()], [], [], 0)[0]:
        worker.step(0)
    worker.step(0)


def _silent(title: str) -> None:
    """No title is shown."""
