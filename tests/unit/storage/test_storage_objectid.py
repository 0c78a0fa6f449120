"""Ids that stay: of mailboxes, messages and threads (RFC 8474)."""

from __future__ import annotations

from hashlib import sha256

import pytest

from dovecotpy.message.header import parse_header
from dovecotpy.storage.maildir import box as box_module
from dovecotpy.storage.objectid import email_id, mailbox_id, thread_id
from tests.unit.storage.storage_kit import Home, add, uids


@pytest.mark.parametrize("hardlinks", [True, False])
def test_a_copy_of_a_copy_has_the_id_of_the_first(home: Home, *, hardlinks: bool) -> None:
    store = home.store(maildir_copy_with_hardlinks=hardlinks)
    store.create(b"other")
    inbox, other = store.open(b"INBOX", writable=True), store.open(b"other", writable=True)
    home.deliver("1700000000.a.h")
    add(inbox, count=2)
    uids(inbox)
    first = inbox.email_ids(list(uids(inbox)))
    inbox.copy(uids(inbox), other, move=False)
    uids(other)
    assert other.email_ids([1, 2, 3]) == first
    other.copy([2], inbox, move=True)
    uids(inbox)
    assert inbox.email_ids([4]) == [first[1]]
    assert other.email_ids([2]) == [None]
    assert len(set(first)) == 3


def test_names_that_a_record_cannot_hold(home: Home) -> None:
    store = home.store()
    store.create(b"other")
    inbox, other = store.open(b"INBOX", writable=True), store.open(b"other", writable=True)
    home.deliver("with blank")
    home.deliver("\udcff")
    first = inbox.email_ids(list(uids(inbox)))
    inbox.copy(uids(inbox), other, move=False)
    uids(other)
    assert other.email_ids([1, 2]) == first
    assert None not in first


def test_the_ids_stay_without_an_index(home: Home) -> None:
    inbox = home.inbox()
    add(inbox, count=2)
    uids(inbox)
    inbox.copy([1], inbox, move=False)
    uids(inbox)
    before = inbox.mailbox_id, inbox.email_ids([1, 2, 3])
    inbox.close()
    for kept in home.root.glob("dovecotpy*"):
        kept.unlink()
    again = home.inbox()
    uids(again)
    assert (again.mailbox_id, again.email_ids([1, 2, 3])) == before


def test_the_list_is_read_once_for_all_messages(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an index made it unnecessary to read it."""
    inbox = home.inbox()
    add(inbox, count=20)
    uids(inbox)
    inbox.copy([1], inbox, move=False)
    uids(inbox)
    before = inbox.email_ids(list(range(1, 22)))
    inbox.close()
    read = []
    listed = box_module.MaildirBox._listed

    def counted(self: box_module.MaildirBox) -> object:
        read.append(1)
        return listed(self)

    monkeypatch.setattr(box_module.MaildirBox, "_listed", counted)
    again = home.inbox()
    assert [again.email_ids([uid])[0] for uid in range(1, 22)] == before
    assert len(read) <= 1


def test_how_they_are_made() -> None:
    assert email_id(b"x") == b"M" + sha256(b"x").hexdigest()[:40].encode()
    assert mailbox_id(b"0123", 1, b"INBOX") == b"F0123"
    assert mailbox_id(b"", 1, b"INBOX") == b"F" + sha256(b"1 INBOX").hexdigest()[:40].encode()


@pytest.mark.parametrize(
    ("header", "first"),
    [
        (b"References: <a@x> <b@x>\r\nIn-Reply-To: <c@x>\r\nMessage-ID: <d@x>\r\n", b"a@x"),
        (b"References: none\r\n\t<a@x>\r\n", b"a@x"),
        (b"References:\r\nIn-Reply-To: your letter <c@x>\r\nMessage-ID: <d@x>\r\n", b"c@x"),
        (b"Message-ID: <d@x>\r\n", b"d@x"),
        (b"Message-ID: <d\r\n @x>\r\n", b"d@x"),
        (b"Message-ID: d@x\r\nSubject: x\r\n", None),
        (b"References: " + b"<" * 100_000 + b"\r\n", None),
    ],
)
def test_a_thread_is_named_by_its_first_message(header: bytes, first: bytes | None) -> None:
    expected = None if first is None else b"T" + sha256(first).hexdigest()[:40].encode()
    assert thread_id(parse_header(header + b"\r\n")) == expected
