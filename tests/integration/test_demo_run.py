"""What `make run` gives a newcomer: a served mailbox within seconds, an orderly end on Ctrl-C."""

from __future__ import annotations

import imaplib
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import free_port, usable_by


class Demo:
    """The demo below a directory, run as some user."""

    def __init__(self, directory: Path, uid: int) -> None:
        self.directory = directory
        self.ports = free_port(), free_port()
        self._uid = uid
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start it; seconds until it greets."""
        began = time.monotonic()
        imap, imaps = self.ports
        command = [sys.executable, "-m", "dovecotpy.cli.demo", "--directory", str(self.directory)]
        self._process = subprocess.Popen(
            [*command, "--imap-port", str(imap), "--imaps-port", str(imaps)],
            stdout=open(self.directory.parent / "out", "ab"),  # noqa: SIM115 (the server's for as long as it runs)
            stderr=subprocess.STDOUT,
            user=self._uid if self._uid else None,
            group=self._uid if self._uid else None,
            extra_groups=[] if self._uid else None,
            start_new_session=True,
            cwd=Path(__file__).resolve().parents[2],
        )
        while time.monotonic() - began < 30:
            assert self._process.poll() is None, self.said()
            try:
                imaplib.IMAP4("127.0.0.1", imap).shutdown()
                return time.monotonic() - began
            except OSError:
                time.sleep(0.05)
        raise AssertionError(self.said())

    def said(self) -> str:
        return (self.directory.parent / "out").read_text()

    def interrupt(self) -> int:
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGINT)
        return self._process.wait(20)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(5)


@pytest.fixture(params=["root", "user"])
def demo(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Demo]:
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("not running as root")
    uid = 0
    if request.param == "user" and os.geteuid() == 0:
        uid = 65534
        for path in (tmp_path, *tmp_path.parents):
            if path.stat().st_uid == 0 and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o011)
        if not usable_by(uid):
            pytest.skip(
                "the checkout or its interpreter is in a directory that an ordinary user cannot enter"
            )
        os.chown(tmp_path, uid, uid)
        tmp_path.chmod(0o700)
    demo = Demo(tmp_path / "var", uid)
    yield demo
    demo.kill()


def test_a_newcomer_reads_the_samples(demo: Demo) -> None:
    demo.start()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    client = imaplib.IMAP4_SSL("127.0.0.1", demo.ports[1], ssl_context=context)
    client.login("demo", "demo")
    assert client.select()[1] == [b"5"]
    kind, data = client.search(None, "SUBJECT", "Welcome")
    assert (kind, data) == ("OK", [b"1"])
    client.logout()
    assert "Ctrl-C" in demo.said()
    assert demo.interrupt() == 0
    assert "Traceback" not in demo.said()


def test_the_second_start_is_quick_and_keeps_the_mail(demo: Demo) -> None:
    demo.start()
    demo.interrupt()
    assert demo.start() < 5
    client = imaplib.IMAP4("127.0.0.1", demo.ports[0])
    client.login("demo", "demo")
    assert client.select()[1] == [b"5"]
