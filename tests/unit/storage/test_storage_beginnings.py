"""Messages of which only the beginning is read, many at a time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dovecotpy.message import fields
from dovecotpy.message.envelope import envelope
from dovecotpy.message.header import header_end, parse_header
from dovecotpy.message.lines import crlf
from dovecotpy.storage import files
from dovecotpy.storage.items import fields_item
from dovecotpy.storage.mailbox import Mailbox
from dovecotpy.storage.maildir.body import beginnings
from dovecotpy.storage.source import FEW_OCTETS, FIRST_READ, ORDINARY
from tests.unit.storage.storage_kit import Home

USUAL = fields_item([b"from", b"subject"])
assert USUAL is not None
ITEMS = frozenset((b"ENVELOPE", b"RFC822.SIZE", b"THREADID", USUAL))
MESSAGE = b"From: a@example.org\nSubject: one\nMessage-ID: <1@example.org>\n\nbody\n"


@pytest.fixture
def directory(tmp_path: Path) -> "list[int]":
    return [os.open(tmp_path, files.DIRECTORY)]


def look(directory: int, *names: str, most: int = 10, whole: bool = False) -> list[bytes]:
    return list(beginnings([(directory, name) for name in names], most, whole=whole))


class TestFiles:
    def test_so_many_octets_of_each(self, tmp_path: Path, directory: list[int]) -> None:
        (tmp_path / "short").write_bytes(b"123456789")
        (tmp_path / "long").write_bytes(b"1234567890123")
        assert look(directory[0], "short", "long") == [b"123456789", b"1234567890"]

    def test_whole_ones_have_fewer_octets(self, tmp_path: Path, directory: list[int]) -> None:
        for count in (9, 10, 11):
            (tmp_path / f"{count}").write_bytes(b"x" * count)
        assert look(directory[0], "9", "10", "11", whole=True) == [b"x" * 9, b"", b""]

    def test_what_is_no_readable_file_is_empty(self, tmp_path: Path, directory: list[int]) -> None:
        (tmp_path / "there").write_bytes(b"x")
        os.symlink("there", tmp_path / "link")
        os.mkdir(tmp_path / "directory")
        os.mkfifo(tmp_path / "pipe")
        assert look(directory[0], "link", "directory", "pipe", "gone", "there") == [b"", b"", b"", b"", b"x"]
        assert list(beginnings([None], 10, whole=False)) == [b""]

    def test_a_read_that_gives_less_than_there_is_is_not_the_whole(
        self, tmp_path: Path, directory: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "m").write_bytes(b"123456")
        read = os.read
        monkeypatch.setattr(os, "read", lambda descriptor, n: read(descriptor, min(n, 4)))
        assert look(directory[0], "m", whole=True) == [b""]

    def test_no_descriptor_stays_open(self, tmp_path: Path, directory: list[int]) -> None:
        (tmp_path / "m").write_bytes(b"x")
        before = os.listdir("/proc/self/fd")
        look(directory[0], *["m", "gone"] * 20, whole=True)
        assert len(os.listdir("/proc/self/fd")) == len(before)


def answers(mailbox: Mailbox, uids: Sequence[int]) -> dict[int, dict[bytes, bytes | None]]:
    found: dict[int, dict[bytes, bytes | None]] = {}
    for batch in mailbox.fetch(uids, ITEMS):
        for at, uid in enumerate(batch.uids):
            found[uid] = {item: batch.values[item][at] for item in (b"ENVELOPE", b"RFC822.SIZE", USUAL)}
    return found


def expected(message: bytes) -> dict[bytes, bytes | None]:
    header = parse_header(message[: header_end(message)])
    return {
        b"ENVELOPE": envelope(header),
        b"RFC822.SIZE": b"%d" % len(crlf(message)),
        USUAL: header.fields([b"from", b"subject"]),
    }


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.sampled_from(
            [
                MESSAGE,
                MESSAGE.replace(b"\n", b"\r\n"),
                b"From someone\n" + MESSAGE,
                b"no field\n" + MESSAGE,
                b"X-Long: x\n" * FIRST_READ + MESSAGE,
                MESSAGE + b"x" * ORDINARY,
                b"To: " + b"a@b.example,\n " * (FEW_OCTETS // 8) + b"c@d\n" + MESSAGE,
                MESSAGE[:-5] + b"x\r\n" * 9,
                b"Subject: a\0b\n\nx",
                b"\nbody",
                b"",
            ]
        ),
        min_size=1,
        max_size=8,
    )
)
def test_ordinary_and_odd_messages_side_by_side(tmp_path: Path, messages: list[bytes]) -> None:
    home = Home(tmp_path / os.urandom(4).hex())
    for number, message in enumerate(messages):
        home.deliver(f"{number}.m.h:2,", message, folder="cur")
    mailbox = home.inbox()
    mailbox.refresh()
    found = answers(mailbox, mailbox.columns().uids)
    assert list(found.values()) == [expected(message) for message in messages]
    home.close()


def test_a_message_that_is_renamed_or_gone_meanwhile(home: Home) -> None:
    for number in range(4):
        home.deliver(f"{number}.m.h:2,", MESSAGE, folder="cur")
    mailbox = home.inbox()
    mailbox.refresh()
    uids = mailbox.columns().uids
    os.rename(home.root / "cur" / "1.m.h:2,", home.root / "cur" / "1.m.h:2,S")
    os.unlink(home.root / "cur" / "2.m.h:2,")
    found = answers(mailbox, uids)
    nothing = dict.fromkeys((b"ENVELOPE", b"RFC822.SIZE", USUAL))
    assert [found[uid] for uid in uids] == [
        expected(MESSAGE),
        expected(MESSAGE),
        nothing,
        expected(MESSAGE),
    ]


def test_what_one_command_read_of_a_header_serves_the_others(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    home.deliver("1.m.h:2,", MESSAGE, folder="cur")
    mailbox = home.inbox()
    mailbox.refresh()
    [header] = mailbox._messages.headers([1])
    assert header is not None
    mailbox.close()
    mailbox = home.inbox()
    mailbox.refresh()
    monkeypatch.setattr(mailbox._driver, "body", None)
    monkeypatch.setattr(mailbox._driver, "beginnings", None)
    [batch] = mailbox.fetch([1], frozenset((b"ENVELOPE", USUAL)))
    wanted = expected(MESSAGE)
    assert batch.values == {b"ENVELOPE": [wanted[b"ENVELOPE"]], USUAL: [wanted[USUAL]]}
    assert mailbox._messages._rendered.find(1, mailbox.columns().uids) == [wanted[b"ENVELOPE"]]


def test_many_messages_are_kept_in_whole_chunks(home: Home) -> None:
    for number in range(1100):
        home.deliver(f"{number:04}.m.h:2,", MESSAGE, folder="cur")
    mailbox = home.inbox()
    mailbox.refresh()
    made = answers(mailbox, mailbox.columns().uids)
    mailbox.close()
    mailbox = home.inbox()
    mailbox.refresh()
    rendered = mailbox._messages._rendered
    mailbox._messages.look()
    assert rendered.holds(1) == rendered.holds(4) == 1100
    assert rendered._file is not None
    assert [len(chunk.uids) for chunk in rendered._file.chunks[4]] == [512, 512, 76]
    assert answers(mailbox, mailbox.columns().uids) == made
    assert fields.unpack(rendered.find(4, mailbox.columns().uids)[0] or b"").get(b"subject") == b"one"
