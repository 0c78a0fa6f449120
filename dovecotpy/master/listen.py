"""Where the server listens: the `listen` and `ssl_listen` settings as addresses, and the sockets of them.

A word is `*` (all of IPv4), `[::]` (all of IPv6, and only that), an address or a host name, each with `:port` behind it or without.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable
from typing import NamedTuple

BACKLOG = 511
"""Connections that wait for a process; the kernel may allow fewer (net.core.somaxconn)."""
PORTS = {"imap": 143, "imaps": 993, "pop3": 110, "pop3s": 995}
MAX_PORT = 65535


class Address(NamedTuple):
    """One place to listen at, numeric."""

    family: int
    host: str
    port: int

    def __str__(self) -> str:
        """As it reads in a log line."""
        return f"{self.host}, {self.port}"


class ListenError(Exception):
    """A listen setting cannot be served. The text is what the administrator reads."""


class Wanted(NamedTuple):
    """A place to listen at and what for."""

    protocol: str
    """imap, imaps, pop3 or pop3s"""
    address: Address

    @property
    def tls(self) -> bool:
        """Whether TLS begins with the connection."""
        return self.protocol.endswith("s")


Resolve = Callable[[str], list[tuple[int, str]]]
"""A host name to (family, numeric address)."""


def resolve(host: str) -> list[tuple[int, str]]:
    """The addresses of a host name. Raises ListenError."""
    try:
        found = socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM, 0, socket.AI_PASSIVE)
    except OSError as error:
        raise ListenError(f"Can't resolve address {host}: {error.strerror}") from error
    addresses = [(int(family), str(where[0])) for family, _, _, _, where in found]
    if not addresses:
        raise ListenError(f"No IPs for address: {host}")
    return list(dict.fromkeys(addresses))


def split_words(text: str) -> list[str]:
    """The words of a listen setting: separated by blanks or commas."""
    return text.replace(",", " ").split()


def parse(word: str, setting: str, port: int, find: Resolve = resolve) -> list[Address]:
    """The addresses of one word; `port`: where none is given. Raises ListenError."""
    host, port_text = _parts(word, setting)
    if port_text is not None:
        if not (port_text.isascii() and port_text.isdigit() and 0 < int(port_text) <= MAX_PORT):
            raise ListenError(f"{setting}: Invalid port in address {word}")
        port = int(port_text)
    if host == "*":
        return [Address(socket.AF_INET, "0.0.0.0", port)]
    return [Address(family, numeric, port) for family, numeric in find(host)]


def _parts(word: str, setting: str) -> tuple[str, str | None]:
    """Host and port of a word, the port None where there is none."""
    if word.startswith("["):
        host, bracket, rest = word[1:].partition("]")
        if not bracket:
            raise ListenError(f"{setting}: Missing ']' in address {word}")
        if not rest:
            return host, None
        if not rest.startswith(":"):
            raise ListenError(f"{setting}: Invalid data after ']' in address {word}")
        return host, rest[1:]
    if word.count(":") > 1:
        return word, None
    host, colon, port = word.partition(":")
    return host, port if colon else None


def wanted(protocol: str, words: Iterable[str], setting: str, find: Resolve = resolve) -> list[Wanted]:
    """Every place that a listen setting names for a protocol, each once. Raises ListenError."""
    found = [
        Wanted(protocol, address) for word in words for address in parse(word, setting, PORTS[protocol], find)
    ]
    return list(dict.fromkeys(found))


def refuse_collisions(places: Iterable[Wanted]) -> None:
    """Raises ListenError when two protocols want one place."""
    seen: dict[Address, str] = {}
    for protocol, address in places:
        other = seen.setdefault(address, protocol)
        if other != protocol:
            raise ListenError(f"Protocols {other} and {protocol} are listening in same ip/port")


def open_socket(address: Address) -> socket.socket:
    """A listening socket. Raises ListenError with the reason, and with its OSError as the cause."""
    sock = socket.socket(address.family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind((address.host, address.port))
        sock.listen(BACKLOG)
    except OSError as error:
        sock.close()
        raise ListenError(f"listen({address}) failed: {error.strerror}") from error
    return sock


def listens(sock: socket.socket) -> bool:
    """Whether it still does: a child that inherited it can shut it down for everybody."""
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False
