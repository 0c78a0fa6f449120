"""The OpenRC service with Debian's openrc package: added, started, reloaded, stopped, crashed and started again."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import Server, eventually, program

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="services need root"),
    pytest.mark.skipif(not program("rc-service"), reason="openrc is not installed"),
]

ROOT = Path(__file__).resolve().parents[2]


class Service:
    """The service under a name of its own, with a configuration of the test's."""

    def __init__(self, directory: Path) -> None:
        self.name = f"dovecotpy-test-{os.getpid()}"
        self.server = Server(directory)
        self.server.prepare()
        self.pid_file = self.server.base / "master.pid"
        self._script = Path("/etc/init.d") / self.name
        self._settings = Path("/etc/conf.d") / self.name

    def install(self) -> None:
        shutil.copy(ROOT / "initd" / "dovecotpy", self._script)
        self._script.chmod(0o755)
        self._settings.parent.mkdir(exist_ok=True)
        self._settings.write_text(
            f'DOVECOTPY_COMMAND="{Path(sys.executable).with_name("dovecotpy")}"\n'
            f'DOVECOTPY_CONFIG="{self.server.configuration}"\nDOVECOTPY_PIDFILE="{self.pid_file}"\n'
            f'rc_need="{self._without_services_that_are_not_here()}"\n'
        )
        Path("/run/openrc").mkdir(exist_ok=True)
        Path("/run/openrc/softlevel").touch()

    @staticmethod
    def _without_services_that_are_not_here() -> str:
        """Debian's openrc brings Gentoo's programs, not all of its services."""
        return " ".join(
            f"!{name}" for name in ("localmount", "net") if not Path("/etc/init.d", name).exists()
        )

    def remove(self) -> None:
        self.run("stop")
        subprocess.run(["rc-update", "delete", self.name], capture_output=True, check=False, timeout=30)
        if self.pid_file.exists():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(self.pid_file.read_text()), signal.SIGKILL)
        self._script.unlink(missing_ok=True)
        self._settings.unlink(missing_ok=True)

    def run(self, action: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["rc-service", self.name, action], capture_output=True, text=True, check=False, timeout=60
        )

    def status(self) -> str:
        done = self.run("status")
        return done.stdout + done.stderr

    def pid(self) -> int:
        return int(self.pid_file.read_text())

    def serves(self) -> bool:
        try:
            with self.server.connect() as client:
                return b" OK " in client.login("joe", "secret")[-1]
        except OSError:
            return False


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("openrc"))
    service.install()
    yield service
    service.remove()


@pytest.fixture
def started(service: Service) -> Service:
    if "started" not in service.status():
        assert service.run("start").returncode == 0
    return service


def test_it_is_added_to_a_runlevel(service: Service) -> None:
    added = subprocess.run(
        ["rc-update", "add", service.name, "default"], capture_output=True, text=True, check=False
    )
    assert added.returncode == 0, added.stderr
    shown = subprocess.run(
        ["rc-update", "show", "default"], capture_output=True, text=True, check=True
    ).stdout
    assert service.name in shown


def test_it_starts_and_says_so(started: Service) -> None:
    assert "started" in started.status()
    assert started.serves()


def test_a_reload_keeps_the_master(started: Service) -> None:
    before = started.pid()
    assert started.run("reload").returncode == 0
    started.server.wait_for_log("SIGHUP received - reloading configuration")
    assert started.pid() == before
    assert eventually(started.serves)


def test_a_broken_configuration_is_neither_reloaded_nor_restarted_into(started: Service) -> None:
    good = started.server.configuration.read_text()
    before = started.pid()
    started.server.configuration.write_text(good + "nonsense = yes\n")
    try:
        for action in ("checkconfig", "reload", "restart"):
            done = started.run(action)
            assert done.returncode != 0, action
            assert "nonsense" in done.stdout + done.stderr, action
        assert started.pid() == before
        assert started.serves()
    finally:
        started.server.configuration.write_text(good)


def test_logs_are_reopened(started: Service) -> None:
    log = started.server.log_path
    rotated = log.with_suffix(".1")
    log.rename(rotated)
    assert started.run("reopen").returncode == 0
    assert eventually(lambda: started.serves() and log.exists() and "Login: user=<joe>" in log.read_text())
    rotated.unlink()


def test_it_stops_and_leaves_no_process(started: Service) -> None:
    pid = started.pid()
    assert started.run("stop").returncode == 0
    assert "stopped" in started.status()
    assert not started.pid_file.exists()
    assert not Path(f"/proc/{pid}").exists()
    assert not started.serves()


def test_a_crash_is_seen_and_a_restart_mends_it(started: Service) -> None:
    os.kill(started.pid(), signal.SIGKILL)
    assert eventually(lambda: "crashed" in started.status())
    assert eventually(lambda: not started.serves())
    assert started.run("restart").returncode == 0
    assert "started" in started.status()
    assert started.serves()


def test_a_stale_pid_file_does_not_stop_a_start(service: Service) -> None:
    service.run("stop")
    dead = subprocess.Popen(["true"])
    dead.wait()
    service.server.base.mkdir(exist_ok=True)
    service.pid_file.write_text(f"{dead.pid}\n")
    assert service.run("start").returncode == 0
    assert service.serves()
