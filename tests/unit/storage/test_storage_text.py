"""The text index: what it tells is what reading every message tells, whatever happens to its files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.message.lines import Octets
from dovecotpy.message.text import BodyText, HeaderText, message_keys, stored_header_key
from dovecotpy.message.usual import usual_text
from dovecotpy.search import query as q
from dovecotpy.storage.index import text as text_module
from dovecotpy.storage.index import textfile
from dovecotpy.storage.index.textfile import BODIES, HEADERS, LOCK, Record, TextFile
from dovecotpy.storage.mailbox import Mailbox
from tests.unit.storage.storage_kit import Home, add, uids
from tests.unit.storage.storage_text_kit import MESSAGES, NEEDLES, found, matches, terms

ALL = [(term, text) for text in NEEDLES for term in terms(text)]
NEEDLE = q.Body("needle")


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.close()
    assert not made.lines


def filled(home: Home, messages: list[bytes] = MESSAGES, **changes: object) -> Mailbox:
    for number, message in enumerate(messages):
        home.deliver(f"{number + 1:04d}.a.h:2,S", message, "cur")
    mailbox = home.inbox(**changes)
    assert uids(mailbox) == list(range(1, len(messages) + 1))
    return mailbox


def expected(term: q.Query, messages: list[bytes] = MESSAGES) -> list[int]:
    return [uid for uid, message in enumerate(messages, 1) if matches(message, term)]


def readings(mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Messages that are read from now on."""
    read: list[int] = []
    real = mailbox._messages._open_body
    monkeypatch.setattr(mailbox._messages, "_open_body", lambda uid: [read.append(uid), real(uid)][1])
    begun = mailbox._messages._beginnings

    def beginnings(uids: Sequence[int], most: int, *, whole: bool) -> Iterator[bytes]:
        read.extend(uids)
        return begun(uids, most, whole=whole)

    monkeypatch.setattr(mailbox._messages, "_beginnings", beginnings)
    return read


# What it tells


@pytest.mark.parametrize("index", [True, False])
def test_as_reading_every_message(home: Home, index: bool) -> None:
    mailbox = filled(home, mail_text_index=index)
    for _ in range(1 + index):
        for term, text in ALL:
            here = expected(term)
            assert found(mailbox, term) == here, text
            assert found(mailbox, q.Not(term)) == [uid for uid in uids(mailbox) if uid not in here]
    assert (home.root / BODIES).exists() is index


def test_a_new_session_reads_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    found(filled(home), q.Text("needle"))
    mailbox = home.inbox()
    mailbox.refresh()
    read = readings(mailbox, monkeypatch)
    assert found(mailbox, NEEDLE) == expected(NEEDLE)
    assert found(mailbox, q.Header(b"subject", "first")) == [1]
    assert read == [10, 11, 15]  # headers whose lines are not certainly fields
    read.clear()
    assert found(mailbox, q.And((q.Text("plain words"), q.Not(q.Body("shown"))))) == [1]
    assert found(mailbox, q.Or((q.Text("plain words"), q.Body("shown")))) == [1, 6]
    assert read == []


def test_only_what_is_asked_about_is_read(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = filled(home)
    read = readings(mailbox, monkeypatch)
    assert found(mailbox, NEEDLE, [2, 7]) == [7]
    assert sorted(set(read)) == [2, 7]
    assert found(mailbox, q.And((q.Header(b"subject", "first"), q.Body("words")))) == [1]
    assert read.count(3) == 1


WORDS = st.sampled_from(
    [
        b"needle",
        b"nee",
        b"dle",
        b" ",
        b"\n",
        b"\r\n",
        b"=?utf-8?q?needle?=",
        b"\xc3\xa9",
        b"\xff",
        b"Subject:",
        b":",
        b"\n\n",
        b"\0",
        b"=0A",
    ]
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(WORDS, max_size=8).map(b"".join), min_size=1, max_size=4), st.sampled_from(NEEDLES))
def test_any_messages(tmp_path: Path, bodies: list[bytes], text: str) -> None:
    home = Home(tmp_path / os.urandom(4).hex())
    messages = [b"Subject: a\nX-Note: " + body for body in bodies]
    mailbox = filled(home, messages)
    for _ in range(2):
        for term in terms(text):
            assert found(mailbox, term) == expected(term, messages)
    home.close()


