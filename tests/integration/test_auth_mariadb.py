"""SQL databases against a real MariaDB: binding, fields, lost connections, an outage and its end, who knows the password."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dovecotpy.auth import schemes
from dovecotpy.config.values import Passdb, Userdb
from dovecotpy.ipc.authclient import Fail, Ok
from dovecotpy.ipc.authmaster import User
from tests.integration.auth_rig import Rig
from tests.mariadb import (
    MailDatabase,
    MariaDB,
    mail_database,  # noqa: F401
    mariadb_alone,  # noqa: F401
    mariadb_server,  # noqa: F401
    requires_mariadb,
)

pytestmark = requires_mariadb


def sql(path: Path) -> tuple[list[Passdb], list[Userdb]]:
    return [Passdb("sql", str(path))], [Userdb("sql", str(path))]


@pytest.fixture
def database(mail_database: MailDatabase) -> MailDatabase:  # noqa: F811
    mail_database.add_user(
        "joe@example.org", "secret", uid=1000, gid=1000, home="/home/joe", maildir="/m/joe/"
    )
    return mail_database


@pytest.fixture
def rig(database: MailDatabase, tmp_path: Path) -> Iterator[Rig]:
    path = database.settings_file(tmp_path / "sql.conf")
    made = Rig(tmp_path, *sql(path), worker_max_count=2, username_chars="")
    yield made
    made.close()


def test_login_and_claim(rig: Rig) -> None:
    client = rig.client()
    assert client.login("joe@example.org", "secret") == Ok(1, "joe@example.org", {}, None)
    fields = {"home": "/home/joe", "uid": "1000", "gid": "1000", "maildir": "/m/joe/"}
    assert rig.master().claim(os.getpid(), 1) == User(1, "joe@example.org", fields)
    assert client.login("joe@example.org", "wrong") == Fail(2, "joe@example.org", {})
    assert rig.logged("sql(joe@example.org,192.0.2.1): Password mismatch")
    assert client.login("ann@example.org", "wrong") == Fail(3, "ann@example.org", {})
    assert rig.logged("sql(ann@example.org,192.0.2.1): unknown user")
    assert rig.logged("mysql: Connected to ")


@pytest.mark.parametrize("tcp", [False, True])
def test_socket_and_tcp(database: MailDatabase, tmp_path: Path, tcp: bool) -> None:
    rig = Rig(tmp_path, *sql(database.settings_file(tmp_path / "sql.conf", tcp=tcp)))
    assert isinstance(rig.client().login("joe@example.org", "secret"), Ok)
    rig.close()


def test_localhost_is_the_socket(
    database: MailDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MYSQL_UNIX_PORT names the socket, as libmysql takes it; a bad host before it is passed over."""
    from dovecotpy.auth.request import Request
    from dovecotpy.auth.sql import settings
    from dovecotpy.auth.sql.database import Database

    monkeypatch.setenv("MYSQL_UNIX_PORT", database.server.socket)
    connect = f"host=/nonexistent.sock host=localhost user={database.user} password={database.password} dbname={database.name}"
    loaded = settings.load(str(database.settings_file(tmp_path / "sql.conf", connect=connect)))
    told: list[str] = []
    found = Database(loaded, told.append)
    assert found.rows(loaded.user_query, Request("imap", "joe@example.org").variables())[0][0] == (
        "home",
        "/home/joe",
    )
    assert told == [f"mysql: Connected to {database.server.socket} ({database.name})"]
    found.close()


HOSTILE = [
    "' OR '1'='1",
    "\\' OR 1=1 -- x",
    "x'; DROP TABLE users; --",
    "%",
    "joe@example.org'#",
    "%u",
    "%s",
    ":p0",
    "joe\\",
    "jöe",
    "\udcff",
    '"',
]


def test_hostile_names_find_nobody_and_break_nothing(rig: Rig, database: MailDatabase) -> None:
    client = rig.client()
    for number, user in enumerate(HOSTILE, 1):
        assert client.login(user, "secret") == Fail(number, user, {})
    assert not any(line.startswith("e ") for line in rig.log())
    for user in HOSTILE[:-2]:
        if "\udcff" not in user:
            database.add_user(user, f"pw of {user}")
    for user in HOSTILE[:-2]:
        if "\udcff" in user or "jöe" in user:
            continue
        answer = client.login(user, f"pw of {user}")
        assert isinstance(answer, Ok) and answer.user == user
    assert database.execute("SELECT count(*) FROM users")[0][0] > 5


