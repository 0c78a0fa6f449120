"""The auth process and its workers as real processes: rights, sockets, forged clients, hostile input, ends."""

from __future__ import annotations

import os
import pwd
import socket
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy.auth import schemes
from dovecotpy.config.values import Passdb, Userdb
from dovecotpy.ipc import control
from dovecotpy.ipc.authclient import Continue, Fail, Ok
from dovecotpy.ipc.authmaster import NotFound, User
from dovecotpy.ipc.control import Verb
from tests.integration.auth_rig import Client, Rig

requires_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
NOBODY = pwd.getpwnam("nobody")


def users_file(directory: Path) -> Path:
    path = directory / "passwd"
    dear = schemes.generate("dear", "SHA512-CRYPT")
    path.write_text(f"joe:{{PLAIN}}secret:1000:1000::/home/joe\nann:{dear}:1001:1001::/home/ann\n")
    return path


def sqlite_file(directory: Path) -> Path:
    with sqlite3.connect(directory / "users.db") as database:
        database.execute("CREATE TABLE users (email, password, home, uid, gid)")
        database.execute("INSERT INTO users VALUES ('joe', 'secret', '/home/joe', 1000, 1000)")
    database.close()
    path = directory / "sql.conf"
    path.write_text(
        f"driver = sqlite\nconnect = {directory}/users.db\ndefault_pass_scheme = PLAIN\n"
        "password_query = SELECT email AS user, password FROM users WHERE email = '%u'\n"
        "user_query = SELECT home, uid, gid FROM users WHERE email = '%u'\n"
    )
    path.chmod(0o600)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
def rig(place: Path) -> Iterator[Rig]:
    path = users_file(place)
    made = Rig(place, [Passdb("passwd-file", str(path))], [Userdb("passwd-file", str(path))])
    yield made
    made.close()


def status(pid: int, name: str) -> list[str]:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split()[1:]
    raise AssertionError(name)


def test_login_and_claim(rig: Rig) -> None:
    assert [message and message.verb for message in rig.first] == [Verb.READY, Verb.READY]
    client = rig.client()
    assert client.handshake.spid == rig.pid
    assert client.login("joe", "secret") == Ok(1, "joe", {}, None)
    assert rig.master().claim(os.getpid(), 1) == User(
        1, "joe", {"uid": "1000", "gid": "1000", "home": "/home/joe"}
    )
    assert rig.master().claim(os.getpid(), 1) == NotFound(1)
    assert client.login("joe", "wrong") == Fail(2, "joe", {})
    assert client.login("ann", "dear") == Ok(3, "ann", {}, None)
    assert client.login("ann", "cheap") == Fail(4, "ann", {})
    assert rig.logged("passwd-file(ann,192.0.2.1): Password mismatch")
    assert rig.master().user("ann") == User(2, "ann", {"uid": "1001", "gid": "1001", "home": "/home/ann"})


def test_sqlite(place: Path) -> None:
    path = str(sqlite_file(place))
    rig = Rig(place, [Passdb("sql", path)], [Userdb("sql", path)])
    client = rig.client()
    assert client.login("joe", "secret") == Ok(1, "joe", {}, None)
    assert client.login("' OR 1=1 --", "secret", rip="") == Fail(2, "' OR 1=1 --", {})
    assert rig.master().claim(os.getpid(), 1) == User(
        1, "joe", {"home": "/home/joe", "uid": "1000", "gid": "1000"}
    )
    (place / "users.db").unlink()
    os.kill(next(iter(rig.workers)), 9)
    time.sleep(0.2)
    down = client.login("joe", "secret")
    assert isinstance(down, Fail) and down.temporary
    rig.close()


def test_the_master_socket_is_roots(rig: Rig) -> None:
    found = os.stat(rig.directory / f"auth-master.{rig.pid}")
    assert stat.S_IMODE(found.st_mode) == 0o600 and found.st_uid == os.geteuid()


@requires_root
def test_it_becomes_the_auth_user(place: Path) -> None:
    place.chmod(0o755)
    for parent in place.parents:
        if parent.stat().st_uid == os.getuid() and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
        if parent == Path("/tmp"):
            break
    path = str(sqlite_file(place))
    os.chown(path, 0, 0)
    rig = Rig(place, [Passdb("sql", path)], [Userdb("sql", path)], user="nobody")
    assert rig.client().login("joe", "secret") == Ok(1, "joe", {}, None)
    for pid in (rig.pid, rig.server.process.pid, *rig.workers):
        assert status(pid, "Uid") == [str(NOBODY.pw_uid)] * 4
        assert status(pid, "Gid") == [str(NOBODY.pw_gid)] * 4
        assert status(pid, "Groups") == [str(NOBODY.pw_gid)]
        assert status(pid, "CapEff") == ["0" * 16]
        assert status(pid, "NoNewPrivs") == ["1"]
    assert isinstance(rig.master().claim(os.getpid(), 1), NotFound)
    rig.close()


