"""The auth master protocol, version 1.1: mail processes and deliver ask an auth process who a user is.

A stream of lines ended by LF, their fields separated by TAB, values escaped as `fields` says.

| from | line |
|---|---|
| both | `VERSION 1 minor`, first |
| server | `SPID pid` |
| client | `REQUEST id client-pid client-id`: claim the successful request `client-id` of the auth client `client-pid`; once only |
| client | `USER id user service=NAME [lip=] [rip=] [lport=] [rport=] [session=]`: look a user up without a login |
| server | `USER id user [fields]`, `NOTFOUND id`, `FAIL id [reason]` |

Fields of USER are uid, gid, home, mail, chroot, nice, system_user, quota_rule and whatever else the userdb gives. FAIL is an
internal failure, NOTFOUND is knowledge.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dovecotpy.ipc import fields as line_fields
from dovecotpy.ipc.authclient import AuthProtocolError, decode_fields
from dovecotpy.ipc.lines import CutLine, LineBuffer

MAJOR = 1
MINOR = 1
MAX_LINE = 8192
"""Octets of one line to the auth process."""
MAX_ANSWER = 262144
"""Octets of one line from the auth process: a user's fields come from the administrator's database."""
MAX_ID = 0xFFFFFFFF


class User(NamedTuple):
    """The user and his fields; a field without a value has `1`."""

    id: int
    user: str
    fields: Mapping[str, str]


class NotFound(NamedTuple):
    """There is no such user or no such request."""

    id: int


class Failed(NamedTuple):
    """The auth process could not know. `reason`: for the log, may be empty."""

    id: int
    reason: str


Answer = User | NotFound | Failed


class MasterClient:
    """The asking end: bytes in, answers out; requests as bytes to send."""

    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_ANSWER)
        self._version = False
        self.spid = 0
        """the auth process's pid by its own word, 0 before it said so; compare it with SO_PEERCRED"""

    def hello(self) -> bytes:
        """What the client sends first."""
        return b"VERSION\t%d\t%d\n" % (MAJOR, MINOR)

    def request(self, id: int, client_pid: int, client_id: int) -> bytes:
        """Claim a successful request of the auth client `client_pid`."""
        return b"REQUEST\t%d\t%d\t%d\n" % (id, client_pid, client_id)

    def user(
        self,
        id: int,
        user: str,
        service: str,
        *,
        lip: str = "",
        rip: str = "",
        lport: int = 0,
        rport: int = 0,
        session: str = "",
    ) -> bytes:
        """Look a user up. Raises AuthProtocolError when too long."""
        values = (("lip", lip), ("rip", rip), ("session", session))
        parts = [f"{name}={value}" for name, value in values if value]
        parts += [f"{name}={port}" for name, port in (("lport", lport), ("rport", rport)) if port]
        line = line_fields.pack("USER", id, user, "service=" + service, *parts)
        if len(line) > MAX_LINE:
            raise AuthProtocolError(f"Master request is longer than {MAX_LINE} bytes")
        return line + b"\n"

    def feed(self, data: bytes) -> list[Answer]:
        """The answers that are complete now. Raises AuthProtocolError."""
        answers: list[Answer] = []
        for line in self._lines.feed(data):
            if isinstance(line, CutLine):
                raise AuthProtocolError("Authentication server sent a too long line")
            answer = self._line(line)
            if answer is not None:
                answers.append(answer)
        return answers

    def _line(self, line: bytes) -> Answer | None:
        name, *values = line_fields.texts(line)
        if name == "VERSION":
            self._version = values[:1] == [str(MAJOR)]
        elif name == "SPID":
            self.spid = _u32(values[0]) if values else 0
        if name in ("MECH", "CUID"):
            raise AuthProtocolError("it is an auth client socket. It should be a master socket.")
        if name not in ("USER", "NOTFOUND", "FAIL"):
            return None
        if not self._version:
            raise AuthProtocolError(
                "Authentication server not compatible with this client (mixed old and new binaries?)"
            )
        return _answer(name, values)


