"""A master of one's own in a temporary directory, with the children of `master_child.py`."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
LOGIN_USER = "nobody"
PATIENCE = 15.0

CONFIG = """\
base_dir = {base}
protocols = imap
listen = 127.0.0.1:{port}
log_path = {log}
login_user = {user}
ssl = no
disable_plaintext_auth = no
login_processes_count = 2
login_max_processes_count = 4
mail_spare_processes = 2
max_mail_processes = 3
mail_max_userip_connections = 2
mail_location = maildir:~/Maildir
first_valid_uid = 1
auth default {{
  mechanisms = plain
  user = {auth_user}
  passdb passwd-file {{
    args = {users}
  }}
  userdb passwd-file {{
    args = {users}
  }}
}}
{more}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: Callable[[], bool], seconds: float = PATIENCE) -> None:
    """Wait until something is so; fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class Client:
    """A connection to a fake login worker."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._file = self.sock.makefile("rb")
        self.greeting = self.line()

    @property
    def login_pid(self) -> int:
        return int(self.greeting.split()[1])

    def line(self) -> str:
        return self._file.readline().decode().strip()

    def say(self, text: str) -> None:
        self.sock.sendall(text.encode() + b"\n")

    def ask(self, text: str) -> str:
        self.say(text)
        return self.line()

    def close(self) -> None:
        self._file.close()
        self.sock.close()


class Rig:
    """The directory, the configuration and the running server."""

    def __init__(self, directory: Path, uid: int | None = None) -> None:
        if uid is None:
            directory.chmod(0o755)
        self.directory = directory
        self.uid = os.geteuid() if uid is None else uid
        self._become = {} if uid is None else {"user": uid, "group": uid, "extra_groups": []}
        self.base = directory / "run"
        self.log = directory / "log"
        self.config = directory / "dovecot.conf"
        self.orders = directory / "orders"
        self.users = directory / "users"
        self.users.write_text("")
        self.users.chmod(0o644)
        self.port = free_port()
        self.more_environment: dict[str, str] = {}
        self.foreground: subprocess.Popen[bytes] | None = None
        self.configure()

    def configure(self, more: str = "", **changes: object) -> None:
        """Write the configuration: `more` comes last, so it wins."""
        root = self.uid == 0
        me = pwd.getpwuid(self.uid).pw_name
        values = {
            "base": self.base,
            "port": self.port,
            "log": self.log,
            "user": LOGIN_USER if root else me,
            "auth_user": "root" if root else me,
            "users": self.users,
            "more": more,
        }
        self.config.write_text(CONFIG.format(**{**values, **changes}))

    def command(self, *words: str) -> list[str]:
        return [sys.executable, str(HERE / "master_server.py"), str(self.config), *words]

    def environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "SECRET": "not for children",
            "TZ": "UTC0",
            "FAKE_ORDERS": str(self.orders),
            "DOVECOTPY_IMPORT_ENVIRONMENT": "FAKE_ORDERS",
            **self.more_environment,
        }

    def start(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Start it in the background; the result is that of the starting process."""
        return subprocess.run(
            self.command(*words),
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.directory,
            **self._become,
        )

    def started(self) -> Rig:
        """Start it and see that it serves."""
        result = self.start()
        assert result.returncode == 0, result.stderr + self.lines()
        assert all(line.startswith("Warning: ") for line in result.stderr.splitlines()), result.stderr
        return self

    @property
    def pid(self) -> int:
        return int((self.base / "master.pid").read_text())

    def lines(self) -> str:
        """The whole log."""
        return self.log.read_text() if self.log.exists() else ""

    def said(self, text: str, times: int = 1) -> bool:
        return self.lines().count(text) >= times

    def wait_for(self, text: str, times: int = 1) -> None:
        until(lambda: self.said(text, times))

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def client(self) -> Client:
        return Client(self.port)

    def children(self, name: str = "", parent: int = 0) -> list[int]:
        """Pids of the children of the master (or of another parent) in whose command line `name` stands."""
        pids = Path(f"/proc/{parent or self.pid}/task/{parent or self.pid}/children").read_text().split()
        return [int(pid) for pid in pids if name in command_line(int(pid))]

    def fork_server(self, kind: str) -> int:
        """The newest one of a kind."""
        return self.children(f"master_child.py {kind}")[-1]

    def workers(self, kind: str) -> list[int]:
        return self.children(parent=self.fork_server(kind))

    def stop(self) -> None:
        """End whatever is left of it."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, ValueError):
            pid = self.pid
            os.kill(pid, signal.SIGTERM)
            until(lambda: not alive(pid), 20)
        for pid in processes_of(str(self.directory)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    """Whether the process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def environment_of(pid: int) -> dict[str, str]:
    text = Path(f"/proc/{pid}/environ").read_bytes().decode("utf-8", "replace")
    return dict(entry.split("=", 1) for entry in text.split("\0") if "=" in entry)


def processes_of(directory: str) -> list[int]:
    """Processes that run in this directory or below: the children of a server stay in its base_dir."""
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                where = os.readlink(f"/proc/{entry.name}/cwd")
                if where.startswith(directory) and int(entry.name) != os.getpid():
                    found.append(int(entry.name))
    return found


@contextlib.contextmanager
def rig(directory: Path, uid: int | None = None) -> Iterator[Rig]:
    """A rig that is ended whatever happens. uid: that of the server, where it is not the test's own."""
    made = Rig(directory, uid)
    try:
        yield made
    finally:
        made.stop()
