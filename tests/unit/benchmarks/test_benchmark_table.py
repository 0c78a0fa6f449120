"""What the benchmarks stand on: mail that is the same for every run, rows with names of their own, a table that tells equal work from less."""

from __future__ import annotations

import email

import pytest

from benchmarks import rows
from benchmarks.mailboxes import LARGEST, RARE, SMALLEST, Generator, plain
from benchmarks.measure import Sample, percentile
from benchmarks.table import Table
from dovecotpy.message.header import parse_header

COUNT = 1500


@pytest.fixture(scope="module")
def mail() -> list[bytes]:
    generator = Generator()
    return [generator.message(number) for number in range(COUNT)]


def test_a_number_is_always_the_same_message(mail: list[bytes]) -> None:
    other = Generator()
    assert [other.message(number) for number in range(COUNT - 1, COUNT - 200, -1)] == mail[: COUNT - 200 : -1]


def test_sizes_are_those_promised(mail: list[bytes]) -> None:
    assert min(map(len, mail)) >= SMALLEST * 0.9
    assert max(map(len, mail)) <= LARGEST * 1.1
    assert max(map(len, mail)) > LARGEST * 0.8
    assert len(plain(4096)) == 4096


def test_a_rare_word_is_in_one_message_of_a_thousand(mail: list[bytes]) -> None:
    assert [number for number, each in enumerate(mail) if RARE[0].encode() in each] == [500]


def test_all_forms_of_mail_are_there(mail: list[bytes]) -> None:
    kinds = {email.message_from_bytes(each).get_content_type() for each in mail[:200]}
    assert kinds == {"text/plain", "text/html", "multipart/alternative", "multipart/mixed"}
    assert any(b"=?utf-8?" in each for each in mail[:50])


def test_answers_name_the_message_before_them(mail: list[bytes]) -> None:
    ids = {parse_header(each).get(b"message-id") for each in mail}
    answers = [header for header in map(parse_header, mail) if header.get(b"references")]
    assert len(answers) > COUNT / 2
    assert all(header.get(b"in-reply-to") in ids for header in answers)
    assert len(ids) == COUNT


def test_every_row_has_its_own_name_and_every_aim_a_row() -> None:
    names = [row.name for row in rows.ROWS]
    assert len(set(names)) == len(names)
    for line in rows.AIMS:
        assert any(line.startswith(name) or name.startswith(line) for name in names), line
    assert rows.aim("THREAD REFERENCES, again") == 50
    assert rows.aim("THREAD REFERENCES, first") == 1


def test_an_answer_that_is_too_short_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table()
    table.heading("x")
    full, short = [Sample(2.0, 100_000, 1.0, 2048)], [Sample(4.0, 90_000, 1.0, 1024)]
    table.line("row", "ms", full, short, more_is_better=False, aim=3.0)
    table.line("same", "ms", full, full, more_is_better=False, aim=1.0)
    table.line("lacking", "ms", [], full, more_is_better=False, aim=1.0)
    printed = capsys.readouterr().out.splitlines()
    assert "2.00x" in printed[-3] and "ANSWERS DIFFER: 100000 and 90000 octets" in printed[-3]
    assert "1.00x" in printed[-2] and "DIFFER" not in printed[-2]
    assert "–" in printed[-1] and "x" not in printed[-1]
    assert table.below == ["x: row 2.00x, aim 3"]


def test_percentiles() -> None:
    values = [float(number) for number in range(100)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile([7.0], 0.99) == 7