@settings(deadline=None)
@given(
    st.lists(WORDS, max_size=12).map(b"".join),
    st.sampled_from(
        [
            b"",
            b"Content-Type: text/html\n",
            b"content-transfer-encoding: 8BIT\n",
            b"Content-Type: x/y\n",
            b"Content-Type: te\xa8t/plain\n",
            b"Content-Type: =?utf-8?q?text/plain?=\n",
            "Content-Type: \uff54ext/plain\n".encode(),
        ]
    ),
)
def test_the_short_way_gives_the_same_keys(data: bytes, fields: bytes) -> None:
    message = fields + data
    short_header, short_body = stored_header_key(message), usual_text(message)
    steps = message_keys(Octets.of(message), 1 << 20)
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        header, body = stop.value
    assert short_header in (None, header)
    if short_body is not None:
        assert short_body.body == body.body.replace(b"\r\n", b"\n")
        assert short_body.parts == body.parts == b""


# Bounds


def test_a_long_text_is_read_from_the_message(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_module, "MAX_TEXT", 100)
    messages = [
        b"Subject: a\n\n" + b"x" * 101 + b"needle\n",
        b"Subject: " + b"a" * 101 + b" needle\n\n",
        MESSAGES[0],
    ]
    mailbox = filled(home, messages)
    for term in (NEEDLE, q.Text("needle"), q.Header(b"subject", "needle"), q.Not(NEEDLE)):
        assert found(mailbox, term) == found(mailbox, term)
    assert found(mailbox, NEEDLE) == [1]
    assert found(mailbox, q.Text("needle")) == [1, 2]
    assert found(mailbox, q.Header(b"subject", "needle")) == [2]
    assert max((home.root / name).stat().st_size for name in (HEADERS, BODIES)) < 1000


def test_no_more_octets_than_the_setting_allows(home: Home) -> None:
    messages = [b"Subject: %d\n\n" % number + b"word " * 200 + b"needle\n" for number in range(200)]
    mailbox = filled(home, messages, mail_text_index_max_size=50_000)
    text_module.CHUNK_MESSAGES, before = 8, text_module.CHUNK_MESSAGES
    try:
        assert found(mailbox, NEEDLE) == list(range(1, 201))
    finally:
        text_module.CHUNK_MESSAGES = before
    assert 40_000 < (home.root / BODIES).stat().st_size < 70_000
    assert found(mailbox, NEEDLE) == list(range(1, 201))


def test_its_size_is_that_of_the_text(home: Home) -> None:
    messages = [b"Subject: %d\n\n" % number + b"word " * 400 for number in range(100)]
    found(filled(home, messages), q.Text("needle"))
    mail = sum(map(len, messages))
    assert mail < sum((home.root / name).stat().st_size for name in (HEADERS, BODIES)) < mail * 1.05


def test_without_an_index_directory(home: Home) -> None:
    mailbox = filled(home, mail_location=f"maildir:{home.root}:INDEX=MEMORY")
    assert found(mailbox, NEEDLE) == expected(NEEDLE)
    assert not list(home.root.glob("dovecotpy.text*"))


# What may happen to its files


def test_deleted_under_open_sessions(home: Home) -> None:
    one, other = filled(home), home.inbox()
    for _ in range(3):
        for mailbox in (one, other):
            assert found(mailbox, q.Text("needle")) == expected(q.Text("needle"))
            for name in (HEADERS, BODIES, LOCK):
                (home.root / name).unlink(missing_ok=True)
    assert found(one, NEEDLE) == found(other, NEEDLE) == expected(NEEDLE)


