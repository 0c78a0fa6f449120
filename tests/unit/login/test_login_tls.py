"""TLS in the login worker: contexts, handshakes, STARTTLS, certificates, and the proxy with its back-pressure."""

from __future__ import annotations

import contextlib
import functools
import os
import select
import socket
import ssl
from pathlib import Path

import pytest
from OpenSSL import SSL

from dovecotpy.ipc.control import LoginState
from dovecotpy.login import proxy, tls
from dovecotpy.login.tls import Contexts, TlsError
from tests.unit.login.login_certificates import Authority, Pair
from tests.unit.login.login_stage import Caller, Stage, certified, client_context, settings, stage


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Pair:
    return authority.issue("imap.example.org")


@pytest.fixture(autouse=True)
def in_own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def contexts(server: Pair, notice: tls.Notice | None = None, **changes: object) -> Contexts:
    given = {"ssl": "yes", "ssl_cert_file": server.certificate, "ssl_key_file": server.key, **changes}
    made = tls.contexts(settings(**given), notice)  # type: ignore[arg-type]
    assert made is not None
    return made


def test_a_login_over_imaps(server: Pair) -> None:
    with stage(contexts(server), ssl="yes", verbose_proctitle=True) as made:
        caller = made.call(tls=True)
        caller.secure()
        greeting = caller.expect(b"\r\n")
        assert b"STARTTLS" not in greeting and b"AUTH=PLAIN" in greeting
        caller.say(b"a1 LOGIN demo demo\r\na2 NOOP", b"a1 OK Logged in.\r\n")
        message = made.mail.taken[0]
        assert (message.security, message.tls_proxied, message.client_input) == ("TLS", True, b"a2 NOOP\r\n")
        made.rounds()
        assert made.lines == ["Login: user=<demo>, method=PLAIN, rip=127.0.0.2, lip=127.0.0.1, TLS"]
        assert made.titles[-1] == "imap-login [1 connection (1 TLS)]"
        inner = made.mail.sessions[0]
        inner.send(b"a2 OK NOOP completed.\r\n")
        caller.say(b"a3 LOGOUT", b"a2 OK NOOP completed.\r\n")
        made.until(lambda: _peek(inner) == b"a3 LOGOUT\r\n")
        inner.send(b"* BYE Logging out\r\na3 OK\r\n")
        inner.close()
        assert caller.expect_end() == b"* BYE Logging out\r\na3 OK\r\n"
        made.until(lambda: made.worker.clients == 0)
        assert len(made.lines) == 1


def _peek(sock: object) -> bytes:
    try:
        return sock.recv(65536, 2)  # type: ignore[attr-defined, no-any-return]
    except BlockingIOError:
        return b""