def test_names_with_special_characters_log_in(rig: Rig, database: MailDatabase) -> None:
    for user in ("o'brien@example.org", "back\\slash@example.org", 'quo"te@example.org', "jörg@example.org"):
        database.add_user(user, "päss'\"\\word")
        answer = rig.client().login(user, "päss'\"\\word")
        assert isinstance(answer, Ok) and answer.user == user


@pytest.mark.parametrize(
    ("settings", "password", "line"),
    [
        (
            {"password_query": "SELECT nope FROM users WHERE email = '%u'"},
            "secret",
            "Password query failed: Unknown column 'nope'",
        ),
        (
            {"password_query": "SELECT home FROM users WHERE email = '%u'"},
            "secret",
            "Password query must return a field named 'password'",
        ),
        (
            {"password_query": "SELECT password FROM users WHERE email = '%u' UNION SELECT 'other'"},
            "secret",
            "Password query returned multiple matches",
        ),
    ],
)
def test_queries_that_are_wrong(
    database: MailDatabase, tmp_path: Path, settings: dict[str, str], password: str, line: str
) -> None:
    rig = Rig(tmp_path, *sql(database.settings_file(tmp_path / "sql.conf", **settings)))
    answer = rig.client().login("joe@example.org", password)
    assert isinstance(answer, Fail) and answer.temporary
    assert rig.logged(f"e sql(joe@example.org,192.0.2.1): {line}")
    rig.close()


def test_a_user_query_that_is_wrong(database: MailDatabase, tmp_path: Path) -> None:
    rig = Rig(
        tmp_path,
        *sql(
            database.settings_file(
                tmp_path / "sql.conf", user_query="SELECT nope FROM users WHERE 'a%%b' = '%u'"
            )
        ),
    )
    client = rig.client()
    client.login("joe@example.org", "secret")
    assert "Internal error" in getattr(rig.master().claim(os.getpid(), 1), "reason", "")
    assert rig.logged("e sql(joe@example.org,192.0.2.1): User query failed: Unknown column 'nope'")
    rig.close()


def test_fields(database: MailDatabase, tmp_path: Path) -> None:
    """NULL is no field; a name, networks and prefetched fields come from the row; dear schemes are compared."""
    database.add_user(
        "ann@example.org",
        schemes.generate("dear", "BLF-CRYPT"),
        uid=1001,
        home=None,
        allow_nets="192.0.2.0/24",
    )
    database.add_user("none@example.org", None)
    query = (
        "SELECT 'renamed' AS username, password, allow_nets, home AS userdb_home, uid AS userdb_uid FROM users "
        "WHERE email = '%n@%d' AND '%s' = 'imap' AND %r <> '198.51.100.1'"
    )
    path = database.settings_file(tmp_path / "sql.conf", password_query=query)
    rig = Rig(tmp_path, [Passdb("sql", str(path))], [Userdb("prefetch", ""), Userdb("sql", str(path))])
    client = rig.client()
    assert client.login("ann@example.org", "dear") == Ok(1, "renamed@example.org", {}, None)
    assert rig.master().claim(os.getpid(), 1) == User(1, "renamed@example.org", {"uid": "1001"})
    assert isinstance(client.login("ann@example.org", "dear", rip="203.0.113.1"), Fail)
    assert isinstance(client.login("ann@example.org", "dear", service="pop3"), Fail)
    assert isinstance(client.login("ann@example.org", "dear", rip="198.51.100.1"), Fail)
    assert client.login("none@example.org", "") == Fail(5, "none@example.org", {})
    master = rig.master().user("joe@example.org")
    assert isinstance(master, User) and master.fields["home"] == "/home/joe"
    rig.close()


def test_a_connection_that_the_database_closed_is_replaced(rig: Rig, database: MailDatabase) -> None:
    client = rig.client()
    for number in range(1, 6):
        assert client.login("joe@example.org", "secret") == Ok(number, "joe@example.org", {}, None)
        assert database.server.kill_connections(database.user) >= 1
    assert not any(line.startswith("e ") for line in rig.log())


def test_the_database_is_stopped_and_started(mariadb_alone: MariaDB, tmp_path: Path) -> None:  # noqa: F811
    database = MailDatabase(mariadb_alone)
    database.add_user("joe@example.org", "secret")
    rig = Rig(tmp_path, *sql(database.settings_file(tmp_path / "sql.conf")))
    client = rig.client()
    assert isinstance(client.login("joe@example.org", "secret"), Ok)
    mariadb_alone.stop()
    for _ in range(5):
        began = time.monotonic()
        down = client.login("joe@example.org", "secret")
        assert isinstance(down, Fail) and down.temporary and time.monotonic() - began < 10
    mariadb_alone.start()
    deadline = time.monotonic() + 20
    while not isinstance(client.login("joe@example.org", "secret"), Ok):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    errors = [line for line in rig.log() if line.startswith("e ")]
    assert len(errors) == 1 and "mysql: Connect failed to " in errors[0] and "waiting for" in errors[0]
    assert isinstance(client.login("joe@example.org", "wrong"), Fail)
    rig.close()


