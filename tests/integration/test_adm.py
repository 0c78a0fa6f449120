"""`dovecotpy-adm` against a running server."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server, eventually


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("adm")) as server:
        yield server


def adm(server: Server, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dovecotpy.cli.adm", "-c", str(server.configuration), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_status_lists_every_process(server: Server) -> None:
    done = adm(server, "status")
    assert done.returncode == 0
    for title in ("dovecotpy", "log", "dovecot-auth", "imap-login", "imap"):
        assert any(line.split()[2] == title for line in done.stdout.splitlines()), done.stdout


def test_a_right_password_is_accepted(server: Server) -> None:
    done = adm(server, "auth-test", "joe", "secret")
    assert (done.returncode, done.stdout) == (0, "joe: password accepted\n")


def test_a_wrong_password_is_refused(server: Server) -> None:
    done = adm(server, "auth-test", "joe", "guess")
    assert done.returncode == 1
    assert done.stderr.startswith("joe: refused")


def test_reload_reads_the_configuration_anew(server: Server) -> None:
    assert adm(server, "reload").returncode == 0
    server.wait_for_log("SIGHUP received - reloading configuration")
    assert eventually(lambda: adm(server, "auth-test", "joe", "secret").returncode == 0)


def test_without_a_server_it_says_so(server: Server, tmp_path: Path) -> None:
    other = tmp_path / "dovecot.conf"
    other.write_text(server.configuration.read_text().replace(str(server.base), str(tmp_path / "run")))
    other.chmod(0o600)
    command = [sys.executable, "-m", "dovecotpy.cli.adm", "-c", str(other), "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "no server is running" in done.stderr


def test_a_broken_configuration_is_its_own_exit_status(tmp_path: Path) -> None:
    broken = tmp_path / "dovecot.conf"
    broken.write_text("protcols = imap\n")
    command = [sys.executable, "-m", "dovecotpy.cli.adm", "-c", str(broken), "status"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 89
    assert "protocols" in done.stderr


def test_stop_waits_for_the_end(tmp_path: Path) -> None:
    with Server(tmp_path) as server:
        assert adm(server, "stop").returncode == 0
        assert not server.processes()
        assert not (server.base / "master.pid").exists()


def snapshot(server: Server) -> Path:
    return next(server.directory.glob("**/dovecotpy.index"))


def with_mail(server: Server) -> Path:
    """joe's INBOX with two messages; where its index is."""
    with server.connect() as client:
        client.login("joe", "secret")
        for number in range(2):
            client.command(b"APPEND INBOX {22+}\r\nSubject: %d\r\n\r\nbody.\r\n\r\n" % number)
        assert b"EXISTS" in b"".join(client.command("SELECT INBOX"))
        client.command("LOGOUT")
    return snapshot(server)


def status_of(server: Server) -> bytes:
    with server.connect() as client:
        client.login("joe", "secret")
        return client.command("STATUS INBOX (MESSAGES UIDNEXT UIDVALIDITY UNSEEN)")[0]


def test_indexes_are_brought_up_to_date_made_anew_and_verified_as_the_user(server: Server) -> None:
    path = with_mail(server)
    before = status_of(server)
    for command in ("index", "verify", "rebuild", "verify"):
        done = adm(server, command, "IN*", "for", "joe")
        assert (done.returncode, done.stdout, done.stderr) == (0, "INBOX: ok\n", ""), command
        assert path.stat().st_uid == path.parent.stat().st_uid
    assert status_of(server) == before


def test_verify_says_what_does_not_agree_and_repairs_it(server: Server) -> None:
    path = with_mail(server)
    adm(server, "index", "*", "for", "joe")
    before = status_of(server)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    done = adm(server, "verify", "*", "for", "joe")
    assert done.returncode in (0, 1)
    assert adm(server, "verify", "*", "for", "joe").stdout == "INBOX: ok\n"
    assert status_of(server) == before


def test_what_cannot_be_done_to_mailboxes_is_said(server: Server) -> None:
    done = adm(server, "index", "*", "for", "nobody.knows")
    assert (done.returncode, done.stderr) == (1, "dovecotpy-adm: no such user: nobody.knows\n")
    done = adm(server, "index", "Nothing*", "for", "joe")
    assert (done.returncode, done.stderr) == (1, "dovecotpy-adm: no mailbox matches\n")
