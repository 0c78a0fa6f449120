"""Golden lines of every layout."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.config import variables
from dovecotpy.ipc.record import Level, Record
from dovecotpy.log.layout import DEFAULT_MAIL_PREFIX, MAX_LINE, Layout, Line, split, visible
from dovecotpy.log.source import Source, parse

NOON = 1_212_494_400.0
"""2008-06-03 12:00:00 UTC"""
STAMP = "%b %d %H:%M:%S "

LOGIN = Source("imap-login")
MAIL = Source("imap")
AUTH = Source("auth", "default")
WORKER = Source("auth-worker", "default")
MASTER = Source("master")


@pytest.fixture(autouse=True)
def utc() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "UTC0"
    time.tzset()
    yield
    if before is None:
        del os.environ["TZ"]
    else:
        os.environ["TZ"] = before
    time.tzset()


def layout(name: str, prefix: str = DEFAULT_MAIL_PREFIX, stamp: str = STAMP) -> Layout:
    return Layout(name, stamp, prefix, variables.expand)


def line(
    source: Source, level: Level, text: str, user: str = "", session: str = "", address: str = ""
) -> Line:
    return Line(source, 77, Record(level, text, user, session, address))


LOGGED_IN = line(LOGIN, Level.INFO, "Login: user=<joe>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.9, TLS")
SESSION = line(MAIL, Level.INFO, "Disconnected: Logged out bytes=1/2", "joe@example.org", "abc", "192.0.2.1")


@pytest.mark.parametrize(
    ("name", "said", "text"),
    [
        (
            "1.1",
            LOGGED_IN,
            "dovecot: Jun 03 12:00:00 Info: imap-login: Login: user=<joe>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.9, TLS",
        ),
        (
            "1.1",
            SESSION,
            "dovecot: Jun 03 12:00:00 Info: IMAP(joe@example.org): Disconnected: Logged out bytes=1/2",
        ),
        ("1.1", line(MASTER, Level.WARNING, "Killed with signal 15"), "dovecot: Jun 03 12:00:00 Warning: Killed with signal 15"),
        ("1.1", line(AUTH, Level.INFO, "sql(u,::1): unknown user"), "dovecot: Jun 03 12:00:00 Info: auth(default): sql(u,::1): unknown user"),
        ("1.1", line(WORKER, Level.ERROR, "x"), "dovecot: Jun 03 12:00:00 Error: auth-worker(default): x"),
        ("1.1", line(MAIL, Level.ERROR, "no user yet"), "dovecot: Jun 03 12:00:00 Error: imap: no user yet"),
        ("1.1", line(AUTH, Level.DEBUG, "x"), "dovecot: Jun 03 12:00:00 Info: auth(default): x"),
        ("1.1", line(LOGIN, Level.FATAL, "x"), "dovecot: Jun 03 12:00:00 Fatal: imap-login: x"),
        ("2.3", LOGGED_IN, "Jun 03 12:00:00 imap-login: Info: Login: user=<joe>, method=PLAIN, rip=192.0.2.1, lip=192.0.2.9, TLS"),
        ("2.3", SESSION, "Jun 03 12:00:00 imap(joe@example.org)<77><abc>: Info: Disconnected: Logged out bytes=1/2"),
        ("2.3", line(MASTER, Level.WARNING, "x"), "Jun 03 12:00:00 master: Warning: x"),
        ("2.3", line(AUTH, Level.DEBUG, "x"), "Jun 03 12:00:00 auth: Debug: x"),
        ("2.3", line(WORKER, Level.ERROR, "x"), "Jun 03 12:00:00 auth-worker(77): Error: x"),
    ],
)  # fmt: skip
def test_lines_in_files(name: str, said: Line, text: str) -> None:
    assert layout(name).file(said, NOON) == [text.encode() + b"\n"]


@pytest.mark.parametrize(
    ("name", "said", "text"),
    [
        ("1.1", line(LOGIN, Level.INFO, "x"), "imap-login: x"),
        ("1.1", line(LOGIN, Level.ERROR, "x"), "imap-login: x"),
        ("1.1", line(LOGIN, Level.FATAL, "x"), "Fatal: imap-login: x"),
        ("1.1", line(MASTER, Level.PANIC, "x"), "Panic: x"),
        ("1.1", SESSION, "IMAP(joe@example.org): Disconnected: Logged out bytes=1/2"),
        ("2.3", line(LOGIN, Level.INFO, "x"), "imap-login: x"),
        ("2.3", line(LOGIN, Level.WARNING, "x"), "imap-login: Warning: x"),
        ("2.3", line(MASTER, Level.ERROR, "x"), "master: Error: x"),
    ],
)
def test_lines_in_syslog(name: str, said: Line, text: str) -> None:
    assert layout(name).syslog(said, NOON) == [text.encode()]


def test_json_is_one_object_a_line_with_what_is_known() -> None:
    lines = layout("json").file(SESSION, NOON + 0.25)
    assert len(lines) == 1
    assert lines[0].endswith(b"}\n")
    assert json.loads(lines[0]) == {
        "time": "2008-06-03T12:00:00.250+0000",
        "level": "info",
        "process": "imap",
        "pid": 77,
        "user": "joe@example.org",
        "session": "abc",
        "address": "192.0.2.1",
        "text": "Disconnected: Logged out bytes=1/2",
    }
    assert json.loads(layout("json").syslog(line(AUTH, Level.ERROR, "a\nb"), NOON)[0])["text"] == "a\nb"


def test_the_administrators_mail_prefix_has_its_variables() -> None:
    mine = layout("1.1", "%s %n at %d from %r (%p): ")
    assert mine.syslog(SESSION, NOON) == [
        b"IMAP joe at example.org from 192.0.2.1 (77): Disconnected: Logged out bytes=1/2"
    ]
    assert layout("2.3", "mail %u: ").syslog(SESSION, NOON) == [
        b"mail joe@example.org: Disconnected: Logged out bytes=1/2"
    ]


def test_another_time_stamp() -> None:
    said = line(MASTER, Level.INFO, "x")
    assert layout("1.1", stamp="%Y-%m-%d ").file(said, NOON) == [b"dovecot: 2008-06-03 Info: x\n"]
    assert layout("1.1", stamp="").file(said, NOON) == [b"dovecot: Info: x\n"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\rc\td\0e", "a\\nb\\rc\\td\\x00e"),
        ("\x1b[31mred\x7f", "\\x1b[31mred\\x7f"),
        ("caf\u00e9", "caf\u00e9"),
        ("\x85\u2028\u202e\u2066", "\\x85\\u2028\\u202e\\u2066"),
        ("broken \udcff\udc80", "broken \\xff\\x80"),
        ("\ud800", "\\ud800"),
    ],
)
def test_control_characters_are_visible(text: str, shown: str) -> None:
    assert visible(text) == shown


def test_a_user_cannot_forge_a_line_by_its_name() -> None:
    forged = line(MAIL, Level.INFO, "x", "joe\ndovecot: Jun 03 12:00:00 Info: imap-login: Login")
    assert layout("1.1").file(forged, NOON)[0].count(b"\n") == 1


def test_long_texts_go_on_in_further_lines_with_the_same_head() -> None:
    lines = layout("1.1").file(line(MASTER, Level.ERROR, "x" * 2500), NOON)
    head = b"dovecot: Jun 03 12:00:00 Error: "
    assert [piece.removeprefix(head) for piece in lines] == [b"x" * 1024 + b"\n"] * 2 + [b"x" * 452 + b"\n"]


@given(st.text(max_size=3000))
def test_pieces_are_short_and_whole(text: str) -> None:
    shown = visible(text)
    pieces = split(shown)
    assert "".join(pieces) == shown
    assert all(len(piece.encode()) <= MAX_LINE for piece in pieces)
    assert "\n" not in shown


def test_prefixes_are_not_remembered_without_end() -> None:
    mine = layout("1.1")
    for number in range(3000):
        assert mine.syslog(line(MAIL, Level.INFO, "x", f"u{number}"), NOON) == [b"IMAP(u%d): x" % number]
    assert len(mine._prefixes) <= 1000


def test_sources_by_the_names_of_their_descriptors() -> None:
    auths = {"0": "default", "1": "second"}
    assert parse("imap-login", auths) == Source("imap-login")
    assert parse("auth.1", auths) == Source("auth", "second")
    assert parse("auth-worker.0", auths) == Source("auth-worker", "default")
    assert Source("imap").mail
    assert not Source("imap-login").mail
