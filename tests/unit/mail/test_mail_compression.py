"""COMPRESS=DEFLATE (RFC 4978) between the runner and a client, with a real session on the model store."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading
import zlib
from collections.abc import Iterator

import pytest

from dovecotpy.imap.session import ImapSession
from dovecotpy.ipc import fdpass
from dovecotpy.mail import runner as runner_module
from dovecotpy.mail.compression import Corrupt, Streams
from dovecotpy.mail.runner import Outcome, Runner
from tests.protocol import imap_scenarios
from tests.protocol.imap_model import ModelStore
from tests.protocol.imap_transcript import settings


class Peer:
    """A client of a session in a runner's thread."""

    def __init__(self) -> None:
        self.store = imap_scenarios.fill(ModelStore(), "three")
        self.session = ImapSession(self.store, settings(), "login", b"", lambda level, text: None)
        self.inner, self.socket = socket.socketpair()
        self.master, self.lifeline = fdpass.pair()
        self.socket.settimeout(10)
        self.runner = Runner(self.session, self.inner, self.lifeline, shutdown_clients=True)
        self.outcome: Outcome | None = None
        self.thread = threading.Thread(target=self._run)
        self.deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        self.inflate = zlib.decompressobj(-15)
        self.compressed = False
        self.heard = b""
        self.octets = 0
        self.thread.start()

    def _run(self) -> None:
        self.outcome = self.runner.run()
        self.inner.close()

    def send(self, data: bytes) -> None:
        if self.compressed:
            data = self.deflate.compress(data) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.socket.sendall(data)

    def until(self, end: bytes) -> bytes:
        """What the server says up to these octets."""
        while end not in self.heard:
            data = self.socket.recv(65536)
            self.octets += len(data)
            assert data, f"the server ended after {self.heard!r}"
            self.heard += self.inflate.decompress(data) if self.compressed else data
        found, _, self.heard = self.heard.partition(end)
        return found + end

    def begin(self) -> None:
        self.send(b"c COMPRESS DEFLATE\r\n")
        assert self.until(b"c OK Begin compression.\r\n")
        assert not self.heard
        self.compressed = True

    def end(self) -> str:
        self.thread.join(10)
        assert self.outcome is not None
        return self.outcome.text

    def close(self) -> None:
        self.socket.close()
        self.thread.join(10)
        for each in (self.inner, self.master, self.lifeline):
            each.close()


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


def test_everything_behind_the_ok_is_compressed(peer: Peer) -> None:
    peer.begin()
    peer.send(b"d SELECT INBOX\r\n")
    assert b"* 3 EXISTS\r\n" in peer.until(b"d OK [READ-WRITE] Select completed.\r\n")
    peer.send(b"e FETCH 1:* (FLAGS ENVELOPE)\r\nf NOOP\r\n")
    assert peer.until(b"f OK NOOP completed.\r\n").count(b" FETCH ") == 3
    peer.send(b"g LOGOUT\r\n")
    peer.until(b"g OK Logout completed.\r\n")
    assert peer.end() == "Disconnected: Logged out"


def test_a_second_time_is_refused_and_the_first_goes_on(peer: Peer) -> None:
    peer.begin()
    peer.send(b"d COMPRESS DEFLATE\r\ne NOOP\r\n")
    assert peer.until(b"e OK NOOP completed.\r\n") == (
        b"d NO [COMPRESSIONACTIVE] DEFLATE is active already, by COMPRESS.\r\ne OK NOOP completed.\r\n"
    )


def test_a_client_that_does_not_wait_for_the_ok(peer: Peer) -> None:
    command = b"c COMPRESS DEFLATE\r\n" + peer.deflate.compress(b"d NOOP\r\n")
    peer.send(command + peer.deflate.flush(zlib.Z_SYNC_FLUSH))
    peer.until(b"c OK Begin compression.\r\n")
    peer.compressed, rest = True, peer.heard
    peer.heard = peer.inflate.decompress(rest)
    assert peer.until(b"\r\n") == b"d OK NOOP completed.\r\n"


def test_idle(peer: Peer) -> None:
    peer.begin()
    peer.send(b"d SELECT INBOX\r\n")
    peer.until(b"d OK [READ-WRITE] Select completed.\r\n")
    peer.send(b"e IDLE\r\n")
    peer.until(b"+ idling\r\n")
    peer.store.boxes[b"INBOX"].add(b"x\r\n")
    peer.send(b"DONE\r\n")
    assert b"* 4 EXISTS\r\n" in peer.until(b"e OK Idle completed.\r\n")


def test_octets_are_counted_as_they_travel(peer: Peer) -> None:
    peer.begin()
    before = peer.octets
    peer.send(b"d SELECT INBOX\r\ne FETCH 1:* BODY[]\r\ng LOGOUT\r\n")
    peer.until(b"g OK Logout completed.\r\n")
    peer.end()
    assert peer.outcome is not None
    assert peer.outcome.sent == peer.octets
    assert peer.octets - before < 1000


def test_input_that_is_no_deflate_stream(peer: Peer) -> None:
    peer.begin()
    peer.socket.sendall(b"d NOOP\r\n" * 100)
    assert peer.end().startswith("Disconnected: Invalid compressed data: ")


def test_the_end_of_the_stream_is_the_end(peer: Peer) -> None:
    peer.begin()
    peer.socket.sendall(peer.deflate.compress(b"d NOOP\r\n") + peer.deflate.flush())
    peer.until(b"d OK NOOP completed.\r\n")
    assert peer.end() == "Connection closed"


def test_a_bomb_gets_no_more_than_one_read_at_a_time(peer: Peer) -> None:
    """64 MiB in 64 KiB: no more of it is ever held than a read's worth, and the session's own bounds hold."""
    sizes: list[int] = []
    real = peer.session.feed
    peer.session.feed = lambda data: (sizes.append(len(data)), real(data))[1]  # type: ignore[method-assign,func-returns-value]
    peer.begin()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(bomb.compress(b"x" * (1 << 20)) for _ in range(64)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    assert len(packed) < 80_000
    peer.socket.sendall(packed)
    peer.until(b"* BAD IMAP command line too large\r\n")
    tail = bomb.compress(b"\r\ne NOOP\r\n") + bomb.flush(zlib.Z_SYNC_FLUSH)
    peer.socket.sendall(tail)
    peer.until(b"e OK NOOP completed.\r\n")
    assert max(sizes) <= runner_module.LARGE_READ
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 8 << 10


def test_a_bomb_does_not_hide_the_end_of_the_server(peer: Peer) -> None:
    peer.begin()
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = b"".join(bomb.compress(b"x" * (1 << 20)) for _ in range(200)) + bomb.flush(zlib.Z_SYNC_FLUSH)
    sender = threading.Thread(target=_send_what_can_be_sent, args=(peer.socket, packed))
    sender.start()
    peer.until(b"* BAD IMAP command line too large\r\n")
    peer.master.close()
    peer.until(b"* BYE Server shutting down.\r\n")
    assert peer.end() == "Server shutting down"
    sender.join()


def _send_what_can_be_sent(to: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):
        to.sendall(data)


@pytest.mark.parametrize("data", [b"\xff" * 10, b"\x07rubbish"])
def test_streams_refuse_what_is_none(data: bytes) -> None:
    streams = Streams()
    streams.take(data)
    with pytest.raises(Corrupt):
        streams.inflate(100)
