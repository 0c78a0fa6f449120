"""INTERNALDATE with remembered days equals the plain way, in zones with and without summer time."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.imap import internaldate
from dovecotpy.message.date import format_internaldate


@pytest.fixture(params=["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe"], autouse=True)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    internaldate._zones.clear()
    yield request.param
    monkeypatch.undo()
    time.tzset()
    internaldate._zones.clear()


@given(st.integers(-(2**33), 2**33) | st.integers(1_174_000_000, 1_175_000_000))
def test_equal_to_the_plain_way(timestamp: int) -> None:
    offset = time.localtime(timestamp).tm_gmtoff // 60
    assert internaldate.render(timestamp) == format_internaldate(timestamp, offset)


@given(
    st.lists(st.integers(-(2**33), 2**33) | st.integers(1_174_000_000, 1_175_000_000), max_size=5)
    | st.lists(st.integers(1_300_000_000, 1_300_100_000), max_size=50)
)
def test_many_at_once_are_as_each(timestamps: list[int]) -> None:
    assert internaldate.render_all(timestamps) == list(map(internaldate.render, timestamps))


def test_at_a_change_of_the_clock(zone: str) -> None:
    if zone == "Europe/Berlin":
        assert internaldate.render(1174784399) == b'"25-Mar-2007 01:59:59 +0100"'
        assert internaldate.render(1174784400) == b'"25-Mar-2007 03:00:00 +0200"'


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(internaldate, "MAX_REMEMBERED", 10)
    for day in range(100):
        internaldate.render(day * 86400)
    assert len(internaldate._zones) <= 10
    assert len(internaldate._dates) <= 10


def test_dates_beyond_the_calendar() -> None:
    assert internaldate.render(1 << 62).startswith(b'"')
    assert internaldate.render(-(1 << 62)).startswith(b'"')
