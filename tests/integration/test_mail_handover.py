"""From the mail queue to a session: a real mail worker, with login, auth and master played by the test."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import threading
from collections.abc import Iterator

import pytest

from dovecotpy.ipc import fdpass, handover
from dovecotpy.ipc.control import Refusal, Verb
from dovecotpy.ipc.handover import Accepted, Denied, Refused
from dovecotpy.ipc.record import Level
from dovecotpy.mail import asking
from tests.integration.mail_world import AS_ROOT, LOGIN_UID, MAIL_GID, MAIL_UID, World, worlds

as_root = pytest.mark.skipif(not AS_ROOT, reason="other users' processes need root")


@pytest.fixture
def world() -> Iterator[World]:
    yield from worlds()


def test_a_login_from_the_queue_to_the_end_of_the_session(world: World) -> None:
    master = world.spare()
    client = world.hand_over(world.account("joe", home=world.base), client_input=b"1+1\n")
    master.expect(Verb.TAKEN)
    slot = master.expect(Verb.SLOT)
    assert slot.fields == ("imap", "joe", "192.0.2.7", "", "0")
    assert master.silent(), "nothing may happen before the master's answer"
    master.say(Verb.YES)
    assert client.answer() == Accepted(master.pid)
    assert client.line() == "a1 OK"
    assert client.line() == "2"
    client.say("quit")
    assert client.line() == "bye"
    assert client.line() == ""
    assert master.hear() is None
    assert world.reap(master.pid) == 0
    line = world.logged("Logged out")
    assert line.text == "Disconnected: Logged out bytes=9/12"
    assert (line.level, line.user, line.session, line.address) == (Level.INFO, "joe", "sess", "192.0.2.7")
    assert client.reply.recv(10) == b""


def test_no_spare_touches_the_queue_before_go(world: World) -> None:
    master = world.spare(go=False)
    client = world.hand_over(world.account())
    assert master.silent()
    master.say(Verb.GO)
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    master.say(Verb.NO, Refusal.SHUTTING_DOWN.value)
    assert client.answer() == Denied(Refused.SHUTTING_DOWN, "Server shutting down")


def test_of_many_spares_one_takes_each_client(world: World) -> None:
    masters = [world.spare() for _ in range(4)]
    clients = [world.hand_over(world.account(f"u{number}")) for number in range(4)]
    for master in masters:
        master.expect(Verb.TAKEN)
        master.expect(Verb.SLOT)
        master.say(Verb.YES)
    answers = {client.answer() for client in clients}
    assert answers == {Accepted(master.pid) for master in masters}


@as_root
def test_who_the_process_is(world: World) -> None:
    home = world.base + "/joe"
    os.mkdir(home)
    os.chown(home, MAIL_UID, MAIL_GID)
    os.chmod(home, 0o700)
    master, client = world.login(home=home, nice="5")
    assert client.ask("os.getresuid()") == (MAIL_UID,) * 3
    assert client.ask("os.getresgid()") == (MAIL_GID,) * 3
    assert client.ask("os.getgroups()") == [MAIL_GID]
    assert client.ask("os.getcwd()") == home
    assert client.ask("os.getpriority(os.PRIO_PROCESS, 0)") == 5
    assert client.ask("os.umask(0o077)") == 0o077
    with open(f"/proc/{master.pid}/status") as lines:
        status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    assert status["NoNewPrivs"].strip() == "1"
    assert {status[name].strip() for name in ("CapEff", "CapPrm", "CapInh")} == {"0" * 16}
    with open(f"/proc/{master.pid}/limits") as limits:
        data = next(line for line in limits if line.startswith("Max data size"))
    assert data.split()[3:5] == [str(256 << 20)] * 2
    with open(f"/proc/{master.pid}/cmdline", "rb") as title:
        assert title.read().rstrip(b"\0").startswith(b"imap [joe 192.0.2.7]")


@as_root
def test_without_verbose_proctitle_nothing_is_shown(world: World) -> None:
    world.set(verbose_proctitle=False)
    master, _ = world.login()
    with open(f"/proc/{master.pid}/cmdline", "rb") as title:
        assert b"joe" not in title.read()


def test_a_session_holds_no_queue_and_no_way_to_auth(world: World) -> None:
    _, client = world.login()
    links = client.ask("held()")
    assert isinstance(links, dict)
    assert len(links) == 3, f"control, log and client: {links}"
    assert os.readlink(f"/proc/self/fd/{world.queue.fileno()}") not in links.values()


@as_root
def test_a_chroot(world: World) -> None:
    world.set(valid_chroot_dirs=(world.base,))
    root = world.base + "/jail"
    os.makedirs(root + "/joe")
    os.chmod(root, 0o755)
    _, client = world.login(home=root + "/./joe")
    assert client.ask("os.getcwd()") == "/joe"
    assert client.ask("os.listdir('/')") == ["joe"]
    assert client.ask("visit.who.home") == "/joe"


@as_root
def test_a_hostile_group_file_in_a_chroot_grants_nothing(world: World) -> None:
    name = pwd.getpwnam("nobody").pw_name
    root = world.base + "/jail"
    os.makedirs(root + "/etc")
    with open(root + "/etc/group", "w") as group:
        group.write(f"disk:x:6:{name}\nshadow:x:42:{name}\n")
    with open(root + "/etc/nsswitch.conf", "w") as switch:
        switch.write("group: files\npasswd: files\n")
    world.set(valid_chroot_dirs=(world.base,))
    _, client = world.login(chroot=root, home="/", system_user=name)
    groups = client.ask("os.getgroups()")
    assert isinstance(groups, list)
    assert not {6, 42} & set(groups)


@as_root
def test_groups_for_all_and_the_privileged_group(world: World) -> None:
    world.set(mail_access_groups=("61240",), mail_privileged_group="61241")
    _, client = world.login()
    assert client.ask("os.getgroups()") == [MAIL_GID, 61240]
    assert client.ask("os.getresgid()") == (MAIL_GID, MAIL_GID, 61241)


def test_nothing_can_be_imported_any_more_and_nothing_has_to_be(world: World) -> None:
    """The interpreter's files are hidden from the worker as by a chroot; a whole session runs."""
    if not AS_ROOT:
        pytest.skip("a chroot needs root")
    root = world.base + "/empty"
    os.mkdir(root)
    world.set(valid_chroot_dirs=(world.base,), mail_debug=True)
    master, client = world.login(chroot=root, home="/")
    assert client.ask("[name for name in sys.modules if name == 'smtplib']") == []
    client.say("__import__('smtplib')")
    world.logged("ModuleNotFoundError")
    assert client.line() == "* BYE Internal error occurred."
    assert world.reap(master.pid) == 0


