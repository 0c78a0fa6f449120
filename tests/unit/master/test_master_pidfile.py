"""The pid file: stale ones, empty ones, and a second start."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dovecotpy.master import pidfile
from dovecotpy.master.pidfile import AlreadyRunning


def test_written_with_its_mode_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "master.pid"
    held = pidfile.take(str(path))
    held.write()
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert held.warning == ""
    held.remove()
    assert not path.exists()


def test_a_second_one_is_refused_with_the_pid(tmp_path: Path) -> None:
    path = tmp_path / "master.pid"
    held = pidfile.take(str(path))
    held.write()
    with pytest.raises(AlreadyRunning) as caught:
        pidfile.take(str(path))
    assert str(caught.value) == f"Dovecot is already running with PID {os.getpid()} (read from {path})"
    held.remove()
    pidfile.take(str(path)).remove()


@pytest.mark.parametrize(
    ("content", "warning"), [("", "Empty PID file in {}, overriding"), ("999999\n", ""), ("1\n", "")]
)
def test_a_stale_file_is_taken_over(tmp_path: Path, content: str, warning: str) -> None:
    path = tmp_path / "master.pid"
    path.write_text(content)
    held = pidfile.take(str(path))
    assert held.warning == warning.format(path)
    held.write()
    assert path.read_text() == f"{os.getpid()}\n"
    held.remove()


def test_a_longer_old_content_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "master.pid"
    path.write_text("99999999999999999999\n")
    held = pidfile.take(str(path))
    held.write()
    assert path.read_text() == f"{os.getpid()}\n"
    held.remove()


def test_a_dovecot_without_our_lock_is_seen(tmp_path: Path) -> None:
    program = tmp_path / "dovecot"
    program.symlink_to("/bin/sleep")
    other = subprocess.Popen([str(program), "30"])
    try:
        path = tmp_path / "master.pid"
        path.write_text(f"{other.pid}\n")
        with pytest.raises(AlreadyRunning, match=f"already running with PID {other.pid} "):
            pidfile.take(str(path))
    finally:
        other.kill()
        other.wait()


def test_the_lock_dies_with_its_holder(tmp_path: Path) -> None:
    path = tmp_path / "master.pid"
    code = (
        f"import os; from dovecotpy.master import pidfile; pidfile.take({str(path)!r}).write(); os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", code], check=False, timeout=20)
    assert path.exists()
    pidfile.take(str(path)).remove()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "master.pid").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match="loop|symbolic"):
        pidfile.take(str(tmp_path / "master.pid"))
    assert not (tmp_path / "victim").exists()
