"""The real log process, exec'ed as the master does it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import dovecotpy
from dovecotpy.child import bootstrap
from dovecotpy.config.values import Settings, Value
from dovecotpy.ipc import control, fdpass
from dovecotpy.ipc.control import Verb
from dovecotpy.log.client import Log

KINDS = ("master", "log", "imap-login", "imap", "auth.0")


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


class LogProcess:
    """The pairs, which outlive the process, and the process."""

    def __init__(self, directory: Path, changes: Mapping[str, Value]) -> None:
        self.path = directory / "log"
        values: dict[str, Value] = {
            "log_path": str(self.path),
            "info_log_path": "",
            "log_timestamp": "",
            "syslog_facility": "mail",
            "log_layout": "1.1",
            "mail_log_prefix": "%Us(%u): ",
            "mail_log_max_lines_per_sec": 10,
            "mail_debug": False,
            "version_ignore": False,
        }
        self.settings = Settings({**values, **changes})
        self.pairs = {kind: fdpass.pair() for kind in KINDS}
        for _, reader in self.pairs.values():
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.start()

    def start(self) -> None:
        self.control, theirs = fdpass.pair()
        read, write = os.pipe()
        blocks = {"settings": self.settings, "auths": Settings({"0": "default"})}
        os.write(write, bootstrap.encode_settings(blocks))
        os.close(write)
        named = {"control": theirs.fileno(), "settings": read}
        named |= {f"log.{kind}": reader.fileno() for kind, (_, reader) in self.pairs.items()}
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-m", "dovecotpy.log"],
            env=bootstrap.environment(named, {}),
            pass_fds=tuple(named.values()),
            stderr=self.pairs["log"][0],
        )
        theirs.close()
        os.close(read)
        self.control.settimeout(10)
        self.first = control.receive(self.control)

    def log(self, kind: str) -> Log:
        return Log(self.pairs[kind][0])

    def text(self) -> str:
        return self.path.read_text()

    def says(self, text: str) -> None:
        until(lambda: text in self.text())

    def close(self) -> None:
        for writer, reader in self.pairs.values():
            writer.close()
            reader.close()
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., LogProcess]]:
    made: list[LogProcess] = []

    def begin(**changes: Value) -> LogProcess:
        made.append(LogProcess(tmp_path, changes))
        return made[-1]

    yield begin
    for process in made:
        process.close()


def test_each_kind_has_its_prefix_and_nobody_forges_another(start: Callable[..., LogProcess]) -> None:
    process = start()
    assert process.first == control.Message(Verb.READY, (dovecotpy.__version__,), ())
    process.log("master").warning("from the master")
    process.log("imap-login").info("auth(default): forged", user="root")
    process.log("auth.0").error("from auth")
    process.log("imap").info("from a session", user="joe")
    for line in (
        "dovecot: Warning: from the master\n",
        "dovecot: Info: imap-login: auth(default): forged\n",
        "dovecot: Error: auth(default): from auth\n",
        "dovecot: Info: IMAP(joe): from a session\n",
    ):
        process.says(line)


def test_what_is_written_to_stderr_is_an_error_line(start: Callable[..., LogProcess]) -> None:
    process = start()
    process.pairs["imap-login"][0].send(
        b"Traceback (most recent call last):\n  File x\nValueError: \x1b[31m\n"
    )
    process.says("dovecot: Error: imap-login: Traceback (most recent call last):\n")
    process.says("dovecot: Error: imap-login: ValueError: \\x1b[31m\n")


def test_informational_lines_may_have_a_file_of_their_own(
    start: Callable[..., LogProcess], tmp_path: Path
) -> None:
    process = start(info_log_path=str(tmp_path / "info"))
    process.log("imap-login").info("calm")
    process.log("imap-login").debug("calmer")
    process.log("imap-login").warning("grave")
    process.says("grave")
    assert process.text() == "dovecot: Warning: imap-login: grave\n"
    assert (
        tmp_path / "info"
    ).read_text() == "dovecot: Info: imap-login: calm\ndovecot: Info: imap-login: calmer\n"


def test_reopen(start: Callable[..., LogProcess], tmp_path: Path) -> None:
    process = start()
    process.log("master").info("before")
    process.says("before")
    process.path.rename(tmp_path / "log.1")
    control.send(process.control, Verb.REOPEN)
    until(process.path.exists)
    process.log("master").info("after")
    process.says("after")
    assert "after" not in (tmp_path / "log.1").read_text()


def test_a_killed_one_is_followed_without_a_lost_line(start: Callable[..., LogProcess]) -> None:
    process = start()
    process.log("imap").info("one", user="joe")
    process.says("one")
    process.process.kill()
    process.process.wait()
    process.log("imap").info("two", user="joe")
    process.log("imap-login").info("three")
    process.start()
    process.says("two")
    process.says("three")


def test_told_to_retire_it_writes_what_waits_and_ends(start: Callable[..., LogProcess]) -> None:
    process = start()
    for number in range(200):
        process.log("imap-login").info(f"line {number}.")
    control.send(process.control, Verb.RETIRE)
    assert process.process.wait(10) == 0
    assert process.text().count("\n") == 200


def test_it_outlives_the_master_and_ends_with_the_last_writer(start: Callable[..., LogProcess]) -> None:
    process = start()
    writer = process.pairs["imap"][0].dup()
    for ours, theirs in process.pairs.values():
        ours.close()
        theirs.close()
    process.control.close()
    Log(writer).info("still here", user="joe")
    process.says("IMAP(joe): still here")
    assert process.process.poll() is None
    writer.close()
    assert process.process.wait(10) == 0


def test_signals_for_the_whole_group_do_not_end_it(start: Callable[..., LogProcess]) -> None:
    process = start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.process.send_signal(number)
    process.log("master").info("after all")
    process.says("after all")


def test_a_session_that_logs_too_fast_is_throttled_and_others_are_not(
    start: Callable[..., LogProcess],
) -> None:
    process = start(mail_log_max_lines_per_sec=3)
    for number in range(10):
        process.log("imap").info(f"fast {number}", user="joe")
    for number in range(20):
        process.log("imap-login").info(f"login {number}.")
    process.says("login 19.")
    text = process.text()
    assert text.count("fast ") == 3
    assert text.count("dovecot: Error: IMAP(joe): Sending log messages too fast, throttling..") == 1
    process.says("sent log messages too fast, 7 lines were dropped (see mail_log_max_lines_per_sec)")


def test_mail_debug_has_no_limit(start: Callable[..., LogProcess]) -> None:
    process = start(mail_log_max_lines_per_sec=3, mail_debug=True)
    for number in range(50):
        process.log("imap").info(f"fast {number}.", user="joe")
    process.says("fast 49.")


def test_hostile_packets_neither_end_it_nor_leave_descriptors(start: Callable[..., LogProcess]) -> None:
    process = start()
    sock = process.pairs["imap-login"][0]
    before = len(os.listdir(f"/proc/{process.process.pid}/fd"))
    with open(os.devnull) as null:
        for data in (
            b"",
            b"\x02",
            b"\x02z\t\t\t\t",
            b"\x02\x01",
            b"\xff" * 20000,
            b"\n" * 20000,
            b"\x02i\tu",
        ):
            fdpass.send(sock, data or b"\x00", (null.fileno(),) * 16)
            if not data:
                sock.send(b"")
    Log(sock).info("alive")
    process.says("imap-login: alive")
    until(lambda: len(os.listdir(f"/proc/{process.process.pid}/fd")) == before)


def test_a_full_disk_blocks_nobody_and_the_losses_are_counted(
    start: Callable[..., LogProcess], tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root mounts a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=False).returncode:
        pytest.skip("no mount here")
    try:
        process = start(log_path=str(disk / "log"))
        filler = disk / "filler"
        with open(filler, "wb", buffering=0) as file:
            while True:
                try:
                    file.write(b"x" * 512)
                except OSError:
                    break
        log = process.log("imap-login")
        for number in range(300):
            log.info(f"line {number}. " + "x" * 100)
        until(lambda: not waiting(process.pairs["imap-login"][1]))
        filler.unlink()
        path = disk / "log"
        until(lambda: "log lines were lost" in path.read_text())
        log.info("room again")
        until(lambda: "room again" in path.read_text())

        def accounted() -> int:
            text = path.read_text()
            lost = sum(int(number) for number in re.findall(r"(\d+) log lines? (?:was|were) lost", text))
            assert lost > 0
            return lost + text.count("x" * 100 + "\n")

        until(lambda: accounted() >= 300)
        assert accounted() == 300
        process.close()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def waiting(reader: socket.socket) -> bool:
    try:
        reader.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def test_a_log_file_that_cannot_be_opened_is_said(start: Callable[..., LogProcess], tmp_path: Path) -> None:
    process = start(log_path=str(tmp_path / "missing" / "log"))
    text = f"Can't open log file {tmp_path}/missing/log: No such file or directory"
    assert process.first == control.Message(Verb.FAILED, (text,), ())
    assert process.process.wait(10) == 80


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="no /proc here")
def test_it_gives_up_what_it_does_not_need(start: Callable[..., LogProcess]) -> None:
    process = start()
    fields = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines()
        if ":\t" in line
    )
    assert fields["NoNewPrivs"] == "1"
    assert int(fields["CapEff"], 16) & ~0b10 == 0
