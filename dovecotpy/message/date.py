"""Dates of messages: the Date field (RFC 5322 sections 3.3 and 4.3) and IMAP's INTERNALDATE (RFC 3501 section 9).

A date is a pair: seconds since the epoch, and the zone's distance from UTC in minutes, east positive.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from dovecotpy.clock import local
from dovecotpy.message.tokens import skip_blanks

MAX_DATE = 200
"""Octets of a Date value that are looked at."""

CACHE = 4096
"""Days remembered; then the memory starts anew."""

DAY = 86400

_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
_NUMBERS = {name.lower(): number for number, name in enumerate(_MONTHS, 1)}
_LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ZONES = {
    b"ut": 0,
    b"utc": 0,
    b"gmt": 0,
    b"z": 0,
    b"est": -300,
    b"edt": -240,
    b"cst": -360,
    b"cdt": -300,
    b"mst": -420,
    b"mdt": -360,
    b"pst": -480,
    b"pdt": -420,
}
_PIECE = re.compile(rb"[A-Za-z]+|[0-9]+|[+-][0-9]{3,4}|[:-]")


class Moment(NamedTuple):
    """A date with the zone that it was written in."""

    timestamp: int
    """Seconds since the epoch; negative before it."""
    zone: int
    """Minutes east of UTC."""

    @property
    def day(self) -> int:
        """The day as written, zone and time disregarded: days since 1970-01-01."""
        return (self.timestamp + self.zone * 60) // DAY


def day_number(year: int, month: int, day: int) -> int:
    """Days since 1970-01-01 in the Gregorian calendar. Raises ValueError for a day that does not exist."""
    if not (
        1 <= month <= 12
        and 1 <= day <= _LENGTHS[month - 1] + (month == 2 and _is_leap(year))
        and 0 < year < 10000
    ):
        raise ValueError("no such day")
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469


def calendar_day(number: int) -> tuple[int, int, int]:
    """Year, month and day of a day number."""
    shifted = number + 719468
    era, of_era = divmod(shifted, 146097)
    year = (of_era - of_era // 1460 + of_era // 36524 - of_era // 146096) // 365
    of_year = of_era - (365 * year + year // 4 - year // 100)
    month = (5 * of_year + 2) // 153
    day = of_year - (153 * month + 2) // 5 + 1
    return era * 400 + year + (month >= 10), month + 3 if month < 10 else month - 9, day


def _is_leap(year: int) -> bool:
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


_days: dict[bytes, int] = {}


def parse_date(value: bytes) -> Moment | None:
    """The moment of an unfolded Date value, or None. Never raises."""
    try:
        return _usual(value)
    except (ValueError, LookupError):
        return _tolerant(value[:MAX_DATE])


def _usual(value: bytes) -> Moment:
    """`Tue, 14 Nov 2023 08:09:10 +0100`, the spelling of nearly all messages. Raises ValueError or LookupError for any other."""
    at = 5 if value[3:5] == b", " else 0
    end = value.index(b":") - 2
    date = value[at:end]
    day = _days.get(date)
    if day is None:
        number, month, year, rest = date.split(b" ")
        if rest or len(year) != 4 or not (number.isdigit() and year.isdigit()):
            raise ValueError("not the usual spelling")
        day = day_number(int(year), _NUMBERS.get(month.lower(), 0), int(number))
        if len(_days) >= CACHE:
            _days.clear()
        _days[date] = day
    clock = value[end : end + 15]
    if len(clock) > 14 and clock[14] not in b" \t(":
        raise ValueError("not the usual spelling")
    seconds = _HOURS[clock[:3]] + _MINUTES[clock[3:6]] + _SECONDS[clock[6:9]]
    sign = clock[9:14]
    zone = _usual_zones.get(sign)
    if zone is None:
        zone = _learn_zone(sign)
    return Moment(day * DAY + seconds - zone * 60, zone)


_HOURS = {b"%02d:" % hour: hour * 3600 for hour in range(24)}
_MINUTES = {b"%02d:" % minute: minute * 60 for minute in range(60)}
_SECONDS = {b"%02d " % second: second for second in range(61)}
_usual_zones: dict[bytes, int] = {}


def _learn_zone(zone: bytes) -> int:
    """Minutes east of UTC of a zone as most are written. Raises ValueError for any other."""
    if len(zone) != 5 or zone[0] not in b"+-" or not zone[1:].isdigit():
        raise ValueError("not the usual spelling")
    minutes = _offset(zone[:1], zone[1:])
    if len(_usual_zones) >= CACHE:
        _usual_zones.clear()
    _usual_zones[zone] = minutes
    return minutes


def _offset(sign: bytes, digits: bytes) -> int:
    minutes = int(digits[:-2]) * 60 + int(digits[-2:])
    if minutes >= 24 * 60:
        raise ValueError("no such zone")
    return -minutes if sign == b"-" else minutes


def _moment(day: int, hour: int, minute: int, second: int, zone: int) -> Moment:
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError("no such time")
    return Moment(day * DAY + hour * 3600 + minute * 60 + second - zone * 60, zone)


def _tolerant(value: bytes) -> Moment | None:
    """Any order and spelling in which day, month, year and perhaps a time can be told apart."""
    try:
        return _from_pieces(_pieces(value))
    except ValueError:
        return None


def _pieces(value: bytes) -> list[bytes]:
    """Words, numbers, zones and colons; comments left out."""
    pieces = []
    at = 0
    while at < len(value):
        at = skip_blanks(value, at)
        found = _PIECE.match(value, at)
        if found:
            pieces.append(found.group())
            at = found.end()
        else:
            at += 1
    return pieces


def _from_pieces(pieces: list[bytes]) -> Moment:
    clock = [0, 0, 0]
    zone = 0
    month = 0
    numbers: list[int] = []
    at = 0
    while at < len(pieces):
        piece = pieces[at]
        if piece.isdigit() and pieces[at + 1 : at + 2] == [b":"]:
            clock, at = _clock(pieces, at)
            continue
        if piece.isdigit():
            numbers.append(int(piece))
        elif piece[0] in b"+-" and len(piece) > 1:
            zone = _zone(piece, numbers)
        elif month == 0 and piece[:3].lower() in _NUMBERS:
            month = _NUMBERS[piece[:3].lower()]
        else:
            zone = _ZONES.get(piece.lower(), zone)
        at += 1
    if month == 0 or len(numbers) < 2:
        raise ValueError("no date")
    day, year = numbers[:2]
    if day > 31:
        day, year = year, day
    if year < 50:
        year += 2000
    elif year < 1000:
        year += 1900
    hour, minute, second = clock
    return _moment(day_number(year, month, day), hour, minute, second, zone)


def _zone(piece: bytes, numbers: list[int]) -> int:
    """A zone such as -0500, or the year of 17-Jul-1996, which looks like one."""
    if len(numbers) < 2:
        numbers.append(int(piece[1:]))
        return 0
    return _offset(piece[:1], piece[1:])


def _clock(pieces: list[bytes], at: int) -> tuple[list[int], int]:
    """Hours, minutes and seconds from at on, and the place after them."""
    clock = [int(pieces[at])]
    at += 1
    while (
        len(clock) < 3
        and pieces[at : at + 1] == [b":"]
        and pieces[at + 1 : at + 2]
        and pieces[at + 1].isdigit()
    ):
        clock.append(int(pieces[at + 1]))
        at += 2
    return clock + [0] * (3 - len(clock)), at


def format_internaldate(timestamp: int, zone: int = 0) -> bytes:
    """`"17-Jul-1996 02:44:25 -0700"` with its quotes; the day has a space in place of a leading zero."""
    day, second = divmod(timestamp + zone * 60, DAY)
    year, month, number = calendar_day(day)
    sign = b"-" if zone < 0 else b"+"
    return b'"%2d-%b-%04d %02d:%02d:%02d %b%02d%02d"' % (
        number,
        _MONTHS[month - 1],
        min(max(year, 0), 9999),
        second // 3600,
        second // 60 % 60,
        second % 60,
        sign,
        abs(zone) // 60,
        abs(zone) % 60,
    )


def parse_internaldate(text: bytes) -> Moment | None:
    """The moment of an IMAP date-time without its quotes, or None if it is not exactly one (RFC 3501 date-time)."""
    if (
        len(text) != 26
        or text[2:3] != b"-"
        or text[6:7] != b"-"
        or text[11:12] != b" "
        or text[20:21] != b" "
    ):
        return None
    clock = text[12:20]
    digits = text[7:11] + clock[0:2] + clock[3:5] + clock[6:8] + text[22:26]
    number = text[0:2].lstrip(b" ")
    if (
        not digits.isdigit()
        or not number.isdigit()
        or clock[2:3] != b":"
        or clock[5:6] != b":"
        or text[21] not in b"+-"
    ):
        return None
    try:
        day = day_number(int(text[7:11]), _NUMBERS.get(text[3:6].lower(), 0), int(number))
        return _moment(
            day, int(clock[0:2]), int(clock[3:5]), int(clock[6:8]), _offset(text[21:22], text[22:26])
        )
    except ValueError:
        return None


def parse_day(text: bytes) -> int | None:
    """The day number of an IMAP date such as 1-Feb-1994 without quotes, or None (RFC 3501 date-text)."""
    number, _, rest = text.partition(b"-")
    month, _, year = rest.partition(b"-")
    if not (1 <= len(number) <= 2 and len(year) == 4 and number.isdigit() and year.isdigit()):
        return None
    try:
        return day_number(int(year), _NUMBERS.get(month.lower(), 0), int(number))
    except ValueError:
        return None


def local_midnight(day: int) -> int:
    """The moment at which a day begins by the clock of this server."""
    guess = day * DAY
    for _ in range(2):
        guess = day * DAY - (local(guess).tm_gmtoff or 0)
    return guess