def test_a_database_that_does_not_answer(tmp_path: Path) -> None:
    """It takes connections and says nothing: a temporary failure in time."""
    import socket

    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        path = tmp_path / "sql.conf"
        port = mute.getsockname()[1]
        path.write_text(f"driver = mysql\nconnect = host=127.0.0.1 port={port} user=u password=p dbname=d\n")
        rig = Rig(tmp_path, *sql(path), failure_delay=0)
        began = time.monotonic()
        down = rig.client().login("joe@example.org", "secret")
        assert isinstance(down, Fail) and down.temporary and time.monotonic() - began < 20
        rig.close()


def memory(pid: int) -> bytes:
    """Everything readable in the memory of a process."""
    found: list[bytes] = []
    with (
        open(f"/proc/{pid}/maps", encoding="ascii", errors="replace") as maps,
        open(f"/proc/{pid}/mem", "rb", 0) as mem,
    ):
        for line in maps:
            place, rights = line.split()[:2]
            start, end = (int(number, 16) for number in place.split("-"))
            if "r" not in rights or end - start > 1 << 28:
                continue
            try:
                mem.seek(start)
                found.append(mem.read(end - start))
            except (OSError, ValueError, OverflowError):
                continue
    return b"".join(found)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the memory of another process")
def test_the_auth_process_never_knows_the_password_of_the_database(rig: Rig, database: MailDatabase) -> None:
    client = rig.client()
    assert isinstance(client.login("joe@example.org", "secret"), Ok)
    password = database.password.encode()
    assert password in memory(rig.server.process.pid)
    assert password not in memory(rig.pid)


def test_many_at_once(rig: Rig) -> None:
    clients = [rig.client()]
    resp = b"\0joe@example.org\0secret"
    for number in range(60):
        clients[0].ask("PLAIN", resp, rip=f"192.0.2.{number}")
    answers: list[Any] = [clients[0].next() for _ in range(60)]
    assert all(isinstance(answer, Ok) for answer in answers)
    assert {answer.id for answer in answers} == set(range(1, 61))
    assert len(rig.workers) <= 2


IMPORTS = """
import sys
from dovecotpy.auth import schemes, settings, worker
from dovecotpy.auth.blocking import Databases
from dovecotpy.auth.report import Report
from dovecotpy.config.values import Passdb, Userdb
from dovecotpy.ipc.authworker import Job, Verb
from dovecotpy.log.client import Log

files = sys.argv[1:3]
log = Log(None)
databases = Databases([Passdb("sql", path) for path in files], [Userdb("sql", path) for path in files])
worker.warm_up()
hashes = [schemes.generate("x", name, "joe") for name in schemes.names()]
serving = worker.Worker(databases, log, Report(log))
before = set(sys.modules)
for number in (0, 1):
    for verb in (Verb.PASSV, Verb.PASSL, Verb.USER):
        for user in ("joe@example.org", "j\\u00f6\\udcff", "nobody"):
            serving.answer(Job(1, verb, number, {"user": user, "pass": "secret", "service": "imap"}))
for stored in hashes + ["{NOPE}x", "{SSHA}x"]:
    serving.answer(Job(1, Verb.HASH, 0, {"user": "joe", "pass": "x"}, "PLAIN", stored))
print(*sorted(set(sys.modules) - before))
"""


def test_a_worker_imports_nothing_once_it_serves(database: MailDatabase, tmp_path: Path) -> None:
    import sqlite3
    import subprocess
    import sys

    with sqlite3.connect(tmp_path / "users.db") as made:
        made.execute("CREATE TABLE users (email, password, home, uid)")
    made.close()
    query = "SELECT password, home FROM users WHERE email = '%u'"
    lite = tmp_path / "lite.conf"
    lite.write_text(
        f"driver=sqlite\nconnect={tmp_path}/users.db\npassword_query = {query}\nuser_query = {query}\n"
    )
    mysql = database.settings_file(tmp_path / "mysql.conf")
    command = [sys.executable, "-c", IMPORTS, str(mysql), str(lite)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
