"""What comes out of the mail queue is believed only as far as the kernel vouches for it."""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.ipc import fdpass, handover
from dovecotpy.mail import intake
from tests.descriptors import is_open

MESSAGE = handover.HandOver(
    "imap", "default", 77, 5, "127.0.0.1", "192.0.2.1", 143, 5000, "TLS", True, "s1", "a1", b"b NOOP\r\n"
)


class Wire:
    """A queue of this test's and a sender to it."""

    def __init__(self) -> None:
        self.receiver, self.sender = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self.client = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self.reply = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for sock in (*self.client, *self.reply):
            sock.settimeout(10)

    def good(self) -> tuple[int, int]:
        return self.client[0].fileno(), self.reply[0].fileno()

    def pass_on(self, data: bytes, descriptors: tuple[int, ...]) -> fdpass.Packet:
        fdpass.send(self.sender, data, descriptors)
        packet = intake.take(self.receiver)
        assert packet is not None
        return packet

    def close(self) -> None:
        for sock in (self.receiver, self.sender, *self.client, *self.reply):
            sock.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def test_an_honest_hand_over(wire: Wire) -> None:
    offer = intake.examine(wire.pass_on(handover.encode(MESSAGE), wire.good()), os.getuid(), "imap")
    assert offer.message == MESSAGE
    assert offer.sender == os.getpid()
    wire.reply[0].close()
    offer.client.send(b"x")
    assert wire.client[1].recv(1) == b"x"
    offer.close()
    assert wire.reply[1].recv(1) == b""


def test_nothing_in_the_queue(wire: Wire) -> None:
    assert intake.take(wire.receiver) is None


def refused(wire: Wire, packet: fdpass.Packet, text: str, uid: int | None = None) -> None:
    with pytest.raises(intake.Forged, match=text) as caught:
        intake.examine(packet, os.getuid() if uid is None else uid, "imap")
    assert caught.value.pid == os.getpid()
    assert not any(map(is_open, packet.descriptors)), "what came with a forged message was not closed"


def test_another_uid(wire: Wire) -> None:
    refused(wire, wire.pass_on(handover.encode(MESSAGE), wire.good()), "not login_user's", os.getuid() + 1)


@pytest.mark.parametrize("count", [0, 1, 3, 16])
def test_another_number_of_descriptors(wire: Wire, count: int) -> None:
    given_descriptors = (wire.good() * 8)[:count]
    refused(wire, wire.pass_on(handover.encode(MESSAGE), given_descriptors), f"with {count} descriptors")


def test_more_descriptors_than_fit(wire: Wire) -> None:
    refused(wire, wire.pass_on(handover.encode(MESSAGE), wire.good() * 20), "was cut")


def test_descriptors_in_two_control_messages_are_counted_together(wire: Wire) -> None:
    rights = array.array("i", wire.good()).tobytes()
    message = (socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)
    try:
        wire.sender.sendmsg([handover.encode(MESSAGE)], [message, message])
    except OSError:
        pytest.skip("this kernel takes one set of descriptors a message")
    packet = intake.take(wire.receiver)
    assert packet is not None
    if len(packet.descriptors) == 2:
        packet.close()
        pytest.skip("this kernel keeps one set of descriptors a message")
    refused(wire, packet, "with 4 descriptors")


def test_sockets_of_the_wrong_type(wire: Wire) -> None:
    client, reply = wire.good()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        for pair in (
            (reply, client),
            (client, client),
            (reply, reply),
            (datagram.fileno(), reply),
            (listener.fileno(), reply),
        ):
            refused(wire, wire.pass_on(handover.encode(MESSAGE), pair), "wrong type")


def test_no_sockets_at_all(wire: Wire) -> None:
    client, reply = wire.good()
    reading, writing = os.pipe()
    for pair in ((client, reading), (writing, reply), (reading, writing)):
        refused(wire, wire.pass_on(handover.encode(MESSAGE), pair), "Socket operation on non-socket")
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"protocol": "pop3"}, "another protocol"),
        ({"session": "a\nb"}, "broken words"),
        ({"remote_address": "1.2.3.4\x01"}, "broken words"),
        ({"local_address": "1" * 2000}, "broken words"),
        ({"tag": "a OK\r\nb"}, "broken tag"),
    ],
)
def test_words_that_no_login_process_says(wire: Wire, change: dict[str, str], text: str) -> None:
    refused(wire, wire.pass_on(handover.encode(MESSAGE._replace(**change)), wire.good()), text)


def test_a_message_that_was_cut(wire: Wire) -> None:
    wire.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    refused(wire, wire.pass_on(b"x" * (handover.MAX_PACKET + 1), wire.good()), "was cut")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_garbage(data: bytes) -> None:
    made = Wire()
    try:
        refused(made, made.pass_on(data or b"x", made.good()), "hand-over")
    finally:
        made.close()


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.binary(min_size=1, max_size=3))
def test_a_message_with_changed_octets_is_refused_or_says_what_can_be_said(at: int, octets: bytes) -> None:
    data = handover.encode(MESSAGE)
    at %= len(data)
    made = Wire()
    try:
        packet = made.pass_on(data[:at] + octets + data[at + len(octets) :], made.good())
        try:
            offer = intake.examine(packet, os.getuid(), "imap")
        except intake.Forged:
            return
        assert offer.message.protocol == "imap"
        assert offer.message.tag.isprintable()
        offer.close()
    finally:
        made.close()
