"""The master's end of a control socket: nobody blocks it, and nobody says what is not his to say."""

from __future__ import annotations

import os
import socket

import pytest

from dovecotpy.ipc import control, fdpass
from dovecotpy.ipc.control import Verb
from dovecotpy.master.channel import MAX_BATCH, MAX_QUEUED, MAY_SAY, Channel
from dovecotpy.master.children import Children, Process, Worker
from tests.descriptors import open_descriptors


def test_what_finds_no_room_waits_in_order_with_its_descriptors() -> None:
    ours, theirs = fdpass.pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    channel = Channel(ours, "auth")
    sent = 0
    while not channel.waiting:
        channel.send(Verb.FORK, sent)
        sent += 1
    with open(os.devnull) as null:
        channel.send(Verb.FORK, "with", descriptors=(null.fileno(),))
    assert channel.fileno() in channel.crowded
    got = []
    while True:
        try:
            message = control.receive(theirs, socket.MSG_DONTWAIT)
        except BlockingIOError:
            channel.flush()
            if not channel.waiting:
                break
            continue
        assert message is not None
        got.append(message)
    while (message := receive(theirs)) is not None:
        got.append(message)
    assert [message.text(0) for message in got] == [str(number) for number in range(sent)] + ["with"]
    assert os.readlink(f"/proc/self/fd/{got[-1].descriptors[0]}") == os.devnull
    os.close(got[-1].descriptors[0])


def receive(sock: socket.socket) -> control.Message | None:
    try:
        return control.receive(sock, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None


def test_a_child_that_never_reads_is_given_up_and_nothing_leaks() -> None:
    ours, theirs = fdpass.pair()
    before = open_descriptors()
    pair = {ours.fileno(), theirs.fileno()}
    channel = Channel(ours, "auth")
    with open(os.devnull) as null:
        for _ in range(5000):
            channel.send(Verb.NO, "x" * 1000, descriptors=(null.fileno(),))
    assert channel.ended
    assert channel.breach == f"does not read its control socket ({MAX_QUEUED} packets wait)"
    channel.close()
    theirs.close()
    assert open_descriptors() <= before - pair


@pytest.mark.parametrize("role", sorted(MAY_SAY))
def test_each_role_says_its_own_verbs_and_no_other(role: str) -> None:
    for verb in Verb:
        ours, theirs = fdpass.pair()
        channel = Channel(ours, role)
        control.send(theirs, verb, 0, 0, 0)
        heard = channel.receive()
        assert [message.verb for message in heard] == ([verb] if verb in MAY_SAY[role] else [])
        assert channel.ended is (verb not in MAY_SAY[role])
        assert bool(channel.breach) is channel.ended
        channel.close()
        theirs.close()


@pytest.mark.parametrize("packet", [b"NONSENSE", b"\xff\xfe", b"READY" + b"x" * 9000])
def test_nonsense_ends_the_connection_and_closes_what_came_with_it(packet: bytes) -> None:
    ours, theirs = fdpass.pair()
    channel = Channel(ours, "auth")
    before = open_descriptors()
    with open(os.devnull) as null:
        fdpass.send(theirs, packet, (null.fileno(),) * 3)
        assert channel.receive() == []
    assert channel.ended
    assert open_descriptors() <= before
    channel.close()
    theirs.close()


def test_a_talkative_child_does_not_keep_others_waiting() -> None:
    ours, theirs = fdpass.pair()
    channel = Channel(ours, "login worker")
    for _ in range(MAX_BATCH + 5):
        control.send(theirs, Verb.STATE, 0, 0, 0)
    assert len(channel.receive()) == MAX_BATCH
    theirs.close()
    assert len(channel.receive()) == 5
    assert channel.ended
    assert channel.breach == ""
    channel.close()


def test_a_pid_that_two_children_had_names_the_right_one() -> None:
    table = Children()
    servers = [Process(pid, "fork server", channel(), None, 0.0) for pid in (10, 20)]  # type: ignore[arg-type]
    first = Worker(77, "login", channel(), None, servers[0])  # type: ignore[arg-type]
    second = Worker(77, "imap", channel(), None, servers[1])  # type: ignore[arg-type]
    for child in (*servers, first, second):
        table.add(child)
    assert table.reaped_by(servers[0], 77) is first
    assert table.reaped_by(servers[0], 77) is None
    servers[1].status = 9
    assert table.reaped(20) is servers[1]
    assert table.reaped(77) is second
    assert table.reaped(77) is None


def test_workers_that_a_dead_fork_server_had_reaped_are_forgotten() -> None:
    table = Children()
    server = Process(10, "fork server", channel(), None, 0.0)  # type: ignore[arg-type]
    workers = [Worker(pid, "imap", channel(), None, server) for pid in (1001, 1002)]  # type: ignore[arg-type]
    for child in (server, *workers):
        table.add(child)
    table.forget(server, lambda pid: pid == 1002)
    assert table.living() == [server, workers[1]]
    assert table.speaking(workers[0].channel.fileno()) is workers[0]
    table.hung_up(workers[0])
    assert table.speaking(workers[0].channel.fileno()) is None


def channel() -> Channel:
    return Channel(fdpass.pair()[0], "auth")
