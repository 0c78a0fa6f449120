"""A blocking IMAP client that costs little: it looks for the tagged line in what it reads and keeps nothing else."""

from __future__ import annotations

import socket

TAIL = 4096
"""Octets of an answer that are kept: more than its longest last line, a CAPABILITY in the OK of a login."""


class Client:
    """One connection, greeted."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), 60)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._count = 0
        self._sock.recv(4096)

    def login(self, user: str, password: str) -> None:
        """Raises RuntimeError when refused."""
        self.command(f"LOGIN {user} {password}".encode())

    def command(self, line: bytes) -> int:
        """Send it, read to its tagged line; the octets of the answer. Raises RuntimeError unless it is OK."""
        self._count += 1
        tag = b"x%d" % self._count
        self._sock.sendall(tag + b" " + line + b"\r\n")
        tail = b"\r\n"
        total = 0
        while True:
            data = self._sock.recv(262144)
            if not data:
                raise RuntimeError(f"connection closed in {line!r}")
            total += len(data)
            tail = (tail + data)[-TAIL:]
            if tail.endswith(b"\r\n"):
                last = tail[:-2].rpartition(b"\r\n")[2]
                if last.startswith(tag + b" "):
                    if not last.startswith(tag + b" OK"):
                        raise RuntimeError(f"{line!r}: {last!r}")
                    return total

    def begin_idle(self) -> None:
        """IDLE until closed."""
        self._sock.sendall(b"i IDLE\r\n")
        self._sock.recv(4096)

    def close(self) -> None:
        """Without LOGOUT."""
        self._sock.close()