def test_every_bit_may_flip(home: Home) -> None:
    term = q.Text("needle")
    found(filled(home), term)
    for name in (HEADERS, BODIES):
        path = home.root / name
        data = path.read_bytes()
        for at in {*range(0, 260, 7), *range(260, len(data), 197), len(data) - 1}:
            if at < len(data):
                path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
                mailbox = home.inbox()
                assert found(mailbox, term) == expected(term), (name, at)
                assert found(mailbox, NEEDLE) == expected(NEEDLE), (name, at)
                mailbox.close()
        path.write_bytes(data)


def test_cut_off_anywhere(home: Home) -> None:
    found(filled(home), NEEDLE)
    path = home.root / BODIES
    data = path.read_bytes()
    for end in [*range(0, 300, 13), *range(300, len(data), 301)]:
        path.write_bytes(data[:end])
        mailbox = home.inbox()
        assert found(mailbox, NEEDLE) == expected(NEEDLE)
        mailbox.close()
        assert len(path.read_bytes()) >= len(data) - 50


def test_of_another_mailbox_or_collation(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    found(filled(home), NEEDLE)
    old = (home.root / BODIES).read_bytes()
    monkeypatch.setattr(textfile, "COLLATION", "casemap-0 unicode-1")
    mailbox = home.inbox()
    assert found(mailbox, NEEDLE) == expected(NEEDLE)
    new = (home.root / BODIES).read_bytes()
    assert old[:100] != new[:100]
    assert old[100:] == new[100:]


def test_another_writer_is_not_waited_for(home: Home) -> None:
    mailbox = filled(home)
    with (home.root / LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert found(mailbox, NEEDLE) == expected(NEEDLE)
        assert not (home.root / BODIES).exists()
    assert found(mailbox, NEEDLE) == expected(NEEDLE)
    assert (home.root / BODIES).exists()


def test_a_directory_that_cannot_be_written(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = filled(home)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "pwritev", full)
    for _ in range(2):
        assert found(mailbox, NEEDLE) == expected(NEEDLE)
    [(level, line)] = home.lines
    assert (level, line) == (
        Level.WARNING,
        "Mailbox INBOX: write(dovecotpy.text) failed: No space left on device",
    )
    home.lines.clear()


def test_two_sessions_write_each_message_once(home: Home) -> None:
    one, other = filled(home), home.inbox()
    other.refresh()
    assert found(one, NEEDLE, range(1, 8)) == [uid for uid in expected(NEEDLE) if uid < 8]
    size = (home.root / BODIES).stat().st_size
    assert found(other, NEEDLE, range(1, 8)) == [uid for uid in expected(NEEDLE) if uid < 8]
    assert (home.root / BODIES).stat().st_size == size
    add(other, b"Subject: new\r\n\r\nneedle\r\n")
    assert found(one, NEEDLE) == found(other, NEEDLE) == [*expected(NEEDLE), len(MESSAGES) + 1]


# In quiet times


def rest(mailbox: Mailbox) -> int:
    """Let a mailbox do all its chores; how many slices it took."""
    slices = 0
    while mailbox.has_chores:
        mailbox.work()
        slices += 1
        assert slices < 10_000
    return slices


def test_nothing_is_built_where_nobody_searched(home: Home) -> None:
    mailbox = filled(home)
    rest(mailbox)
    assert not (home.root / BODIES).exists()


def test_new_messages_are_taken_in_quiet_times(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = filled(home)
    found(mailbox, NEEDLE, [1])
    assert rest(mailbox)
    read = readings(mailbox, monkeypatch)
    assert found(mailbox, q.Text("needle")) == expected(q.Text("needle"))
    assert read == []
    home.deliver("9999.a.h", b"Subject: new\n\nneedle\n")
    mailbox.refresh()
    assert mailbox.has_chores
    rest(mailbox)
    read.clear()
    assert found(mailbox, NEEDLE)[-1] == len(MESSAGES) + 1
    assert read == []


def test_a_slice_is_short(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    mailbox = filled(home, [b"Subject: %d\n\nneedle\n" % number for number in range(300)])
    found(mailbox, NEEDLE, [1])
    times = iter(range(10_000_000))
    monkeypatch.setattr(clock, "monotonic", lambda: next(times) / 1000)
    assert rest(mailbox) > 20


def test_the_dead_are_left_out(home: Home) -> None:
    mailbox = filled(home)
    other = home.inbox()
    assert found(other, NEEDLE) == found(mailbox, NEEDLE)
    rest(mailbox)
    size = (home.root / BODIES).stat().st_size
    mailbox.expunge(range(1, 16))
    mailbox.refresh()
    rest(mailbox)
    assert (home.root / BODIES).stat().st_size < size * 0.8
    for each in (mailbox, other, home.inbox()):
        assert found(each, NEEDLE) == [uid for uid in expected(NEEDLE) if uid > 15]
    assert not list(home.root.glob("*.new"))


def test_writing_anew_may_be_given_up(home: Home) -> None:
    found(filled(home), NEEDLE)
    directory = os.open(home.root, os.O_RDONLY)
    mailbox = home.inbox()
    mailbox.refresh()
    file = TextFile(directory, BODIES, 2, mailbox.guid, mailbox.uidvalidity)
    file.refresh()
    before = (home.root / BODIES).read_bytes()
    steps = file.compact(frozenset({1}))
    next(steps)
    assert (home.root / f"{BODIES}.new").exists()
    steps.close()
    assert not (home.root / f"{BODIES}.new").exists()
    assert (home.root / BODIES).read_bytes() == before
    # Left behind by a killed process: first nobody knows that, an hour later it goes.
    (home.root / f"{BODIES}.new").write_bytes(b"half")
    assert list(file.compact(frozenset({1}))) == []
    assert (home.root / f"{BODIES}.new").exists()
    os.utime(home.root / f"{BODIES}.new", (clock.now() - 7200,) * 2)
    assert list(file.compact(frozenset({1}))) == []
    assert list(file.compact(frozenset({1}))) != []
    assert set(file.places) == {1}
    file.close()
    os.close(directory)


def test_what_is_added_meanwhile_is_kept(home: Home) -> None:
    found(filled(home), NEEDLE)
    directory = os.open(home.root, os.O_RDONLY)
    mailbox = home.inbox()
    mailbox.refresh()
    file = TextFile(directory, BODIES, 2, mailbox.guid, mailbox.uidvalidity)
    other = TextFile(directory, BODIES, 2, mailbox.guid, mailbox.uidvalidity)
    file.refresh()
    steps = file.compact(frozenset({1, 900}))
    next(steps)
    other.append([Record(900, 0, (b"", b"LATE"))])
    assert list(steps) == []
    assert set(file.places) == {1, 900}
    other.refresh()
    assert set(other.places) == {1, 900}
    hits = other.look(other.places[900], 1, b"LATE", [900], 0)
    assert hits is not None
    assert [hit.uid for hit in hits.found] == [900]
    for each in (file, other):
        each.close()
    os.close(directory)


class Forgetful:
    """Reads nothing."""

    def header_key(self, uid: int) -> HeaderText | None:
        return None

    def text_keys(self, uid: int, most: int, *, with_header: bool) -> Iterator[None]:
        yield
        result: tuple[HeaderText, BodyText | None] | None = None
        return result


def test_messages_that_are_gone_are_not_unknown_for_long(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    index = text_module.TextIndex(directory, b"g", 1, Forgetful(), 0, lambda text: None)  # type: ignore[arg-type]
    steps = index.occurrences(q.Body("x"), b"X", [1, 2])
    try:
        while True:
            next(steps)
    except StopIteration as stop:
        assert stop.value.unknown == {1, 2}
    index.close()
    os.close(directory)
