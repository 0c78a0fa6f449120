from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.storage.maildir.uidlist import NAME, Broken, Uidlist


@pytest.fixture
def control(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def write(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)


def test_version_3(tmp_path: Path, control: int) -> None:
    write(
        tmp_path,
        "3 V1275660208 N25022 G3085f01b7f11094c501100008c4a11c1 Xmore\n25006 :1276528487.M1P2.h,S=1,W=2\n",
    )
    listed = Uidlist(control)
    assert listed.refresh()
    assert (listed.uidvalidity, listed.uidnext) == (1275660208, 25022)
    assert listed.guid == "3085f01b7f11094c501100008c4a11c1"
    assert listed.uids == {"1276528487.M1P2.h,S=1,W=2": 25006}


def test_version_1(tmp_path: Path, control: int) -> None:
    write(tmp_path, "1 1000 5\n1 a\n3 b:2,S\n")
    listed = Uidlist(control)
    listed.refresh()
    assert (listed.version, listed.uidvalidity, listed.uidnext, listed.uids) == (1, 1000, 5, {"a": 1, "b": 3})


def test_next_uid_is_at_least_one_more_than_the_last(tmp_path: Path, control: int) -> None:
    write(tmp_path, "3 V1 N2\n7 :a\n")
    listed = Uidlist(control)
    listed.refresh()
    assert listed.uidnext == 8


def test_unknown_keys_survive_a_rewrite(tmp_path: Path, control: int) -> None:
    write(tmp_path, "3 V9 N3 Zz Gx\n1 W12 Qq :a:2,S\n2 :b\n")
    listed = Uidlist(control)
    listed.refresh()
    listed.rewrite(sync=True)
    assert (tmp_path / NAME).read_text() == "3 V9 N3 Zz Gx\n1 W12 Qq :a\n2 :b\n"


def test_appended_lines_are_read_without_the_rest(tmp_path: Path, control: int) -> None:
    write(tmp_path, "3 V9 N2\n1 :a\n")
    mine, theirs = Uidlist(control), Uidlist(control)
    mine.refresh()
    theirs.refresh()
    theirs.append(2, ["b"], [""], sync=False)
    theirs.append(3, ["c"], ["W9"], sync=False)
    assert not mine.refresh()
    assert mine.uids == {"a": 1, "b": 2, "c": 3}
    assert mine.extra == {3: "W9"}
    assert mine.uidnext == 4


def test_a_line_without_its_end_is_not_looked_at(tmp_path: Path, control: int) -> None:
    write(tmp_path, "3 V9 N2\n1 :a\n2 :bhal")
    listed = Uidlist(control)
    listed.refresh()
    assert listed.uids == {"a": 1}
    assert not listed.complete
    write(tmp_path, "3 V9 N2\n1 :a\n2 :bhalf\n")
    listed.refresh()
    assert listed.uids == {"a": 1, "bhalf": 2}


def test_another_file_is_read_whole(tmp_path: Path, control: int) -> None:
    write(tmp_path, "3 V9 N2\n1 :a\n")
    listed = Uidlist(control)
    listed.refresh()
    os.rename(tmp_path / NAME, tmp_path / "old")
    write(tmp_path, "3 V9 N9\n8 :z\n")
    assert listed.refresh()
    assert listed.uids == {"z": 8}
    os.unlink(tmp_path / NAME)
    assert listed.refresh()
    assert listed.uidvalidity == 0


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", 1),
        ("4 V1 N1\n", 1),
        ("3 N1\n", 1),
        ("3 V0 N1\n", 1),
        ("3 V1 N99999999999\n", 1),
        ("3 V1 N1\n2 :a\n1 :b\n", 3),
        ("3 V1 N1\nx :a\n", 2),
        ("3 V1 N1\n1 :\n", 2),
        ("3 V1 N1\n1\n", 2),
        ("3 V1 N1\n4294967296 :a\n", 2),
    ],
)
def test_broken_files_say_where(tmp_path: Path, control: int, text: str, line: int) -> None:
    write(tmp_path, text)
    with pytest.raises(Broken) as raised:
        Uidlist(control).refresh()
    assert raised.value.line == line


def test_a_duplicate_keeps_the_later_uid(tmp_path: Path, control: int) -> None:
    write(tmp_path, "3 V1 N1\n1 :a\n2 :b\n3 :a\n")
    listed = Uidlist(control)
    listed.refresh()
    assert listed.uids == {"b": 2, "a": 3}
    assert [tuple(each) for each in listed.duplicates] == [(4, "a", 1, 3)]


def test_a_full_disk_leaves_no_half_line(
    tmp_path: Path, control: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "3 V9 N2\n1 :a\n")
    listed = Uidlist(control)
    listed.refresh()
    real = os.write

    def full(descriptor: int, data: bytes) -> int:
        real(descriptor, bytes(data)[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        listed.append(2, ["b"], [""], sync=False)
    assert (tmp_path / NAME).read_text() == "3 V9 N2\n1 :a\n"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_content_is_understood_or_broken(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as path:
        (Path(path) / NAME).write_bytes(b"3 V1 N1\n" + data)
        descriptor = os.open(path, os.O_RDONLY)
        listed = Uidlist(descriptor)
        try:
            listed.refresh()
        except Broken:
            return
        finally:
            listed.close()
            os.close(descriptor)
        values = list(listed.uids.values())
        assert values == sorted(set(values))
        assert all(uid < listed.uidnext for uid in values)