def test_titles(rig: Rig) -> None:
    rig.client().login("ann", "dear")
    assert Path(f"/proc/{rig.pid}/cmdline").read_bytes().split(b"\0")[0] == b"dovecot-auth"
    for worker in rig.workers:
        assert Path(f"/proc/{worker}/cmdline").read_bytes().split(b"\0")[0] == b"dovecot-auth -w"


@requires_root
def test_descriptors_of_a_worker(rig: Rig) -> None:
    rig.client().login("ann", "dear")
    worker = next(iter(rig.workers))
    kinds = sorted(
        os.readlink(f"/proc/{worker}/fd/{number}").split(":")[0]
        for number in os.listdir(f"/proc/{worker}/fd")
    )
    assert len(kinds) == 6
    assert kinds.count("socket") == 4  # its job connection, its control, the log twice (itself and stderr)


def test_a_forged_pid_is_dropped(rig: Rig) -> None:
    liar = Client(rig.path, pid=os.getppid())
    with pytest.raises((EOFError, ConnectionError)):
        while True:
            liar.next()
    assert rig.logged(f"Authentication client of PID {os.getpid()} said it's PID {os.getppid()}")
    assert rig.client().login("joe", "secret") == Ok(1, "joe", {}, None)


def test_a_reconnecting_login_process_is_no_duplicate(rig: Rig) -> None:
    first = rig.client()
    assert isinstance(first.login("joe", "secret"), Ok)
    first.close()
    second = rig.client()
    assert isinstance(second.login("joe", "secret"), Ok)


HOSTILE = [
    b"\0" * 1000 + b"\n",
    b"\xff\xfe\n",
    b"VERSION\t1\t1\nCPID\tPID\nAUTH\n",
    b"VERSION\t1\t1\nCPID\t99999999999999999999\n",
    b"x" * 200_000,
    b"AUTH\t1\tPLAIN\tservice=imap\n" * 1000,
    b"VERSION\t1\t1\nCPID\tPID\nCONT\t1\t\n" * 3,
]


