"""A message put into a mailbox that nobody looked at: the end of a long list is all that is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovecotpy.storage.driver import Draft
from dovecotpy.storage.maildir import uidlist
from dovecotpy.storage.maildir.uidlist import Uidlist
from tests.unit.storage.storage_kit import Home

COUNT = 40


def put(home: Home, text: bytes) -> int:
    """Put a message in without a look at the mailbox; its UID."""
    mailbox = home.store().open(b"INBOX", writable=True)
    body = mailbox.draft()
    body.write(text)
    appended = mailbox.append([Draft(body, 0, frozenset(), None)])
    mailbox.close()
    return appended.uids[0]


def test_only_the_end_of_a_long_list_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path)
    for number in range(COUNT):
        home.deliver(f"{number + 1}.m.h:2,", b"Subject: %d\n\nx\n" % number, folder="cur")
    inbox = home.inbox()
    inbox.refresh()
    inbox.close()
    read: list[int] = []
    whole = Uidlist._read_all

    def noting(self: Uidlist) -> None:
        read.append(1)
        whole(self)

    monkeypatch.setattr(Uidlist, "_read_all", noting)
    monkeypatch.setattr(uidlist, "LARGE", 100)
    monkeypatch.setattr(uidlist, "_END_OCTETS", 100)
    assert [put(home, b"Subject: a\r\n\r\n1\r\n"), put(home, b"Subject: b\r\n\r\n2\r\n")] == [
        COUNT + 1,
        COUNT + 2,
    ]
    assert not read
    again = home.inbox()
    again.refresh()
    assert list(again.columns().uids) == list(range(1, COUNT + 3))
    home.close()
