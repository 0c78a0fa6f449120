"""The login worker with its real sockets, between a scripted auth process and a scripted mail process."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy.ipc.authclient import Ok
from dovecotpy.ipc.control import LoginState, Verb
from dovecotpy.ipc.handover import Accepted, Denied, Refused
from tests.descriptors import open_descriptors
from tests.unit.login.login_stage import Stage, stage


@pytest.fixture(autouse=True)
def in_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def local() -> Iterator[Stage]:
    """A worker that takes plaintext passwords."""
    with stage(disable_plaintext_auth=False) as made:
        yield made


def test_a_login_reaches_the_mail_process(local: Stage) -> None:
    caller = local.call()
    assert (
        caller.expect(b"\r\n")
        == b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID LANGUAGE AUTH=PLAIN AUTH=LOGIN] Dovecot ready.\r\n"
    )
    caller.say(b"a1 LOGIN demo demo\r\na2 SELECT INBOX", b"a1 OK Logged in.\r\n")
    message = local.mail.taken[0]
    assert (message.tag, message.client_input) == ("a1", b"a2 SELECT INBOX\r\n")
    assert (message.auth_name, message.auth_pid, message.auth_id) == (
        "default",
        4242,
        local.auth.requests[0].id,
    )
    assert (message.remote_address, message.local_address) == ("127.0.0.2", "127.0.0.1")
    assert message.local_port == local.listener.getsockname()[1]
    assert not message.tls_proxied and message.security == ""
    local.mail.sessions[0].send(b"* 1 EXISTS\r\n")
    caller.expect(b"* 1 EXISTS\r\n")
    local.rounds()
    assert local.lines == ["Login: user=<demo>, method=PLAIN, rip=127.0.0.2, lip=127.0.0.1"]
    assert local.worker.clients == 0
    assert local.states == [(0, 0, 0)]


def test_a_wrong_password_is_told_at_once_and_counted_at_the_end(local: Stage) -> None:
    caller = local.call()
    caller.say(b"a1 LOGIN demo wrong", b"a1 NO [AUTHENTICATIONFAILED] Authentication failed.\r\n")
    local.rounds()
    tail = "user=<demo>, method=PLAIN, rip=127.0.0.2, lip=127.0.0.1"
    assert local.lines == [f"Login attempt failed (authentication failed): {tail}"]
    caller.say(b"a2 AUTHENTICATE PLAIN AGRlbW8Ad3Jvbmc=", b"a2 NO [AUTHENTICATIONFAILED]")
    caller.say(b"a3 LOGOUT", b"a3 OK Logout completed.\r\n")
    caller.expect_end()
    local.rounds()
    assert local.lines[-1] == f"Aborted login (auth failed, 2 attempts): {tail}"


def test_a_mechanism_with_challenges(local: Stage) -> None:
    caller = local.call()
    caller.say(b"a1 AUTHENTICATE LOGIN", b"+ VXNlcm5hbWU6\r\n")
    caller.say(b"ZGVtbw==", b"+ UGFzc3dvcmQ6\r\n")
    caller.say(b"ZGVtbw==\r\na2 NOOP", b"a1 OK Logged in.\r\n")
    assert local.mail.taken[0].client_input == b"a2 NOOP\r\n"


def test_an_aborted_exchange_is_cancelled(local: Stage) -> None:
    caller = local.call()
    caller.say(b"a1 AUTHENTICATE LOGIN", b"+ VXNlcm5hbWU6\r\n")
    caller.say(b"*", b"a1 BAD Authentication aborted\r\n")
    local.until(lambda: bool(local.auth.cancelled))
    assert local.auth.cancelled == [local.auth.requests[0].id]
    caller.close()
    local.until(lambda: len(local.lines) == 2)
    assert local.lines[0].startswith("Login attempt failed (aborted by the client): method=LOGIN, rip=")
    assert local.lines[1].startswith("Disconnected (aborted authentication): method=LOGIN, rip=")


def test_a_dead_auth_process_is_a_temporary_failure(local: Stage) -> None:
    local.auth.silent = True
    caller = local.call()
    caller.send(b"a1 LOGIN demo demo\r\n")
    local.until(lambda: bool(local.auth.requests))
    local.auth.drop()
    caller.expect(b"a1 NO [UNAVAILABLE] Temporary authentication failure.\r\n")
    caller.say(b"a2 LOGIN demo demo", b"a2 NO [UNAVAILABLE] Temporary")
    local.auth.silent = False
    local.clock.value += 1.5
    local.until(lambda: local.worker.auths.connected)
    caller.say(b"a3 LOGIN demo demo", b"a3 OK Logged in.")
    errors = [line for line in local.lines if line.startswith("auth server")]
    assert errors == ["auth server default: connection closed"]


@pytest.mark.parametrize("word", [Verb.RETIRE, Verb.DROP, None])
def test_auth_that_goes_with_the_server_is_no_error(word: Verb | None) -> None:
    """The end of auth is noticed first: the master's word or end waits on its socket, or came in the round before."""
    with stage() as made:
        if word is None:
            made.master.close()
        else:
            made.tell(word)
        made.worker._auth_lost("auth server default: connection closed")
        made.auth.drop()
        made.until(lambda: made.over)
        made.rounds()
        assert made.lines == []


