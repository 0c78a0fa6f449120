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