def test_starttls_forgets_what_came_in_plaintext(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        caller = made.call()
        caller.expect(b"ready.\r\n")
        caller.send(b"a1 STARTTLS\r\na2 LOGIN evil evil\r\n")
        caller.expect(b"a1 OK Begin TLS negotiation now.\r\n")
        caller.secure()
        caller.say(b"b1 CAPABILITY", b"b1 OK Capability completed.\r\n")
        assert made.auth.requests == []
        caller.say(b"b2 LOGIN demo demo", b"b2 OK Logged in.")
        assert [request.secured for request in made.auth.requests] == [True]


def test_plaintext_behind_starttls_cannot_pass_as_tls(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        caller = made.call()
        caller.say(b"a1 STARTTLS", b"a1 OK Begin TLS negotiation now.\r\n")
        caller.send(b"a2 LOGIN demo demo\r\n")
        caller.expect_end()
        made.rounds()
        assert made.auth.requests == []
        assert made.lines[0].startswith(
            "Disconnected (no auth attempts): rip=127.0.0.2, lip=127.0.0.1, TLS handshaking: SSL_accept() failed: "
        )


def test_a_handshake_has_its_time(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        caller = made.call(tls=True)
        made.until(lambda: made.worker.clients == 1)
        made.pass_time(59.0)
        assert made.lines == []
        made.pass_time(2.0)
        assert caller.expect_end() == b""
        assert made.lines == [
            "Disconnected: Inactivity (no auth attempts): rip=127.0.0.2, lip=127.0.0.1, TLS handshaking"
        ]


def test_a_client_that_leaves_in_the_handshake(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        caller = made.call(tls=True)
        caller.send(b"\x16\x03\x01")
        made.rounds()
        caller.close()
        made.until(lambda: made.worker.clients == 0)
        made.rounds()
        assert made.lines == [
            "Disconnected (no auth attempts): rip=127.0.0.2, lip=127.0.0.1, TLS handshaking"
        ]


def test_old_versions_are_refused(server: Pair) -> None:
    with stage(contexts(server, ssl_min_protocol="TLSv1.3"), ssl="yes") as made:
        old = client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        caller = made.call(tls=True)
        with pytest.raises(ssl.SSLError):
            caller.secure(old)
        caller.socket.close()
        caller = made.call(tls=True)
        caller.secure()
        assert caller.socket.version() == "TLSv1.3"  # type: ignore[attr-defined]


def test_ciphers_are_chosen(server: Pair) -> None:
    with stage(contexts(server, ssl_cipher_list="ECDHE-ECDSA-AES128-GCM-SHA256"), ssl="yes") as made:
        old = client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        caller = made.call(tls=True)
        caller.secure(old)
        assert caller.socket.cipher()[0] == "ECDHE-ECDSA-AES128-GCM-SHA256"  # type: ignore[attr-defined]


def test_a_session_is_resumed_by_another_process_of_the_generation(server: Pair) -> None:
    made_contexts = contexts(server)
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    for _ in range(2):
        with stage(made_contexts, ssl="yes") as made:
            caller = made.call(tls=True)
            caller.secure(context)
            caller.expect(b"ready.")
            assert isinstance(caller.socket, ssl.SSLSocket)
            assert caller.socket.version() == "TLSv1.2"


def test_names_choose_contexts(authority: Authority, server: Pair) -> None:
    other = authority.issue("other.example.org")
    given = settings(ssl="yes", ssl_cert_file=server.certificate, ssl_key_file=server.key)
    named = tls.context(given.changed({"ssl_cert_file": other.certificate, "ssl_key_file": other.key}), None)
    made_contexts = Contexts(tls.context(given, None), {"other.example.org": named})
    with stage(made_contexts, ssl="yes") as made:
        for name in ("imap.example.org", "other.example.org"):
            context = ssl.create_default_context(cafile=authority.path)
            context.check_hostname = False
            caller = made.call(tls=True)
            caller.socket = context.wrap_socket(
                caller.socket, server_hostname=name, do_handshake_on_connect=False
            )
            _shake(made, caller)
            subject = caller.socket.getpeercert()["subject"]  # type: ignore[attr-defined]
            assert subject == ((("commonName", name),),)


def _shake(made: Stage, caller: Caller) -> None:
    def done() -> bool:
        try:
            caller.socket.do_handshake()  # type: ignore[attr-defined]
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        return True

    made.until(done)


# Certificates of clients.


def test_client_certificates(authority: Authority, server: Pair, tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "Somebody else")
    lines: list[str] = []

    def notice(connection: SSL.Connection, text: str, warning: bool) -> None:
        lines.append(text)

    made_contexts = contexts(server, notice, ssl_verify_client_cert=True, ssl_ca_file=authority.path)
    cases = [
        (authority.issue("alice"), True, "alice"),
        (stranger.issue("mallory"), False, ""),
        (authority.issue("late", valid=False), False, ""),
        (None, False, ""),
    ]
    with stage(made_contexts, ssl="yes", certificate_field="commonName") as made:
        for pair, valid, name in cases:
            caller = made.call(tls=True)
            caller.secure(certified(pair))
            caller.say(b"a LOGIN demo bad", b"a NO")
            request = made.auth.requests[-1]
            assert (request.valid_client_cert, request.cert_username) == (valid, name)
            caller.close()
    assert any(line == "Valid certificate: CN=alice" for line in lines)
    assert any(line.startswith("Invalid certificate: ") and "CN=mallory" in line for line in lines)


def test_alerts_are_logged_where_wanted(server: Pair) -> None:
    lines: list[tuple[str, bool]] = []

    def notice(connection: SSL.Connection, text: str, warning: bool) -> None:
        lines.append((text, warning))

    with stage(contexts(server, notice, ssl_min_protocol="TLSv1.3"), ssl="yes") as made:
        old = client_context()
        old.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises(ssl.SSLError):
            made.call(tls=True).secure(old)
    assert any(text.startswith("SSL alert: where=0x") and warning for text, warning in lines)


# Contexts.


def test_an_encrypted_key(authority: Authority) -> None:
    pair = authority.issue("secret.example.org", password="open sesame")
    contexts(pair, ssl_key_password="open sesame")
    with pytest.raises(TlsError, match="Can't load private key file"):
        contexts(pair, ssl_key_password="wrong")
    with pytest.raises(TlsError, match="Can't load private key file .*Password was not given"):
        contexts(pair)


def test_a_password_for_an_open_key_is_no_error(server: Pair) -> None:
    contexts(server, ssl_key_password="needless")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"ssl_cert_file": "/nonexistent"}, "Can't load certificate file /nonexistent: "),
        (
            {"ssl_key_file": "/nonexistent"},
            "Can't load private key file /nonexistent: No such file or directory",
        ),
        ({"ssl_ca_file": "/nonexistent"}, "Can't load CA file /nonexistent: "),
        ({"ssl_cipher_list": "nonsense"}, "Can't set cipher list to 'nonsense': "),
        ({"ssl_min_protocol": "SSLv2"}, "ssl_min_protocol: Invalid value: SSLv2"),
        ({"ssl_cert_username_field": "shoeSize"}, "Invalid ssl_cert_username_field: shoeSize"),
    ],
)
def test_what_cannot_be_used_is_named(server: Pair, change: dict[str, str], text: str) -> None:
    with pytest.raises(TlsError) as caught:
        contexts(server, **change)
    assert str(caught.value).startswith(text)


