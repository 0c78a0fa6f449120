"""The auth client protocol, version 1.1: login processes (and Postfix, Exim) ask, an auth process answers.

A stream of lines ended by LF, their fields separated by TAB. Both sides speak at once; the server accepts a client's
handshake in any order and sends VERSION first.

| from | line |
|---|---|
| both | `VERSION 1 minor` |
| client | `CPID pid` |
| server | `MECH name [flags]` for each mechanism, `SPID pid`, `CUID number`, `COOKIE hex`, `DONE` |
| client | `AUTH id mechanism service=NAME [parameters] [resp=BASE64]` |
| client | `CONT id BASE64` after the server's CONT; `CANCEL id`: forget the request |
| server | `CONT id BASE64`, `OK id user=NAME [resp=BASE64] [fields]`, `FAIL id [user=NAME] [temp] [reason=] [fields]` |

Parameters of AUTH: `secured`, `valid-client-cert`, `cert_username=`, `lip=`, `rip=`, `lport=`, `rport=`, `nologin`,
`no-penalty`, `session=`; `resp=`, the initial response, comes last.

Ids are decimal, 1 to 4294967295, unique among the unanswered requests of a connection. Values escape 0x01, TAB, LF, CR as `fields` says (a
client of minor version 0 does not). Unknown parameters are ignored. A line from a client may have 65,536 octets: a
longer one fails the request whose id it names, and nothing else.
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dovecotpy.ipc import fields as line_fields
from dovecotpy.ipc.lines import CutLine, LineBuffer

MAJOR = 1
MINOR = 1
MAX_LINE = 65536
"""Octets of one line, its LF not counted."""
MAX_ID = 0xFFFFFFFF
MAX_MECHANISMS = 64
"""Mechanisms that a client believes a server to have."""


class AuthProtocolError(Exception):
    """The other side broke the protocol. Log: this text as one line; the connection is closed."""


class Mechanism(NamedTuple):
    """A SASL mechanism that a server offers; flags as in the MECH line (`plaintext`, `private`, …)."""

    name: str
    flags: frozenset[str]


class Handshake(NamedTuple):
    """The server is ready for requests."""

    mechanisms: tuple[Mechanism, ...]
    spid: int
    """the auth process, by which its master socket is named"""
    cuid: int
    """the number of this connection in that process"""
    cookie: str


class Continue(NamedTuple):
    """The server's challenge; the client answers with `reply`."""

    id: int
    data: bytes


class Ok(NamedTuple):
    """Who it is. `fields`: the remaining fields, those without a value as the empty text. `resp`: a last challenge."""

    id: int
    user: str
    fields: Mapping[str, str]
    resp: bytes | None


class Fail(NamedTuple):
    """The request failed. `user` is empty where none was given. Fields: temp, reason, user_disabled, authz, code, …"""

    id: int
    user: str
    fields: Mapping[str, str]

    @property
    def temporary(self) -> bool:
        """True when the server could not know; never told to a client as a wrong password."""
        return "temp" in self.fields

    @property
    def reason(self) -> str:
        """Text for the client, or empty."""
        return self.fields.get("reason", "")


Event = Handshake | Continue | Ok | Fail


