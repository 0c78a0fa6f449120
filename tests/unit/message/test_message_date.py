"""The Date field and INTERNALDATE."""

from __future__ import annotations

import calendar
import email.utils
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.message.date import (
    Moment,
    calendar_day,
    day_number,
    format_internaldate,
    local_midnight,
    parse_date,
    parse_day,
    parse_internaldate,
)
from tests.corpus import corpus_messages, requires_corpus

moments = st.integers(-(10**9), 4 * 10**9)
zones = st.integers(-14 * 60, 14 * 60)


@given(moments, zones, st.booleans(), st.booleans())
def test_the_usual_spelling(timestamp: int, zone: int, weekday: bool, comment: bool) -> None:
    shown = time.gmtime(timestamp + zone * 60)
    month = calendar.month_abbr[shown.tm_mon]
    offset = f"{'-' if zone < 0 else '+'}{abs(zone) // 60:02}{abs(zone) % 60:02}"
    text = f"{shown.tm_mday} {month} {shown.tm_year} {shown.tm_hour:02}:{shown.tm_min:02}:{shown.tm_sec:02} {offset}"
    text = ("Mon, " if weekday else "") + text + (" (XYZ)" if comment else "")
    assert parse_date(text.encode()) == (timestamp, zone)


@pytest.mark.parametrize(
    ("value", "timestamp", "zone"),
    [
        (b"Tue, 14 Nov 2023 08:09:10 +0100", 1699945750, 60),
        (b"Tue, 14 Nov 23 08:09 GMT", 1699949340, 0),
        (b"14 Nov 2023 08:09:10 EST (comment (nested) here)", 1699967350, -300),
        (b"Tue Nov 14 08:09:10 2023", 1699949350, 0),
        (b"Tue Nov 14 08:09:10 PST 2023", 1699978150, -480),
        (b"Tuesday, 14-Nov-23 08:09:10 GMT", 1699949350, 0),
        (b"(a comment) Tue (b) , 14 (c) Nov 2023 08 : 09 : 10 -0000", 1699949350, 0),
        (b"14 november 2023 8:9:10 +0000", 1699949350, 0),
        (b"Thu, 31 Dec 98 23:59:60 +0000", 915148800, 0),
        (b"1 Jan 1970 00:00:00 +0000", 0, 0),
        (b"1 Jan 1900 00:00:00 +0000", -2208988800, 0),
        (b"Mon, 1 Jan 2024 00:00:00 +0530 (IST)", 1704047400, 330),
        (b"Mon,  1 Jan 2024 00:00:00 +0000", 1704067200, 0),
        (b"Mon, 01 Jan 2024 00:00:00 UT", 1704067200, 0),
    ],
)
def test_spellings(value: bytes, timestamp: int, zone: int) -> None:
    assert parse_date(value) == Moment(timestamp, zone)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"yesterday",
        b"32 Jan 2024 00:00:00 +0000",
        b"30 Feb 2024 00:00:00 +0000",
        b"1 Jan 2024 24:00:00 +0000",
        b"1 Jan 2024 00:61:00 +0000",
        b"1 Foo 2024 00:00:00 +0000",
        b"1 Jan 99999 00:00:00 +0000",
        b":",
        b"\xff" * 50,
        b"(" * 5000,
        b"1 Jan",
    ],
)
def test_no_date(value: bytes) -> None:
    assert parse_date(value) is None


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"1", b"12", b"Jan", b":", b" ", b"+0100", b"-", b"2020", b",", b"("])).map(
        b"".join
    )
)
def test_never_raises(value: bytes) -> None:
    moment = parse_date(value)
    assert moment is None or isinstance(moment.day, int)


@requires_corpus
def test_real_dates_agree_with_the_standard_library() -> None:
    agree = differ = 0
    for _, message in corpus_messages():
        for line in message[:5000].split(b"\n"):
            if line[:6].lower() != b"date: ":
                continue
            text = line[6:].strip()
            try:
                expected = email.utils.mktime_tz(email.utils.parsedate_tz(text.decode("ascii")))  # type: ignore[arg-type]
            except (TypeError, ValueError, OverflowError):
                continue
            moment = parse_date(text)
            if moment is not None and moment.timestamp == expected:
                agree += 1
            else:
                differ += 1
    assert agree > 4000
    assert differ < agree // 200


@given(st.integers(-719162, 2932896))
def test_day_numbers_and_the_calendar_are_inverse(day: int) -> None:
    year, month, number = calendar_day(day)
    assert 1 <= year <= 9999
    assert day_number(year, month, number) == day


def test_day_numbers_agree_with_the_standard_library() -> None:
    for day in range(-25000, 50000, 37):
        shown = time.gmtime(day * 86400)
        assert calendar_day(day) == shown[:3]


@given(moments, zones)
def test_internaldate_comes_back(timestamp: int, zone: int) -> None:
    text = format_internaldate(timestamp, zone)
    assert len(text) == 28
    assert parse_internaldate(text[1:-1]) == (timestamp, zone)


def test_internaldate_as_the_rfc_shows_it() -> None:
    assert format_internaldate(837596665, -420) == b'"17-Jul-1996 02:44:25 -0700"'
    assert format_internaldate(0) == b'" 1-Jan-1970 00:00:00 +0000"'


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"17-Jul-1996 02:44:25",
        b"17-Jul-1996 02:44:25 0700 ",
        b"7-Jul-1996 02:44:25 -0700",
        b"31-Jun-1996 02:44:25 -0700",
        b"17-Xxx-1996 02:44:25 -0700",
        b"17-Jul-1996 25:44:25 -0700",
        b"17-Jul-1996 02:44:25 -9900",
        b"17-Jul-1996 02:44:25 x0700",
        b"1\xb2-Jul-1996 02:44:25 -0700",
    ],
)
def test_what_is_no_date_time(text: bytes) -> None:
    assert parse_internaldate(text) is None


@pytest.mark.parametrize(
    ("text", "day"),
    [
        (b"1-Feb-1994", 8797),
        (b"01-feb-1994", 8797),
        (b"31-Dec-1969", -1),
        (b"1-Feb-94", None),
        (b"30-Feb-1994", None),
        (b"-1-Feb-1994", None),
        (b"1-Feb-1994 ", None),
    ],
)
def test_search_dates(text: bytes, day: int | None) -> None:
    assert parse_day(text) == day


def test_local_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        for day in (
            19700,
            19793,
            20035,
        ):  # winter, the day of the change to summer time, the day of the change back
            shown = time.localtime(local_midnight(day))
            assert (shown.tm_hour, shown.tm_min) == (0, 0)
            assert shown[:3] == calendar_day(day)
    finally:
        monkeypatch.undo()
        time.tzset()
