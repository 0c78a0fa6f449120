"""The login fork server and its workers as real processes: what they are, what they hold, what they may do."""

from __future__ import annotations

import os
import pwd
import signal
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy.ipc import control
from dovecotpy.ipc.control import Verb
from tests.integration.login_process import AS_ROOT, LoginProcess, login_process
from tests.unit.login.login_certificates import Authority
from tests.unit.login.login_stage import certified

needs_root = pytest.mark.skipif(not AS_ROOT, reason="needs root: it is about giving up rights")


@pytest.fixture
def directory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path_factory.mktemp("login")
    monkeypatch.chdir(made)
    return made


@pytest.fixture
def shared(directory: Path) -> Iterator[LoginProcess]:
    with login_process(directory, disable_plaintext_auth=False, verbose_proctitle=True) as made:
        yield made.ready()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_a_login_through_real_processes(shared: LoginProcess) -> None:
    (pid,) = shared.fork()
    caller = shared.call()
    caller.expect(b"ready.\r\n")
    caller.say(b"a1 LOGIN demo demo", b"a1 OK Logged in.\r\n")
    assert shared.mail.senders == [pid]
    assert shared.auth.hellos == [pid]
    shared.until(lambda: bool(shared.lines))
    assert shared.lines == ["Login: user=<demo>, method=PLAIN, rip=127.0.0.2, lip=127.0.0.1"]


@needs_root
def test_a_worker_has_no_rights(shared: LoginProcess) -> None:
    (pid,) = shared.fork()
    nobody = pwd.getpwnam("nobody")
    for each in (pid, shared.process.pid):
        found = status(each)
        assert found["Uid"].split() == [str(nobody.pw_uid)] * 4
        assert found["Gid"].split() == [str(nobody.pw_gid)] * 4
        assert found["Groups"].split() in ([], [str(nobody.pw_gid)])
        assert found["NoNewPrivs"] == "1"
        assert {found[name] for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")} == {"0" * 16}
        assert int(found["CapBnd"], 16) & ~(1 << 6 | 1 << 7 | 1 << 18) == 0
        assert os.readlink(f"/proc/{each}/root") == str(shared.directory)
    assert status(pid)["Seccomp"] == "2"
    limits = Path(f"/proc/{pid}/limits").read_text()
    assert "Max processes             1                    1 " in limits
    assert f"Max open files            {16 + 2 + 512}" in limits
    assert f"Max data size             {64 << 20}" in limits
    assert "Max core file size        0 " in limits


@needs_root
def test_a_worker_holds_only_what_it_needs(shared: LoginProcess) -> None:
    (pid,) = shared.fork()
    kinds = sorted(
        os.readlink(f"/proc/{pid}/fd/{name}").split(":")[0] for name in os.listdir(f"/proc/{pid}/fd")
    )
    # stdin, stdout; stderr and log; control; two listeners; auth; epoll
    assert kinds == [
        "/dev/null",
        "/dev/null",
        "anon_inode",
        "socket",
        "socket",
        "socket",
        "socket",
        "socket",
        "socket",
    ]


@needs_root
def test_titles_are_shown(shared: LoginProcess) -> None:
    (pid,) = shared.fork()

    def title() -> str:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0].decode()

    assert title() == "imap-login"
    caller = shared.call()
    caller.expect(b"ready.")
    shared.until(lambda: title() == "imap-login [1 connection (0 TLS)]")


def test_clients_are_spread_over_the_workers(shared: LoginProcess) -> None:
    workers = shared.fork(2)
    for _ in range(60):
        caller = shared.call()
        caller.say(b"a LOGIN demo demo", b"a OK")
        caller.close()
    counts = [shared.mail.senders.count(pid) for pid in workers]
    assert sum(counts) == 60 and min(counts) >= 10, counts


def test_one_process_for_each_connection(directory: Path) -> None:
    with login_process(directory, disable_plaintext_auth=False, login_process_per_connection=True) as made:
        made.ready()
        (pid,) = made.fork()
        caller = made.call()
        caller.expect(b"ready.")
        made.until(lambda: made.states[pid] == [(0, 0, 0), (1, 1, 0)])
        caller.say(b"a LOGIN demo demo", b"a OK")
        made.until(lambda: pid in made.exits)
        assert made.exits[pid] == 0