def test_a_key_of_another_certificate_is_refused(authority: Authority, server: Pair) -> None:
    other = authority.issue("other.example.net")
    with pytest.raises(TlsError, match="Can't load private key file"):
        contexts(Pair(server.certificate, other.key))


def test_without_ssl_there_are_no_contexts() -> None:
    assert tls.contexts(settings(ssl="no"), None) is None


# The proxy.


def proxied(made: Stage, context: ssl.SSLContext | None = None) -> Caller:
    caller = made.call(tls=True)
    caller.secure(context)
    caller.say(b"a1 LOGIN demo demo", b"a1 OK Logged in.\r\n")
    return caller


def test_a_client_that_never_reads_costs_a_chunk(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        proxied(made)
        inner = made.mail.sessions[0]
        sent = 0
        for _ in range(2000):
            try:
                sent += inner.send(b"x" * 65536)
            except BlockingIOError:
                made.rounds(2)
                if not _progress(made, functools.partial(_room, inner)):
                    break
        client = next(iter(made.worker._clients))
        assert client._proxy is not None
        assert sent > proxy.DOWN_CHUNK
        assert 0 < client._proxy.held() <= proxy.DOWN_CHUNK + proxy.CHUNK
        # nothing is tried again and again while neither side moves
        assert made.worker.poller.wait(0) == []


def _room(sock: object) -> bool:
    return bool(select.select([], [sock], [], 0)[1])


def _progress(made: Stage, done: functools.partial[bool]) -> bool:
    for _ in range(20):
        if done():
            return True
        made.step()
    return False


def test_a_mail_process_that_never_reads_costs_a_chunk(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        caller = proxied(made)
        for _ in range(2000):
            try:
                caller.socket.send(b"y" * 16384)
            except ssl.SSLWantWriteError:
                made.rounds(2)
                if not _progress(made, functools.partial(_room, caller.socket)):
                    break
        client = next(iter(made.worker._clients))
        assert client._proxy is not None
        assert 0 < client._proxy.held() <= proxy.CHUNK
        assert made.worker.poller.wait(0) == []
        inner = made.mail.sessions[0]
        for _ in range(500):
            _take(inner)
            made.step()
        assert client._proxy.held() == 0


def test_everything_arrives_in_order_both_ways(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        caller = proxied(made)
        inner = made.mail.sessions[0]
        down, up = os.urandom(1_500_000), os.urandom(700_000)
        got_down, got_up, sent_down, sent_up = bytearray(), bytearray(), 0, 0

        def done() -> bool:
            nonlocal sent_down, sent_up
            for _ in range(4):
                try:
                    sent_down += inner.send(down[sent_down : sent_down + 50_000])
                except BlockingIOError:
                    break
            with contextlib.suppress(ssl.SSLWantReadError, ssl.SSLWantWriteError):
                sent_up += caller.socket.send(up[sent_up : sent_up + 16384])
            got_up.extend(_take(inner))
            caller.pump()
            got_down.extend(caller.received)
            caller.received = b""
            return len(got_down) == len(down) and len(got_up) == len(up)

        made.until(done, 30.0)
        assert got_down == down and got_up == up


def _take(sock: object) -> bytes:
    try:
        return sock.recv(65536)  # type: ignore[attr-defined, no-any-return]
    except BlockingIOError:
        return b""


def test_the_session_ends_when_its_client_has_gone(server: Pair) -> None:
    with stage(contexts(server), ssl="yes", login_process_per_connection=True) as made:
        caller = proxied(made)
        assert made.states[-1] == (LoginState.FULL_LOGINS, 0, 1)
        caller.reset()
        made.until(lambda: made.over)
        assert made.mail.sessions[0].recv(10) == b""


def test_a_client_that_closed_its_side_gets_what_is_still_said(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        caller = proxied(made)
        inner = made.mail.sessions[0]
        caller.send(b"a2 FETCH 1 BODY[]\r\n")
        socket.socket.shutdown(caller.socket, socket.SHUT_WR)
        made.until(lambda: _peek(inner) == b"a2 FETCH 1 BODY[]\r\n")
        made.rounds()
        inner.send(b"* 1 FETCH ()\r\n")
        caller.expect(b"* 1 FETCH ()\r\n")
        made.pass_time(0.5)
        assert made.worker.clients == 1
        made.pass_time(1.5)
        made.until(lambda: made.worker.clients == 0)


def test_the_last_words_reach_a_slow_client_or_time_out(server: Pair) -> None:
    with stage(contexts(server), ssl="yes") as made:
        proxied(made)
        inner = made.mail.sessions.pop()
        while _progress(made, functools.partial(_room, inner)):
            inner.send(b"x" * 65536)
        inner.close()
        made.rounds()
        made.pass_time(290.0)
        assert made.worker.clients == 1
        assert made.worker.poller.wait(0) == []
        made.pass_time(11.0)
        assert made.worker.clients == 0
