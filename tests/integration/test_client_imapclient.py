"""imapclient works through a mailbox of real mail: reads all, searches, flags, moves, is told of changes while it waits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imapclient
import pytest

from tests.integration.client_world import fill, plain, sample
from tests.server import Server

NEEDLE = "Subject: Nadel im Heu\nMessage-ID: <needle@example.org>\n\nSchön, daß Käse da ist\n".encode()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path) as server:
        fill(server, "joe", "", [*sample(), NEEDLE])
        yield server
        assert "Traceback" not in server.log()


@pytest.fixture
def client(server: Server) -> Iterator[imapclient.IMAPClient]:
    with imapclient.IMAPClient("127.0.0.1", server.port, ssl=False) as client:
        client.login("joe", "secret")
        client.select_folder("INBOX")
        yield client


def test_all_mail_is_read(client: imapclient.IMAPClient) -> None:
    found = client.fetch(client.search(), ["RFC822.SIZE", "ENVELOPE", "BODYSTRUCTURE", "BODY.PEEK[]"])
    bodies = [found[uid][b"BODY[]"] for uid in sorted(found)]
    assert [plain(body) for body in bodies] == [plain(message) for message in [*sample(), NEEDLE]]
    assert [found[uid][b"RFC822.SIZE"] for uid in sorted(found)] == [len(body) for body in bodies]


def test_mail_is_found_flagged_and_moved(client: imapclient.IMAPClient) -> None:
    found = client.search(["SUBJECT", "nadel", "BODY", "KÄSE"], charset="UTF-8")
    assert found == [len(sample()) + 1]
    client.add_flags(found, [imapclient.FLAGGED, "$Label"])
    assert client.search(["FLAGGED", "KEYWORD", "$Label"]) == found
    client.create_folder("Gefunden.Käse")
    if client.has_capability("MOVE"):
        client.move(found, "Gefunden.Käse")
    else:
        client.copy(found, "Gefunden.Käse")
        client.delete_messages(found)
        client.expunge()
    assert client.search(["SUBJECT", "nadel"]) == []
    client.select_folder("Gefunden.Käse")
    [(_, moved)] = client.fetch(client.search(), ["FLAGS", "BODY.PEEK[TEXT]"]).items()
    assert {imapclient.FLAGGED, b"$Label"} <= set(moved[b"FLAGS"])
    assert moved[b"BODY[TEXT]"].decode() == "Schön, daß Käse da ist\r\n"


def test_changes_are_told_while_it_waits(server: Server, client: imapclient.IMAPClient) -> None:
    before = len(client.search())
    client.idle()
    server.deliver("joe", b"Subject: new\n\nnew\n")
    assert (before + 1, b"EXISTS") in client.idle_check(timeout=5)
    with server.logged_in() as other:
        other.command("SELECT INBOX")
        other.command("STORE 2 +FLAGS (\\Answered)")
        assert any(told[:2] == (2, b"FETCH") for told in client.idle_check(timeout=5))
        other.command("STORE 1 +FLAGS (\\Deleted)")
        other.command("EXPUNGE")
    told = []
    for _ in range(5):
        told += client.idle_check(timeout=5)
        if (1, b"EXPUNGE") in told:
            break
    client.idle_done()
    assert (1, b"EXPUNGE") in told
