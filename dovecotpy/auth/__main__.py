"""The auth process: `python -I -m dovecotpy.auth`, exec'ed by the master.

Descriptors: control, log, auth.listen (the socket of the login processes). Settings blocks: auth, passdb.N, userdb.N, socket.N.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping

import dovecotpy
from dovecotpy.auth import settings, sockets
from dovecotpy.auth.chain import PassChain, UserChain
from dovecotpy.auth.loop import Loop
from dovecotpy.auth.report import Report
from dovecotpy.auth.server import Server
from dovecotpy.auth.service import AuthService
from dovecotpy.auth.setup import SetupError
from dovecotpy.auth.workers import WorkerPool
from dovecotpy.child import bootstrap
from dovecotpy.child.title import set_title
from dovecotpy.ipc import control
from dovecotpy.ipc.control import Verb
from dovecotpy.log import client as log_client
from dovecotpy.log.client import Log
from dovecotpy.sandbox import kernel, limits, privileges

FATAL = 89
TITLE = "dovecot-auth"
DESCRIPTORS = 16384
"""One for each login process, each mail process that asks, each worker; a lower hard limit holds."""


class AuthProcess:
    """One auth process from its start to its end."""

    def __init__(self, start: bootstrap.Start, channel: socket.socket, log: Log) -> None:
        self._settings = settings.load(start.settings)
        self._channel = channel
        self._log = log
        known = self._settings
        self._loop = Loop()
        self._report = Report(log, verbose=known.verbose, debug=known.debug, passwords=known.debug_passwords)
        passdbs = PassChain(settings.pass_steps(known, log.error), self._report)
        userdbs = UserChain(settings.user_steps(known, log.error), passdbs, self._report)
        self._pool = WorkerPool(self._loop, self._report, self._spawn, known.workers, known.worker_requests)
        service = AuthService(known.policy, passdbs, userdbs, self._pool.submit, self._loop, self._report)
        self._server = Server(self._loop, service)
        self._master_path = f"{known.base_dir.rstrip('/')}/auth-master.{os.getpid()}"
        self._listen(start.descriptors)

    def _listen(self, descriptors: Mapping[str, int]) -> None:
        """Bind what the process binds itself, while it may."""
        own = settings.SocketFile(self._master_path, 0o600, "", "")
        for file in (own, *self._settings.master_sockets):
            self._server.listen_for_masters(sockets.bind(file))
        for file in self._settings.client_sockets:
            self._server.listen_for_clients(sockets.bind(file))
        if "auth.listen" in descriptors:
            self._server.listen_for_logins(socket.socket(fileno=descriptors["auth.listen"]))

    def serve(self) -> None:
        """Give rights up, say READY, serve until the master has gone or told to retire."""
        give_up(self._settings)
        self._channel.setblocking(False)
        self._loop.watch(self._channel, lambda events: self._obey())
        control.send(self._channel, Verb.READY, dovecotpy.__version__)
        self._loop.run()

    def remove_socket(self) -> None:
        """Take the master socket away, where that is still allowed; the master does it otherwise."""
        try:
            os.unlink(self._master_path)
        except OSError:
            return

    def _spawn(self, sock: socket.socket) -> None:
        control.send(self._channel, Verb.WORKER, descriptors=(sock.fileno(),))

    def _obey(self) -> None:
        try:
            message = control.receive(self._channel)
        except BlockingIOError:
            return
        except (OSError, control.ControlError):
            message = None
        if message is None:
            self._loop.stop()
            return
        for descriptor in message.descriptors:
            os.close(descriptor)
        if message.verb is Verb.RETIRE:
            self._server.retire()


def give_up(known: settings.AuthSettings) -> None:
    """Become the auth user; root, where it is configured, stays root but gains nothing. Raises SetupError, PrivilegeError, OSError."""
    limits.limit(descriptors=DESCRIPTORS, data=known.process_size << 20)
    identity = settings.identity(known.user) if os.geteuid() == 0 else None
    if identity is not None:
        chroot = known.chroot
        if chroot and not chroot.startswith("/"):
            chroot = f"{known.base_dir.rstrip('/')}/{chroot}"
        privileges.drop(identity, chroot=chroot)
    elif kernel.supported():
        kernel.no_new_privileges()
    if kernel.supported():
        kernel.not_dumpable()


def main() -> int:
    """Returns the exit status."""
    start = bootstrap.receive()
    channel = socket.socket(fileno=start.descriptors["control"])
    log = Log(socket.socket(fileno=start.descriptors["log"]) if "log" in start.descriptors else None)
    log_client.stderr(log)
    set_title(TITLE)
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    try:
        require_version(start)
        process = AuthProcess(start, channel, log)
        process.serve()
    except (SetupError, privileges.PrivilegeError, OSError) as error:
        control.send(channel, Verb.FAILED, str(error))
        return FATAL
    process.remove_socket()
    return 0


def require_version(start: bootstrap.Start) -> None:
    """Raises SetupError when the master is of another version."""
    auth = start.settings["auth"]
    ignored = "version_ignore" in auth and auth.flag("version_ignore")
    if start.version != dovecotpy.__version__ and not ignored:
        raise SetupError(
            f"Dovecot version mismatch: Master is v{start.version}, dovecot-auth is v{dovecotpy.__version__} "
            "(if you don't care, set version_ignore=yes)"
        )


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)
