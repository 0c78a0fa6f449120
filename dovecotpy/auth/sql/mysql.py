"""MySQL connect strings as libmysql's users write them, and connections by PyMySQL."""

from __future__ import annotations

import os
import shlex
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

import pymysql
from pymysql.connections import Connection

from dovecotpy.auth.setup import SetupError

CONNECT_SECONDS = 5
READ_SECONDS = 10
"""Bounds on what a database that does not answer may cost; a login waits about 30 s before it is told a temporary failure."""

SOCKETS = (
    "/run/mysqld/mysqld.sock",
    "/var/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
)  # noqa: S108
"""Where builds of libmysql look for the server when the host is `localhost`; MYSQL_UNIX_PORT goes before."""

DEFAULT_PORT = 3306
_NAMES = frozenset(
    ["host", "port", "user", "password", "dbname", "client_flags", "option_file", "option_group"]
    + ["ssl_cert", "ssl_key", "ssl_ca", "ssl_ca_path", "ssl_cipher"]
)


@dataclass(frozen=True, slots=True)
class Place:
    """One way to reach a server: a socket's path, or host and port."""

    socket: str = ""
    host: str = ""
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return self.socket or self.host


@dataclass(frozen=True, slots=True)
class ConnectString:
    """A connect string taken apart."""

    hosts: tuple[str, ...]
    port: int
    user: str
    password: str
    dbname: str
    client_flags: int = 0
    tls: dict[str, str] = field(default_factory=dict)
    option_file: str = ""
    option_group: str = ""

    def __repr__(self) -> str:
        """Without the password."""
        return f"ConnectString({self.hosts!r}, dbname={self.dbname!r})"

    def places(self, host: str) -> tuple[Place, ...]:
        """What to try for a host: `localhost` is the server's Unix socket first, then TCP, as with libmysql."""
        if host.startswith("/"):
            return (Place(socket=host),)
        if host != "localhost":
            return (Place(host=host, port=self.port),)
        named = os.environ.get("MYSQL_UNIX_PORT", "")
        sockets = [path for path in ((named,) if named else SOCKETS) if os.path.exists(path)]
        return (*(Place(socket=path) for path in sockets[:1]), Place(host="localhost", port=self.port))


def parse(connect: str, path: str) -> ConnectString:
    """`host=localhost user=mail password=… dbname=mail`, values quoted where they hold blanks. Raises SetupError."""
    hosts: list[str] = []
    named: dict[str, str] = {}
    for word in _words(connect, path):
        name, equals, value = word.partition("=")
        if not equals or name not in _NAMES:
            raise SetupError(f"mysql: Unknown connect string: {name} (in {path})")
        if name == "host":
            hosts.append(value)
        else:
            named[name] = value
    if not named.get("dbname"):
        raise SetupError(f"mysql: No dbname given in connect string of {path}")
    return ConnectString(
        hosts=tuple(hosts) or ("localhost",),
        port=_number(named, "port", DEFAULT_PORT, path),
        user=named.get("user", ""),
        password=named.get("password", ""),
        dbname=named["dbname"],
        client_flags=_number(named, "client_flags", 0, path),
        tls={name: value for name, value in named.items() if name.startswith("ssl_")},
        option_file=named.get("option_file", ""),
        option_group=named.get("option_group", ""),
    )


def _words(connect: str, path: str) -> list[str]:
    lexer = shlex.shlex(connect, posix=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    lexer.escape = ""
    try:
        return list(lexer)
    except ValueError as error:
        raise SetupError(f"mysql: A quote in the connect string of {path} is not closed") from error


def _number(named: dict[str, str], name: str, default: int, path: str) -> int:
    text = named.get(name, str(default))
    if not text.isascii() or not text.isdigit():
        raise SetupError(f"mysql: Invalid {name} '{text}' in connect string of {path}")
    return int(text)


def tls_context(tls: dict[str, str]) -> ssl.SSLContext | None:
    """What `ssl_…` ask for; None for a plain connection. Raises OSError, ssl.SSLError."""
    if not tls:
        return None
    context = ssl.create_default_context(cafile=tls.get("ssl_ca"), capath=tls.get("ssl_ca_path"))
    if "ssl_ca" not in tls and "ssl_ca_path" not in tls:
        # without an authority libmysql encrypts and believes whom it reaches
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if "ssl_cert" in tls:
        context.load_cert_chain(tls["ssl_cert"], tls.get("ssl_key"))
    if "ssl_cipher" in tls:
        context.set_ciphers(tls["ssl_cipher"])
    return context


class Connector:
    """Makes connections, to the first host that answers, beginning with the one that answered last."""

    def __init__(self, connect: ConnectString, connected: Callable[[str], None]) -> None:
        self._connect = connect
        self._connected = connected
        self._last = 0

    def __call__(self) -> Connection[pymysql.cursors.Cursor]:
        """A new connection. Raises pymysql.MySQLError of the last host that was tried."""
        hosts = self._connect.hosts
        failure: Exception = pymysql.OperationalError(2003, "no host")
        for offset in range(len(hosts)):
            index = (self._last + offset) % len(hosts)
            for place in self._connect.places(hosts[index]):
                try:
                    connection = self._open(place)
                except (pymysql.MySQLError, OSError) as error:
                    failure = error
                    continue
                self._last = index
                self._connected(f"mysql: Connected to {place} ({self._connect.dbname})")
                return connection
        raise failure

    def name(self) -> str:
        """Where it connects to, for the log: `HOST (DATABASE)`."""
        return f"{self._connect.hosts[self._last]} ({self._connect.dbname})"

    def _open(self, place: Place) -> Connection[pymysql.cursors.Cursor]:
        connect = self._connect
        return pymysql.connect(
            host=place.host or "localhost",
            port=place.port,
            unix_socket=place.socket or None,
            user=connect.user or None,
            password=connect.password,
            database=connect.dbname,
            charset="utf8mb4",
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            write_timeout=READ_SECONDS,
            client_flag=connect.client_flags,
            ssl=None if place.socket else tls_context(connect.tls),
            read_default_file=connect.option_file or None,
            read_default_group=connect.option_group or None,
            autocommit=True,
        )
