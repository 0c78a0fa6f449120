"""One Maildir shared with Debian's Dovecot: before it, after it, and at the same time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy.message.header import parse_header
from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import Mailbox, Operation
from tests.integration.storage_processes import Child, Dovecot, mail_directory, requires_dovecot
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

pytestmark = requires_dovecot
NONE: frozenset[str] = frozenset()


@pytest.fixture
def home() -> Iterator[Home]:
    with mail_directory() as path:
        made = Home(path)
        (path / "Maildir").mkdir()
        yield made
        made.close()


def message(subject: str) -> bytes:
    return f"Subject: {subject}\r\n\r\nbody\r\n".encode()


def subjects(mailbox: Mailbox) -> dict[int, bytes]:
    return {uid: parse_header(octets(mailbox, uid)).get(b"subject") or b"" for uid in uids(mailbox)}


def names(bits: int, keywords: frozenset[str]) -> frozenset[str]:
    return frozenset(name.decode() for bit, name in flags.NAMES.items() if bits & bit) | keywords


def both_agree(home: Home) -> None:
    """Dovecot and we show the same messages under the same UIDs with the same flags."""
    theirs = Dovecot(home.root)
    answer = b"\n".join(theirs.command("SELECT INBOX"))
    found = theirs.flags()
    theirs.close()
    mine = home.inbox()
    ours = {uid: names(*what) for uid, what in state(mine).items()}
    assert {uid: what for uid, (what, _) in found.items()} == ours
    assert {uid: subject for uid, (_, subject) in found.items()} == subjects(mine)
    assert f"UIDVALIDITY {mine.uidvalidity}]".encode() in answer
    assert f"UIDNEXT {mine.columns().uidnext}]".encode() in answer
    mine.close()


def test_theirs_then_ours_then_theirs(home: Home) -> None:
    theirs = Dovecot(home.root)
    for number in range(5):
        theirs.command("APPEND INBOX (\\Flagged $Label1 word)", message(f"d{number}"))
    theirs.command("SELECT INBOX")
    theirs.command("UID STORE 2 +FLAGS (\\Deleted)")
    theirs.command("EXPUNGE")
    theirs.command("CREATE Sub.Folder")
    theirs.command("SUBSCRIBE Sub.Folder")
    theirs.close()
    both_agree(home)
    store = home.store()
    assert b"Sub.Folder" in [box.name for box in store.mailboxes()]
    assert store.subscriptions() == [b"Sub.Folder"]
    mine = store.open(b"INBOX", writable=True)
    assert uids(mine) == [1, 3, 4, 5]
    assert list(add(mine, message("m1"), flags=flags.ANSWERED, keywords=["word", "other"]).uids) == [6]
    mine.store([3], Operation.REPLACE, flags.SEEN, frozenset({"new"}))
    mine.store([4], Operation.REMOVE, 0, frozenset({"word"}))
    mine.expunge([1])
    store.create(b"Mine")
    store.subscribe(b"Mine", True)
    mine.close()
    both_agree(home)
    theirs = Dovecot(home.root)
    assert any(b"Mine" in line for line in theirs.command('LIST "" *'))
    assert any(b"Mine" in line for line in theirs.command('LSUB "" *'))
    theirs.command("SELECT INBOX")
    theirs.command("UID COPY 3:6 Mine")
    theirs.close()
    assert len(uids(home.store().open(b"Mine", writable=True))) == 4


def test_our_record_keys_survive_them(home: Home) -> None:
    mine = home.inbox()
    add(mine, message("one"))
    add(mine, message("two"))
    guid = (uids(mine), mine.guid)[1]
    saved = list(mine.columns().savedates)[1]
    mine.close()
    theirs = Dovecot(home.root)
    for number in range(3):
        theirs.command("APPEND INBOX", message(str(number)))
    theirs.command("SELECT INBOX")
    theirs.command("UID STORE 1,3 +FLAGS (\\Deleted)")
    theirs.command("EXPUNGE")
    theirs.close()
    lines = (home.root / "dovecot-uidlist").read_text().splitlines()
    assert any(line.startswith("2 ") and f" D{saved} " in line for line in lines)
    again = home.inbox()
    assert uids(again) == [2, 4, 5]
    assert again.guid == guid


def _work(path: Path, rounds: int) -> tuple[dict[int, bytes], list[int]]:
    """Append, flag and expunge our own messages; the subject of each UID that was acknowledged and those expunged."""
    home = Home(path)
    mine = home.inbox()
    told: dict[int, bytes] = {}
    gone: list[int] = []
    for number in range(rounds):
        [uid] = add(mine, message(f"m{number}")).uids
        told[uid] = f"m{number}".encode()
        seen = uids(mine)
        assert uid in seen
        mine.store(seen[-3:], Operation.ADD if number % 2 else Operation.REMOVE, flags.FLAGGED, NONE)
        if number % 5 == 4:
            gone.extend(mine.expunge([uid]))
    mine.close()
    return told, gone


def test_both_at_once(home: Home) -> None:
    home.inbox().refresh()
    rounds = 60
    children = [Child(_work, home.path, rounds) for _ in range(2)]
    theirs = Dovecot(home.root)
    theirs.command("SELECT INBOX")
    appended: dict[int, bytes] = {}
    for number in range(rounds):
        answer = theirs.command("APPEND INBOX", message(f"d{number}"))[-1]
        appended[int(answer.split(b"APPENDUID ")[1].split()[1].rstrip(b"]"))] = f"d{number}".encode()
        if number % 3 == 0:
            theirs.command("UID STORE 1:* +FLAGS.SILENT (\\Seen)")
        elif number % 3 == 1:
            theirs.command("UID STORE 1:* -FLAGS.SILENT (\\Seen)")
    theirs.close()
    results = [child.result() for child in children]
    expected = dict(appended)
    for told, gone in results:
        assert not expected.keys() & told.keys(), "a UID was given twice"
        expected.update({uid: subject for uid, subject in told.items() if uid not in gone})
    time.sleep(0.1)
    assert subjects(home.inbox()) == expected
    both_agree(home)
    log = home.path / "dovecot.log"
    complaints = log.read_text() if log.exists() else ""
    assert "Error" not in complaints, complaints
    assert os.listdir(home.root / "tmp") == []
