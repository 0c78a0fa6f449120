"""dovecot-keywords, subscriptions, Courier's files, the snapshot, locations, names."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.storage import location, names, state
from dovecotpy.storage.errors import InvalidMailboxName, StoreError
from dovecotpy.storage.index import snapshot
from dovecotpy.storage.index.snapshot import Head, Unusable
from dovecotpy.storage.location import Location
from dovecotpy.storage.maildir import courier
from dovecotpy.storage.maildir.keywords import Keywords
from dovecotpy.storage.maildir.paths import FS, MAILDIRPP
from dovecotpy.storage.maildir.subscriptions import Subscriptions


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


class TestKeywords:
    def test_lines(self, tmp_path: Path, directory: int) -> None:
        (tmp_path / "dovecot-keywords").write_text("0 $Label1\n3 work\n26 x\nfoo\n4 work\n1\n")
        table = Keywords(directory)
        table.refresh()
        assert table.names == {"a": "$Label1", "d": "work"}

    def test_new_ones_take_free_letters_and_mtime_grows(self, tmp_path: Path, directory: int) -> None:
        path = tmp_path / "dovecot-keywords"
        path.write_text("1 b\n")
        later = 4_000_000_000 * 10**9
        os.utime(path, ns=(later, later))
        table = Keywords(directory)
        table.refresh()
        table.define(["x", "b", "y"], sync=False)
        assert path.read_text() == "0 x\n1 b\n2 y\n"
        assert path.stat().st_mtime_ns > later

    def test_each_change_is_of_another_second(self, tmp_path: Path, directory: int) -> None:
        """Dovecot takes a file of the second that it has read for the same."""
        seconds = set()
        table = Keywords(directory)
        table.refresh()
        for number in range(5):
            table.define([f"k{number}"], sync=False)
            seconds.add(int((tmp_path / "dovecot-keywords").stat().st_mtime))
        assert len(seconds) == 5

    def test_twenty_six_letters(self, directory: int) -> None:
        table = Keywords(directory)
        table.refresh()
        table.define([f"k{number}" for number in range(30)], sync=False)
        assert table.full
        assert len(table.letters) == 26


class TestSubscriptions:
    def make(self, directory: int) -> Subscriptions:
        return Subscriptions(
            directory, "subscriptions", root=directory, separator=".", sync=False, exclusive=True
        )

    def test_changes(self, tmp_path: Path, directory: int) -> None:
        listed = self.make(directory)
        assert listed.read() == []
        assert listed.change(b"A.B", True)
        assert not listed.change(b"A.B", True)
        assert listed.change(b"C&-D", True)
        assert (tmp_path / "subscriptions").read_bytes() == b"A.B\nC&-D\n"
        assert listed.change(b"A.B", False)
        assert listed.read() == [b"C&-D"]
        assert os.listdir(tmp_path) == ["subscriptions"]

    def test_couriers_are_taken_over(self, tmp_path: Path, directory: int) -> None:
        (tmp_path / "courierimapsubscribed").write_text("INBOX\nINBOX.Sent\nINBOX.a.b\n")
        listed = self.make(directory)
        assert listed.read() == [b"INBOX", b"Sent", b"a.b"]
        listed.change(b"a.b", False)
        assert (tmp_path / "subscriptions").read_bytes() == b"INBOX\nSent\n"


class TestCourier:
    def test_uids(self, tmp_path: Path, directory: int) -> None:
        assert courier.uids(directory) is None
        (tmp_path / "courierimapuiddb").write_text("1 1000 5\n1 a:2,S\n4 b\n")
        assert courier.uids(directory) == (1000, 5, [("a", 1), ("b", 4)])
        (tmp_path / "courierimapuiddb").write_text("2 1000 5\n")
        assert courier.uids(directory) is None

    def test_keywords(self, tmp_path: Path, directory: int) -> None:
        (tmp_path / "courierimapkeywords").mkdir()
        (tmp_path / "courierimapkeywords" / ":list").write_text("$Label1\nwork\n\nmsg1:0 1\nmsg2:1 7\n")
        assert courier.keywords(directory) == {"msg1": ["$Label1", "work"], "msg2": ["work"]}


COLUMNS = [
    array("I", [3, 8]),
    array("B", [1, 8]),
    array("I", [0, 1]),
    array("Q", [6, 7]),
    array("q", [-1, 100]),
    array("q", [10, -20]),
    array("q", [-1, -1]),
]
EXPUNGES = [(3, 1, 2), (5, 4, 7)]
ARRIVALS = [(1, 1), (6, 3)]


class TestSnapshot:
    def write(self, directory: int, columns: list[array[int]] = COLUMNS) -> Head:
        sets = (frozenset[str](), frozenset({"a", "é"}))
        boot = state.BOOT.encode()
        head = Head(
            b"h" * 8,
            b"g" * 8,
            boot,
            b"f" * 32,
            5,
            9,
            7,
            2,
            (4, 99),
            b"12345678",
            b"stamp",
            sets,
            len(columns[0]),
        )
        snapshot.write(directory, head, columns.__getitem__, EXPUNGES, ARRIVALS)
        return head

    def test_round_trip(self, directory: int) -> None:
        assert snapshot.open_snapshot(directory) is None
        head = self.write(directory)
        found = snapshot.open_snapshot(directory)
        assert found is not None
        assert found.head == head
        assert found.head.of_this_boot
        assert [found.column(number) for number in range(7)] == COLUMNS
        assert found.expunges() == EXPUNGES
        assert found.arrivals() == ARRIVALS
        assert found.changed_since(6) == [(8, 7)]
        assert found.tail(found.log) == b""

    def test_a_value_that_no_column_can_hold_is_no_snapshot(self, directory: int) -> None:
        self.write(directory)
        found = snapshot.open_snapshot(directory)
        assert found is not None
        found._columns[3] = (snapshot._SAME, -1, 0)
        for look in (lambda: found.column(3), lambda: found.changed_since(0)):
            with pytest.raises(snapshot.Unusable, match="malformed"):
                look()

    @pytest.mark.parametrize("count", [0, 1, 8191, 8192, 8193, 30000])
    def test_segments(self, directory: int, count: int) -> None:
        columns = [
            array("I", range(1, count + 1)),
            array("B", [at % 32 for at in range(count)]),
            array("I", [at % 2 for at in range(count)]),
            array("Q", range(count, 0, -1)),
            array("q", [-1]) * count,
            array("q", range(count)),
            array("q", range(count)),
        ]
        self.write(directory, columns)
        found = snapshot.open_snapshot(directory)
        assert found is not None
        assert [found.column(number) for number in range(7)] == columns
        since = count - 5
        assert found.changed_since(since) == [
            (at + 1, count - at) for at in range(count) if count - at > since
        ]
        assert found.expunges() == EXPUNGES

    def test_every_flipped_bit_and_every_cut_is_noticed(self, tmp_path: Path, directory: int) -> None:
        self.write(directory)
        path = tmp_path / snapshot.NAME
        data = path.read_bytes()

        def everything() -> object:
            found = snapshot.open_snapshot(directory)
            assert found is not None
            return found.head, [found.column(at) for at in range(7)], found.expunges(), found.arrivals()

        expected = everything()
        silent = 0
        for at in range(len(data)):
            for changed in (data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], data[:at]):
                path.write_bytes(changed)
                try:
                    assert everything() == expected
                    silent += 1
                except Unusable:
                    continue
        assert silent < 60, "more than the padding says nothing"

    def test_another_boot_takes_the_stamp(self, directory: int, monkeypatch: pytest.MonkeyPatch) -> None:
        self.write(directory)
        monkeypatch.setattr(snapshot, "BOOT", "another")
        found = snapshot.open_snapshot(directory)
        assert found is not None
        assert found.head.stamp == b""
        assert not found.head.of_this_boot

    def test_recent(self, tmp_path: Path, directory: int) -> None:
        assert snapshot.read_recent(directory, 5) is None
        snapshot.write_recent(directory, 5, 77)
        assert snapshot.read_recent(directory, 5) == 77
        assert snapshot.read_recent(directory, 6) is None
        (tmp_path / snapshot.RECENT).write_bytes(b"\0" * 12)
        assert snapshot.read_recent(directory, 0) is None


class TestLocation:
    def test_keys(self, tmp_path: Path) -> None:
        text = "maildir:~/Maildir:INBOX=/in/:INDEX=MEMORY:CONTROL=~/c:LAYOUT=fs:SUBSCRIPTIONS=subs"
        assert location.parse(text, "/h") == Location(
            "maildir", "/h/Maildir", "/in", "MEMORY", "/h/c", "fs", "subs"
        )

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("foo:/x", "mail_location: Unknown mail storage driver foo"),
            ("maildir:", "mail_location: Root mail directory not given"),
            ("maildir:/x:FOO=1", "mail_location: Unknown setting: FOO"),
            (
                "/nowhere",
                "mail_location: Ambiguous mail location setting, don't know what to do with it: /nowhere"
                " (try prefixing it with mbox: or maildir:)",
            ),
        ],
    )
    def test_errors(self, text: str, message: str) -> None:
        with pytest.raises(StoreError) as raised:
            location.parse(text, "/h")
        assert raised.value.log == message

    def test_autodetection(self, tmp_path: Path) -> None:
        with pytest.raises(StoreError) as raised:
            location.autodetect(str(tmp_path))
        assert raised.value.log == (
            "mail_location not set and autodetection failed:"
            f" Mail storage autodetection failed with home={tmp_path}"
        )
        (tmp_path / "Maildir").mkdir()
        assert location.autodetect(str(tmp_path)) == Location("maildir", str(tmp_path / "Maildir"))
        (tmp_path / "Maildir" / "cur").mkdir()
        assert location.parse(str(tmp_path / "Maildir"), "").driver == "maildir"


class TestNames:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            (b"", "Empty mailbox name."),
            (b"x" * 513, "Mailbox name too long."),
            (b"a\0b", "Invalid mailbox name."),
            (b"a\r\nb", "Invalid mailbox name."),
        ],
    )
    def test_refused_everywhere(self, name: bytes, message: str) -> None:
        with pytest.raises(InvalidMailboxName) as raised:
            names.check(name)
        assert str(raised.value) == message

    def test_separators(self) -> None:
        assert names.to_disk(b"a/b", b"/", b".") == b"a.b"
        with pytest.raises(InvalidMailboxName) as raised:
            names.to_disk(b"a.b", b"/", b".")
        assert str(raised.value) == "Character not allowed in mailbox name: '.'"
        for name in (b".a", b"a.", b"a..b"):
            with pytest.raises(InvalidMailboxName):
                names.to_disk(name, b".", b".")

    def test_depth_and_length_of_new_ones(self) -> None:
        names.check_new(b".".join([b"a"] * 20), b".")
        names.check_new(b"a" * 200, b".")
        for name in (b".".join([b"a"] * 21), b"a" * 201):
            with pytest.raises(InvalidMailboxName):
                names.check_new(name, b".")

    @settings(max_examples=500)
    @given(st.binary(max_size=40))
    def test_no_name_leaves_its_root(self, name: bytes) -> None:
        for layout in (MAILDIRPP, FS):
            try:
                parts = layout.components(name)
            except InvalidMailboxName:
                continue
            assert all(part not in ("", ".", "..") and "/" not in part and "\0" not in part for part in parts)

    @pytest.mark.parametrize("name", [b"a/../b", b"../a", b"~a", b"a/cur", b"new", b"a//b", b"/a", b"a/"])
    def test_refused_with_layout_fs(self, name: bytes) -> None:
        with pytest.raises(InvalidMailboxName):
            FS.components(name)

    @pytest.mark.parametrize("name", [b"a/b", b"..", b".a", b"a.", b"a..b", b"~a", b".DOVECOT-TRASHED"])
    def test_refused_with_maildirpp(self, name: bytes) -> None:
        with pytest.raises(InvalidMailboxName):
            MAILDIRPP.components(name)
