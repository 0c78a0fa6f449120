"""mail_process_reuse: a process serves several sessions of the same credentials, one after the other, and never other ones."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from dovecotpy.ipc import control, fdpass, handover, reuse
from dovecotpy.ipc.control import Verb
from dovecotpy.ipc.handover import Accepted, Denied
from dovecotpy.mail import spare as spare_module
from dovecotpy.mail import tenure
from tests.integration.mail_world import AS_ROOT, MAIL_UID, Client, Master, World, worlds

as_root = pytest.mark.skipif(not AS_ROOT, reason="other users' processes need root")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """Patience is long here: a busy machine must not make TAKEN come before SLOT."""
    monkeypatch.setattr(spare_module, "PATIENCE", 10.0)
    for made in worlds():
        made.set(mail_process_reuse=True)
        yield made


def first(world: World, user: str = "joe", **fields: str) -> tuple[Master, Client, str]:
    """A session that no idle process could have had; its process, its client, its key."""
    master = world.spare()
    client = world.hand_over(world.account(user, **fields))
    slot = master.expect(Verb.SLOT)
    assert slot.fields[4] == "1"
    master.say(Verb.YES)
    master.expect(Verb.TAKEN)
    assert client.answer() == Accepted(master.pid)
    assert client.line() == "a1 OK"
    return master, client, slot.fields[3]


def rest(master: Master, client: Client) -> control.Message:
    """End the session; the IDLE of its process."""
    client.say("quit")
    assert client.line() == "bye"
    assert client.line() == ""
    return master.expect(Verb.IDLE)


def passed_on(world: World, spare: Master, idle: control.Message, client: Client) -> None:
    """The master's choice of the idle worker."""
    slot = spare.expect(Verb.SLOT)
    assert slot.fields[3:] == (idle.fields[0], "1")
    spare.say(Verb.YES, descriptors=idle.descriptors)
    os.close(idle.descriptors[0])


def test_two_sessions_in_one_process(world: World) -> None:
    master, client, key = first(world, mail="one")
    idle = rest(master, client)
    assert idle.fields == (key,)
    spare = world.spare()
    client = world.hand_over(world.account("jim", home="/tmp", mail="two", quota="9"), client_input=b"1+1\n")
    passed_on(world, spare, idle, client)
    assert client.answer() == Accepted(master.pid)
    assert (client.line(), client.line()) == ("a1 OK", "2")
    assert client.ask("(visit.who.user, visit.who.mail, visit.who.fields)") == ("jim", "two", {"quota": "9"})
    assert client.ask("os.getpid()") == master.pid
    links = client.ask("held()")
    assert isinstance(links, dict)
    assert len(links) == 3, f"control, log and client, nothing of the first session: {links}"
    assert spare.silent(), "the spare is still one and was not replaced"
    again = rest(master, client)
    os.close(again.descriptors[0])
    world.logged("Disconnected: Logged out")
    assert world.logged("Disconnected: Logged out").user == "jim"


def test_after_a_session_nothing_of_it_is_left(world: World) -> None:
    master, client, _ = first(world)
    idle = rest(master, client)
    counts = []
    spare = world.spare()
    for _ in range(3):
        client = world.hand_over(world.account())
        passed_on(world, spare, idle, client)
        client.answer()
        client.line()
        links = client.ask("held()")
        assert isinstance(links, dict)
        counts.append(len(links))
        idle = rest(master, client)
    assert counts == [3, 3, 3]
    os.close(idle.descriptors[0])


@as_root
def test_other_credentials_have_another_key(world: World) -> None:
    _, _, key = first(world)
    for fields in ({"uid": str(MAIL_UID + 1)}, {"gid": str(MAIL_UID + 5)}, {"nice": "3"}):
        _, _, other = first(world, **fields)
        assert other != key


def test_an_idle_process_takes_nobody_of_another_uid(world: World) -> None:
    master, client, _ = first(world)
    idle = rest(master, client)
    inbox = socket.socket(fileno=idle.descriptors[0])
    forged = reuse.Passed(world.message(5), "eve", MAIL_UID + 1, "/", "", {})
    near, _ = socket.socketpair()
    near_reply, _ = fdpass.pair()
    fdpass.send(inbox, reuse.encode(forged), (near.fileno(), near_reply.fileno()))
    assert inbox.recv(10) == b""
    world.logged("not this process's")
    assert world.reap(master.pid) == 0