class AuthClient:
    """The asking end of one connection: bytes in, events out; requests as bytes to send."""

    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_LINE)
        self._mechanisms: list[Mechanism] = []
        self._version = False
        self._spid = 0
        self._cuid = 0
        self._cookie = ""
        self.ready = False
        """True once the handshake is complete."""

    def hello(self, pid: int) -> bytes:
        """What the client sends first. pid: its own, which the server compares with the kernel's word."""
        return b"VERSION\t%d\t%d\nCPID\t%d\n" % (MAJOR, MINOR, pid)

    def feed(self, data: bytes) -> list[Event]:
        """What the server said. Raises AuthProtocolError."""
        events: list[Event] = []
        for line in self._lines.feed(data):
            if isinstance(line, CutLine):
                raise AuthProtocolError("Authentication server sent a too long line")
            event = self._answer(line) if self.ready else self._handshake(line)
            if event is not None:
                events.append(event)
        return events

    def request(
        self,
        id: int,
        mechanism: str,
        *,
        service: str,
        secured: bool = False,
        lip: str = "",
        rip: str = "",
        lport: int = 0,
        rport: int = 0,
        valid_client_cert: bool = False,
        cert_username: str = "",
        nologin: bool = False,
        no_penalty: bool = False,
        session: str = "",
        resp: bytes | None = None,
    ) -> bytes:
        """An AUTH line. resp: the initial response, None for none (an empty one is `resp=`). Raises AuthProtocolError when too long."""
        parts: list[str | int | bytes] = ["AUTH", id, mechanism, "service=" + service]
        if secured:
            parts.append("secured")
        if valid_client_cert:
            parts.append("valid-client-cert")
        if nologin:
            parts.append("nologin")
        if no_penalty:
            parts.append("no-penalty")
        if cert_username:
            parts.append("cert_username=" + cert_username)
        if lip:
            parts.append("lip=" + lip)
        if rip:
            parts.append("rip=" + rip)
        if session:
            parts.append("session=" + session)
        if lport:
            parts.append(f"lport={lport}")
        if rport:
            parts.append(f"rport={rport}")
        if resp is not None:
            parts.append(b"resp=" + encode_base64(resp))
        return _bounded(line_fields.pack(*parts))

    def reply(self, id: int, data: bytes) -> bytes:
        """A CONT line: the answer to a challenge. Raises AuthProtocolError when too long."""
        return _bounded(b"CONT\t%d\t%s" % (id, encode_base64(data)))

    def cancel(self, id: int) -> bytes:
        """A CANCEL line: the answer to this request is not wanted any more."""
        return b"CANCEL\t%d\n" % id

    def _handshake(self, line: bytes) -> Event | None:
        name, *values = line_fields.texts(line)
        if name == "VERSION":
            self._version = _is_compatible(values)
            if not self._version:
                raise AuthProtocolError(
                    "Authentication server not compatible with this client (mixed old and new binaries?)"
                )
        elif name == "MECH" and values and len(self._mechanisms) < MAX_MECHANISMS:
            self._mechanisms.append(Mechanism(values[0].upper(), frozenset(values[1:])))
        elif name == "SPID":
            self._spid = _number(values, "SPID")
        elif name == "CUID":
            self._cuid = _number(values, "CUID")
        elif name == "COOKIE" and values:
            self._cookie = values[0]
        elif name == "DONE":
            return self._done()
        return None

    def _done(self) -> Handshake:
        if not self._version or not self._spid:
            raise AuthProtocolError("Authentication server ended its handshake without VERSION and SPID")
        self.ready = True
        return Handshake(tuple(self._mechanisms), self._spid, self._cuid, self._cookie)

    def _answer(self, line: bytes) -> Event | None:
        name, *values = line_fields.texts(line)
        if name == "OK":
            return self._ok(values)
        if name == "FAIL":
            id, named = _number(values, "FAIL"), decode_fields(values[1:])
            return Fail(id, named.pop("user", ""), named)
        if name == "CONT":
            return Continue(_number(values, "CONT"), _decoded(values[1] if len(values) > 1 else ""))
        return None

    def _ok(self, values: list[str]) -> Ok:
        id, named = _number(values, "OK"), decode_fields(values[1:])
        user = named.pop("user", "")
        if not user:
            raise AuthProtocolError("Authentication server sent OK without a user")
        resp = named.pop("resp", None)
        return Ok(id, user, named, None if resp is None else _decoded(resp))


class ClientHello(NamedTuple):
    """The client has said who it is; the server compares `pid` with the kernel's word."""

    pid: int


class Request(NamedTuple):
    """An AUTH line. `resp` is None without an initial response."""

    id: int
    mechanism: str
    service: str
    secured: bool = False
    lip: str = ""
    rip: str = ""
    lport: int = 0
    rport: int = 0
    valid_client_cert: bool = False
    cert_username: str = ""
    nologin: bool = False
    no_penalty: bool = False
    session: str = ""
    resp: bytes | None = None


class Response(NamedTuple):
    """A CONT line of the client."""

    id: int
    data: bytes