def test_auth_that_goes_alone_is_an_error_in_a_worker_that_ends(local: Stage) -> None:
    caller = local.call()
    caller.expect(b"ready.\r\n")
    local.tell(Verb.RETIRE)
    local.rounds()
    local.auth.drop()
    local.until(lambda: bool(local.lines))
    assert local.lines == ["auth server default: connection closed"]


def test_clients_wait_for_the_auth_process_before_they_are_greeted() -> None:
    with stage(start=False) as made:
        made.auth.mute = True
        made.tell(Verb.GO)
        made.until(lambda: bool(made.states))
        caller = made.call()
        made.rounds()
        made.pass_time(31.0)
        assert caller.expect(b"\r\n") == b"* OK Waiting for authentication process to respond..\r\n"
        assert made.lines == [
            f"Timeout waiting for handshake from auth server. my pid={made.worker.pid}, server=default"
        ]
        made.auth.mute = False
        made.pass_time(1.5)
        made.pass_time(1.5)
        assert caller.expect(b"\r\n").endswith(b"Dovecot ready.\r\n")


def test_a_slow_answer_is_explained_once(local: Stage) -> None:
    local.auth.silent = True
    caller = local.call()
    caller.send(b"a1 LOGIN demo demo\r\n")
    local.until(lambda: bool(local.auth.requests))
    local.pass_time(29.0)
    caller.pump()
    assert caller.received.count(b"\r\n") == 1
    local.pass_time(2.0)
    local.pass_time(31.0)
    caller.expect(b"* OK Waiting for authentication process to respond..\r\n")
    local.rounds()
    caller.pump()
    assert caller.received == b""


def test_inactivity_is_counted_from_accept_in_all(local: Stage) -> None:
    caller = local.call()
    caller.say(b"a1 NOOP", b"a1 OK")
    local.pass_time(100.0)
    caller.say(b"a2 NOOP", b"a2 OK")
    local.pass_time(79.0)
    assert local.lines == []
    local.pass_time(2.0)
    assert caller.expect_end() == b" NOOP completed.\r\n* BYE Disconnected for inactivity.\r\n"
    assert local.lines == ["Disconnected: Inactivity (no auth attempts): rip=127.0.0.2, lip=127.0.0.1"]


def test_no_deadline_decides_once_a_mail_process_may_have_the_client(local: Stage) -> None:
    local.mail.absent = True
    caller = local.call()
    caller.send(b"a1 LOGIN demo demo\r\n")
    local.until(lambda: bool(local.auth.requests))
    local.rounds()
    local.pass_time(1000.0)
    assert local.lines == []
    local.mail.absent = False
    caller.expect(b"a1 OK Logged in.")


@pytest.mark.parametrize(
    ("reason", "answer", "line"),
    [
        (
            Refused.INTERNAL,
            b"a1 NO [UNAVAILABLE] Internal login failure. Refer to server log for more information.\r\n"
            b"* BYE Internal login failure. Refer to server log for more information.\r\n",
            "Internal login failure: the cause (internal failure, 1 successful auths)",
        ),
        (
            Refused.TOO_MANY_CONNECTIONS,
            b"a1 NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded\r\n",
            "Maximum number of connections from user+IP exceeded",
        ),
        (
            Refused.SHUTTING_DOWN,
            b"a1 NO [UNAVAILABLE] Server shutting down.\r\n* BYE Server shutting down.\r\n",
            "Disconnected: Shutting down (internal failure, 1 successful auths)",
        ),
    ],
)
def test_a_refusal_is_put_in_words(local: Stage, reason: Refused, answer: bytes, line: str) -> None:
    local.mail.answer = Denied(reason, "the cause")
    caller = local.call()
    caller.expect(b"ready.\r\n")
    caller.send(b"a1 LOGIN demo demo\r\n")
    assert caller.expect_end() == answer
    local.rounds()
    assert local.lines == [f"{line}: user=<demo>, method=PLAIN, rip=127.0.0.2, lip=127.0.0.1"]


