"""Real messages, delivered as Maildir files by another program, through a session."""

from __future__ import annotations

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from dovecotpy.message.lines import crlf
from tests.corpus import corpus_messages, requires_corpus
from tests.protocol import imap_maildir
from tests.protocol.imap_answers import check, responses
from tests.protocol.imap_transcript import Client, settings


def delivered(home: Path) -> list[bytes]:
    """Every message of the corpus in `new/`; their octets in the order of their UIDs."""
    for name in ("cur", "new", "tmp"):
        (home / "Maildir" / name).mkdir(parents=True)
    messages = []
    for number, (_, data) in enumerate(corpus_messages()):
        (home / "Maildir/new" / f"{1200000000 + number}.M{number}P1.host").write_bytes(data)
        messages.append(data)
    return messages


def fetched(answer: bytes) -> list[dict[str, Any]]:
    """The items of each message of an answer, which is sound as a whole."""
    found = []
    for response in responses(answer):
        tag, values = check(response)
        if tag == b"*" and isinstance(values, list) and values[1] == "FETCH":
            found.append(dict(zip(values[2][::2], values[2][1::2], strict=True)))
    return found


def leaves(structure: list[Any], path: str = "") -> list[tuple[str, int]]:
    """Section and octets of every part that is no multipart, those of enclosed messages included."""
    if isinstance(structure[0], list):
        parts = itertools.takewhile(lambda part: isinstance(part, list), structure)
        numbered = (
            (f"{path}.{number}" if path else str(number), part) for number, part in enumerate(parts, 1)
        )
        return [leaf for section, part in numbered for leaf in leaves(part, section)]
    section = path or "1"
    found = [(section, structure[6])]
    if (structure[0].lower(), structure[1].lower()) == (b"message", b"rfc822"):
        inner = structure[8]
        found += leaves(inner, section if isinstance(inner[0], list) else f"{section}.1")
    return found


@requires_corpus
@pytest.mark.timeout(300)
def test_every_message_comes_back(tmp_path: Path) -> None:
    """Its octets in CRLF form, with the true size, and part sizes that are those of BODYSTRUCTURE."""
    messages = delivered(tmp_path)
    with imap_maildir.stores(tmp_path) as make:
        client = Client(make(), settings())
        client.send(b"a SELECT INBOX\r\n")
        started = time.perf_counter()
        answer = client.send(b"b FETCH 1:* (RFC822.SIZE ENVELOPE BODY BODYSTRUCTURE)\r\n")
        facts = fetched(answer)
        assert len(facts) == len(messages)
        for number, data in enumerate(messages, 1):
            whole = fetched(
                client.send(b"c FETCH %d (BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT])\r\n" % number)
            )[0]
            expected = crlf(data).replace(b"\0", b"\x80")
            assert whole["BODY[]"] == expected
            assert whole["BODY[HEADER]"] + whole["BODY[TEXT]"] == expected
            assert facts[number - 1]["RFC822.SIZE"] == len(expected)
            parts = leaves(facts[number - 1]["BODYSTRUCTURE"])[:200]
            items = b" ".join(b"BODY.PEEK[%b]" % path.encode() for path, _ in parts)
            cut = fetched(client.send(b"d FETCH %d (%b)\r\n" % (number, items)))[0]
            assert [(path, len(cut[f"BODY[{path}]"] or b"")) for path, _ in parts] == parts
        assert time.perf_counter() - started < 200
        client.session.disconnected()
