"""COMPRESS=DEFLATE (RFC 4978) against real processes: plain, and inside of TLS that a login process proxies."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import RawClient, Server, messages

IDLE_KIB = 300
"""What compression may add to the private memory of a session."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("compression")) as server:
        for message in messages(200):
            server.deliver("joe", message)
        yield server


class Compressed:
    """A client whose octets both ways are DEFLATE streams from here on."""

    def __init__(self, client: RawClient) -> None:
        assert client.command("COMPRESS DEFLATE")[-1].endswith(b" OK Begin compression.")
        self.socket = client.sock
        self.deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.inflate = zlib.decompressobj(-15)
        self.heard = b""
        self.octets = 0

    def say(self, line: bytes) -> None:
        data = self.deflate.compress(line + b"\r\n") + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.socket.sendall(data)

    def until(self, end: bytes) -> bytes:
        """What the server says up to the line that begins so."""
        while not (found := re.search(rb"(?m)^" + re.escape(end) + rb"[^\r\n]*\r\n", self.heard)):
            data = self.socket.recv(65536)
            assert data, self.heard[-200:]
            self.octets += len(data)
            self.heard += self.inflate.decompress(data)
        said, self.heard = self.heard[: found.end()], self.heard[found.end() :]
        return said


def private_kib(pid: int) -> int:
    """What only this process has of its memory."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(size) for size in re.findall(r"Private_\w+: +(\d+) kB", text))


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_session(server: Server, tls: bool) -> None:
    with server.logged_in(tls=tls) as client:
        made = Compressed(client)
        made.say(b"a SELECT INBOX")
        assert b"* 200 EXISTS\r\n" in made.until(b"a OK")
        made.octets = 0
        made.say(b"b FETCH 1:* (FLAGS ENVELOPE BODY.PEEK[])")
        answer = made.until(b"b OK")
        assert answer.count(b" FETCH (") == 200
        assert made.octets < len(answer) // 3
        made.say(b"d IDLE")
        made.until(b"+ idling")
        server.deliver("joe", b"Subject: new\r\n\r\nx\r\n")
        assert b"* 201 EXISTS\r\n" in made.until(b"* 201 EXISTS")
        made.say(b"DONE")
        made.until(b"d OK")
        made.say(b"e STORE 201 +FLAGS (\\Deleted)")
        made.until(b"e OK")
        made.say(b"f EXPUNGE")
        made.until(b"f OK")
        made.say(b"g COMPRESS DEFLATE")
        assert b"g NO [COMPRESSIONACTIVE]" in made.until(b"g NO")
        made.say(b"h LOGOUT")
        made.until(b"h OK")
    server.wait_for_log("Disconnected: Logged out bytes=")


def test_octets_that_are_no_stream_end_the_session(server: Server) -> None:
    with server.logged_in(tls=True) as client:
        made = Compressed(client)
        made.socket.sendall(b"\xff\xff\xff\xff rubbish" * 10)
        assert client.at_end()
    server.wait_for_log("Disconnected: Invalid compressed data: ")


def test_what_an_idle_session_costs(server: Server) -> None:
    """Beside what it had before, with the same work done uncompressed first."""
    with server.logged_in() as client:
        client.command("SELECT INBOX")
        client.command("FETCH 1:* (FLAGS BODY.PEEK[HEADER])")
        (process,) = server.titled("imap [joe")
        before = private_kib(process)
        made = Compressed(client)
        made.say(b"b FETCH 1:* (FLAGS BODY.PEEK[HEADER])")
        made.until(b"b OK")
        assert private_kib(process) - before < IDLE_KIB