def test_a_taker_that_dies_is_an_internal_failure(local: Stage) -> None:
    local.mail.answer = None
    caller = local.call()
    caller.send(b"a1 LOGIN demo demo\r\n")
    assert b"a1 NO [UNAVAILABLE] Internal login failure." in caller.expect_end()
    local.rounds()
    assert local.lines[0].startswith("Internal login failure: no mail process answered (internal failure, 1 ")


def test_a_queue_that_was_bound_anew_is_found(local: Stage) -> None:
    first = local.call()
    first.say(b"a1 LOGIN demo demo", b"a1 OK Logged in.")
    sessions = local.mail.sessions
    local.mail.sessions = []
    local.mail.close()
    local.mail.__init__()  # type: ignore[misc]
    local.mail.sessions = sessions
    second = local.call()
    second.say(b"a1 LOGIN demo demo", b"a1 OK Logged in.")


def test_without_a_queue_there_is_an_internal_failure(local: Stage) -> None:
    local.mail.close()
    try:
        caller = local.call()
        caller.send(b"a1 LOGIN demo demo\r\n")
        local.mail.absent = True
        assert b"* BYE Internal login failure." in caller.expect_end()
        local.rounds()
        assert local.lines[0].startswith(
            "Internal login failure: mail queue mail/imap: No such file or directory ("
        )
    finally:
        local.mail.__init__()  # type: ignore[misc]


def test_a_full_queue_is_waited_for_in_order(local: Stage) -> None:
    local.mail.absent = True
    callers = [local.call() for _ in range(60)]
    for number, caller in enumerate(callers):
        caller.send(b"a%d LOGIN demo demo\r\n" % number)
    local.until(lambda: len(local.auth.requests) == len(callers))
    local.rounds()
    assert local.worker.queue.waiting > 0
    local.mail.absent = False
    for number, caller in enumerate(callers):
        caller.expect(b"a%d OK Logged in.\r\n" % number)
    assert local.worker.queue.waiting == 0


def test_nobody_but_the_mail_process_answers_after_the_hand_over(local: Stage) -> None:
    local.mail.absent = True
    caller = local.call()
    caller.expect(b"ready.\r\n")
    caller.send(b"a1 LOGIN demo demo\r\n")
    local.until(lambda: bool(local.auth.requests))
    local.rounds()
    caller.send(b"a2 NOOP\r\na3 LOGOUT\r\n")
    local.rounds()
    caller.pump()
    assert caller.received == b""
    local.mail.absent = False
    caller.expect(b"a1 OK Logged in.\r\n")
    assert local.mail.taken[0].client_input == b""
    local.until(lambda: _arrived(local) == b"a2 NOOP\r\na3 LOGOUT\r\n")


def _arrived(made: Stage) -> bytes:
    return made.mail.sessions[0].recv(1000, 2)  # MSG_PEEK


def test_a_client_that_leaves_during_the_look_up_is_handed_over_or_dropped(local: Stage) -> None:
    local.auth.silent = True
    caller = local.call()
    caller.send(b"a1 LOGIN demo demo\r\n")
    local.until(lambda: bool(local.auth.requests))
    caller.reset()
    local.until(lambda: local.worker.clients == 0)
    local.until(lambda: bool(local.auth.cancelled))
    assert local.lines == [
        "Disconnected (no auth attempts): user=<demo>, method=PLAIN, rip=127.0.0.2, lip=127.0.0.1"
    ]


def test_a_client_that_closed_its_side_is_still_served(local: Stage) -> None:
    caller = local.call()
    caller.send(b"a1 LOGIN demo demo\r\na2 LOGOUT\r\n")
    caller.socket.shutdown(1)
    caller.expect(b"a1 OK Logged in.\r\n")
    assert local.mail.taken[0].client_input == b"a2 LOGOUT\r\n"


