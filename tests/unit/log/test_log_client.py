"""The client side: it never raises and never blocks, and says what it lost."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from dovecotpy.ipc import fdpass, record
from dovecotpy.ipc.record import Level, Record
from dovecotpy.log import client
from dovecotpy.log.client import Log


def read(sock: socket.socket) -> list[Record]:
    return record.decode(sock.recv(record.MAX_PACKET))


def test_each_level_with_whose_line_it_is() -> None:
    ours, theirs = fdpass.pair()
    log = Log(ours)
    log.info("text\twith\ntab", user="joe", session="s", address="192.0.2.1")
    assert read(theirs) == [Record(Level.INFO, "text\twith\ntab", "joe", "s", "192.0.2.1")]
    for say, level in (
        (log.debug, Level.DEBUG),
        (log.warning, Level.WARNING),
        (log.error, Level.ERROR),
        (log.fatal, Level.FATAL),
        (log.panic, Level.PANIC),
    ):
        say("x")
        assert read(theirs) == [Record(level, "x")]


def test_what_finds_no_room_is_counted_and_the_count_said() -> None:
    ours, theirs = fdpass.pair()
    log = Log(ours)
    for _ in range(100_000):
        log.info("x" * 1000)
        if log.lost == 5:
            break
    assert log.lost == 5
    queued = 0
    while True:
        try:
            theirs.recv(record.MAX_PACKET, socket.MSG_DONTWAIT)
            queued += 1
        except BlockingIOError:
            break
    assert queued > 10
    log.info("again")
    assert [read(theirs), read(theirs)] == [
        [Record(Level.WARNING, "5 log lines were lost")],
        [Record(Level.INFO, "again")],
    ]
    assert log.lost == 0


def test_a_log_that_has_gone_is_no_error() -> None:
    ours, theirs = fdpass.pair()
    log = Log(ours)
    theirs.close()
    log.error("x")
    ours.close()
    log.error("y")
    assert log.lost == 2


def test_a_huge_text_is_cut() -> None:
    ours, theirs = fdpass.pair()
    Log(ours).error("\t" * 100_000, user="u" * 1000)
    (said,) = read(theirs)
    assert said.text == "\t" * record.MAX_TEXT
    assert said.user == "u" * 255


def test_without_a_socket_lines_go_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    Log(None).error("broken \udcff")
    assert capfd.readouterr().err == "Error: broken \\udcff\n"


def test_a_traceback_is_one_line_with_its_causes() -> None:
    ours, theirs = fdpass.pair()

    def inner() -> None:
        raise ValueError("first\nline")

    def outer() -> None:
        try:
            inner()
        except ValueError as error:
            raise KeyError("second") from error

    with pytest.raises(KeyError) as caught:
        outer()
    client.traceback(Log(ours), caught.value, user="joe")
    (said,) = read(theirs)
    assert said.level is Level.ERROR
    assert said.user == "joe"
    assert said.text.startswith("Internal error: KeyError: 'second' [")
    assert " caused by ValueError: first\nline [" in said.text
    assert said.text.index(" outer") < said.text.index(" inner")
    assert "test_log_client.py:" in said.text


def test_a_deep_traceback_keeps_its_innermost_places() -> None:
    def deeper(level: int) -> None:
        if level == 0:
            raise RuntimeError("bottom")
        deeper(level - 1)

    with pytest.raises(RuntimeError) as caught:
        deeper(200)
    text = client.describe(caught.value)
    assert text.count(" > ") == client.MAX_FRAMES - 1


def test_an_error_with_a_broken_text_is_still_described() -> None:
    class Broken(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert client.describe(Broken()) == "Broken: (no text) []"


def test_stderr_goes_to_the_log() -> None:
    ours, theirs = fdpass.pair()
    saved = os.dup(2)
    try:
        client.stderr(Log(ours))
        os.write(2, b"from a library\n\nsecond line\n")
        sys.__stderr__.flush() if sys.__stderr__ else None
    finally:
        os.dup2(saved, 2)
        os.close(saved)
    assert read(theirs) == [Record(Level.ERROR, "from a library"), Record(Level.ERROR, "second line")]


def test_it_imports_next_to_nothing() -> None:
    heavy = {
        "json",
        "logging",
        "traceback",
        "inspect",
        "dataclasses",
        "hashlib",
        "subprocess",
        "asyncio",
        "email",
    }
    code = f"import sys, dovecotpy.log.client; sys.exit(bool({heavy!r} & set(sys.modules)))"
    assert os.spawnl(os.P_WAIT, sys.executable, sys.executable, "-c", code) == 0