@as_root
def test_an_idle_process_takes_nobody_from_another_users_process(world: World) -> None:
    """Whoever got hold of its inbox: the kernel says that no root spare sent this."""
    master, client, _ = first(world)
    idle = rest(master, client)
    inbox = socket.socket(fileno=idle.descriptors[0])
    near, _ = socket.socketpair()
    near_reply, _ = fdpass.pair()
    data = reuse.encode(reuse.Passed(world.message(5), "joe", MAIL_UID, "/", "", {}))
    pid = os.fork()
    if pid == 0:
        os.setresuid(MAIL_UID + 1, MAIL_UID + 1, MAIL_UID + 1)
        fdpass.send(inbox, data, (near.fileno(), near_reply.fileno()))
        os._exit(0)
    os.waitpid(pid, 0)
    assert inbox.recv(10) == b""
    world.logged(f"passed on by pid {pid}, which is no spare")
    assert world.reap(master.pid) == 0


@as_root
def test_a_spare_passes_nobody_to_a_process_of_another_uid(world: World) -> None:
    """A process that was taken over may have said IDLE with another user's key."""
    _, _, key = first(world)
    channel, far = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        os.setresgid(MAIL_UID + 1, MAIL_UID + 1, MAIL_UID + 1)
        os.setresuid(MAIL_UID + 1, MAIL_UID + 1, MAIL_UID + 1)
        inbox, sending = fdpass.pair()
        fdpass.send(far, b"x", (sending.fileno(),))
        sending.close()
        status = 0 if not inbox.recv(10000) else 1
        os._exit(status)
    forged = fdpass.receive(channel).descriptors[0]
    spare = world.spare()
    client = world.hand_over(world.account())
    assert spare.expect(Verb.SLOT).fields[3] == key
    spare.say(Verb.YES, descriptors=(forged,))
    os.close(forged)
    assert spare.expect(Verb.SLOT).fields[4] == "0"
    spare.say(Verb.YES)
    assert client.answer() == Accepted(spare.pid)
    world.logged(f"Refused an inbox of pid {pid}")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "the other process got the client"


@pytest.mark.parametrize("kind", ["garbage", "one descriptor"])
def test_an_idle_process_takes_no_broken_packet(world: World, kind: str) -> None:
    master, client, _ = first(world)
    idle = rest(master, client)
    inbox = socket.socket(fileno=idle.descriptors[0])
    near, _ = socket.socketpair()
    good = reuse.encode(reuse.Passed(world.message(5), "joe", MAIL_UID, "/", "", {}))
    fdpass.send(inbox, b"garbage" if kind == "garbage" else good, (near.fileno(),))
    assert inbox.recv(10) == b""
    world.logged("Refused a client that was passed on")
    assert world.reap(master.pid) == 0


def test_when_the_idle_process_has_gone_the_spare_serves_itself(world: World) -> None:
    master, client, _ = first(world)
    idle = rest(master, client)
    os.kill(master.pid, signal.SIGKILL)
    assert world.reap(master.pid) == -signal.SIGKILL
    spare = world.spare()
    client = world.hand_over(world.account())
    passed_on(world, spare, idle, client)
    again = spare.expect(Verb.SLOT)
    assert again.fields[3] and again.fields[4] == "0"
    spare.say(Verb.YES)
    spare.expect(Verb.TAKEN)
    assert client.answer() == Accepted(spare.pid)
    assert client.ask("1+1" if client.line() == "a1 OK" else "0") == 2