def test_more_requests_than_the_bound_are_temporary_failures(
    local: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dovecotpy.login.authlink.MAX_REQUESTS", 3)
    local.auth.silent = True
    callers = [local.call() for _ in range(4)]
    for caller in callers[:3]:
        caller.send(b"a LOGIN demo demo\r\n")
    local.until(lambda: len(local.auth.requests) == 3)
    callers[3].say(b"a LOGIN demo demo", b"a NO [UNAVAILABLE] Temporary authentication failure.\r\n")
    assert len(local.auth.requests) == 3


def test_a_plaintext_password_is_tried_with_every_auth_section() -> None:
    with stage(auths=("default", "second"), disable_plaintext_auth=False) as made:
        made.auths["second"].users = {"other": "secret"}
        caller = made.call()
        caller.say(b"a1 LOGIN nobody nothing", b"a1 NO [AUTHENTICATIONFAILED]")
        caller.say(b"a2 LOGIN other secret", b"a2 OK Logged in.")
        assert len(made.auths["default"].requests) == 2
        assert len(made.auths["second"].requests) == 2
        assert (made.mail.taken[0].auth_name, made.mail.taken[0].auth_pid) == ("second", 4243)
        made.rounds()
        assert len(made.lines) == 2


# One process for each connection.


def test_one_connection_and_then_the_end() -> None:
    with stage(
        disable_plaintext_auth=False, login_process_per_connection=True, verbose_proctitle=True
    ) as made:
        assert made.states == [(LoginState.LISTENING, 0, 0)]
        caller = made.call()
        caller.expect(b"ready.")
        assert made.states[-1] == (LoginState.FULL_PRELOGINS, 1, 0)
        assert made.titles == ["imap-login [127.0.0.2]"]
        assert not made.over
        caller.say(b"a1 LOGIN demo demo", b"a1 OK Logged in.")
        made.until(lambda: made.over)


def test_a_process_of_one_connection_ends_with_its_client() -> None:
    with stage(login_process_per_connection=True) as made:
        caller = made.call()
        caller.expect(b"ready.")
        caller.close()
        made.until(lambda: made.over)
        assert made.lines == ["Disconnected (no auth attempts): rip=127.0.0.2, lip=127.0.0.1"]


def test_the_master_drops_who_is_not_logged_in() -> None:
    with stage(login_process_per_connection=True) as made:
        caller = made.call()
        caller.expect(b"ready.\r\n")
        made.tell(Verb.DROP)
        assert caller.expect_end() == b""
        made.until(lambda: made.over)
        assert made.lines == ["Disconnected: Shutting down (no auth attempts): rip=127.0.0.2, lip=127.0.0.1"]


# Many connections in one process.


def test_a_full_process_stops_listening_and_begins_again(tmp_path: Path) -> None:
    with stage(login_max_connections=4) as made:
        callers = [made.call() for _ in range(3)]
        for caller in callers:
            caller.expect(b"ready.")
        made.rounds()
        assert made.states[-1] == (LoginState.FULL_PRELOGINS, 3, 0)
        late = made.call()
        made.rounds(20)
        assert made.worker.clients == 3
        callers[0].close()
        late.expect(b"ready.")


def test_the_oldest_gives_way_when_the_master_says_so() -> None:
    with stage(login_max_connections=4) as made:
        callers = [made.call() for _ in range(3)]
        for caller in callers:
            caller.expect(b"ready.\r\n")
        made.rounds()
        for _ in range(2):
            made.tell(Verb.LISTEN)
            callers.append(made.call())
            callers[-1].expect(b"ready.\r\n")
        assert callers[0].expect_end() == b""
        made.rounds()
        assert made.lines == [
            "Disconnected: Connection queue full (no auth attempts): rip=127.0.0.2, lip=127.0.0.1"
        ]
        assert made.worker.clients == 4
        callers[1].say(b"a NOOP", b"a OK")


def test_a_retired_process_finishes_what_it_holds(local: Stage) -> None:
    caller = local.call()
    caller.expect(b"ready.")
    local.tell(Verb.RETIRE)
    local.rounds()
    late = local.call()
    local.rounds(20)
    assert local.worker.clients == 1 and not local.over
    caller.say(b"a1 LOGIN demo demo", b"a1 OK Logged in.")
    local.until(lambda: local.over)
    late.pump()
    assert late.received == b""


def test_without_a_master_nobody_is_served(local: Stage) -> None:
    caller = local.call()
    caller.expect(b"ready.\r\n")
    local.master.close()
    assert caller.expect_end() == b""
    local.until(lambda: local.over)
    assert local.lines[0].startswith("Disconnected: Shutting down (no auth attempts): ")


def test_titles_count_what_the_process_holds() -> None:
    with stage(verbose_proctitle=True) as made:
        first, second = made.call(), made.call()
        for caller in (first, second):
            caller.expect(b"ready.")
        second.close()
        made.until(lambda: made.worker.clients == 1)
        assert made.titles == [
            "imap-login [1 connection (0 TLS)]",
            "imap-login [2 connections (0 TLS)]",
            "imap-login [1 connection (0 TLS)]",
        ]


def test_a_listener_that_somebody_shut_down_is_given_up(local: Stage) -> None:
    local.listener.shutdown(2)
    local.until(lambda: bool(local.lines))
    assert local.lines[0].startswith("accept() failed, listener given up: ")
    local.rounds(20)
    assert len(local.lines) == 1


def test_no_descriptor_is_left_behind(local: Stage) -> None:
    def play() -> None:
        for line in (b"a LOGIN demo demo", b"a LOGIN demo bad", b"a AUTHENTICATE LOGIN", b"a LOGIN demo {5}"):
            caller = local.call()
            caller.expect(b"ready.")
            caller.send(line + b"\r\n")
            local.rounds()
            caller.close()
            local.rounds()
        for sock in local.mail.sessions:
            sock.close()
        local.mail.sessions.clear()
        local._callers.clear()
        local.until(lambda: local.worker.clients == 0)

    play()
    before = open_descriptors()
    play()
    assert open_descriptors() <= before


def test_accepted_names_the_mail_process() -> None:
    with stage(disable_plaintext_auth=False, login_log_format_elements="user=<%u> mpid=%e %k") as made:
        made.mail.answer = Accepted(31337)
        made.call().say(b"a LOGIN demo demo", b"a OK")
        made.rounds()
        assert made.lines == ["Login: user=<demo>, mpid=31337"]


def test_the_wall_clock_is_not_asked_while_serving(local: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked() -> float:
        raise AssertionError("the wall clock was asked")

    monkeypatch.setattr("dovecotpy.clock.now", asked)
    caller = local.call()
    caller.say(b"a LOGIN demo bad", b"a NO")
    local.pass_time(61.0)
    caller.say(b"a LOGIN demo demo", b"a OK")
    local.rounds()
    assert len(local.lines) == 2


# Clients that do not read.


def test_answers_that_nobody_reads_stop_the_commands(local: Stage) -> None:
    caller = local.call()
    caller.expect(b"ready.\r\n")
    caller.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    block = b"a CAPABILITY\r\n" * 500
    sent = 0
    for _ in range(4000):
        try:
            sent += caller.socket.send(block)
        except BlockingIOError:
            local.rounds(3)
            if local.worker.poller.wait(0) == [] and not _writable(caller.socket):
                break
    client = next(iter(local.worker._clients))
    held = len(client._pending) + len(client.session.out) + client.session.buffered()
    assert sent > 100_000 and 0 < held <= 3 * 16384 + 8192, (sent, held)
    assert local.worker.poller.wait(0) == []
    local.pass_time(181.0)
    local.pass_time(11.0)
    assert local.worker.clients == 0
    assert local.lines == ["Disconnected: Inactivity (no auth attempts): rip=127.0.0.2, lip=127.0.0.1"]


def _writable(sock: socket.socket) -> bool:
    return bool(select.select([], [sock], [], 0)[1])


def test_a_thousand_pipelined_commands_are_answered_in_order(local: Stage) -> None:
    caller = local.call()
    caller.expect(b"ready.\r\n")
    lines = b"".join(b"a%d NOOP\r\n" % number for number in range(1000))
    caller.send(lines + b"b LOGIN demo demo\r\nc NOOP\r\n")
    answers = caller.expect(b"b OK Logged in.\r\n").split(b"\r\n")
    assert answers[:1000] == [b"a%d OK NOOP completed." % number for number in range(1000)]
    assert local.mail.taken[0].client_input == b"c NOOP\r\n"


def test_a_hand_over_waits_until_what_is_due_is_written(local: Stage) -> None:
    local.auth.silent = True
    caller = local.call()
    caller.expect(b"ready.\r\n")
    client = next(iter(local.worker._clients))
    caller.send(b"a LOGIN demo demo\r\n")
    local.until(lambda: bool(local.auth.requests))
    client._pending = b"* OK due before\r\n"
    client._watch(select.EPOLLOUT)
    client.auth_succeeded(Ok(local.auth.requests[0].id, "demo", {}, None))
    local.rounds(1)
    assert caller.expect(b"a OK Logged in.\r\n") == b"* OK due before\r\na OK Logged in.\r\n"


def test_a_fault_of_ours_ends_one_client_and_is_one_line(
    local: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = local.call(), local.call()
    first.expect(b"ready.\r\n")
    second.expect(b"ready.\r\n")
    client = next(iter(local.worker._clients))

    def broken(data: bytes) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(client.session._parser, "feed", broken)
    first.send(b"a NOOP\r\n")
    first.expect_end()
    second.say(b"b NOOP", b"b OK")
    local.rounds()
    assert len(local.lines) == 1
    assert local.lines[0].startswith("Internal error: ZeroDivisionError: planted [")
    assert local.worker.clients == 1