def test_a_fault_in_a_session_is_one_line_and_ends_that_session_only(world: World) -> None:
    other_master, other = world.login("jim")
    master, client = world.login()
    client.say("1/0")
    assert client.line() == "* BYE Internal error occurred."
    assert client.line() == ""
    line = world.logged("ZeroDivisionError")
    assert line.level is Level.ERROR
    assert (line.user, line.address) == ("joe", "192.0.2.7")
    assert "\n" not in line.text
    assert world.logged("Internal error occurred bytes=4/").level is Level.INFO
    assert world.reap(master.pid) == 0
    assert other.ask("6*7") == 42
    assert other_master.silent(0)


REFUSALS = [
    (Refusal.TOO_MANY_PROCESSES, Refused.TOO_MANY_PROCESSES, "Maximum number of mail processes exceeded"),
    (
        Refusal.TOO_MANY_CONNECTIONS,
        Refused.TOO_MANY_CONNECTIONS,
        "Maximum number of connections from user+IP exceeded",
    ),
    (Refusal.SHUTTING_DOWN, Refused.SHUTTING_DOWN, "Server shutting down"),
]


@pytest.mark.parametrize(("refusal", "reason", "text"), REFUSALS)
def test_no_slot_is_said_in_words(world: World, refusal: Refusal, reason: Refused, text: str) -> None:
    master = world.spare()
    client = world.hand_over(world.account())
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    master.say(Verb.NO, refusal.value)
    assert client.answer() == Denied(reason, text)
    assert client.line() == "", "the mail process spoke to a client that login still has"
    assert world.reap(master.pid) == 0


