"""The auth client protocol, both ends without sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.ipc import authclient
from dovecotpy.ipc.authclient import (
    MAX_LINE,
    AuthClient,
    AuthProtocolError,
    AuthServerConnection,
    Broken,
    Cancel,
    ClientHello,
    Continue,
    Fail,
    Handshake,
    Mechanism,
    Ok,
    Request,
    Response,
)

GREETING = (
    b"VERSION\t1\t0\nMECH\tPLAIN\tplaintext\nMECH\tAPOP\tprivate\tdictionary\nSPID\t12\nCUID\t3\nDONE\n"
)


def server() -> AuthServerConnection:
    connection = AuthServerConnection()
    assert connection.feed(AuthClient().hello(77)) == [ClientHello(77)]
    return connection


def client() -> AuthClient:
    connection = AuthClient()
    assert len(connection.feed(GREETING)) == 1
    return connection


def test_greeting_of_1_x_and_ours() -> None:
    connection = AuthClient()
    assert not connection.ready
    assert connection.feed(GREETING) == [
        Handshake(
            (
                Mechanism("PLAIN", frozenset({"plaintext"})),
                Mechanism("APOP", frozenset({"private", "dictionary"})),
            ),
            12,
            3,
            "",
        )
    ]
    assert connection.ready
    ours = AuthServerConnection.hello((Mechanism("PLAIN", frozenset({"plaintext"})),), 12, 3, "abcd")
    assert ours == b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t12\nCUID\t3\nCOOKIE\tabcd\nDONE\n"
    assert AuthClient().feed(ours) == [
        Handshake((Mechanism("PLAIN", frozenset({"plaintext"})),), 12, 3, "abcd")
    ]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_server_takes_any_order(order: tuple[int, int]) -> None:
    lines = [b"VERSION\t1\t0\n", b"CPID\t9\n"]
    connection = AuthServerConnection()
    events = connection.feed(lines[order[0]] + lines[order[1]])
    assert events == [ClientHello(9)]
    assert connection.feed(b"AUTH\t1\tPLAIN\tservice=smtp\tnologin\n") == [
        Request(1, "PLAIN", "smtp", nologin=True)
    ]


def test_all_parameters_travel() -> None:
    line = AuthClient().request(
        7,
        "PLAIN",
        service="imap",
        secured=True,
        lip="::1",
        rip="192.0.2.1",
        lport=143,
        rport=40000,
        valid_client_cert=True,
        cert_username="j\tö",
        nologin=True,
        no_penalty=True,
        session="abc",
        resp=b"\0joe\0secret",
    )
    assert line.endswith(b"\tresp=AGpvZQBzZWNyZXQ=\n")
    expected = Request(
        7,
        "PLAIN",
        "imap",
        True,
        "::1",
        "192.0.2.1",
        143,
        40000,
        True,
        "j\tö",
        True,
        True,
        "abc",
        b"\0joe\0secret",
    )
    assert server().feed(line) == [expected]


def test_no_empty_and_unknown_parameters() -> None:
    connection = server()
    assert connection.feed(b"AUTH\t1\tplain\tservice=imap\tfuture=1\tflag\n") == [Request(1, "PLAIN", "imap")]
    assert connection.feed(b"AUTH\t2\tPLAIN\tservice=imap\tresp=\n") == [
        Request(2, "PLAIN", "imap", resp=b"")
    ]
    assert connection.feed(b"AUTH\t3\tPLAIN\tservice=imap\tlport=99999\trport=x\n") == [
        Request(3, "PLAIN", "imap")
    ]


def test_minor_version_0_has_no_escapes() -> None:
    connection = AuthServerConnection()
    connection.feed(b"VERSION\t1\t0\nCPID\t5\n")
    assert connection.feed(b"AUTH\t1\tPLAIN\tservice=a\x01tb\n") == [Request(1, "PLAIN", "a\x01tb")]
    assert server().feed(b"AUTH\t1\tPLAIN\tservice=a\x01tb\n") == [Request(1, "PLAIN", "a\tb")]


def test_continuations() -> None:
    connection = server()
    assert connection.feed(AuthClient().reply(4, b"") + AuthClient().reply(4, b"x")) == [
        Response(4, b""),
        Response(4, b"x"),
    ]
    assert connection.feed(b"CONT\t4\n") == [Response(4, b"")]
    assert connection.feed(AuthClient().cancel(4)) == [Cancel(4)]
    assert client().feed(AuthServerConnection.challenge(4, b"hi")) == [Continue(4, b"hi")]


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (
            b"AUTH\t1\tPLAIN\tservice=imap\tresp=*\n",
            Broken(1, "Invalid base64 data in initial response", True),
        ),
        (
            b"AUTH\t1\tPLAIN\tservice=imap\tresp=QQ\n",
            Broken(1, "Invalid base64 data in initial response", True),
        ),
        (b"CONT\t1\t*\n", Broken(1, "Invalid base64 data in continued response", False)),
        (
            b"AUTH\t1\tPLAIN\t" + b"x" * MAX_LINE + b"\n",
            Broken(1, "Authentication request is too long", True),
        ),
        (b"CONT\t1\t" + b"x" * MAX_LINE + b"\n", Broken(1, "Authentication request is too long", False)),
    ],
)
def test_what_fails_one_request(line: bytes, event: Broken) -> None:
    connection = server()
    assert connection.feed(line + b"CONT\t2\t\n") == [event, Response(2, b"")]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (
            b"VERSION\t2\t0\n",
            "Authentication client not compatible with this server (mixed old and new binaries?)",
        ),
        (b"VERSION\n", "Authentication client not compatible with this server (mixed old and new binaries?)"),
        (b"CPID\t0\n", "BUG: Authentication client said it's PID 0"),
        (b"CPID\tx\n", "BUG: Authentication client said it's PID 0"),
        (b"CPID\t99999999999\n", "BUG: Authentication client said it's PID 0"),
        (b"AUTH\t1\tPLAIN\n", "BUG: Authentication client sent unknown handshake command: AUTH"),
        (
            b"GET / HTTP/1.1\r\n",
            "BUG: Authentication client sent unknown handshake command: GET / HTTP/1.1\r",
        ),
        (b"x" * (MAX_LINE + 1), "BUG: Auth client 0 sent us more than 65536 bytes"),
    ],
)
def test_handshake_errors(lines: bytes, text: str) -> None:
    with pytest.raises(AuthProtocolError) as error:
        AuthServerConnection().feed(lines)
    assert str(error.value) == text


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"FOO\t1\n", "BUG: Authentication client sent unknown command: FOO"),
        (b"\n", "BUG: Authentication client sent unknown command: "),
        (b"AUTH\n", "BUG: Authentication client 77 sent broken AUTH request"),
        (b"AUTH\t1\n", "BUG: Authentication client 77 sent broken AUTH request"),
        (b"AUTH\t0\tPLAIN\tservice=x\n", "BUG: Authentication client 77 sent broken AUTH request"),
        (b"AUTH\t4294967296\tPLAIN\tservice=x\n", "BUG: Authentication client 77 sent broken AUTH request"),
        (b"AUTH\t-1\tPLAIN\tservice=x\n", "BUG: Authentication client 77 sent broken AUTH request"),
        (b"AUTH\t1\tPLAIN\n", "BUG: Authentication client 77 didn't specify service in request"),
        (b"AUTH\t1\tPLAIN\tservice=\n", "BUG: Authentication client 77 didn't specify service in request"),
        (
            b"AUTH\t1\tPLAIN\tresp=\tservice=x\n",
            "BUG: Authentication client 77 sent AUTH parameters after 'resp'",
        ),
        (b"CONT\tx\t\n", "BUG: Authentication client sent broken CONT request"),
        (b"CONT\t1\tQQ==\tx\n", "BUG: Authentication client sent broken CONT request"),
        (b"CPID\t77\n", "BUG: Authentication client re-handshaking"),
        (b"FOO\t" + b"x" * MAX_LINE, "BUG: Auth client 77 sent us more than 65536 bytes"),
    ],
)
def test_command_errors(line: bytes, text: str) -> None:
    with pytest.raises(AuthProtocolError) as error:
        server().feed(line)
    assert str(error.value) == text


def test_answers() -> None:
    connection = client()
    line = AuthServerConnection.ok(1, "jöe\t@x", {"nologin": "", "host": "a\nb"}, b"last")
    assert line.count(b"\n") == 1
    assert connection.feed(line) == [Ok(1, "jöe\t@x", {"nologin": "", "host": "a\nb"}, b"last")]
    failure = connection.feed(AuthServerConnection.fail(2, "joe", {"temp": "", "reason": "later"}))
    assert failure == [Fail(2, "joe", {"temp": "", "reason": "later"})]
    assert isinstance(failure[0], Fail) and failure[0].temporary and failure[0].reason == "later"
    assert AuthServerConnection.fail(2, "", {"temp": ""}) == b"FAIL\t2\ttemp\n"


@pytest.mark.parametrize(
    "line",
    [
        b"OK\t1\n",
        b"OK\tx\tuser=joe\n",
        b"OK\t1\tuser=joe\tresp=*\n",
        b"FAIL\n",
        b"CONT\t1\t*\n",
        b"x" * (MAX_LINE + 1),
    ],
)
def test_client_refuses_broken_answers(line: bytes) -> None:
    with pytest.raises(AuthProtocolError):
        client().feed(line)


@pytest.mark.parametrize(
    "greeting", [b"VERSION\t2\t0\n", b"SPID\t1\nDONE\n", b"VERSION\t1\t0\nDONE\n", b"SPID\tx\n"]
)
def test_client_refuses_broken_greetings(greeting: bytes) -> None:
    with pytest.raises(AuthProtocolError):
        AuthClient().feed(greeting)


def test_client_ignores_what_it_does_not_know() -> None:
    assert client().feed(b"FUTURE\t1\t2\n") == []
    assert AuthClient().feed(b"FUTURE\t1\t2\n") == []


def test_a_request_that_the_server_would_cut_is_not_sent() -> None:
    with pytest.raises(AuthProtocolError):
        AuthClient().request(1, "PLAIN", service="imap", resp=b"x" * MAX_LINE)
    with pytest.raises(AuthProtocolError):
        AuthClient().reply(1, b"x" * MAX_LINE)


def test_a_long_line_is_held_within_the_bound() -> None:
    connection = server()
    events = [event for _ in range(50) for event in connection.feed(b"CONT\t1\t" + b"x" * 4000)]
    assert events == [Broken(1, "Authentication request is too long", False)]
    assert connection.feed(b"\nCONT\t2\t\n") == [Response(2, b"")]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_pieces_make_no_difference(data: bytes, cuts: list[int]) -> None:
    whole = AuthClient().request(1, "PLAIN", service="imap", resp=data) + AuthClient().reply(1, data)
    connection, events = server(), []
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    for start, end in zip(places, places[1:], strict=False):
        events += connection.feed(whole[start:end])
    assert events == [Request(1, "PLAIN", "imap", resp=data), Response(1, data)]


@given(
    st.text(min_size=1),
    st.dictionaries(
        st.text("abcxyz_", min_size=1).filter(lambda name: name not in ("user", "resp")), st.text()
    ),
)
def test_any_answer_comes_back(user: str, fields: dict[str, str]) -> None:
    line = AuthServerConnection.ok(1, user, fields)
    assert client().feed(line) == [Ok(1, user, fields, None)]


@given(st.binary(max_size=400))
def test_server_survives_anything(data: bytes) -> None:
    for connection in (AuthServerConnection(), server()):
        try:
            connection.feed(data)
        except AuthProtocolError as error:
            assert str(error)


def test_base64_is_strict() -> None:
    assert authclient.decode_base64("QQ==") == b"A"
    for text in ("QQ", "Q", "QQ==\n", "QQ ==", "ü", "QQ==QQ=="):
        assert authclient.decode_base64(text) is None