class Cancel(NamedTuple):
    """The client does not want the answer any more."""

    id: int


class Broken(NamedTuple):
    """A line that fails the one request it names. `reason` goes to the client; `initial` tells an AUTH line from a CONT."""

    id: int
    reason: str
    initial: bool


ServerEvent = ClientHello | Request | Response | Cancel | Broken


class AuthServerConnection:
    """The answering end of one connection: bytes in, events out; answers as bytes to send.

    It checks lines; which ids are in use and what their requests do is the caller's business.
    """

    def __init__(self) -> None:
        self._lines = LineBuffer(MAX_LINE)
        self._version = False
        self._escapes = True
        self.pid = 0
        """the client's pid by its own word, 0 before it said so"""

    @staticmethod
    def hello(mechanisms: Iterable[Mechanism], spid: int, cuid: int, cookie: str) -> bytes:
        """What the server sends first."""
        lines = [b"VERSION\t%d\t%d" % (MAJOR, MINOR)]
        lines += [line_fields.pack("MECH", each.name, *sorted(each.flags)) for each in mechanisms]
        lines.append(b"SPID\t%d\nCUID\t%d" % (spid, cuid))
        lines += [line_fields.pack("COOKIE", cookie), b"DONE", b""]
        return b"\n".join(lines)

    def feed(self, data: bytes) -> list[ServerEvent]:
        """What the client said. Raises AuthProtocolError, whose text is the log's line."""
        events: list[ServerEvent] = []
        for line in self._lines.feed(data):
            if isinstance(line, CutLine):
                events.append(self._cut(line))
            elif self.pid and self._version:
                events.append(self._command(line))
            else:
                events += self._handshake(line)
        return events

    def _fields(self, line: bytes) -> list[str]:
        if self._escapes:
            return line_fields.texts(line)
        return [part.decode("utf-8", "surrogateescape") for part in line.split(b"\t")]

    def _handshake(self, line: bytes) -> list[ServerEvent]:
        name, *values = self._fields(line)
        if name == "VERSION":
            if not _is_compatible(values):
                raise AuthProtocolError(
                    "Authentication client not compatible with this server (mixed old and new binaries?)"
                )
            self._version = True
            self._escapes = values[1:2] != ["0"]
            return []
        if name == "CPID":
            if self.pid:
                raise AuthProtocolError("BUG: Authentication client re-handshaking")
            self.pid = _u32(values[0]) if values else 0
            if not self.pid:
                raise AuthProtocolError("BUG: Authentication client said it's PID 0")
            return [ClientHello(self.pid)]
        raise AuthProtocolError(f"BUG: Authentication client sent unknown handshake command: {name[:80]}")

    def _command(self, line: bytes) -> ServerEvent:
        name, *values = self._fields(line)
        if name == "AUTH":
            return self._auth(values)
        if name == "CONT":
            return self._continued(values)
        if name == "CANCEL" and values and _u32(values[0]):
            return Cancel(_u32(values[0]))
        if name in ("VERSION", "CPID"):
            raise AuthProtocolError("BUG: Authentication client re-handshaking")
        raise AuthProtocolError(f"BUG: Authentication client sent unknown command: {name[:80]}")

    def _cut(self, line: bytes) -> Broken:
        name, *values = self._fields(line)
        id = _u32(values[0]) if len(values) > 1 else 0
        if not (self.pid and self._version and id and name in ("AUTH", "CONT")):
            raise AuthProtocolError(f"BUG: Auth client {self.pid} sent us more than {MAX_LINE} bytes")
        return Broken(id, "Authentication request is too long", name == "AUTH")

    def _auth(self, values: list[str]) -> ServerEvent:
        id = _u32(values[0]) if len(values) >= 2 else 0
        if not id:
            raise AuthProtocolError(f"BUG: Authentication client {self.pid} sent broken AUTH request")
        return self._parameters(id, values[1].upper(), values[2:])

    def _parameters(self, id: int, mechanism: str, parameters: list[str]) -> ServerEvent:
        pairs = [parameter.partition("=") for parameter in parameters]
        named = {name: value for name, _, value in pairs}
        if "resp" in named and any(name == "resp" for name, _, _ in pairs[:-1]):
            raise AuthProtocolError(
                f"BUG: Authentication client {self.pid} sent AUTH parameters after 'resp'"
            )
        take = named.get
        if not take("service"):
            raise AuthProtocolError(
                f"BUG: Authentication client {self.pid} didn't specify service in request"
            )
        resp = decode_base64(named["resp"]) if "resp" in named else None
        if resp is None and "resp" in named:
            return Broken(id, "Invalid base64 data in initial response", True)
        return Request(
            id,
            mechanism,
            named["service"],
            "secured" in named,
            take("lip", ""),
            take("rip", ""),
            _port(take("lport", "")),
            _port(take("rport", "")),
            "valid-client-cert" in named,
            take("cert_username", ""),
            "nologin" in named,
            "no-penalty" in named,
            take("session", ""),
            resp,
        )

    def _continued(self, values: list[str]) -> ServerEvent:
        id = _u32(values[0]) if values else 0
        if not id or len(values) > 2:
            raise AuthProtocolError("BUG: Authentication client sent broken CONT request")
        data = decode_base64(values[1] if len(values) == 2 else "")
        if data is None:
            return Broken(id, "Invalid base64 data in continued response", False)
        return Response(id, data)

    @staticmethod
    def challenge(id: int, data: bytes) -> bytes:
        """A CONT line."""
        return b"CONT\t%d\t%s\n" % (id, encode_base64(data))

    @staticmethod
    def ok(id: int, user: str, fields: Mapping[str, str], resp: bytes | None = None) -> bytes:
        """An OK line; a field whose value is empty stands there by its name alone."""
        parts: list[str | int | bytes] = ["OK", id, "user=" + user]
        if resp is not None:
            parts.append(b"resp=" + encode_base64(resp))
        return line_fields.pack(*parts, *_field_parts(fields)) + b"\n"

    @staticmethod
    def fail(id: int, user: str, fields: Mapping[str, str]) -> bytes:
        """A FAIL line; a field whose value is empty (`temp`) stands there by its name alone."""
        parts: list[str | int | bytes] = ["FAIL", id]
        if user:
            parts.append("user=" + user)
        return line_fields.pack(*parts, *_field_parts(fields)) + b"\n"