def test_tls_in_a_chroot_with_a_client_certificate(directory: Path, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair, client = authority.issue("imap.example.org"), authority.issue("alice")
    changes = {
        "ssl": "yes",
        "ssl_cert_file": pair.certificate,
        "ssl_key_file": pair.key,
        "ssl_ca_file": authority.path,
        "auth_ssl_username_from_cert": True,
        "verbose_ssl": True,
        "login_log_format_elements": "user=<%u> %c %k",
    }
    with login_process(directory, login_process_per_connection=True, **changes) as made:
        made.ready()
        (pid,) = made.fork()
        caller = made.call()
        caller.say(b"a STARTTLS", b"a OK Begin TLS negotiation now.\r\n")
        caller.secure(certified(client))
        caller.say(b"a LOGIN demo demo", b"a OK Logged in.\r\n")
        made.until(lambda: made.states[pid][-1] == (2, 0, 1))
        request = made.auth.requests[0]
        assert (request.valid_client_cert, request.cert_username) == (True, "alice")
        made.rounds()
        assert "Valid certificate: CN=alice [127.0.0.2]" in made.lines
        assert any(line.startswith("Login: user=<demo>, TLS, TLSv1.3 with cipher ") for line in made.lines)
        made.mail.sessions[0].close()
        assert caller.expect_end() == b""
        made.until(lambda: pid in made.exits)


def test_bad_handshakes_in_a_chroot_import_nothing(directory: Path, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("imap.example.org")
    with login_process(
        directory, ssl="required", ssl_cert_file=pair.certificate, ssl_key_file=pair.key
    ) as made:
        made.ready()
        (pid,) = made.fork()
        for data in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"\x16\x03\x01\x02\x00" + b"\xff" * 600,
            b"\x15\x03\x01\x00\x02\x02\x28",
            b"",
        ):
            caller = made.call(tls=True)
            caller.send(data)
            made.rounds(3)
            caller.close()
        old = certified(None)
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        caller = made.call(tls=True)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            caller.secure(old)
        caller.close()
        made.until(lambda: len(made.lines) == 5)
        assert all(line.startswith("Disconnected (no auth attempts): rip=127.0.0.2, ") for line in made.lines)
        assert all("TLS handshaking" in line for line in made.lines)
        good = made.call(tls=True)
        good.secure()
        good.say(b"a LOGIN demo demo", b"a OK Logged in.")
        assert pid not in made.exits


def test_an_unusable_certificate_is_said_and_nothing_starts(directory: Path) -> None:
    with login_process(directory, ssl="yes", ssl_cert_file="/nonexistent") as made:
        made.until(lambda: made.heard(Verb.FAILED) is not None)
        failed = made.heard(Verb.FAILED)
        assert failed is not None
        assert failed.text(0).startswith("Can't load certificate file /nonexistent: ")
        assert made.process.wait(10) == 89


def test_the_user_root_is_refused(directory: Path) -> None:
    if not AS_ROOT:
        pytest.skip("needs root: login_user is not looked at otherwise")
    with login_process(directory, login_user="root") as made:
        made.until(lambda: made.heard(Verb.FAILED) is not None)
        failed = made.heard(Verb.FAILED)
        assert failed is not None and failed.text(0) == "Login process must not run as root"


def test_workers_end_with_their_master_and_sessions_go_on(directory: Path, tmp_path: Path) -> None:
    pair = Authority(tmp_path).issue("imap.example.org")
    with login_process(directory, ssl="yes", ssl_cert_file=pair.certificate, ssl_key_file=pair.key) as made:
        made.ready()
        made.fork(1)
        session = made.call(tls=True)
        session.secure()
        session.say(b"a LOGIN demo demo", b"a OK Logged in.\r\n")
        waiting = made.call()
        waiting.expect(b"ready.\r\n")
        for sock in made.workers.values():
            sock.close()
        made.workers.clear()
        assert waiting.expect_end() == b""
        made.mail.sessions[0].send(b"* 1 EXISTS\r\n")
        session.expect(b"* 1 EXISTS\r\n")
        session.close()
        made.until(lambda: bool(made.exits))


def test_a_killed_worker_takes_nobody_with_it(shared: LoginProcess) -> None:
    first, second = shared.fork(2)
    control.send(shared.control, Verb.KILL, first)
    shared.until(lambda: first in shared.exits)
    assert os.WIFSIGNALED(shared.exits[first]) and os.WTERMSIG(shared.exits[first]) == signal.SIGKILL
    caller = shared.call()
    caller.say(b"a LOGIN demo demo", b"a OK")
    assert shared.mail.senders == [second]


def test_hostile_clients_leave_one_line_and_no_trace(shared: LoginProcess) -> None:
    (pid,) = shared.fork()
    shared.rounds()
    before = len(os.listdir(f"/proc/{pid}/fd"))
    hostile = [
        b"x" * 65536,
        b"a LOGIN {4294967295}\r\n",
        b"a LOGIN {10}\r\nabc",
        b"\0" * 5000 + b"\r\n",
        b"\xff\xfe\x00\r\n" * 20,
        b"a NOOP\r\n" * 1000 + b"b LOGOUT\r\n",
        b"((((" * 1000 + b"\r\n" + b"(" * 3000 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20,
        b"a AUTHENTICATE PLAIN\r\n" + b"x" * 30000,
    ]
    for data in hostile:
        caller = shared.call()
        caller.expect(b"ready.\r\n")
        count = len(shared.lines)
        try:
            caller.send(data)
        except ConnectionError:
            caller.closed = True
        shared.rounds()
        caller.close()
        shared.until(lambda count=count: len(shared.lines) > count)  # type: ignore[misc]
        shared.rounds()
        ends = [line for line in shared.lines[count:] if not line.startswith("Login attempt failed")]
        assert len(ends) == 1 and ends[0].startswith(("Disconnected", "Aborted login")), (data[:40], ends)
    assert not any("Traceback" in line or "Internal error" in line for line in shared.lines)
    shared.until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == before)
    assert pid not in shared.exits


CONVERSATION = b"a1 CAPABILITY\r\na2 AUTHENTICATE LOGIN\r\nZGVtbw==\r\n*\r\na3 LOGIN {4}\r\ndemo wrong\r\na4 LOGIN demo demo\r\n"


def test_a_client_may_leave_at_every_octet(shared: LoginProcess) -> None:
    (pid,) = shared.fork()
    before = len(os.listdir(f"/proc/{pid}/fd"))
    for end in range(len(CONVERSATION)):
        caller = shared.call()
        caller.send(CONVERSATION[:end])
        if end % 3 == 0:
            shared.step()
        (caller.reset if end % 2 else caller.close)()
        shared.step()
        for sock in shared.mail.sessions:
            sock.close()
        shared.mail.sessions.clear()
    shared.until(lambda: len(os.listdir(f"/proc/{pid}/fd")) == before)
    assert not any("Internal error" in line for line in shared.lines)
    assert pid not in shared.exits
    shared.call().say(b"a LOGIN demo demo", b"a OK")