@pytest.mark.parametrize("number", range(len(HOSTILE)))
def test_hostile_clients_are_dropped_and_stop_nobody(rig: Rig, number: int) -> None:
    data = HOSTILE[number].replace(b"PID\n", b"%d\n" % os.getpid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(10)
        sock.connect(rig.path)
        try:
            sock.sendall(data)
            while sock.recv(65536):
                pass
        except ConnectionError:
            assert rig.auth.process.poll() is None
    assert not any("Traceback" in line or "Internal error" in line for line in rig.log())
    assert rig.client().login("joe", "secret") == Ok(1, "joe", {}, None)


def test_a_client_that_never_reads_holds_up_nobody(rig: Rig) -> None:
    deaf = rig.client()
    deaf.sock.settimeout(0.5)
    sent = 0
    try:
        while sent < 50_000_000:
            sent += deaf.sock.send(b"CONT\t1\t\n" * 1000)
    except TimeoutError:
        assert sent > 0
    assert sent < 50_000_000
    memory = int(status(rig.pid, "VmRSS")[0])
    assert memory < 80_000
    deaf.close()
    assert rig.client().login("joe", "secret") == Ok(1, "joe", {}, None)


def test_sockets_of_the_administrator(place: Path) -> None:
    path = users_file(place)
    sockets = [
        {
            "type": "listen",
            "master_path": "auth-deliver",
            "master_mode": 0o660,
            "master_user": "",
            "master_group": "",
            "client_path": str(place / "auth-smtp"),
            "client_mode": 0o666,
            "client_user": "",
            "client_group": "",
        },
        {
            "type": "connect",
            "master_path": "elsewhere",
            "master_mode": 0o600,
            "master_user": "",
            "master_group": "",
        },
    ]
    rig = Rig(place, [Passdb("passwd-file", str(path))], [Userdb("passwd-file", str(path))], sockets)
    assert stat.S_IMODE(os.stat(place / "auth-deliver").st_mode) == 0o660
    assert stat.S_IMODE(os.stat(place / "auth-smtp").st_mode) == 0o666
    assert not (place / "elsewhere").exists()
    smtp = Client(str(place / "auth-smtp"))
    assert smtp.login("joe", "secret", service="smtp", nologin=True) == Ok(1, "joe", {}, None)
    assert smtp.ask("LOGIN", None, service="smtp", nologin=True) == 2
    assert smtp.next() == Continue(2, b"Username:")
    rig.close()


def test_a_socket_that_somebody_else_serves(place: Path) -> None:
    path = users_file(place)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.bind(str(place / "auth-deliver"))
        other.listen()
        sockets = [
            {
                "type": "listen",
                "master_path": "auth-deliver",
                "master_mode": 0o600,
                "master_user": "",
                "master_group": "",
            }
        ]
        pid = os.fork()
        if pid == 0:
            time.sleep(30)
            os._exit(0)
        rig = Rig(place, [Passdb("passwd-file", str(path))], [Userdb("passwd-file", str(path))], sockets)
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    failed = rig.first[1]
    assert failed is not None and failed.verb is Verb.FAILED
    assert failed.text(0) == f"Socket already exists: {place / 'auth-deliver'}"
    assert rig.auth.process.wait(10) == 89
    rig.close()


@pytest.mark.parametrize(
    ("passdbs", "settings", "text"),
    [
        ([], {}, "No passdbs specified in configuration file. PLAIN mechanism needs one"),
        ([Passdb("nope", "")], {}, "Unknown passdb driver 'nope' (typo"),
        ([Passdb("passwd-file", "/nonexistent")], {}, "Can't open file: No such file or directory"),
        ([Passdb("static", "")], {"mechanisms": ("plain", "ntlmm")}, "Unknown"),
        ([Passdb("passwd-file", "/dev/null", pass_=True)], {}, "Last passdb can't have pass=yes"),
        (
            [Passdb("passwd-file", "/dev/null", deny=True, master=True)],
            {},
            "Master passdb can't have deny=yes",
        ),
        (
            [Passdb("passwd-file", "/dev/null")],
            {"mechanisms": ("plain", "ntlmm")},
            "Unknown authentication mechanism 'NTLMM'",
        ),
        ([Passdb("passwd-file", "/dev/null")], {"mechanisms": ()}, "No authentication mechanisms configured"),
        (
            [Passdb("passwd-file", "/dev/null")],
            {"user": "no such user"},
            "auth user doesn't exist: no such user",
        ),
    ],
)
def test_what_does_not_start(
    place: Path, passdbs: list[Passdb], settings: dict[str, object], text: str
) -> None:
    if "user" in settings and os.geteuid() != 0:
        pytest.skip("only root becomes the auth user")
    rig = Rig(place, passdbs, [], **settings)
    failed = rig.first[1]
    assert failed is not None and failed.verb is Verb.FAILED and text in failed.text(0)
    assert rig.auth.process.wait(10) == 89
    rig.close()


def test_a_broken_sql_file_is_told_by_the_fork_server(place: Path) -> None:
    path = place / "sql.conf"
    path.write_text("driver = sqlite\nconnect = /x\nuser_query = SELECT a FROM mail_%d\n")
    rig = Rig(place, [Passdb("sql", str(path))], [])
    failed = rig.first[0]
    assert failed is not None and failed.verb is Verb.FAILED
    assert failed.text(0).startswith(
        f"Error in configuration file {path} line 3: Variable %d is part of a name"
    )
    rig.close()


def test_workers_that_cannot_be_had_are_a_temporary_failure(place: Path) -> None:
    path = str(sqlite_file(place))
    rig = Rig(place, [Passdb("sql", path)], [Userdb("sql", path)])
    rig.server.process.kill()
    rig.server.process.wait()
    client = rig.client()
    started = time.monotonic()
    down = client.login("joe", "secret")
    assert isinstance(down, Fail) and down.temporary
    assert time.monotonic() - started < 30
    rig.auth.end()


def test_retire(rig: Rig) -> None:
    client = rig.client()
    assert isinstance(client.login("joe", "secret"), Ok)
    control.send(rig.auth.control, Verb.RETIRE)
    time.sleep(0.2)
    late = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    late.settimeout(0.3)
    late.connect(rig.path)
    with pytest.raises(TimeoutError):
        late.recv(1)
    late.close()
    assert isinstance(rig.master().claim(os.getpid(), 1), User)
    assert isinstance(client.login("joe", "secret"), Ok)
    client.close()
    assert rig.auth.process.wait(10) == 0
    assert not (rig.directory / f"auth-master.{rig.pid}").exists()


def test_it_ends_with_the_master(rig: Rig) -> None:
    rig.client()
    rig.auth.control.shutdown(socket.SHUT_RDWR)
    assert rig.auth.process.wait(10) == 0


def test_a_wall_clock_that_jumps_changes_nothing(place: Path) -> None:
    """Failures are delayed and requests forgotten by the monotonic clock: the process asks no other."""
    import dovecotpy.auth

    folder = Path(dovecotpy.auth.__file__).parent
    asking = [
        path
        for path in folder.rglob("*.py")
        if "clock.now" in path.read_text() or "import time" in path.read_text()
    ]
    assert asking == []


@pytest.mark.parametrize("passwords", [False, True])
def test_debug_lines(place: Path, passwords: bool) -> None:
    path = str(sqlite_file(place))
    rig = Rig(
        place, [Passdb("sql", path)], [Userdb("sql", path)], debug=not passwords, debug_passwords=passwords
    )
    client = rig.client()
    assert isinstance(client.login("joe", "secret"), Ok)
    assert isinstance(client.login("joe", "wronger"), Fail)
    rig.master().claim(os.getpid(), 1)
    wanted = [
        "d sql(joe,192.0.2.1): query: SELECT email AS user, password FROM users WHERE email = 'joe'",
        "d sql(joe,192.0.2.1): query: SELECT home, uid, gid FROM users WHERE email = 'joe'",
        f"d new auth connection: pid={os.getpid()}",
        "d client out: OK\t1\tuser=joe",
        "i sql(joe,192.0.2.1): Password mismatch",
    ]
    for line in wanted:
        assert rig.logged(line)
    if passwords:
        assert rig.logged("d sql(joe,192.0.2.1): PLAIN(wronger) != 'secret'")
    else:
        assert not any("wronger" in line or "secret" in line for line in rig.log())
    rig.close()


IMPORTS = """
import sys
from dovecotpy.auth import __main__, schemes, settings
from dovecotpy.auth.chain import PassChain, UserChain
from dovecotpy.auth.loop import Loop
from dovecotpy.auth.master import MasterSession
from dovecotpy.auth.report import Report
from dovecotpy.auth.client import ClientSession
from dovecotpy.auth.service import AuthService
from dovecotpy.child import bootstrap
from dovecotpy.log.client import Log

known = settings.load(bootstrap.decode_settings(sys.stdin.buffer.read()))
report = Report(Log(None), debug=True)
passdbs = PassChain(settings.pass_steps(known, print), report)
userdbs = UserChain(settings.user_steps(known, print), passdbs, report)
before = set(sys.modules)
service = AuthService(known.policy, passdbs, userdbs, lambda job, address, done: None, Loop(), report)
said = []
client = ClientSession(service, said.append, 7, must_prove_pid=True)
master = MasterSession(service, said.append)
client.feed(b"VERSION\\t1\\t1\\nCPID\\t7\\nAUTH\\t1\\tPLAIN\\tservice=imap\\trip=192.0.2.1\\tresp=AGpvZQBzZWNyZXQ=\\n")
client.feed(b"AUTH\\t2\\tLOGIN\\tservice=imap\\nAUTH\\t3\\tPLAIN\\tservice=imap\\tresp=*\\n")
master.feed(b"VERSION\\t1\\t0\\nREQUEST\\t1\\t7\\t1\\nUSER\\t2\\tjoe\\tservice=x\\nUSER\\t3\\tnobody\\tservice=x\\n")
assert b"OK\\t1\\tuser=joe\\n" in said and sum(line.startswith(b"USER\\t") for line in said) == 2, said
print(*sorted(set(sys.modules) - before))
"""


def test_it_imports_nothing_once_it_serves(place: Path) -> None:
    import subprocess
    import sys

    from dovecotpy.child import bootstrap
    from dovecotpy.config.values import Settings
    from tests.integration.auth_rig import DEFAULTS

    path = place / "passwd"
    path.write_text("joe:{PLAIN}secret:1:1::/home/joe::allow_nets=192.0.2.0/24\n")
    blocks = {
        "auth": Settings({**DEFAULTS, "base_dir": str(place)}),
        "passdb.0": Passdb("passwd-file", str(path)).settings(),
        "userdb.0": Userdb("prefetch", "").settings(),
        "userdb.1": Userdb("static", "uid=daemon gid=daemon home=/h/%n").settings(),
    }
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS],
        input=bootstrap.encode_settings(blocks),
        capture_output=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr
