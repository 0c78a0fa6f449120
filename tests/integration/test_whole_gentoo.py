"""The configuration of the Gentoo wiki's virtual-user set-up runs, unchanged but for paths, ports and user names, against a real MariaDB,
in both login modes; its SQL password is nowhere but in the auth service.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_whole_processes import memory
from tests.mariadb import (
    MailDatabase,
    MariaDB,
    mail_database,
    mariadb_alone,
    mariadb_server,
    requires_mariadb,
)
from tests.server import MAIL_ID, Server, eventually

__all__ = ["mail_database", "mariadb_alone", "mariadb_server"]

pytestmark = [
    requires_mariadb,
    pytest.mark.skipif(os.geteuid() != 0, reason="the wiki's set-up runs as root"),
]

FIXTURES = Path(__file__).resolve().parents[1] / "fixtures" / "config"


class Syslog:
    """What a syslog daemon would get: /dev/log, as long as nobody else has it. Read at once, as a daemon does."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("/dev/log")
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        while data := self._socket.recv(65536):
            self._lines.append(data.decode(errors="replace"))

    def text(self) -> str:
        return "\n".join(self._lines)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", "/dev/log")
        self._reader.join(5)
        self._socket.close()
        os.unlink("/dev/log")


class WikiServer(Server):
    """The wiki's two files with this machine's paths, ports and names put in."""

    def __init__(self, directory: Path, database: MailDatabase, login_mode: str) -> None:
        super().__init__(directory, users={})
        self._database = database
        self._login_mode = login_mode

    def write_configuration(self, **changes: str) -> None:
        text = (FIXTURES / "gentoo-dovecot.conf").read_text()
        replaced = {
            "/etc/ssl/dovecot/server.pem": f"{self.directory}/cert.pem",
            "/etc/ssl/dovecot/server.key": f"{self.directory}/key.pem",
            "/var/run/dovecot/login": f"{self.base}/login",
            "/var/spool/postfix/virtual": str(self.mail),
            "/etc/dovecot/dovecot-mysql.conf": f"{self.directory}/mysql.conf",
            "login_user = dovecot": "login_user = nobody",
            "ssl_listen = *": f"ssl_listen = 127.0.0.1:{self.tls_port}\nbase_dir = {self.base}",
            "\nlisten = *": f"\nlisten = 127.0.0.1:{self.port}",
            "login_process_per_connection = yes": f"login_process_per_connection = {self._login_mode}",
        }
        for old, new in replaced.items():
            assert old in text, old
            text = text.replace(old, new)
        self.configuration.write_text(text)
        self.configuration.chmod(0o600)
        sql = (FIXTURES / "gentoo-dovecot-mysql.conf").read_text()
        connect = f"connect = dbname={self._database.name} user={self._database.user} "
        connect += f"host={self._database.server.socket} password={self._database.password}"
        sql = re.sub("connect = .*", connect, sql).replace("/var/spool/postfix/virtual", str(self.mail))
        path = self.directory / "mysql.conf"
        path.write_text(sql)
        path.chmod(0o600)


def add_user(database: MailDatabase, server: Server, email: str, password: str) -> None:
    user, domain = email.split("@")
    columns = {row[0] for row in database.execute("SHOW COLUMNS FROM users")}
    if "clear" not in columns:
        database.execute("ALTER TABLE users ADD COLUMN clear VARCHAR(128)")
    database.add_user(email, None, clear=password, uid=MAIL_ID, gid=MAIL_ID, maildir=f"{domain}/{user}/")
    home = server.mail / domain / user
    for path in (home, home / "new", home / "cur", home / "tmp"):
        path.mkdir(parents=True, exist_ok=True)
    (home / "new" / "1700000000.M1P1.mx").write_bytes(b"Subject: from Postfix\n\nbody\n")
    server.give(server.mail / domain)


@pytest.fixture
def syslog() -> Iterator[Syslog]:
    lock = open(Path(tempfile.gettempdir()) / "dovecotpy-tests.dev-log", "ab")  # noqa: SIM115 (held by the fixture)
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.path.lexists("/dev/log"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            if probe.connect_ex("/dev/log") == 0:
                pytest.skip("this machine has a syslog daemon of its own")
        os.unlink("/dev/log")
    syslog = Syslog()
    yield syslog
    syslog.close()
    lock.close()


@pytest.mark.parametrize("login_mode", ["yes", "no"])
def test_virtual_users_log_in_and_read(
    tmp_path: Path, mail_database: MailDatabase, login_mode: str, syslog: Syslog
) -> None:
    with WikiServer(tmp_path, mail_database, login_mode) as server:
        add_user(mail_database, server, "joe@example.org", 'it\'s a "secret" % word')
        with server.connect(tls=True) as client:
            assert client.greeting.endswith(b"Mail server ready.")
            assert b" OK " in client.command(b'LOGIN joe@example.org "it\'s a \\"secret\\" % word"')[-1]
            assert b"* 1 EXISTS" in client.command("SELECT INBOX")
            assert b"Subject: from Postfix" in client.command("FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT)]")[0]
            needle = mail_database.password.encode()
            for pid, title in server.processes().items():
                if title.startswith("imap"):
                    assert not any(needle in part for part in memory(pid)), title
        with server.connect() as client:
            assert b"[AUTHENTICATIONFAILED]" in client.command("LOGIN joe@example.org wrong")[-1]
        assert eventually(lambda: "Login: user=<joe@example.org>, method=PLAIN" in syslog.text()), (
            syslog.text()
        )
        assert len(server.titled("dovecot-auth")) >= 3


def test_the_file_with_unclosed_sections_says_where_they_were_opened() -> None:
    path = FIXTURES / "gentoo-dovecot-unclosed.conf"
    done = subprocess.run(
        [sys.executable, "-m", "dovecotpy.cli.main", "-n", "-c", str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 89
    opened = re.search(r'"(.*)" of line (\d+) is still open', done.stderr)
    assert opened is not None, done.stderr
    assert (
        path.read_text().splitlines()[int(opened.group(2)) - 1].strip() == opened.group(1) == "userdb sql {"
    )
    assert "Invalid configuration" in done.stderr


def test_a_database_that_is_down_is_a_temporary_failure_and_mends_itself(
    tmp_path: Path, mariadb_alone: MariaDB, syslog: Syslog
) -> None:
    database = MailDatabase(mariadb_alone)
    with WikiServer(tmp_path, database, "no") as server:
        add_user(database, server, "joe@example.org", "secret")
        with server.connect(tls=True) as client:
            assert b" OK " in client.login("joe@example.org", "secret")[-1]
        mariadb_alone.kill_connections(database.user)
        with server.connect(tls=True) as client:
            assert b" OK " in client.login("joe@example.org", "secret")[-1]
        mariadb_alone.stop()
        with server.connect(tls=True, timeout=60) as client:
            answer = client.login("joe@example.org", "secret")[-1]
            assert b"NO [UNAVAILABLE] Temporary authentication failure." in answer
        mariadb_alone.start()

        def works() -> bool:
            with server.connect(tls=True, timeout=60) as client:
                return b" OK " in client.login("joe@example.org", "secret")[-1]

        assert eventually(works, 30)
