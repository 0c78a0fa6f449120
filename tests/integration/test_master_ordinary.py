"""The master as an ordinary user, in a directory that is his alone: no chroot, no other user, everything else as ever."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from master_rig import Rig, alive, processes_of, rig, until

from tests.server import usable_by

NOBODY = 65534

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="as an ordinary user every test of the master is this one"),
    pytest.mark.skipif(
        os.geteuid() == 0 and not usable_by(NOBODY),
        reason="the checkout is in a directory closed to other users",
    ),
]


@pytest.fixture
def server() -> Iterator[Rig]:
    directory = Path(tempfile.mkdtemp(prefix="dovecotpy-ordinary-"))
    os.chown(directory, NOBODY, NOBODY)
    try:
        with rig(directory, NOBODY) as made:
            yield made
    finally:
        shutil.rmtree(directory)


def test_all_processes_are_the_users_and_serve(server: Rig) -> None:
    server.started()
    assert server.directory.stat().st_mode & 0o777 == 0o700
    for pid in (server.pid, *server.children(), *server.workers("login"), *server.workers("mail")):
        assert os.stat(f"/proc/{pid}").st_uid in (NOBODY, 0)
        status = Path(f"/proc/{pid}/status").read_text()
        assert f"Uid:\t{NOBODY}\t{NOBODY}\t{NOBODY}" in status
    server.wait_for("Not running as root: all processes run as this user, without chroot")
    assert server.client().ask("mail joe").startswith("yes ")
    assert (server.base / "login").stat().st_mode & 0o777 == 0o750


def test_reload_and_end(server: Rig) -> None:
    server.started()
    pid, old = server.pid, server.fork_server("login")
    server.signal(signal.SIGHUP)
    until(lambda: not alive(old))
    os.kill(server.fork_server("mail"), signal.SIGKILL)
    until(lambda: server.client().ask("mail joe").startswith("yes "))
    server.signal(signal.SIGTERM)
    until(lambda: not alive(pid))
    until(lambda: not processes_of(str(server.base)))
    assert not (server.base / "master.pid").exists()


def test_a_privileged_port_is_a_clear_error(server: Rig) -> None:
    limit = int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    if limit <= 143:
        pytest.skip("every port is everybody's here")
    server.port = 143
    server.configure()
    result = server.start()
    assert result.returncode == 89
    assert result.stderr == "Fatal: listen(127.0.0.1, 143) failed: Permission denied\n"
