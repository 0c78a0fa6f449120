"""What other sessions do at the worst moment of ours, each moment reached by stopping a sync there."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from dovecotpy.storage.index import snapshot
from dovecotpy.storage.mailbox import Mailbox, Operation
from dovecotpy.storage.maildir import box, placing, sync
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()


def once_before(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, act: Callable[[], None]) -> None:
    """Run `act` before the next call of a method, and not before later ones."""
    real = getattr(owner, name)
    waiting = [act]

    def call(*arguments: Any) -> Any:
        if waiting:
            waiting.pop()()
        return real(*arguments)

    monkeypatch.setattr(owner, name, call)


def keywords_of(mailbox: Mailbox, uid: int) -> frozenset[str]:
    mailbox.refresh()
    columns = mailbox.columns()
    return columns.keyword_sets[columns.keywords[columns.uids.index(uid)]]


def test_a_message_saved_between_our_listing_and_our_lock_keeps_its_uid(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = home.inbox(), home.inbox()
    ours.refresh()
    home.deliver("1700000000.M1P1.outside")
    given: list[int] = []
    once_before(
        monkeypatch,
        sync.Sync,
        "_write_if_needed",
        lambda: given.extend(add(theirs, b"Subject: theirs\r\n\r\n").uids),
    )
    ours.refresh()
    ours.refresh()
    [uid] = given
    assert uid in uids(ours)
    assert octets(ours, uid) == b"Subject: theirs\n\n"
    assert octets(home.inbox(), uid) == b"Subject: theirs\n\n"


def test_a_message_saved_after_our_listing_while_another_session_gave_the_next_uid(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our listing shows the later message and lacks the earlier one, which proves nothing of it."""
    ours, theirs, thirds = home.inbox(), home.inbox(), home.inbox()
    ours.refresh()
    home.deliver("1700000000.M1P1.outside:2,S", folder="cur")
    given: list[int] = []

    def meanwhile() -> None:
        given.extend(add(theirs, b"Subject: theirs\r\n\r\n").uids)
        thirds.refresh()

    once_before(monkeypatch, sync.Sync, "_read_list", meanwhile)
    ours.refresh()
    for mailbox in (ours, home.inbox()):
        mailbox.refresh()
        assert uids(mailbox) == [1, 2]
        assert octets(mailbox, given[0]) == b"Subject: theirs\n\n"


@pytest.mark.parametrize("open_before", [True, False])
def test_a_message_whose_line_is_there_before_its_file(
    home: Home, monkeypatch: pytest.MonkeyPatch, open_before: bool
) -> None:
    """We list while its writer has put the line and not yet the file, and read the list when later messages have their lines."""
    ours, theirs, thirds = home.inbox(), home.inbox(), home.inbox()
    thirds.refresh()
    if open_before:
        ours.refresh()
    home.deliver("1700000000.M1P1.outside:2,S", folder="cur")
    line_written, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        line_written.set()
        assert go_on.wait(30)

    def meanwhile() -> None:
        go_on.set()
        writer.join()
        thirds.refresh()

    once_before(monkeypatch, placing.Placing, "_ending", pause)
    once_before(monkeypatch, sync.Sync, "_read_list", meanwhile)
    writer = threading.Thread(target=add, args=(theirs, b"Subject: theirs\r\n\r\n"))
    writer.start()
    assert line_written.wait(30)
    ours.refresh()
    for mailbox in (ours, home.inbox()):
        mailbox.refresh()
        assert uids(mailbox) == [1, 2]
        assert octets(mailbox, 1) == b"Subject: theirs\n\n"


def test_a_list_that_was_written_anew_is_known_by_its_file(home: Home) -> None:
    """However often the list is replaced, no new one passes for the one that a session has read."""
    ours, theirs = home.inbox(), home.inbox()
    add(ours, count=3)
    ours.refresh()
    first = ours._driver.uidlist.identity.inode
    for _ in range(4):
        with theirs._driver.lock(1e18) as locked:
            locked._rewrite()
        assert (home.root / "dovecot-uidlist").stat().st_ino != first