def encode_base64(data: bytes) -> bytes:
    """Base64 on one line, without LF."""
    return binascii.b2a_base64(data, newline=False)


def decode_base64(text: str) -> bytes | None:
    """Strict base64 (RFC 4648 section 4); None when it is not."""
    try:
        return binascii.a2b_base64(text.encode("ascii"), strict_mode=True) if text else b""
    except ValueError:
        return None


def decode_fields(parts: Iterable[str]) -> dict[str, str]:
    """`name=value` parts; one without `=` has the empty value, the last of a name counts."""
    named: dict[str, str] = {}
    for part in parts:
        name, _, value = part.partition("=")
        if name:
            named[name] = value
    return named


def _field_parts(fields: Mapping[str, str]) -> list[str]:
    return [f"{name}={value}" if value else name for name, value in fields.items()]


def _bounded(line: bytes) -> bytes:
    if len(line) > MAX_LINE:
        raise AuthProtocolError(f"Authentication request is longer than {MAX_LINE} bytes")
    return line + b"\n"


def _is_compatible(values: list[str]) -> bool:
    return len(values) == 2 and values[0] == str(MAJOR) and _is_digits(values[1])


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _u32(text: str) -> int:
    """A decimal number from 1 to 4294967295, else 0."""
    number = int(text) if _is_digits(text) else 0
    return number if number <= MAX_ID else 0


def _port(text: str) -> int:
    number = _u32(text)
    return number if number <= 65535 else 0


def _number(values: list[str], line: str) -> int:
    number = _u32(values[0]) if values else 0
    if not number:
        raise AuthProtocolError(f"Authentication server sent {line} without a valid number")
    return number


def _decoded(text: str) -> bytes:
    data = decode_base64(text)
    if data is None:
        raise AuthProtocolError("Authentication server sent invalid base64")
    return data
