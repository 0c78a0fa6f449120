"""The protocols between processes: what one end says, the other understands; what is broken is refused."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.ipc import control, fdpass, fields, handover, record

values = st.lists(st.binary(max_size=40), min_size=1, max_size=8)


@given(values)
def test_fields_come_back(parts: list[bytes]) -> None:
    line = fields.join(parts)
    assert not any(byte in line for byte in b"\n\r\0")
    assert fields.split(line) == parts


@given(st.binary(max_size=200))
def test_any_bytes_split_into_something(line: bytes) -> None:
    assert fields.split(line)


def message(**changes: object) -> handover.HandOver:
    base = handover.HandOver(
        "imap", "default", 11, 12, "127.0.0.1", "::1", 143, 50000, "TLS", True, "s1", "a1", b"x\t\r\n\0y"
    )
    return base._replace(**changes)  # type: ignore[arg-type]


def test_a_hand_over_comes_back() -> None:
    assert handover.decode(handover.encode(message())) == message()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1",
        b"2" + handover.encode(message())[1:],
        handover.encode(message()) + b"\tmore",
        handover.encode(message(auth_pid=0)),
        handover.encode(message(auth_id=-3)),
        handover.encode(message()).replace(b"\t143\t", b"\tx\t"),
        handover.encode(message(client_input=b"x" * (handover.MAX_INPUT + 1))),
        handover.encode(message(protocol="im\xff")),
    ],
)
def test_a_hand_over_that_nobody_honest_sends_is_refused(data: bytes) -> None:
    with pytest.raises(handover.HandOverError):
        handover.decode(data)


@given(st.binary(max_size=300))
def test_garbage_is_refused_and_nothing_else_happens(data: bytes) -> None:
    with pytest.raises(handover.HandOverError):
        handover.decode(data)
    assert isinstance(handover.decode_answer(b"?" + data), handover.Denied)


def test_answers_come_back() -> None:
    denied = handover.Denied(handover.Refused.TOO_MANY_CONNECTIONS, "joe has\ttoo many")
    for answer in (handover.Accepted(4711), denied):
        assert handover.decode_answer(handover.encode_answer(answer)) == answer


def test_silence_is_an_internal_refusal() -> None:
    answer = handover.decode_answer(b"")
    assert isinstance(answer, handover.Denied) and answer.reason is handover.Refused.INTERNAL


def test_a_record_comes_back() -> None:
    line = record.Record(record.Level.WARNING, "odd\ttext\nwith lines", "joe", "s1", "192.0.2.1")
    assert record.decode(record.encode(line)) == [line]


def test_what_is_written_to_stderr_is_an_error_a_line() -> None:
    lines = record.decode(b"Traceback (most recent call last):\n  File x\n\nValueError: y\n")
    assert [line.level for line in lines] == [record.Level.ERROR] * 3
    assert lines[-1].text == "ValueError: y"


@given(st.binary(max_size=300))
def test_no_packet_makes_the_log_stumble(data: bytes) -> None:
    for line in record.decode(data):
        assert line.text.strip() or data.startswith(record.MARK)


def test_control_messages_carry_descriptors() -> None:
    one, two = fdpass.pair()
    read, write = os.pipe()
    control.send(one, control.Verb.FORKED, 4711, descriptors=(write,))
    got = control.receive(two)
    assert got is not None and (got.verb, got.number(0)) == (control.Verb.FORKED, 4711)
    os.write(got.descriptors[0], b"same pipe")
    assert os.read(read, 10) == b"same pipe"
    for descriptor in (read, write, got.descriptors[0]):
        os.close(descriptor)
    one.close()
    assert control.receive(two) is None
    two.close()


@pytest.mark.parametrize("data", [b"NONSENSE", b"\xff\xff", b"FORK\t" + b"9" * control.MAX_PACKET])
def test_a_broken_control_message_is_refused(data: bytes) -> None:
    one, two = fdpass.pair()
    one.send(data)
    with pytest.raises(control.ControlError):
        control.receive(two)
    one.close()
    two.close()


def test_the_kernel_says_who_sent_a_packet() -> None:
    one, two = fdpass.pair()
    two.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    fdpass.send(one, b"hello")
    packet = fdpass.receive(two)
    assert packet.credentials == fdpass.Credentials(os.getpid(), os.getuid(), os.getgid())
    assert fdpass.peer(one).pid == os.getpid()
    one.close()
    two.close()
