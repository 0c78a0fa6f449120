"""A blocking IMAP client that costs little: it looks for the tagged line at the end of what it read and keeps nothing else."""

from __future__ import annotations

import socket
import time

TAIL = 4096
"""Octets of an answer that are kept: more than its longest last line, a CAPABILITY in the OK of a login."""

BUFFER = 1 << 20
TIMEOUT = 300.0
"""Seconds for the slowest answer: the first search of 100,000 messages."""


class Refused(RuntimeError):
    """The tagged answer was NO or BAD; its text."""


class Client:
    """One connection, greeted."""

    def __init__(self, port: int) -> None:
        self._sock = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        self._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._count = 0
        self._buffer = bytearray(BUFFER)
        self._view = memoryview(self._buffer)
        self.octets = 0
        """Octets received since the connection began, tagged lines left out: they differ in what they say of themselves."""
        self._sock.recv(4096)

    @property
    def local_port(self) -> int:
        """Our end of the connection."""
        return int(self._sock.getsockname()[1])

    def login(self, user: str, password: str) -> None:
        """Raises Refused."""
        self.command(f"LOGIN {user} {password}".encode())

    def command(self, line: bytes) -> int:
        """Send it, read to its tagged line; the octets of it all. Raises Refused unless it is OK."""
        self._count += 1
        tag = b"x%d " % self._count
        self._sock.sendall(tag + line + b"\r\n")
        return self._read(tag, line)

    def _read(self, tag: bytes, line: bytes) -> int:
        tail = b"\r\n"
        total = 0
        while True:
            size = self._sock.recv_into(self._buffer)
            if not size:
                raise RuntimeError(f"connection closed in {line[:80]!r}")
            total += size
            tail = (tail + self._view[max(0, size - TAIL) : size])[-TAIL:]
            if tail.endswith(b"\r\n"):
                last = tail[:-2].rpartition(b"\r\n")[2]
                if last.startswith(tag):
                    self.octets += total - len(last) - 2
                    if not last.startswith(tag + b"OK"):
                        raise Refused(
                            f"{line[:80].decode(errors='replace')}: {last.decode(errors='replace')}"
                        )
                    return total

    def lines(self, line: bytes) -> list[bytes]:
        """The whole answer to a command whose answer is short. Raises Refused."""
        self._count += 1
        tag = b"x%d " % self._count
        self._sock.sendall(tag + line + b"\r\n")
        data = b""
        while not data.endswith(b"\r\n") or not data[:-2].rpartition(b"\r\n")[2].startswith(tag):
            part = self._sock.recv(65536)
            if not part:
                raise RuntimeError(f"connection closed in {line[:80]!r}")
            data += part
        lines = data[:-2].split(b"\r\n")
        self.octets += len(data) - len(lines[-1]) - 2
        if not lines[-1].startswith(tag + b"OK"):
            raise Refused(f"{line[:80].decode(errors='replace')}: {lines[-1].decode(errors='replace')}")
        return lines

    def append(self, mailbox: bytes, message: bytes) -> int:
        """By a literal that waits for no consent (LITERAL+)."""
        return self.command(b"APPEND %s {%d+}\r\n%s" % (mailbox, len(message), message))

    def begin_idle(self) -> None:
        """IDLE until end_idle()."""
        self._sock.sendall(b"i IDLE\r\n")
        self._sock.recv(4096)

    def wait_for(self, text: bytes, seconds: float) -> float:
        """Read until the text comes; the moment (perf_counter). Raises TimeoutError."""
        data = b""
        self._sock.settimeout(seconds)
        try:
            while text not in data:
                part = self._sock.recv(65536)
                if not part:
                    raise RuntimeError(f"connection closed while waiting for {text!r}")
                data += part
            return time.perf_counter()
        finally:
            self._sock.settimeout(TIMEOUT)

    def end_idle(self) -> None:
        self._sock.sendall(b"DONE\r\n")
        self._read(b"i ", b"DONE")

    def close(self) -> None:
        """Without LOGOUT."""
        self._view.release()
        self._sock.close()
