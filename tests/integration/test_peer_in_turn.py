"""One Maildir served in turn by Debian's Dovecot and by us: whoever looks sees the same UIDs, flags, keywords, folders, subscriptions."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.peer import Peer
from tests.integration.storage_processes import requires_dovecot
from tests.server import RawClient, Server
from tests.strict_imap import parse_response_data

pytestmark = requires_dovecot

Open = Callable[[], RawClient]


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[dict[str, Open]]:
    """How a session of each is begun, on one home."""
    with Server(tmp_path) as server:
        maildir = server.home("joe") / "Maildir"
        maildir.mkdir()
        server.give(maildir)
        yield {"ours": server.logged_in, "theirs": lambda: Peer(maildir)}
        assert "Traceback" not in server.log()
        assert "Error" not in server.log()


def done(client: RawClient, command: str) -> list[bytes]:
    lines = client.command(command)
    assert b" OK " in lines[-1], (command, lines)
    return lines


def names(client: RawClient, command: str) -> set[bytes]:
    """Of the mailboxes in a LIST or LSUB answer that can be selected."""
    lines = [line for line in done(client, command)[:-1] if b"\\Noselect" not in line]
    found = {_text(parse_response_data(line.split(b") ", 1)[1])[1]) for line in lines}
    return {b"INBOX" if name.upper() == b"INBOX" else name for name in found}


def _text(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def view(client: RawClient) -> dict[str, Any]:
    """All that must stay the same, whoever serves."""
    found: dict[str, Any] = {"subscribed": names(client, 'LSUB "" *')}
    for name in sorted(names(client, 'LIST "" *')):
        answer = b"\n".join(done(client, f'SELECT "{name.decode()}"'))
        uidvalidity, uidnext = (
            int(_found(rb"%s (\d+)" % what, answer)) for what in (b"UIDVALIDITY", b"UIDNEXT")
        )
        messages = {}
        for line in done(client, "UID FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])")[:-1]:
            flags = set(_found(rb"FLAGS \(([^)]*)\)", line).split()) - {b"\\Recent"}
            date = _found(rb'INTERNALDATE "([^"]+)"', line).strip().rjust(26, b"0")
            messages[int(_found(rb"UID (\d+)", line))] = (
                flags,
                date,
                line.partition(b"BODY[]")[2].rstrip(b")"),
            )
        found[name.decode()] = (uidvalidity, uidnext, messages)
    return found


def _found(pattern: bytes, text: bytes) -> bytes:
    match = re.search(pattern, text)
    assert match is not None, (pattern, text)
    return match.group(1)


def append(client: RawClient, mailbox: str, flags: str, text: str) -> None:
    body = f"Subject: {text}\r\n\r\n{text}\r\n"
    done(client, f'APPEND "{mailbox}" ({flags}) "05-Mar-2024 10:00:00 +0000" {{{len(body)}+}}\r\n{body}')


def first_turn(client: RawClient, who: str) -> None:
    """Folders, messages with all flags and keywords of many forms, subscriptions."""
    for folder in ("Work.Old", "Entw&APw-rfe", "Temporary"):
        done(client, f'CREATE "{folder}"')
    for folder in ("Work.Old", "Entw&APw-rfe", "INBOX"):
        done(client, f'SUBSCRIBE "{folder}"')
    flags = (
        "\\Seen",
        "\\Answered \\Flagged",
        "\\Draft $Label1",
        "\\Deleted NonJunk",
        "Keyword $Forwarded",
        "",
    )
    for number, each in enumerate(flags):
        append(client, "INBOX", each, f"{who} {number}")
    append(client, "Work.Old", "\\Seen $Label2", f"{who} old")
    append(client, "Entw&APw-rfe", "\\Draft", f"{who} draft")


def later_turn(client: RawClient, who: str) -> None:
    """Every kind of change."""
    done(client, "SELECT INBOX")
    append(client, "INBOX", "\\Seen New-" + who, f"{who} more")
    done(client, "NOOP")
    done(client, f"STORE 1 +FLAGS (\\Answered Turn-{who})")
    done(client, "STORE 2 FLAGS (\\Seen)")
    done(client, "STORE 3 -FLAGS ($Label1 \\Draft)")
    done(client, 'COPY 1:3 "Work.Old"')
    done(client, "STORE 4 +FLAGS (\\Deleted)")
    done(client, "EXPUNGE")
    done(client, f'CREATE "By-{who}"')
    done(client, f'RENAME "By-{who}" "Work.{who}"')
    done(client, f'SUBSCRIBE "Work.{who}"')
    done(client, 'UNSUBSCRIBE "Entw&APw-rfe"' if who == "theirs" else 'SUBSCRIBE "Entw&APw-rfe"')
    done(client, 'SELECT "Work.Old"')
    done(client, "STORE * +FLAGS (\\Deleted)")
    done(client, "CLOSE")


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_both_see_the_same_after_every_turn(servers: dict[str, Open], first: str) -> None:
    order = ["ours", "theirs"] if first == "ours" else ["theirs", "ours"]
    before: dict[str, Any] = {}
    for turn in range(4):
        who = order[turn % 2]
        with servers[who]() as client:
            (first_turn if turn == 0 else later_turn)(client, f"{who}{turn}" if turn > 1 else who)
            mine = view(client)
        for other in (*order, *order):
            with servers[other]() as client:
                assert view(client) == mine, (turn, who, other)
        for name, (uidvalidity, uidnext, _) in (
            (n, v) for n, v in before.items() if n != "subscribed" and n in mine
        ):
            assert mine[name][0] == uidvalidity and mine[name][1] >= uidnext
        before = mine


def test_a_folder_deleted_by_one_is_gone_for_the_other(servers: dict[str, Open]) -> None:
    for one, other in (("ours", "theirs"), ("theirs", "ours")):
        with servers[one]() as client:
            done(client, "CREATE Gone.Below")
            append(client, "Gone.Below", "\\Seen", "gone")
            done(client, "SUBSCRIBE Gone.Below")
        with servers[other]() as client:
            assert b"Gone.Below" in names(client, 'LIST "" *')
            done(client, "DELETE Gone.Below")
            done(client, "UNSUBSCRIBE Gone.Below")
        with servers[one]() as client:
            assert b"Gone.Below" not in names(client, 'LIST "" *') | names(client, 'LSUB "" *')
            assert b" NO " in client.command("SELECT Gone.Below")[-1]