def _answer(name: str, values: list[str]) -> Answer:
    id = _u32(values[0]) if values else 0
    if not id:
        raise AuthProtocolError(f"Authentication server sent {name} without a valid id")
    if name == "NOTFOUND":
        return NotFound(id)
    if name == "FAIL":
        reasons = [value.removeprefix("reason=") for value in values[1:]]
        return Failed(id, reasons[0] if reasons else "")
    if len(values) < 2 or not values[1]:
        raise AuthProtocolError("Authentication server sent USER without a user")
    parts = [part if "=" in part else part + "=1" for part in values[2:]]
    return User(id, values[1], decode_fields(parts))


class Claim(NamedTuple):
    """A REQUEST line."""

    id: int
    client_pid: int
    client_id: int


class Lookup(NamedTuple):
    """A USER line."""

    id: int
    user: str
    service: str
    lip: str
    rip: str
    lport: int
    rport: int
    session: str


class Broken(NamedTuple):
    """A line that fails the one request it names. `reason` is for the log and the answer."""

    id: int
    reason: str


MasterEvent = Claim | Lookup | Broken


class MasterServerConnection:
    """The answering end: bytes in, events out; answers as bytes to send."""

    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_LINE)
        self._version = False

    @staticmethod
    def hello(spid: int) -> bytes:
        """What the server sends first."""
        return b"VERSION\t%d\t%d\nSPID\t%d\n" % (MAJOR, MINOR, spid)

    def feed(self, data: bytes) -> list[MasterEvent]:
        """What the client asks. Raises AuthProtocolError, whose text is the log's line."""
        events: list[MasterEvent] = []
        for line in self._lines.feed(data):
            event = self._line(line)
            if event is not None:
                events.append(event)
        return events

    def _line(self, line: bytes) -> MasterEvent | None:
        name, *values = line_fields.texts(line)
        if name == "VERSION":
            if values[:1] != [str(MAJOR)]:
                raise AuthProtocolError(
                    "Master not compatible with this server (mixed old and new binaries?)"
                )
            self._version = True
            return None
        if name == "CPID":
            raise AuthProtocolError("Authentication client trying to connect to master socket")
        if not self._version or name not in ("REQUEST", "USER"):
            raise AuthProtocolError(f"BUG: Unknown command in master socket: {name[:80]}")
        id = _u32(values[0]) if values else 0
        if not id:
            raise AuthProtocolError(f"BUG: Master sent broken {name}")
        if isinstance(line, CutLine):
            return Broken(id, "Master request is too long")
        return _claim(id, values[1:]) if name == "REQUEST" else _lookup(id, values[1:])

    @staticmethod
    def user(id: int, user: str, fields: Mapping[str, str]) -> bytes:
        """A USER line."""
        return (
            line_fields.pack("USER", id, user, *(f"{name}={value}" for name, value in fields.items())) + b"\n"
        )

    @staticmethod
    def not_found(id: int) -> bytes:
        """A NOTFOUND line."""
        return b"NOTFOUND\t%d\n" % id

    @staticmethod
    def failed(id: int, reason: str = "") -> bytes:
        """A FAIL line."""
        return line_fields.pack("FAIL", id, *([reason] if reason else [])) + b"\n"


def _claim(id: int, values: list[str]) -> MasterEvent:
    numbers = [_u32(value) for value in values]
    if len(numbers) != 2 or not all(numbers):
        raise AuthProtocolError("BUG: Master sent broken REQUEST")
    return Claim(id, numbers[0], numbers[1])


def _lookup(id: int, values: list[str]) -> MasterEvent:
    if not values:
        raise AuthProtocolError("BUG: Master sent broken USER")
    named = decode_fields(values[1:])
    if not named.get("service"):
        raise AuthProtocolError("BUG: Master didn't specify service in USER request")
    return Lookup(
        id,
        values[0],
        named["service"],
        named.get("lip", ""),
        named.get("rip", ""),
        _u32(named.get("lport", "")),
        _u32(named.get("rport", "")),
        named.get("session", ""),
    )


def _u32(text: str) -> int:
    """A decimal number from 1 to 4294967295, else 0."""
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else 0
    return number if number <= MAX_ID else 0