def test_a_frozen_idle_process_holds_nobody_up_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is shut out before the spare serves: when it wakes up it cannot take the client any more."""
    monkeypatch.setattr(spare_module, "PASS_ON_SECONDS", 0.3)
    master, client, _ = first(world)
    idle = rest(master, client)
    os.kill(master.pid, signal.SIGSTOP)
    spare = world.spare()
    client = world.hand_over(world.account())
    passed_on(world, spare, idle, client)
    assert spare.expect(Verb.SLOT).fields[4] == "0"
    os.kill(master.pid, signal.SIGCONT)
    spare.say(Verb.YES)
    assert client.answer() == Accepted(spare.pid)
    assert client.line() == "a1 OK"
    assert client.ask("os.getpid()") == spare.pid
    assert world.reap(master.pid) == 0


def test_a_slow_auth_process_makes_the_spare_be_replaced_and_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, client, _ = first(world)
    idle = rest(master, client)
    monkeypatch.setattr(spare_module, "PATIENCE", 0.02)
    world.auth.delay = 0.2
    spare = world.spare()
    client = world.hand_over(world.account())
    spare.expect(Verb.TAKEN)
    passed_on(world, spare, idle, client)
    assert client.answer() == Accepted(master.pid)
    assert spare.hear() is None
    assert world.reap(spare.pid) == 0


def test_a_spare_says_no_and_stays_one(world: World) -> None:
    spare = world.spare()
    client = world.hand_over(world.account())
    spare.expect(Verb.SLOT)
    spare.say(Verb.NO, "max_mail_processes")
    assert isinstance(client.answer(), Denied)
    client = world.hand_over(world.account())
    spare.expect(Verb.SLOT)
    spare.say(Verb.YES)
    spare.expect(Verb.TAKEN)
    assert client.answer() == Accepted(spare.pid)


def test_one_connection_to_auth_serves_many_hand_overs(world: World) -> None:
    spare = world.spare()
    for _ in range(5):
        client = world.hand_over(world.account())
        spare.expect(Verb.SLOT)
        spare.say(Verb.NO, "max_mail_processes")
        client.answer()
    assert world.auth.connections == 1


def test_an_idle_process_retires(world: World) -> None:
    master, client, _ = first(world)
    idle = rest(master, client)
    master.say(Verb.RETIRE)
    assert master.hear() is None
    assert world.reap(master.pid) == 0
    os.close(idle.descriptors[0])


def test_a_process_that_was_retired_in_its_session_does_not_rest(world: World) -> None:
    master, client, _ = first(world)
    master.say(Verb.RETIRE)
    threading.Event().wait(0.1)
    client.say("quit")
    assert client.line() == "bye"
    assert master.hear() is None
    assert world.reap(master.pid) == 0


def test_an_idle_process_ends_with_the_master(world: World) -> None:
    master, client, _ = first(world)
    idle = rest(master, client)
    master.sock.close()
    assert world.reap(master.pid) == 0
    os.close(idle.descriptors[0])


def test_an_idle_process_ends_when_nobody_comes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenure, "REUSE_SECONDS", 0.2)
    master, client, _ = first(world)
    idle = rest(master, client)
    assert world.reap(master.pid) == 0
    os.close(idle.descriptors[0])


def test_a_process_ends_after_so_many_sessions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenure, "REUSE_SESSIONS", 2)
    master, client, _ = first(world)
    idle = rest(master, client)
    spare = world.spare()
    client = world.hand_over(world.account())
    passed_on(world, spare, idle, client)
    client.answer()
    client.line()
    client.say("quit")
    assert client.line() == "bye"
    assert world.reap(master.pid) == 0


def test_a_session_that_broke_is_the_last_of_its_process(world: World) -> None:
    master, client, _ = first(world)
    client.say("1/0")
    client.line()
    assert master.hear() is None
    assert world.reap(master.pid) == 0


@as_root
def test_root_does_not_come_back_for_the_second(world: World) -> None:
    master, client, _ = first(world)
    idle = rest(master, client)
    spare = world.spare()
    client = world.hand_over(world.account("jim"))
    passed_on(world, spare, idle, client)
    client.answer()
    client.line()
    assert client.ask("os.getresuid()") == (MAIL_UID,) * 3
    client.say("os.setuid(0)")
    assert "Internal error" in client.line()
    world.logged("PermissionError")


def test_packets_survive_the_way() -> None:
    message = handover.HandOver(
        "imap", "default", 1, 2, "::1", "::2", 143, 5, "TLS", True, "s", "tag", bytes(range(256))
    )
    passed = reuse.Passed(message, "joe\tx", 1000, "/home/ü", "", {"quota_rule": "*:bytes=1", "a": ""})
    assert reuse.decode(reuse.encode(passed)) == passed
    with pytest.raises(reuse.ReuseError):
        reuse.encode(passed._replace(fields={"x": "y" * reuse.MAX_PACKET}))
