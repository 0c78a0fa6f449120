"""INTERNALDATE and the dates of SEARCH on the wire (RFC 3501 section 9: date-time, date)."""

from __future__ import annotations

from dovecotpy import clock

MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_NUMBERS = {name.lower(): number for number, name in enumerate(MONTHS, 1)}
_LENGTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_DAYS_BEFORE = (0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334)


class InvalidDate(Exception):
    """Not a date of RFC 3501. Client: BAD; log: nothing."""


def days_since_epoch(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 to a date of the Gregorian calendar; raises InvalidDate if there is no such day."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if not 1 <= month <= 12 or not 1 <= day <= _LENGTHS[month - 1] or (month == 2 and day == 29 and not leap):
        raise InvalidDate("no such day")
    before = year - 1
    days = before * 365 + before // 4 - before // 100 + before // 400 - 719162
    return days + _DAYS_BEFORE[month - 1] + (1 if leap and month > 2 else 0) + day - 1


def _date(text: bytes) -> int:
    day, _, rest = text.strip(b" ").partition(b"-")
    month, _, year = rest.partition(b"-")
    if not (day.isdigit() and len(day) <= 2 and year.isdigit() and len(year) == 4):
        raise InvalidDate("Invalid date")
    return days_since_epoch(int(year), _NUMBERS.get(month.lower(), 0), int(day))


def parse_date(text: bytes) -> int:
    """`1-Feb-1994` as days since the epoch. Raises InvalidDate."""
    return _date(text)


def parse_date_time(text: bytes) -> int:
    """`17-Jul-1996 02:44:25 -0700` as seconds since the epoch. Raises InvalidDate."""
    date, time, zone = _pieces(text)
    hour, minute, second = _time(time)
    if len(zone) != 5 or zone[:1] not in b"+-" or not zone[1:].isdigit():
        raise InvalidDate("Invalid zone")
    offset = int(zone[1:3]) * 3600 + int(zone[3:5]) * 60
    if zone[:1] == b"-":
        offset = -offset
    return _date(date) * 86400 + hour * 3600 + minute * 60 + second - offset


def _pieces(text: bytes) -> tuple[bytes, bytes, bytes]:
    pieces = text.lstrip(b" ").split(b" ")
    if len(pieces) != 3:
        raise InvalidDate("Invalid date-time")
    return pieces[0], pieces[1], pieces[2]


def _time(text: bytes) -> tuple[int, int, int]:
    pieces = text.split(b":")
    if len(pieces) != 3 or any(len(piece) != 2 or not piece.isdigit() for piece in pieces):
        raise InvalidDate("Invalid time")
    hour, minute, second = map(int, pieces)
    if hour > 23 or minute > 59 or second > 60:
        raise InvalidDate("Invalid time")
    return hour, minute, second


def format_date_time(timestamp: int) -> bytes:
    """Seconds since the epoch as ` 7-Jul-1996 02:44:25 -0700`, without quotes, in the local time zone.

    A date that the calendar of the C library cannot show is shown as the epoch.
    """
    try:
        moment = clock.local(timestamp)
    except (OverflowError, ValueError, OSError):
        return b" 1-Jan-1970 00:00:00 +0000"
    if not 0 <= moment.tm_year <= 9999:
        return b" 1-Jan-1970 00:00:00 +0000"
    minutes = moment.tm_gmtoff // 60
    sign = b"-" if minutes < 0 else b"+"
    hours, minutes = divmod(abs(minutes), 60)
    return b"%2d-%b-%04d %02d:%02d:%02d %b%02d%02d" % (
        moment.tm_mday,
        MONTHS[moment.tm_mon - 1],
        moment.tm_year,
        moment.tm_hour,
        moment.tm_min,
        moment.tm_sec,
        sign,
        hours,
        minutes,
    )