def test_an_account_that_may_not_be_is_refused_after_the_slot(world: World) -> None:
    master = world.spare()
    client = world.hand_over(world.account("eve", uid="0"))
    master.expect(Verb.TAKEN)
    assert master.expect(Verb.SLOT).fields[1] == "eve"
    master.say(Verb.YES)
    answer = client.answer()
    assert answer == Denied(Refused.INTERNAL, "user eve: Logins with UID 0 not permitted")
    line = world.logged("UID 0")
    assert (line.level, line.user, line.address) == (Level.ERROR, "eve", "192.0.2.7")
    assert world.reap(master.pid) == 0


@pytest.mark.parametrize(
    ("mail", "told", "logged"),
    [
        ("broken", "mail_location is broken", "mail_location is broken"),
        ("fault", "fault in the mail process", "a fault of ours"),
    ],
)
def test_a_store_that_does_not_open_is_no_login(world: World, mail: str, told: str, logged: str) -> None:
    master = world.spare()
    client = world.hand_over(world.account(mail=mail))
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    master.say(Verb.YES)
    assert client.answer() == Denied(Refused.INTERNAL, told)
    assert world.logged(logged).user == "joe"
    assert client.line() == ""
    world.reap(master.pid)


@as_root
def test_a_missing_home_is_tmp_but_not_in_a_chroot(world: World) -> None:
    _, client = world.login(home="/nonexistent/joe")
    assert client.ask("os.getcwd()") == "/tmp"
    world.set(valid_chroot_dirs=(world.base,))
    master = world.spare()
    client = world.hand_over(world.account(chroot=world.base, home="/joe"))
    for verb in (Verb.TAKEN, Verb.SLOT):
        master.expect(verb)
    master.say(Verb.YES)
    answer = client.answer()
    text = f"chdir({world.base}/joe) failed with uid {MAIL_UID}: No such file or directory"
    assert answer == Denied(Refused.INTERNAL, text)
    world.logged(text)


@as_root
def test_a_home_that_is_not_the_users_to_enter_is_refused(world: World) -> None:
    os.mkdir(world.base + "/roots", 0o700)
    master = world.spare()
    client = world.hand_over(world.account(home=world.base + "/roots"))
    for verb in (Verb.TAKEN, Verb.SLOT):
        master.expect(verb)
    master.say(Verb.YES)
    answer = client.answer()
    assert isinstance(answer, Denied)
    assert "Permission denied" in answer.text


def test_a_login_process_that_has_gone_gets_no_session(world: World) -> None:
    """Nobody would log the login, and nobody told the client: he connects again."""
    master = world.spare()
    client = world.hand_over(world.account())
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    client.reply.close()
    master.say(Verb.YES)
    assert client.line() == ""
    world.logged("login process has gone")
    assert world.reap(master.pid) == 0


def test_the_death_of_the_taker_is_the_end_of_the_reply(world: World) -> None:
    master = world.spare()
    client = world.hand_over(world.account())
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    os.kill(master.pid, signal.SIGKILL)
    assert client.raw_answer() == b""
    assert handover.decode_answer(b"") == Denied(Refused.INTERNAL, "no mail process answered")
    assert world.reap(master.pid) == -signal.SIGKILL


def test_the_end_of_the_queue_is_the_end_of_the_reply(world: World) -> None:
    client = world.hand_over(world.account())
    world.queue.close()
    assert client.raw_answer() == b""


