"""Bad input against the whole server: a proper answer or a closed connection, and nobody else notices."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import RawClient, Server, eventually, messages


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "login_process_per_connection": "no",
        "login_processes_count": "2",
        "mail_max_userip_connections": "0",
    }
    with Server(tmp_path_factory.mktemp("hostile"), settings=settings) as server:
        for message in messages(30):
            server.deliver("joe", message)
        yield server
        assert "Traceback" not in server.log()


@pytest.fixture(autouse=True)
def others_are_served(server: Server) -> Iterator[None]:
    """Around each attack a well-behaved client does its work."""
    with server.logged_in("ann") as bystander:
        bystander.command("SELECT INBOX")
        yield
        assert bystander.command("NOOP")[-1].endswith(b"OK NOOP completed.")
        bystander.command("LOGOUT")
    with server.logged_in("ann") as later:
        assert b" OK " in later.command("SELECT INBOX")[-1]


BEFORE_LOGIN = {
    "a line of 64 KiB": b"a " + b"x" * 65536 + b"\r\n",
    "a line without an end": b"y" * 200_000,
    "a literal of 4 GiB": b"a LOGIN {4294967296}\r\n",
    "a literal beyond any number": b"a LOGIN {99999999999999999999999}\r\n",
    "NULs": b"a LOGIN \0\0\0 \0\r\n" * 20,
    "8-bit names": b"a LOGIN \xff\xfe\xfd \x80\x81\r\n" * 20,
    "deep nesting": b"a ID " + b"(" * 5000 + b"\r\n",
    "bad commands": b"a NONSENSE\r\n" * 30,
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 50,
    "an endless AUTHENTICATE answer": b"a AUTHENTICATE PLAIN\r\n" + b"A" * 100_000 + b"\r\n",
}


@pytest.mark.parametrize("name", BEFORE_LOGIN)
def test_before_login(server: Server, name: str) -> None:
    with server.connect() as client:
        try:
            client.send(BEFORE_LOGIN[name])
            client.sock.settimeout(5)
            data = client.sock.recv(65536)
        except (ConnectionError, TimeoutError):
            data = b""
        if data:
            assert data.startswith((b"* B", b"a B", b"a N", b"+ ")), data


def test_unterminated_literals_hold_nobody_up(server: Server) -> None:
    clients = [server.connect() for _ in range(20)]
    for client in clients:
        client.send(b"a LOGIN {5}\r\njo")
    with server.logged_in() as other:
        assert b" OK " in other.command("SELECT INBOX")[-1]
    for client in clients:
        client.close()


AFTER_LOGIN = {
    "a line of 200 KiB": (b"a NOOP " + b"x" * 200_000 + b"\r\n", b"a BAD"),
    "a literal of 4 GiB outside of APPEND": (b"a SEARCH SUBJECT {4294967296}\r\n", b"a BAD"),
    "a range beyond any number": (b"a FETCH 99999999999999999999 FLAGS\r\n", b"a BAD"),
    "8-bit mailbox name": (b"a SELECT \xff\xfe\r\n", b"a "),
    "NUL in a mailbox name": (b'a SELECT "a\0b"\r\n', b"a "),
    "deep nesting": (b"a SEARCH " + b"(" * 2000 + b"ALL" + b")" * 2000 + b"\r\n", b"a BAD"),
    "many OR": (b"a SEARCH " + b"OR ALL " * 2000 + b"ALL\r\n", b"a BAD"),
    "a path out of the mailbox": (b'a SELECT "../../../etc/passwd"\r\n', b"a NO"),
}


@pytest.mark.parametrize("name", AFTER_LOGIN)
def test_after_login(server: Server, name: str) -> None:
    data, expected = AFTER_LOGIN[name]
    with server.logged_in() as client:
        client.command("SELECT INBOX")
        client.send(data)
        line = client.line()
        while line.startswith(b"* "):
            assert not line.startswith(b"* BYE"), line
            line = client.line()
        assert line.startswith(expected), line
        assert client.command("NOOP")[-1].endswith(b"OK NOOP completed.")


def test_a_thousand_pipelined_commands_are_all_answered(server: Server) -> None:
    with server.logged_in() as client:
        client.send(b"".join(b"p%d NOOP\r\n" % number for number in range(1000)))
        assert [client.line() for _ in range(1000)] == [b"p%d OK NOOP completed." % n for n in range(1000)]


def test_commands_behind_login_are_not_lost(server: Server) -> None:
    with server.connect() as client:
        client.send(b"a LOGIN joe secret\r\nb SELECT INBOX\r\nc FETCH 1 FLAGS\r\nd LOGOUT\r\n")
        said = [client.line()]
        while not said[-1].startswith(b"d "):
            said.append(client.line())
        assert [line for line in said if line[:2] in (b"a ", b"b ", b"c ", b"d ")][0].startswith(b"a OK")
        assert any(line.startswith(b"* 1 FETCH (FLAGS") for line in said)


def test_a_client_that_never_reads_costs_little(server: Server) -> None:
    server.deliver("joe", b"Subject: large\n\n" + b"x" * 70 + b"\n" + b"line of a large message\n" * 400_000)
    with server.logged_in() as client:
        client.command("SELECT INBOX")
        client.send(b"a FETCH 1:* (BODY.PEEK[])\r\n" * 20)
        time.sleep(2)
        for pid in server.titled("imap [joe"):
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            private = sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))
            assert private < 40_000, f"{private} KiB"


def test_disconnecting_at_every_octet_of_a_session(server: Server) -> None:
    script = b"a LOGIN joe secret\r\nb SELECT INBOX\r\nc FETCH 1 (FLAGS BODY.PEEK[])\r\nd APPEND INBOX {5+}\r\nabcd\n\r\ne LOGOUT\r\n"
    for cut in range(1, len(script), 2):
        with server.connect() as client:
            client.send(script[:cut])
    assert eventually(lambda: not server.titled("imap [joe"), 20)


def test_no_descriptor_stays_behind_in_login_processes(server: Server) -> None:
    if os.geteuid() != 0:
        pytest.skip("descriptors of processes of other users need root")

    def open_descriptors() -> int:
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in server.titled("imap-login"))

    before = open_descriptors()
    for _ in range(50):
        with server.connect() as client:
            client.send(b"a LOGIN joe secret\r\n")
            client.line()
        RawClient(server.tls_port, tls=True).close()
    assert eventually(lambda: open_descriptors() <= before)