def test_a_keyword_defined_during_our_listing_is_not_missed(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = home.inbox(), home.inbox()
    [uid] = add(theirs).uids
    theirs.refresh()
    ours.refresh()
    ours._driver.doubt()
    home.deliver("1700000000.M1P1.outside")
    once_before(
        monkeypatch,
        sync.Sync,
        "_list",
        lambda: [theirs.store([uid], Operation.ADD, 0, frozenset({"fresh"})), None][1],
    )
    assert keywords_of(ours, uid) == {"fresh"}


def test_keywords_beyond_the_letters_of_two_sessions_are_all_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = home.inbox(), home.inbox()
    [uid] = add(ours, keywords=[f"letter{number:02}" for number in range(26)]).uids
    theirs.refresh()
    ours.refresh()
    ours.store([uid], Operation.ADD, 0, frozenset({"first"}))
    theirs.refresh()
    ours.store([uid], Operation.ADD, 0, frozenset({"second"}))
    monkeypatch.setattr(theirs, "_catch_up", lambda locked: None)
    theirs.store([uid], Operation.ADD, 0, frozenset({"third"}))
    fresh = keywords_of(home.inbox(), uid)
    assert {"first", "second", "third"} <= fresh
    assert len(fresh) == 29


def test_a_claim_of_recent_messages_never_goes_back(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    early, late = home.inbox(), home.inbox()
    add(late, count=2)
    early.refresh()
    add(late)
    late.refresh()
    claimed: list[int] = []
    once_before(monkeypatch, box.MaildirBox, "lock", lambda: claimed.extend(sorted(late.claim_recent())))
    assert not early.claim_recent()
    assert claimed == [1, 2, 3]
    again = home.inbox()
    again.refresh()
    assert not again.claim_recent()


def test_noting_what_is_unclaimed_does_not_disturb_a_claim_that_is_being_written(home: Home) -> None:
    mailbox = home.inbox()
    add(mailbox, count=2)
    mailbox.refresh()
    assert mailbox._index is not None
    with open(f"/proc/self/fd/{mailbox._index}/{snapshot.RECENT}", "wb") as half_written:
        half_written.write(b"x" * 40)
    snapshot.start_recent(mailbox._index, mailbox.uidvalidity, 1)
    assert snapshot.read_recent(mailbox._index, mailbox.uidvalidity) is None
    assert mailbox.claim_recent() == {1, 2}
    assert snapshot.read_recent(mailbox._index, mailbox.uidvalidity) == 3


def test_two_sessions_that_make_a_mailboxs_directories(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.root / "cur").mkdir(parents=True)
    real = os.mkdir

    def twice(path: str, mode: int = 0o777, *, dir_fd: int | None = None) -> None:
        real(path, mode, dir_fd=dir_fd)
        real(path, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", twice)
    assert uids(home.inbox()) == []


def test_a_uid_that_was_told_is_not_given_again_by_who_looks_at_nothing(home: Home) -> None:
    """The list lost the end of its last line; the index knows that its UID was told."""
    for number in range(4):
        home.deliver(f"{number}.a.h:2,", b"Subject: %d\n\nx\n" % number, folder="cur")
    box = home.inbox()
    assert sorted(state(box)) == [1, 2, 3, 4]
    last = octets(box, 4)
    box.close()
    home.close()
    listed = home.root / "dovecot-uidlist"
    listed.write_bytes(listed.read_bytes()[:-3])
    blind = home.inbox()
    assert list(add(blind).uids) == [5]
    assert sorted(state(blind)) == [1, 2, 3, 4, 5]
    assert octets(blind, 4) == last
    fresh = home.inbox()
    assert sorted(state(fresh)) == [1, 2, 3, 4, 5]
    assert octets(fresh, 4) == last
