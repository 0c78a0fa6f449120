"""INTERNALDATE for many messages at once, in the local time zone (RFC 3501 section 9: date-time)."""

from __future__ import annotations

from collections.abc import Sequence

from dovecotpy import clock
from dovecotpy.message.date import format_internaldate

MAX_REMEMBERED = 20_000
"""Days remembered; beyond, the memory starts anew."""

_DAY = 86400
_MINUTES = tuple(b"%02d:%02d:" % divmod(minute, 60) for minute in range(1440))
_SECONDS = tuple(b"%02d" % second for second in range(60))
_zones: dict[int, tuple[int, bytes] | None] = {}
_dates: dict[int, bytes] = {}


def render_all(timestamps: Sequence[int]) -> list[bytes]:
    """As `render` of each, faster where they have one zone."""
    zones = {
        _zones[day] if day in _zones else _remember_zone(day)
        for day in {timestamp // _DAY for timestamp in timestamps}
    }
    zone = zones.pop() if len(zones) == 1 else None
    if zone is None:
        return list(map(render, timestamps))
    shift, suffix = zone
    ends = [second + suffix for second in _SECONDS]
    minutes = _MINUTES
    local = [timestamp + shift for timestamp in timestamps]
    days = {day: _dates.get(day) or _remember_date(day) for day in {moment // _DAY for moment in local}}
    return [days[moment // _DAY] + minutes[moment % _DAY // 60] + ends[moment % 60] for moment in local]


def render(timestamp: int) -> bytes:
    """`"17-Jul-1996 02:44:25 -0700"`, with its quotes. timestamp: seconds since the epoch."""
    day = timestamp // _DAY
    zone = _zones[day] if day in _zones else _remember_zone(day)
    if zone is None:
        return format_internaldate(timestamp, _offset(timestamp))
    seconds, suffix = zone
    local, second = divmod(timestamp + seconds, _DAY)
    date = _dates.get(local) or _remember_date(local)
    return b"".join((date, _MINUTES[second // 60], _SECONDS[second % 60], suffix))


def _remember_zone(day: int) -> tuple[int, bytes] | None:
    """Offset in seconds, and as written, of a day of Universal Time; None if it changes within that day."""
    if len(_zones) >= MAX_REMEMBERED:
        _zones.clear()
    minutes = _offset(day * _DAY)
    zone = None
    if minutes == _offset(day * _DAY + _DAY - 1):
        zone = (minutes * 60, format_internaldate(0, minutes)[-7:])
    _zones[day] = zone
    return zone


def _remember_date(day: int) -> bytes:
    if len(_dates) >= MAX_REMEMBERED:
        _dates.clear()
    date = format_internaldate(day * _DAY)[:13]
    _dates[day] = date
    return date


def _offset(timestamp: int) -> int:
    """Minutes east of UTC at a moment."""
    try:
        return clock.local(timestamp).tm_gmtoff // 60
    except (OverflowError, ValueError, OSError):
        return 0