class TestForged:
    """Hand-overs that no honest login process sends: no mailbox, nobody harmed, the sender named."""

    def refused(self, world: World, data: bytes, descriptors: tuple[int, ...], uid: int = LOGIN_UID) -> None:
        master = world.spare()
        pid = world.send(data, descriptors, uid)
        assert master.expect(Verb.FORGED).number(0) == pid
        line = world.logged("Refused a forged hand-over")
        assert line.level is Level.ERROR
        assert f"pid {pid}" in line.text
        client = world.hand_over(world.account())
        master.expect(Verb.TAKEN)
        master.expect(Verb.SLOT)
        master.say(Verb.YES)
        assert client.answer() == Accepted(master.pid), "the spare did not stay a spare"
        assert client.line() == "a1 OK"
        links = client.ask("held()")
        assert isinstance(links, dict)
        assert len(links) == 3, f"descriptors of the forger were kept: {links}"

    @as_root
    def test_by_another_uid(self, world: World) -> None:
        client, reply = socket.socketpair(), fdpass.pair()
        data = handover.encode(world.message(world.account()))
        self.refused(world, data, (client[0].fileno(), reply[0].fileno()), uid=MAIL_UID)

    def test_with_one_descriptor(self, world: World) -> None:
        client = socket.socketpair()
        self.refused(world, handover.encode(world.message(world.account())), (client[0].fileno(),))

    def test_with_three(self, world: World) -> None:
        client, reply = socket.socketpair(), fdpass.pair()
        numbers = (client[0].fileno(), reply[0].fileno(), reply[1].fileno())
        self.refused(world, handover.encode(world.message(world.account())), numbers)

    def test_with_more_than_anybody_takes(self, world: World) -> None:
        client = socket.socketpair()
        numbers = (client[0].fileno(),) * 40
        self.refused(world, handover.encode(world.message(world.account())), numbers)

    def test_with_sockets_of_the_wrong_type(self, world: World) -> None:
        client, reply = socket.socketpair(), fdpass.pair()
        numbers = (reply[0].fileno(), client[0].fileno())
        self.refused(world, handover.encode(world.message(world.account())), numbers)

    def test_with_files(self, world: World) -> None:
        numbers = (os.open("/dev/null", os.O_RDWR), os.open("/dev/null", os.O_RDWR))
        self.refused(world, handover.encode(world.message(world.account())), numbers)

    def test_garbage(self, world: World) -> None:
        client, reply = socket.socketpair(), fdpass.pair()
        self.refused(world, os.urandom(300), (client[0].fileno(), reply[0].fileno()))

    def test_cut(self, world: World) -> None:
        client, reply = socket.socketpair(), fdpass.pair()
        data = handover.encode(world.message(world.account(), client_input=b"\t" * handover.MAX_INPUT))
        self.refused(world, data + b"x" * handover.MAX_PACKET, (client[0].fileno(), reply[0].fileno()))


def refused_by_auth(world: World, text: str, **changes: object) -> None:
    master = world.spare()
    client = world.hand_over(**{"auth_id": world.account(), **changes})  # type: ignore[arg-type]
    master.expect(Verb.TAKEN)
    assert master.hear() is None, "a slot was asked for a client that nobody knows"
    answer = client.answer()
    assert isinstance(answer, Denied)
    assert answer.reason is Refused.INTERNAL
    assert text in answer.text
    assert client.line() == ""
    line = world.logged(text)
    assert (line.level, line.address) == (Level.ERROR, "192.0.2.7")
    assert "rip=192.0.2.7" in line.text
    assert world.reap(master.pid) == 0


def test_a_request_that_auth_does_not_know(world: World) -> None:
    refused_by_auth(world, "not found", auth_id=999)


def test_the_request_of_another_login_process(world: World) -> None:
    number = world.account()
    world.auth.senders[number] = os.getpid()
    refused_by_auth(world, "not found", auth_id=number)
    assert number in world.auth.claims, "the other's request was used up"


