"""The auth master and worker protocols, both ends without sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.ipc import authmaster, authworker
from dovecotpy.ipc.authclient import AuthProtocolError, AuthServerConnection
from dovecotpy.ipc.authmaster import (
    Broken,
    Claim,
    Failed,
    Lookup,
    MasterClient,
    MasterServerConnection,
    NotFound,
    User,
)
from dovecotpy.ipc.authworker import Answer, Job, Verb, WorkerProtocolError, WorkerReader


def server() -> MasterServerConnection:
    connection = MasterServerConnection()
    assert connection.feed(MasterClient().hello()) == []
    return connection


def client() -> MasterClient:
    connection = MasterClient()
    assert connection.feed(MasterServerConnection.hello(12)) == []
    assert connection.spid == 12
    return connection


def test_requests() -> None:
    connection = MasterClient()
    lines = connection.request(1, 77, 5) + connection.user(
        2, "jö\te", "deliver", lip="::1", rip="192.0.2.1", lport=25, rport=1025, session="s"
    )
    assert server().feed(lines) == [
        Claim(1, 77, 5),
        Lookup(2, "jö\te", "deliver", "::1", "192.0.2.1", 25, 1025, "s"),
    ]
    assert server().feed(connection.user(3, "joe", "deliver")) == [
        Lookup(3, "joe", "deliver", "", "", 0, 0, "")
    ]


def test_answers() -> None:
    connection = client()
    lines = (
        MasterServerConnection.user(1, "joe", {"uid": "97", "mail": "maildir:~/a\tb", "empty": ""})
        + MasterServerConnection.not_found(2)
        + MasterServerConnection.failed(3, "why not")
        + MasterServerConnection.failed(4)
    )
    assert connection.feed(lines) == [
        User(1, "joe", {"uid": "97", "mail": "maildir:~/a\tb", "empty": ""}),
        NotFound(2),
        Failed(3, "why not"),
        Failed(4, ""),
    ]


def test_answers_of_1_x() -> None:
    connection = MasterClient()
    lines = b"VERSION\t1\t0\nSPID\t9\nUSER\t1\tjoe\tuid=97\tnice\nFAIL\t2\treason=no\n"
    assert connection.feed(lines) == [User(1, "joe", {"uid": "97", "nice": "1"}), Failed(2, "no")]


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (b"VERSION\t2\t0\n", "Master not compatible with this server (mixed old and new binaries?)"),
        (b"CPID\t1\n", "Authentication client trying to connect to master socket"),
        (b"USER\t1\tjoe\tservice=x\n", "BUG: Unknown command in master socket: USER"),
        (b"VERSION\t1\t0\nFOO\n", "BUG: Unknown command in master socket: FOO"),
        (b"VERSION\t1\t0\nREQUEST\t1\t2\n", "BUG: Master sent broken REQUEST"),
        (b"VERSION\t1\t0\nREQUEST\t1\t2\t0\n", "BUG: Master sent broken REQUEST"),
        (b"VERSION\t1\t0\nREQUEST\t0\t2\t3\n", "BUG: Master sent broken REQUEST"),
        (b"VERSION\t1\t0\nUSER\t1\n", "BUG: Master sent broken USER"),
        (b"VERSION\t1\t0\nUSER\t1\tjoe\n", "BUG: Master didn't specify service in USER request"),
    ],
)
def test_what_ends_the_connection(lines: bytes, text: str) -> None:
    with pytest.raises(AuthProtocolError) as error:
        MasterServerConnection().feed(lines)
    assert str(error.value) == text


def test_a_line_too_long_fails_its_id() -> None:
    line = b"USER\t7\t" + b"x" * authmaster.MAX_LINE + b"\n"
    assert server().feed(line + b"REQUEST\t8\t1\t1\n") == [
        Broken(7, "Master request is too long"),
        Claim(8, 1, 1),
    ]
    with pytest.raises(AuthProtocolError):
        MasterClient().user(1, "x" * authmaster.MAX_LINE, "deliver")


@pytest.mark.parametrize(
    "lines",
    [
        b"USER\t1\tjoe\n",
        b"VERSION\t2\t0\nUSER\t1\tjoe\n",
        b"VERSION\t1\t0\nUSER\t1\n",
        b"VERSION\t1\t0\nUSER\tx\tjoe\n",
        b"VERSION\t1\t0\nNOTFOUND\n",
        b"x" * (authmaster.MAX_ANSWER + 1),
    ],
)
def test_client_refuses_broken_answers(lines: bytes) -> None:
    with pytest.raises(AuthProtocolError):
        MasterClient().feed(lines)


def test_a_client_socket_is_told_from_a_master_socket() -> None:
    with pytest.raises(AuthProtocolError, match="It should be a master socket"):
        MasterClient().feed(AuthServerConnection.hello((), 1, 1, ""))


@given(st.binary(max_size=300))
def test_server_survives_anything(data: bytes) -> None:
    for connection in (MasterServerConnection(), server()):
        try:
            connection.feed(data)
        except AuthProtocolError as error:
            assert str(error)


@given(
    st.sampled_from([Verb.PASSV, Verb.PASSL, Verb.USER, Verb.HASH]),
    st.text(),
    st.dictionaries(st.text("abc", min_size=1), st.text()),
)
def test_jobs_come_back(verb: Verb, stored: str, request: dict[str, str]) -> None:
    job = Job(3, verb, 0, request, "PLAIN", stored) if verb is Verb.HASH else Job(3, verb, 2, request)
    line = authworker.encode_job(job, [f"{name}={value}" for name, value in request.items()])
    assert WorkerReader().jobs(line) == [job]


@given(st.integers(-5, 1), st.text(), st.booleans(), st.dictionaries(st.text("abc", min_size=1), st.text()))
def test_worker_answers_come_back(code: int, text: str, error: bool, fields: dict[str, str]) -> None:
    answer = (
        Answer(1, code, fields, "PLAIN", text)
        if code == 1
        else Answer(1, code, fields, error=error, text=text)
    )
    reader = WorkerReader()
    assert reader.answers(authworker.encode_version() + authworker.encode_answer(answer)) == [answer]
    assert reader.greeted


@pytest.mark.parametrize("line", [b"VERSION\t2\n", b"OK\t1\tPLAIN\t\n", b"x" * (authworker.MAX_LINE + 1)])
def test_a_worker_must_greet(line: bytes) -> None:
    with pytest.raises(WorkerProtocolError):
        WorkerReader().answers(line)


@pytest.mark.parametrize("line", [b"FAIL\t1\t1\t0\t\n", b"OK\tx\n", b"WHAT\t1\t2\n", b"FAIL\n"])
def test_broken_worker_answers(line: bytes) -> None:
    reader = WorkerReader()
    reader.answers(authworker.encode_version())
    with pytest.raises(WorkerProtocolError):
        reader.answers(line)


@pytest.mark.parametrize("line", [b"WHAT\t1\n", b"PASSV\tx\t0\n", b"PASSV\t1\n", b"HASH\t1\tPLAIN\n"])
def test_broken_jobs(line: bytes) -> None:
    with pytest.raises(WorkerProtocolError):
        WorkerReader().jobs(line)


def test_jobs_that_are_too_long_are_not_sent() -> None:
    with pytest.raises(WorkerProtocolError):
        authworker.encode_job(Job(1, Verb.USER, 0, {}), ["user=" + "x" * authworker.MAX_LINE])
