"""A private MariaDB for tests: own data directory, Unix socket and loopback port, ended when its last user ends.

    from tests.mariadb import MailDatabase, mail_database, mariadb_server, requires_mariadb

    pytestmark = requires_mariadb

    def test_something(mail_database: MailDatabase) -> None: ...

* `mariadb_server`: the one server of a test run, shared by all xdist workers (a lock file says who uses it). Do not stop it.
* `mail_database`: a fresh database in it with a user and password of its own and a table `users`; dropped after the test.
* `mariadb_alone`: a server of one test, which may `stop()` and `start()` it; slower by two seconds.

As root the server runs as `mysql`, else as who runs the tests. It listens on 127.0.0.1 only, skips name resolution, and syncs nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pymysql
import pytest

PROGRAM = shutil.which("mariadbd") or shutil.which(
    "mariadbd", path="/usr/sbin:/usr/libexec:/usr/local/libexec"
)
INSTALLER = shutil.which("mariadb-install-db")
START_SECONDS = 60

requires_mariadb = pytest.mark.skipif(
    not (PROGRAM and INSTALLER), reason="no mariadbd and mariadb-install-db (Debian: mariadb-server)"
)

_SMALL = (
    "--no-defaults",
    "--skip-name-resolve",
    "--innodb-log-file-size=4M",
    "--innodb-buffer-pool-size=16M",
    "--innodb-flush-log-at-trx-commit=0",
    "--key-buffer-size=1M",
    "--performance-schema=OFF",
    "--max-connections=200",
)

SCHEMA = """
CREATE TABLE users (
    username VARCHAR(190) NOT NULL, domain VARCHAR(190) NOT NULL DEFAULT '', email VARCHAR(190) NOT NULL,
    password VARCHAR(255), uid INT, gid INT, home VARCHAR(255), maildir VARCHAR(255), quota_rule VARCHAR(64),
    allow_nets VARCHAR(255), PRIMARY KEY (email)
) CHARACTER SET utf8mb4
"""


class MariaDB:
    """One server in `directory`: `socket` is its path, `port` its port on 127.0.0.1. Its `root` has no password on the socket."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.socket = str(directory / "mysqld.sock")
        self.host = "127.0.0.1"
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None

    def install(self) -> None:
        """Make the data directory."""
        self.directory.mkdir(mode=0o755, exist_ok=True)
        data, temporary = self.directory / "data", self.directory / "tmp"
        data.mkdir(exist_ok=True)
        temporary.mkdir(exist_ok=True)
        if os.getuid() == 0:
            owner = pwd.getpwnam("mysql")
            for path in (self.directory, data, temporary):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        options = [*self._places(), "--auth-root-authentication-method=normal", "--skip-test-db"]
        with (self.directory / "install.log").open("wb") as log:
            subprocess.run(
                [str(INSTALLER), *_SMALL[:1], *options, *_SMALL[2:5]], check=True, stdout=log, stderr=log
            )

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = [
            *self._places(),
            f"--socket={self.socket}",
            f"--port={self.port}",
            f"--pid-file={self.directory / 'mysqld.pid'}",
            f"--bind-address={self.host}",
        ]
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen([str(PROGRAM), *_SMALL, *options], stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.execute("SELECT 1")
                return
            except pymysql.MySQLError:
                if time.monotonic() > deadline or self._process.poll() is not None:
                    raise
                time.sleep(0.05)

    def stop(self) -> None:
        """End it and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def execute(
        self, statement: str, parameters: tuple[Any, ...] | None = None, database: str | None = None
    ) -> Any:
        """Run one statement as root; its rows."""
        connection = pymysql.connect(
            unix_socket=self.socket, user="root", database=database, charset="utf8mb4", autocommit=True
        )
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall()

    def kill_connections(self, user: str) -> int:
        """KILL every connection of a database user; how many there were."""
        rows = self.execute("SELECT id FROM information_schema.processlist WHERE user = %s", (user,))
        for (number,) in rows:
            with contextlib.suppress(pymysql.MySQLError):
                self.execute(f"KILL {int(number)}")
        return len(rows)

    def _places(self) -> list[str]:
        """A tmpdir of its own too: a server that starts clears temporary tables of others out of a shared one."""
        options = [f"--datadir={self.directory / 'data'}", f"--tmpdir={self.directory / 'tmp'}"]
        return [*options, "--user=mysql"] if os.getuid() == 0 else options


class MailDatabase:
    """A database of one test: `name`, `user`, `password`, and the server it is in."""

    def __init__(self, server: MariaDB) -> None:
        self.server = server
        self.name = "mail_" + secrets.token_hex(4)
        self.user = self.name
        self.password = secrets.token_hex(12)
        server.execute(f"CREATE DATABASE {self.name} CHARACTER SET utf8mb4")
        for host in ("localhost", "127.0.0.1"):
            server.execute(f"CREATE USER '{self.user}'@'{host}' IDENTIFIED BY '{self.password}'")
            server.execute(f"GRANT ALL ON {self.name}.* TO '{self.user}'@'{host}'")
        self.execute(SCHEMA)

    def execute(self, statement: str, parameters: tuple[Any, ...] | None = None) -> Any:
        """Run one statement in it as root; its rows."""
        return self.server.execute(statement, parameters, self.name)

    def add_user(self, email: str, password: str | None, **columns: Any) -> None:
        """A row of `users`; username and domain are taken from the address."""
        username, _, domain = email.partition("@")
        row = {"username": username, "domain": domain, "email": email, "password": password, **columns}
        marks = ", ".join(["%s"] * len(row))
        self.execute(f"INSERT INTO users ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

    def connect_string(self, *, tcp: bool = False) -> str:
        """The `connect =` value of a dovecot-mysql.conf, by Unix socket or by TCP."""
        place = f"host={self.server.host} port={self.server.port}" if tcp else f"host={self.server.socket}"
        return f"{place} user={self.user} password={self.password} dbname={self.name}"

    def settings_file(self, path: Path, *, tcp: bool = False, **settings: str) -> Path:
        """Write a dovecot-mysql.conf for it: queries on `users` by `email`, PLAIN passwords, unless `settings` say otherwise."""
        lines = {
            "driver": "mysql",
            "connect": self.connect_string(tcp=tcp),
            "default_pass_scheme": "PLAIN",
            "password_query": "SELECT email AS user, password, allow_nets FROM users WHERE email = '%u'",
            "user_query": "SELECT home, uid, gid, maildir, quota_rule FROM users WHERE email = '%u'",
            **settings,
        }
        path.write_text("".join(f"{name} = {value}\n" for name, value in lines.items()))
        path.chmod(0o600)
        return path

    def drop(self) -> None:
        """Remove it and its user."""
        self.server.execute(f"DROP DATABASE {self.name}")
        for host in ("localhost", "127.0.0.1"):
            self.server.execute(f"DROP USER '{self.user}'@'{host}'")


@pytest.fixture(scope="session")
def mariadb_server() -> MariaDB:
    """The server that all tests of a run share."""
    return shared_server()


@pytest.fixture
def mail_database(mariadb_server: MariaDB) -> Iterator[MailDatabase]:
    """A fresh database in the shared server."""
    database = MailDatabase(mariadb_server)
    yield database
    database.drop()


@pytest.fixture
def mariadb_alone() -> Iterator[MariaDB]:
    """A server of this test alone."""
    with tempfile.TemporaryDirectory(prefix="dovecotpy-mariadb-") as name:
        server = MariaDB(Path(name), _free_port())
        os.chmod(name, 0o755)
        server.install()
        server.start()
        try:
            yield server
        finally:
            server.stop()


_held: dict[str, Any] = {}


def shared_server() -> MariaDB:
    """The shared server, started if nobody has started it. This process counts as its user until it ends."""
    if "server" in _held:
        server: MariaDB = _held["server"]
        return server
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}-{secrets.token_hex(4)}")
    base = Path(tempfile.gettempdir()) / f"dovecotpy-mariadb-{run[:32]}"
    users = open(f"{base}.users", "ab")  # noqa: SIM115 - held open, and so locked, until the process ends
    fcntl.flock(users, fcntl.LOCK_SH)
    _held["users"] = users
    with open(f"{base}.start", "ab") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if not base.exists():
            _start_keeper(base)
        server = _held["server"] = MariaDB(base, int((base / "ready").read_text()))
    return server


def _start_keeper(base: Path) -> None:
    """A process of its own keeps the server, so that it survives the test worker that happened to start it."""
    keeper = subprocess.Popen(
        [sys.executable, "-m", "tests.mariadb", str(base)],
        cwd=Path(__file__).parents[1],
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    assert keeper.stdout is not None
    if keeper.stdout.readline() != b"ready\n":
        raise RuntimeError(f"MariaDB did not start, see {base}")


def keep(base: Path) -> None:
    """Run a server in `base` until nobody holds a lock on `base.users` any more; then remove everything."""
    server = MariaDB(base, _free_port())
    server.install()
    server.start()
    (base / "ready").write_text(str(server.port))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    with open(f"{base}.users", "ab") as users:
        fcntl.flock(users, fcntl.LOCK_EX)
        server.stop()
        shutil.rmtree(base, ignore_errors=True)
    for suffix in (".users", ".start"):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{base}{suffix}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


if __name__ == "__main__":
    keep(Path(sys.argv[1]))
