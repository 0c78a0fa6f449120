"""Files and syslog that are full, gone, stopped or rotated; throttling."""

from __future__ import annotations

import os
import re
import socket
import stat
from pathlib import Path

import pytest

from dovecotpy.ipc.record import Level
from dovecotpy.log.sinks import MAX_WAITING, FileSink, SyslogSink, ordinary_file
from dovecotpy.log.throttle import Throttle, Verdict


def lost(count: int) -> bytes:
    return b"lost %d\n" % count


class Choked(FileSink):
    """A file on a disk with `room` octets left."""

    room = 0

    def _write(self, data: bytes) -> int:
        part = data[: self.room]
        self.room -= len(part)
        return super()._write(part)


def test_lines_are_appended_and_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    path.unlink()
    sink = FileSink(str(path), lost)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    sink.put(Level.INFO, b"one\n")
    sink.put(Level.INFO, b"two\n")
    assert path.read_bytes() == b""
    sink.flush()
    assert path.read_bytes() == b"one\ntwo\n"
    sink.close()
    again = FileSink(str(path), lost)
    again.put(Level.INFO, b"three\n")
    again.close()
    assert path.read_bytes() == b"one\ntwo\nthree\n"


def test_many_lines_do_not_wait_without_end(tmp_path: Path) -> None:
    sink = FileSink(str(tmp_path / "log"), lost)
    for _ in range(MAX_WAITING):
        sink.put(Level.INFO, b"x\n")
    assert (tmp_path / "log").stat().st_size == 2 * MAX_WAITING


def test_after_a_rotation_the_new_file_is_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    sink = FileSink(str(path), lost)
    sink.put(Level.INFO, b"old\n")
    path.rename(tmp_path / "log.1")
    sink.reopen()
    sink.put(Level.INFO, b"new\n")
    sink.flush()
    assert (tmp_path / "log.1").read_bytes() == b"old\n"
    assert path.read_bytes() == b"new\n"


def test_a_file_that_cannot_be_opened_anew_leaves_the_old_one(tmp_path: Path) -> None:
    directory = tmp_path / "logs"
    directory.mkdir()
    sink = FileSink(str(directory / "log"), lost)
    (directory / "log").rename(tmp_path / "moved")
    directory.rmdir()
    with pytest.raises(FileNotFoundError):
        sink.reopen()
    sink.put(Level.INFO, b"still\n")
    sink.flush()
    assert (tmp_path / "moved").read_bytes() == b"still\n"


@pytest.mark.parametrize(
    ("room", "left", "count"),
    [
        (0, b"", 3),
        (4, b"one\n", 2),
        (6, b"one\ntw\n", 2),
        (8, b"one\ntwo\n", 1),
        (9, b"one\ntwo\nt\n", 1),
        (14, b"one\ntwo\nthree\n", 0),
    ],
)
def test_a_full_disk_loses_lines_counts_them_and_says_so(
    tmp_path: Path, room: int, left: bytes, count: int
) -> None:
    path = tmp_path / "log"
    sink = Choked(str(path), lost)
    sink.room = room
    for line in (b"one\n", b"two\n", b"three\n"):
        sink.put(Level.INFO, line)
    sink.flush()
    assert sink.lost == count
    sink.flush()
    assert sink.lost == count
    sink.room = 1000
    sink.put(Level.INFO, b"four\n")
    sink.flush()
    said = lost(count) if count else b""
    assert path.read_bytes() == left + said + b"four\n"
    assert sink.lost == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_really_full_device() -> None:
    sink = FileSink("/dev/full", lost)
    sink.put(Level.ERROR, b"x\n")
    sink.flush()
    assert sink.lost == 1


def test_standard_error_stays_open(tmp_path: Path) -> None:
    number = os.open(tmp_path / "terminal", os.O_WRONLY | os.O_CREAT)
    sink = FileSink("/dev/stderr", lost, number)
    sink.put(Level.INFO, b"x\n")
    sink.reopen()
    sink.close()
    os.close(number)
    assert (tmp_path / "terminal").read_bytes() == b"x\n"


@pytest.mark.parametrize(
    ("path", "ordinary"),
    [("", False), ("/dev/stderr", False), ("/dev/null", False), ("/nonexistent/x", True)],
)
def test_what_needs_a_directory(path: str, ordinary: bool) -> None:
    assert ordinary_file(path) is ordinary


def syslog(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(path))
    sock.setblocking(False)
    return sock


def test_syslog_gets_facility_severity_and_ident(tmp_path: Path) -> None:
    server = syslog(tmp_path / "dev-log")
    sink = SyslogSink("mail", lambda count: b"lost %d" % count, str(tmp_path / "dev-log"))
    sink.put(Level.ERROR, b"imap-login: x")
    pattern = rb"<19>[A-Z][a-z]{2} [ 0-9][0-9] [0-9:]{8} dovecot: imap-login: x"
    assert re.fullmatch(pattern, server.recv(2000))
    for level, number in ((Level.INFO, 22), (Level.WARNING, 20), (Level.FATAL, 18), (Level.DEBUG, 23)):
        sink.put(level, b"x")
        assert server.recv(2000).startswith(b"<%d>" % number)
    other = SyslogSink("local7", lambda count: b"", str(tmp_path / "dev-log"))
    other.put(Level.INFO, b"x")
    assert server.recv(2000).startswith(b"<190>")
    server.close()


def test_a_stopped_syslog_does_not_block_and_its_losses_are_said(tmp_path: Path) -> None:
    server = syslog(tmp_path / "dev-log")
    sink = SyslogSink("mail", lambda count: b"lost %d" % count, str(tmp_path / "dev-log"))
    sent = 0
    while not sink.lost:
        sink.put(Level.INFO, b"x" * 500)
        sent += 1
        assert sent < 100_000
    sink.put(Level.INFO, b"y")
    assert sink.lost == 2
    for _ in range(sent - 1):
        server.recv(2000)
    sink.put(Level.INFO, b"z")
    assert server.recv(2000).endswith(b"dovecot: lost 2")
    assert server.recv(2000).endswith(b"dovecot: z")
    server.close()


def test_a_syslog_that_is_started_again_is_found(tmp_path: Path) -> None:
    path = tmp_path / "dev-log"
    sink = SyslogSink("mail", lambda count: b"lost %d" % count, str(path))
    sink.put(Level.INFO, b"nobody")
    assert sink.lost == 1
    server = syslog(path)
    sink.reopen()
    sink.put(Level.INFO, b"first")
    assert server.recv(2000).endswith(b"dovecot: lost 1")
    assert server.recv(2000).endswith(b"dovecot: first")
    server.close()
    path.unlink()
    server = syslog(path)
    sink.put(Level.INFO, b"second")
    assert server.recv(2000).endswith(b"dovecot: second")
    server.close()


def test_throttling_is_for_each_pid_and_second() -> None:
    throttle = Throttle(3)
    verdicts = [throttle.judge(7, 0.1 * step) for step in range(6)]
    assert verdicts == [Verdict.WRITE] * 3 + [Verdict.FIRST_DROPPED, Verdict.DROP, Verdict.DROP]
    assert throttle.judge(8, 0.5) is Verdict.WRITE
    assert throttle.expired(0.9) == []
    assert throttle.expired(1.2) == [(7, 3)]
    assert throttle.judge(7, 1.3) is Verdict.WRITE


def test_no_limit_counts_nothing() -> None:
    throttle = Throttle(0)
    assert all(throttle.judge(7, 0.0) is Verdict.WRITE for _ in range(1000))
    assert throttle.expired(10.0) == []
