"""Every real message of the corpus, delivered as a file, comes back byte for byte over the wire."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest

from tests import strict_imap
from tests.corpus import corpus_messages, requires_corpus
from tests.server import MAIL_ID, RawClient, Server

pytestmark = requires_corpus


@pytest.fixture(scope="module")
def mail() -> list[tuple[str, bytes]]:
    return list(corpus_messages())


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, mail: list[tuple[str, bytes]]) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("corpus")) as server:
        maildir = server.home("joe") / "Maildir"
        for name in ("cur", "new", "tmp"):
            (maildir / name).mkdir(parents=True)
        for number, (_, message) in enumerate(mail):
            path = maildir / "cur" / f"{1700000000 + number}.M{number}P1.corpus:2,"
            path.write_bytes(message)
            if os.geteuid() == 0:
                os.chown(path, MAIL_ID, MAIL_ID)
        server.give(maildir)
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[RawClient]:
    with server.logged_in() as client:
        client.sock.settimeout(110)
        client.command("SELECT INBOX")
        yield client


def as_sent(message: bytes) -> bytes:
    """The octets that IMAP sends for a file: every line feed is preceded by a carriage return, and NUL, which no literal may hold
    (RFC 3501 section 9, CHAR8), is 0x80.
    """
    return re.sub(rb"(?<!\r)\n", b"\r\n", message).replace(b"\0", b"\x80")


def body_of(answer: bytes) -> bytes:
    """The literal (or quoted string, or nothing) behind BODY[]."""
    match = re.search(rb"BODY\[\] (?:\{(\d+)\}\r\n|\"\")", answer)
    assert match is not None, answer[:200]
    if match.group(1) is None:
        return b""
    return answer[match.end() : match.end() + int(match.group(1))]


def test_every_message_is_there(client: RawClient, mail: list[tuple[str, bytes]]) -> None:
    answer = client.command("STATUS INBOX (MESSAGES)")
    assert answer[0] == b'* STATUS "INBOX" (MESSAGES %d)' % len(mail)


def test_every_body_is_byte_identical(client: RawClient, mail: list[tuple[str, bytes]]) -> None:
    step = 500
    for low in range(1, len(mail) + 1, step):
        high = min(low + step - 1, len(mail))
        answers = client.command(f"FETCH {low}:{high} (BODY.PEEK[])")
        assert b" OK " in answers[-1]
        assert len(answers) == high - low + 2
        for (name, message), answer in zip(mail[low - 1 : high], answers, strict=False):
            assert body_of(answer) == as_sent(message), name


def test_sizes_are_those_of_the_bodies(client: RawClient, mail: list[tuple[str, bytes]]) -> None:
    answers = client.command("FETCH 1:* (RFC822.SIZE)")
    sizes = [int(re.search(rb"RFC822\.SIZE (\d+)", answer)[1]) for answer in answers[:-1]]  # type: ignore[index]
    assert sizes == [len(as_sent(message)) for _, message in mail]


def test_every_envelope_and_structure_parses(client: RawClient, mail: list[tuple[str, bytes]]) -> None:
    step = 500
    for low in range(1, len(mail) + 1, step):
        high = min(low + step - 1, len(mail))
        answers = client.command(f"FETCH {low}:{high} (ENVELOPE BODYSTRUCTURE BODY)")
        assert b" OK " in answers[-1]
        for (name, _), answer in zip(mail[low - 1 : high], answers, strict=False):
            items = strict_imap.fetch_items(answer)
            assert set(items) == {b"ENVELOPE", b"BODYSTRUCTURE", b"BODY"}, name
            assert len(items[b"ENVELOPE"]) == 10, name