def test_a_request_is_claimed_once(world: World) -> None:
    number = world.account()
    master = world.spare()
    world.hand_over(number)
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    refused_by_auth(world, "not found", auth_id=number)


def test_an_auth_process_that_does_not_exist(world: World) -> None:
    refused_by_auth(world, "Authentication process 3999999 doesn't exist", auth_pid=3999999)


def test_a_pid_that_listens_there_but_is_not_that_auth_process(world: World) -> None:
    other = world.auth.__class__(world.base, name="1")
    try:
        refused_by_auth(world, "is served by pid", auth_pid=1)
    finally:
        other.close()


def test_an_auth_process_that_says_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "REQUEST_SECONDS", 0.3)
    monkeypatch.setattr("dovecotpy.mail.spare.REQUEST_SECONDS", 0.3)
    world.auth.silent = True
    refused_by_auth(world, "no answer within")


def test_an_auth_process_that_dies_meanwhile(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.auth, "_answer", lambda claim: (_ for _ in ()).throw(OSError()))
    refused_by_auth(world, "died")


def test_a_spare_ends_with_its_master(world: World) -> None:
    master = world.spare()
    assert master.silent()
    master.sock.close()
    assert world.reap(master.pid) == 0


def test_a_spare_retires_but_not_before_it_looked_at_the_queue(world: World) -> None:
    master = world.spare(go=False)
    client = world.hand_over(world.account())
    master.say(Verb.GO)
    master.say(Verb.RETIRE)
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    master.say(Verb.YES)
    assert client.answer() == Accepted(master.pid)
    idle = world.spare()
    assert idle.silent()
    idle.say(Verb.RETIRE)
    assert idle.hear() is None
    assert world.reap(idle.pid) == 0


def test_the_end_of_the_master_during_the_hand_over_frees_the_client(world: World) -> None:
    master = world.spare()
    client = world.hand_over(world.account())
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    master.sock.close()
    assert client.raw_answer() == b""
    assert world.reap(master.pid) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_says_good_bye(world: World, number: int) -> None:
    master, client = world.login()
    os.kill(master.pid, number)
    assert client.line() == "shutdown"
    assert world.reap(master.pid) == 0
    if number == signal.SIGTERM:
        assert world.logged("Killed with signal 15").level is Level.WARNING
    world.logged("Server shutting down bytes=")


def test_shutdown_clients(world: World) -> None:
    master, client = world.login()
    master.sock.close()
    assert client.line() == "shutdown"
    world.set(shutdown_clients=False)
    master, client = world.login("jim")
    master.sock.close()
    threading.Event().wait(0.2)
    assert client.ask("6*7") == 42
    os.kill(master.pid, signal.SIGTERM)
    assert client.line() == "shutdown"


def test_an_ordinary_users_server_serves_himself_only(world: World) -> None:
    """Without root the worker is nobody else than it was; another uid is refused in words."""
    if AS_ROOT:
        other = pwd.getpwnam("nobody")

        def become() -> None:
            os.setgroups([])
            os.setresgid(other.pw_gid, other.pw_gid, other.pw_gid)
            os.setresuid(other.pw_uid, other.pw_uid, other.pw_uid)

        world.set(first_valid_uid=0)
        os.chmod(world.auth.path, 0o666)
        master = world.spare(before=become)
        client = world.hand_over(world.account(uid=str(MAIL_UID)))
    else:
        master = world.spare()
        client = world.hand_over(world.account(uid=str(MAIL_UID + 1)))
    master.expect(Verb.TAKEN)
    master.expect(Verb.SLOT)
    master.say(Verb.YES)
    answer = client.answer()
    assert isinstance(answer, Denied)
    assert "not running as root, can't become uid" in answer.text
    assert world.reap(master.pid) == 89
    assert world.logged("can't become").level is Level.FATAL


def test_a_master_that_breaks_the_protocol_ends_the_spare(world: World) -> None:
    master = world.spare()
    master.sock.send(b"NONSENSE")
    assert world.reap(master.pid) == 0
