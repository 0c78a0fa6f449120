"""How a record looks as a line: the layouts of 1.1 and 2.3, for files and for syslog, and JSON.

| layout | file | syslog |
|---|---|---|
| 1.1 | `dovecot: ` TIME `Info: ` PREFIX TEXT | PREFIX TEXT; `Fatal: ` and `Panic: ` in front |
| 2.3 | TIME PREFIX `Info: ` TEXT | PREFIX TEXT; `Warning: ` and graver between them |
| json | one object a line | the same |
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dovecotpy import clock
from dovecotpy.ipc.record import Level, Record
from dovecotpy.log.source import Source

MAX_LINE = 1024
"""Octets of text in one line; a longer text goes on in further lines."""
MAX_PREFIXES = 1000
"""Prefixes remembered before all are forgotten."""
DEFAULT_MAIL_PREFIX = "%Us(%u): "

_NAMES = {
    Level.DEBUG: "Debug",
    Level.INFO: "Info",
    Level.WARNING: "Warning",
    Level.ERROR: "Error",
    Level.FATAL: "Fatal",
    Level.PANIC: "Panic",
}
_GRAVEST = (Level.FATAL, Level.PANIC)
_CALM = (Level.DEBUG, Level.INFO)

_VISIBLE = {number: f"\\x{number:02x}" for number in (*range(0x20), *range(0x7F, 0xA0))}
_VISIBLE.update({ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"})
_VISIBLE.update({number: f"\\u{number:04x}" for number in (0x2028, 0x2029, *range(0x202A, 0x202F))})
_VISIBLE.update({number: f"\\u{number:04x}" for number in range(0x2066, 0x206A)})
_VISIBLE.update({number: f"\\x{number - 0xDC00:02x}" for number in range(0xDC80, 0xDD00)})

Expand = Callable[[str, Mapping[str, str]], str]


class Line(NamedTuple):
    """A record with what the log process knows of its sender."""

    source: Source
    pid: int
    record: Record

    @property
    def calm(self) -> bool:
        """Whether it belongs into info_log_path."""
        return self.record.level in _CALM


def visible(text: str) -> str:
    """The text with control characters, line separators, direction marks and broken UTF-8 as escapes."""
    if text.isascii() and text.isprintable():
        return text
    return text.translate(_VISIBLE).encode("utf-8", "backslashreplace").decode()


def split(text: str, limit: int = MAX_LINE) -> list[str]:
    """The text in pieces of at most `limit` octets of UTF-8, cut between characters."""
    if len(text) * 4 <= limit or len(text.encode()) <= limit:
        return [text]
    pieces = []
    rest = text.encode()
    while len(rest) > limit:
        cut = limit
        while rest[cut] & 0xC0 == 0x80:
            cut -= 1
        pieces.append(rest[:cut].decode())
        rest = rest[cut:]
    return [*pieces, rest.decode()]


class Layout:
    """One of the layouts, with what the settings say of it.

    name: 1.1, 2.3 or json; timestamp: for strftime; mail_prefix: mail_log_prefix; expand: expands %-variables.
    """

    def __init__(self, name: str, timestamp: str, mail_prefix: str, expand: Expand) -> None:
        self._name = name
        self._timestamp = timestamp
        self._mail_prefix = mail_prefix
        self._expand = expand
        self._of_session = name == "2.3" and mail_prefix == DEFAULT_MAIL_PREFIX
        self._second = -1
        self._stamp = ""
        self._prefixes: dict[tuple[Source, int, str, str, str], str] = {}

    def file(self, line: Line, now: float) -> list[bytes]:
        """The lines for a file, each with its LF; `now`: seconds since the epoch."""
        if self._name == "json":
            return [self._json(line, now)]
        level = _NAMES[line.record.level]
        stamp = self._time(now)
        prefix = self._prefix(line)
        if self._name == "2.3":
            head = f"{stamp}{prefix}{level}: "
        else:
            head = f"dovecot: {stamp}{'Info' if line.calm else level}: {prefix}"
        return [_encode(head + piece + "\n") for piece in split(visible(line.record.text))]

    def syslog(self, line: Line, now: float) -> list[bytes]:
        """The texts for syslog, without ident and time."""
        if self._name == "json":
            return [self._json(line, now).rstrip(b"\n")]
        level = line.record.level
        prefix = self._prefix(line)
        if self._name == "2.3":
            head = prefix if level is Level.INFO else f"{prefix}{_NAMES[level]}: "
        else:
            head = f"{_NAMES[level]}: {prefix}" if level in _GRAVEST else prefix
        return [_encode(head + piece) for piece in split(visible(line.record.text))]

    def _time(self, now: float) -> str:
        if int(now) != self._second:
            self._second = int(now)
            self._stamp = time.strftime(self._timestamp, clock.local(now))
        return self._stamp

    def _prefix(self, line: Line) -> str:
        said = line.record
        key = (line.source, line.pid, said.user, said.session if self._of_session else "", said.address)
        found = self._prefixes.get(key)
        if found is None:
            if len(self._prefixes) >= MAX_PREFIXES:
                self._prefixes.clear()
            found = self._prefixes[key] = visible(self._make_prefix(line))
        return found

    def _make_prefix(self, line: Line) -> str:
        kind, name = line.source
        modern = self._name == "2.3"
        if kind == "master":
            return "master: " if modern else ""
        if kind == "auth":
            return "auth: " if modern else f"auth({name}): "
        if kind == "auth-worker":
            return f"auth-worker({line.pid}): " if modern else f"auth-worker({name}): "
        if not line.source.mail or not line.record.user:
            return f"{kind}: "
        if self._of_session:
            return f"{kind}({line.record.user})<{line.pid}><{line.record.session}>: "
        return self._expand(self._mail_prefix, _variables(line))

    def _json(self, line: Line, now: float) -> bytes:
        moment = clock.local(now)
        zone = time.strftime("%z", moment)
        said = line.record
        shown = {
            "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', moment)}.{int(now % 1 * 1000):03d}{zone}",
            "level": _NAMES[said.level].lower(),
            "process": line.source.kind,
            "section": line.source.name,
            "pid": line.pid,
            "user": said.user,
            "session": said.session,
            "address": said.address,
            "text": said.text,
        }
        kept = {name: value for name, value in shown.items() if value != ""}
        text = json.dumps(kept, ensure_ascii=True, separators=(",", ":"))
        return text.encode() + b"\n"


def _variables(line: Line) -> dict[str, str]:
    user = line.record.user
    name, _, domain = user.partition("@")
    return {
        "u": user,
        "n": name,
        "d": domain,
        "s": line.source.kind.upper(),
        "r": line.record.address,
        "p": str(line.pid),
    }


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")
