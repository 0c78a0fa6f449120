"""`dovecotpy-adm`: look at and steer a running server."""

from __future__ import annotations

import argparse
import getpass
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from dovecotpy import config
from dovecotpy.cli import mailboxes
from dovecotpy.ipc import authclient

DEFAULT_CONFIGURATION = "/etc/dovecot/dovecot.conf"
STOP_SECONDS = 30.0
AUTH_SECONDS = 60.0

_EXIT_FAILED = 1
_EXIT_TEMPORARY = 75


class NotRunning(Exception):
    """There is no server for this configuration; str() says how that is known."""


class Running:
    """The server that runs with a configuration. Raises NotRunning, config.ConfigurationError."""

    def __init__(self, path: str) -> None:
        self.server = server = config.load(path).servers[0]
        self.settings = server.imap.settings
        self.base = Path(self.settings.text("base_dir"))
        pid_file = self.base / "master.pid"
        try:
            self.pid = int(pid_file.read_text())
            os.kill(self.pid, 0)
        except (OSError, ValueError) as error:
            raise NotRunning(f"no server is running ({pid_file}: {error})") from error

    def login_directory(self) -> Path:
        """Where the auth client sockets are."""
        return self.base / self.settings.text("login_dir")

    def processes(self) -> list[tuple[int, int, str]]:
        """pid, uid and title of the master and everything below it."""
        parents: dict[int, int] = {}
        found: dict[int, tuple[int, str]] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                title = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found[int(entry.name)] = (entry.stat().st_uid, title)
            except OSError:
                continue
        return [(pid, *found[pid]) for pid in sorted(found) if self._is_below(pid, parents)]

    def _is_below(self, pid: int, parents: dict[int, int]) -> bool:
        for _ in range(32):
            if pid == self.pid:
                return True
            pid = parents.get(pid, 0)
        return False


def status(running: Running, options: argparse.Namespace) -> int:
    """The processes, one a line."""
    for pid, uid, title in running.processes():
        print(f"{pid:>8} {uid:>6} {title}")
    return 0


def reload(running: Running, options: argparse.Namespace) -> int:
    """Read the configuration anew."""
    os.kill(running.pid, signal.SIGHUP)
    return 0


def reopen(running: Running, options: argparse.Namespace) -> int:
    """Reopen the log files."""
    os.kill(running.pid, signal.SIGUSR1)
    return 0


def stop(running: Running, options: argparse.Namespace) -> int:
    """End the server and wait until it has ended."""
    descriptor = os.pidfd_open(running.pid)
    signal.pidfd_send_signal(descriptor, signal.SIGTERM)
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    if poll.poll(STOP_SECONDS * 1000):
        return 0
    print(f"the server (pid {running.pid}) has not ended after {STOP_SECONDS:.0f} seconds", file=sys.stderr)
    return _EXIT_TEMPORARY


def auth_test(running: Running, options: argparse.Namespace) -> int:
    """Try a user name and password as a client would; what the auth process answers."""
    password = options.password if options.password is not None else getpass.getpass()
    path = running.login_directory() / options.section
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(AUTH_SECONDS)
        sock.connect(str(path))
        answer = _ask(sock, options.user, password, options.service)
    fields = " ".join(f"{name}={value}" if value else name for name, value in answer.fields.items())
    if isinstance(answer, authclient.Ok):
        print(f"{answer.user}: password accepted {fields}".rstrip())
        return 0
    temporary = "temp" in answer.fields
    print(
        f"{options.user}: {'temporary failure' if temporary else 'refused'} {fields}".rstrip(),
        file=sys.stderr,
    )
    return _EXIT_TEMPORARY if temporary else _EXIT_FAILED


def on_mailboxes(work: Callable[[mailboxes.Mailboxes], int]) -> Callable[[Running, argparse.Namespace], int]:
    """A command that does something to a user's mailboxes."""

    def run(running: Running, options: argparse.Namespace) -> int:
        try:
            found = mailboxes.Mailboxes(running.server, running.base, options.user, options.mask)
            return _EXIT_FAILED if work(found) else 0
        except mailboxes.MailboxError as error:
            print(f"dovecotpy-adm: {error}", file=sys.stderr)
            return _EXIT_TEMPORARY if error.temporary else _EXIT_FAILED

    run.__doc__ = (work.__doc__ or "").partition(":")[0] + "."
    return run


def _ask(sock: socket.socket, user: str, password: str, service: str) -> authclient.Ok | authclient.Fail:
    client = authclient.AuthClient()
    response = b"\0" + user.encode() + b"\0" + password.encode()
    sock.sendall(client.hello(os.getpid()))
    asked = False
    while True:
        data = sock.recv(8192)
        if not data:
            raise NotRunning("the auth process closed the connection")
        for event in client.feed(data):
            if isinstance(event, authclient.Ok | authclient.Fail):
                return event
        if not asked and client.ready:
            sock.sendall(client.request(1, "PLAIN", service=service, secured=True, resp=response))
            asked = True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dovecotpy-adm", description="Look at and steer a running dovecotpy."
    )
    parser.add_argument(
        "-c", dest="configuration", default=DEFAULT_CONFIGURATION, help="configuration file (%(default)s)"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, run: Callable[[Running, argparse.Namespace], int]) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=(run.__doc__ or "").splitlines()[0])
        command.set_defaults(run=run)
        return command

    add("status", status)
    add("reload", reload)
    add("reopen", reopen)
    add("stop", stop)
    test = add("auth-test", auth_test)
    test.add_argument("user")
    test.add_argument("password", nargs="?", help="asked for when it is not given")
    test.add_argument("--service", default="imap", help="service to ask for (%(default)s)")
    for name, work in (
        ("index", mailboxes.index),
        ("rebuild", mailboxes.rebuild),
        ("verify", mailboxes.verify),
    ):
        command = add(name, on_mailboxes(work))
        command.add_argument("mask", help="of mailbox names, * for anything, %% for one level")
        command.add_argument("for", choices=["for"], metavar="for")
        command.add_argument("user")
    test.add_argument("--section", default="default", help="name of the auth section (%(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 0; 1 refused or not running; 75 temporary failure; 89 broken configuration."""
    options = _parser().parse_args(arguments)
    try:
        running = Running(options.configuration)
        return int(options.run(running, options))
    except config.ConfigurationError as error:
        print("\n".join(error.lines), file=sys.stderr)
        return 89
    except (NotRunning, OSError) as error:
        print(f"dovecotpy-adm: {error}", file=sys.stderr)
        return _EXIT_FAILED


if __name__ == "__main__":
    sys.exit(main())
