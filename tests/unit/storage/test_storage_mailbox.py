"""A mailbox on Maildir: what one session does, and what others did to the files."""

from __future__ import annotations

import gc
import os
import re
import sqlite3
import time
from pathlib import Path

import pytest

from dovecotpy import clock
from dovecotpy.ipc.record import Level
from dovecotpy.storage import flags
from dovecotpy.storage.errors import (
    LimitReached,
    MailboxReplaced,
    MessageGone,
    PermissionDenied,
    StoreError,
)
from dovecotpy.storage.files import TEMPORARY_SECONDS
from dovecotpy.storage.index import names, snapshot
from dovecotpy.storage.mailbox import Mailbox, Operation
from tests.descriptors import open_descriptors
from tests.unit.storage.storage_kit import MESSAGE, Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()


def forbidden(*args: object, **kwargs: object) -> None:
    raise AssertionError("not needed here")


def files(home: Home, folder: str = "cur") -> list[str]:
    return sorted(os.listdir(home.root / folder))


class TestFirstLook:
    def test_an_empty_home_gets_an_inbox(self, home: Home) -> None:
        inbox = home.inbox()
        assert uids(inbox) == []
        assert inbox.columns().uidnext == 1
        assert inbox.uidvalidity > 0
        assert len(inbox.guid) == 32
        assert (home.root / "cur").is_dir()

    def test_deliveries_get_uids_in_the_order_of_their_names(self, home: Home) -> None:
        home.deliver("20.M5P1.h")
        home.deliver("20.M10P1.h")
        home.deliver("3.M5P1.h:2,S", folder="cur")
        home.deliver(".hidden")
        inbox = home.inbox()
        assert uids(inbox) == [1, 2, 3]
        text = (home.root / "dovecot-uidlist").read_text().splitlines()
        assert text[1:] == ["1 :3.M5P1.h", "2 :20.M5P1.h", "3 :20.M10P1.h"]
        assert state(inbox)[1] == (flags.SEEN, NONE)

    def test_new_is_moved_to_cur_by_a_writable_session_only(self, home: Home) -> None:
        home.deliver("1.a.h")
        reader = home.store().open(b"INBOX", writable=False)
        assert uids(reader) == [1]
        assert files(home, "new") == ["1.a.h"]
        assert uids(home.inbox()) == [1]
        assert files(home, "new") == []
        assert files(home) == ["1.a.h:2,"]

    def test_an_existing_list_keeps_its_uids(self, home: Home) -> None:
        home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.b.h:2,F", folder="cur")
        (home.root / "dovecot-uidlist").write_text("3 V77 N20 Gabc Zother\n7 :1.a.h\n9 W33 :2.b.h\n")
        inbox = home.inbox()
        assert uids(inbox) == [7, 9]
        assert inbox.uidvalidity == 77
        assert inbox.columns().uidnext == 20

    def test_couriers_list_is_taken_over(self, home: Home) -> None:
        home.deliver("1.a.h:2,", folder="cur")
        (home.root / "courierimapuiddb").write_text("1 1234 50\n48 1.a.h\n")
        (home.root / "courierimapkeywords").mkdir()
        (home.root / "courierimapkeywords" / ":list").write_text("work\n\n1.a.h:0\n")
        inbox = home.inbox()
        assert state(inbox) == {48: (0, frozenset({"work"}))}
        assert (inbox.uidvalidity, inbox.columns().uidnext) == (1234, 50)
        assert files(home) == ["1.a.h:2,a"]

    def test_a_broken_list_is_rebuilt_with_a_log_line(self, home: Home) -> None:
        home.deliver("1.a.h:2,", folder="cur")
        (home.root / "dovecot-uidlist").write_text("3 V77 N20\n7 :1.a.h\n3 :x\n")
        assert len(uids(home.inbox())) == 1
        assert home.lines[0] == (
            Level.ERROR,
            "Broken file INBOX/dovecot-uidlist line 3: UIDs are not in order: 3 after 7",
        )

    def test_a_deleted_or_broken_list_is_rebuilt_from_the_index(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=3)
        inbox.expunge([1])
        uids(inbox)
        before = (inbox.uidvalidity, inbox.guid, uids(inbox), inbox.columns().uidnext)
        inbox.close()
        for damage in (lambda path: path.unlink(), lambda path: path.write_text("junk\n")):
            damage(home.root / "dovecot-uidlist")
            again = home.inbox()
            found = uids(again)
            assert (again.uidvalidity, again.guid, found, again.columns().uidnext) == before
            again.close()


class TestAppend:
    def test_octets_date_and_flags(self, home: Home) -> None:
        inbox = home.inbox()
        uids(inbox)
        appended = add(
            inbox,
            b"A: b\r\n\r\nx\r\n\r\r\ny",
            flags=flags.SEEN | flags.DRAFT,
            keywords=["k"],
            date=1234567890,
        )
        assert list(appended.uids) == [1]
        assert octets(inbox, 1) == b"A: b\n\nx\n\r\ny"
        assert state(inbox) == {1: (flags.SEEN | flags.DRAFT, frozenset({"k"}))}
        assert list(inbox.columns().dates) == [1234567890]
        [name] = files(home)
        assert name.endswith(",S=11,W=15:2,DSa")

    def test_pieces_cut_a_line_end(self, home: Home) -> None:
        inbox = home.inbox()
        body = inbox.draft()
        for piece in (b"a\r", b"\nb\r", b"c\r\n", b"\r"):
            body.write(piece)
        from dovecotpy.storage.driver import Draft

        inbox.append([Draft(body, 0, NONE, None)])
        assert octets(inbox, 1) == b"a\nb\rc\n\r"

    def test_mail_save_crlf(self, home: Home) -> None:
        inbox = home.inbox(mail_save_crlf=True)
        add(inbox, b"a\r\nb\n")
        assert octets(inbox, 1) == b"a\r\nb\r\n"

    def test_nothing_is_left_of_an_abandoned_draft(self, home: Home) -> None:
        inbox = home.inbox()
        body = inbox.draft()
        body.write(b"x")
        assert files(home, "tmp") != []
        body.abandon()
        body.abandon()
        assert files(home, "tmp") == []

    def test_a_mailbox_that_was_never_looked_at_takes_messages(self, home: Home) -> None:
        home.deliver("1.a.h")
        first = home.inbox()
        assert list(add(first).uids) == [1]
        assert uids(first) == [1, 2]

    def test_others_messages_before_ours_are_told_first(self, home: Home) -> None:
        mine, theirs = home.inbox(), home.inbox()
        uids(mine), uids(theirs)
        add(theirs, count=2)
        home.deliver("9999999999.z.h")
        assert list(add(mine).uids) in ([4], [3])
        assert uids(mine) == [1, 2, 3, 4]
        assert uids(theirs) == [1, 2, 3, 4]

    def test_a_name_that_is_taken_gets_another_one(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        inbox = home.inbox()
        uids(inbox)
        real = os.link
        calls = []

        def link(*args: object, **kwargs: object) -> None:
            calls.append(args)
            if len(calls) == 2:
                raise FileExistsError
            real(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "link", link)
        appended = add(inbox, count=3)
        assert list(appended.uids) == sorted(appended.uids)
        assert uids(inbox) == list(appended.uids)
        assert len(set(files(home, "new"))) == 3

    def test_all_or_none(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        inbox = home.inbox()
        uids(inbox)
        real = os.link
        calls = []

        def link(*args: object, **kwargs: object) -> None:
            calls.append(args)
            if len(calls) == 3:
                raise OSError(28, "No space left on device")
            real(*args, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(os, "link", link)
        with pytest.raises(Exception, match="Not enough disk space"):
            add(inbox, count=3)
        monkeypatch.undo()
        assert uids(inbox) == []
        assert list(add(inbox).uids) == [4]

    def test_read_only(self, home: Home) -> None:
        add(home.inbox())
        reader = home.store().open(b"INBOX", writable=False)
        uids(reader)
        with pytest.raises(PermissionDenied):
            reader.store([1], Operation.ADD, flags.SEEN, NONE)
        with pytest.raises(PermissionDenied):
            reader.expunge([1])


class TestStore:
    def test_operations(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=3)
        uids(inbox)
        assert list(inbox.store([1, 2], Operation.ADD, flags.SEEN, frozenset({"a"})).changed) == [1, 2]
        assert list(inbox.store([1], Operation.ADD, flags.SEEN, NONE).changed) == []
        inbox.store([1], Operation.REMOVE, flags.SEEN, frozenset({"b"}))
        inbox.store([2], Operation.REPLACE, flags.FLAGGED, frozenset({"b"}))
        expected = {1: (0, frozenset({"a"})), 2: (flags.FLAGGED, frozenset({"b"})), 3: (0, NONE)}
        assert state(inbox) == expected
        assert state(home.inbox()) == expected
        assert list(inbox.store([1, 9], Operation.ADD, flags.SEEN, NONE).gone) == [9]

    def test_keywords_differ_not_by_case(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, keywords=["Work"])
        uids(inbox)
        assert list(inbox.store([1], Operation.ADD, 0, frozenset({"WORK"})).changed) == []
        inbox.store([1], Operation.REMOVE, 0, frozenset({"work"}))
        assert state(inbox) == {1: (0, NONE)}

    def test_unknown_letters_stay(self, home: Home) -> None:
        home.deliver("1.a.h:2,Xz,more", folder="cur")
        inbox = home.inbox()
        uids(inbox)
        inbox.store([1], Operation.REPLACE, flags.SEEN, NONE)
        assert files(home) == ["1.a.h:2,SXz,more"]

    def test_unchanged_since_against_a_foreign_rename(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=2)
        modseq = inbox.refresh()
        first = sorted(files(home, "new") + files(home))[0]
        source = home.root / ("new" if first in files(home, "new") else "cur") / first
        os.rename(source, home.root / "cur" / (first.partition(":")[0] + ":2,F"))
        stored = inbox.store([1, 2], Operation.ADD, flags.SEEN, NONE, unchanged_since=modseq)
        assert (list(stored.changed), list(stored.modified)) == ([2], [1])
        assert state(inbox) == {1: (flags.FLAGGED, NONE), 2: (flags.SEEN, NONE)}

    def test_foreign_flags_are_not_overwritten(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        """Somebody renames between our look and our rename."""
        inbox = home.inbox()
        home.deliver("1.a.h:2,", folder="cur")
        uids(inbox)
        real = os.rename

        def rename(old: str, new: str, **kwargs: int) -> None:
            monkeypatch.setattr(os, "rename", real)
            real(home.root / "cur" / "1.a.h:2,", home.root / "cur" / "1.a.h:2,F")
            real(old, new, **kwargs)

        monkeypatch.setattr(os, "rename", rename)
        assert list(inbox.store([1], Operation.ADD, flags.SEEN, NONE).changed) == [1]
        assert state(inbox) == {1: (flags.FLAGGED | flags.SEEN, NONE)}

    def test_too_many_keywords(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox)
        uids(inbox)
        with pytest.raises(LimitReached):
            inbox.store([1], Operation.ADD, 0, frozenset(f"k{number}" for number in range(2001)))

    def test_twenty_seven_keywords_survive_without_an_index(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=2)
        uids(inbox)
        words = frozenset(f"word{number}" for number in range(30))
        inbox.store([1], Operation.ADD, 0, words)
        other = home.inbox()
        assert state(other) == {1: (0, words), 2: (0, NONE)}
        inbox.store([1], Operation.REMOVE, 0, frozenset({"word29", "word3"}))
        inbox.store([2], Operation.ADD, 0, frozenset({"word28"}))
        expected = {1: (0, words - {"word29", "word3"}), 2: (0, frozenset({"word28"}))}
        assert state(inbox) == expected
        assert state(other) == expected
        inbox.close()
        other.close()
        for path in home.root.glob("dovecotpy.*"):
            path.unlink()
        assert state(home.inbox()) == expected
        copy = home.store()
        copy.create(b"Copy")
        target = copy.open(b"Copy", writable=True)
        again = home.inbox()
        uids(again)
        again.copy([1, 2], target, move=False)
        assert state(target) == expected


class TestExpunge:
    def test_files_go_and_uids_are_not_used_again(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=3)
        uids(inbox)
        assert list(inbox.expunge([2, 3])) == [2, 3]
        assert uids(inbox) == [1]
        assert list(add(inbox).uids) == [4]
        with pytest.raises(MessageGone):
            inbox.body(2)

    def test_a_message_that_others_removed(self, home: Home) -> None:
        mine, theirs = home.inbox(), home.inbox()
        add(mine, count=2)
        uids(mine), uids(theirs)
        theirs.expunge([1])
        assert list(mine.expunge([1, 2])) == [2] or uids(mine) == []
        assert uids(mine) == uids(theirs) == []

    def test_a_renamed_message_is_expunged(self, home: Home) -> None:
        home.deliver("1.a.h:2,", folder="cur")
        inbox = home.inbox()
        uids(inbox)
        real = os.unlink
        done = []

        def unlink(name: str, **kwargs: int) -> None:
            if not done and str(name).startswith("1.a.h"):
                done.append(name)
                os.rename(home.root / "cur" / "1.a.h:2,", home.root / "cur" / "1.a.h:2,F")
            real(name, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "unlink", unlink)
            assert list(inbox.expunge([1])) == [1]
        assert files(home) == []

    def test_stale_lines_leave_the_list(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=40)
        uids(inbox)
        inbox.expunge(range(1, 31))
        assert len((home.root / "dovecot-uidlist").read_text().splitlines()) == 11
        assert uids(home.inbox()) == list(range(31, 41))

    def test_a_name_that_comes_back_after_its_expunge_was_told_gets_a_new_uid(self, home: Home) -> None:
        path = home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.b.h:2,", folder="cur")
        inbox = home.inbox()
        assert uids(inbox) == [1, 2]
        path.rename(home.path / "away")
        time.sleep(0.1)
        assert uids(inbox) == [2]
        (home.path / "away").rename(path)
        assert uids(inbox) == [2, 3]
        assert uids(home.inbox()) == [2, 3]

    def test_a_name_that_nobody_was_told_to_be_gone_gets_its_uid_back(self, home: Home) -> None:
        path = home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.b.h:2,", folder="cur")
        uids(home.inbox())
        path.rename(home.path / "away")
        (home.root / "dovecot-uidlist").write_text((home.root / "dovecot-uidlist").read_text())
        (home.path / "away").rename(path)
        assert uids(home.inbox()) == [1, 2]

    def test_a_name_that_was_told_to_be_gone_gets_a_new_uid(self, home: Home) -> None:
        path = home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.b.h:2,", folder="cur")
        uids(home.inbox())
        path.rename(home.path / "away")
        time.sleep(0.1)
        assert uids(home.inbox()) == [2]
        (home.path / "away").rename(path)
        assert uids(home.inbox()) == [2, 3]

    @pytest.mark.parametrize("told", [True, False])
    def test_a_name_that_another_program_puts_back_has_the_uid_of_its_new_line(
        self, home: Home, *, told: bool
    ) -> None:
        """Dovecot moves a message away and back under its old name: first comes a later line of that name, then the file."""
        path = home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.b.h:2,", folder="cur")
        uids(home.inbox())
        inbox = home.inbox()
        assert not told or uids(inbox) == [1, 2]
        path.rename(home.path / "away")
        time.sleep(0.1)
        assert uids(inbox) == [2]
        (home.root / "dovecot-uidlist.lock").write_text(f"1:{os.uname().nodename}")
        with open(home.root / "dovecot-uidlist", "a") as lines:
            lines.write("3 :1.a.h\n")
        assert uids(inbox) == [2]
        (home.path / "away").rename(path)
        (home.root / "dovecot-uidlist.lock").unlink()
        assert uids(inbox) == [2, 3]
        assert uids(home.inbox()) == [2, 3]

    def test_a_message_that_another_program_gave_a_new_uid_has_that_one(self, home: Home) -> None:
        """Dovecot missed it in a listing and found it again."""
        for number in range(3):
            home.deliver(f"{number}.a.h:2,", folder="cur")
        inbox = home.inbox()
        assert uids(inbox) == [1, 2, 3]
        with open(home.root / "dovecot-uidlist", "a") as lines:
            lines.write("4 :1.a.h\n")
        (home.root / "cur" / "0.a.h:2,").rename(home.root / "cur" / "0.a.h:2,S")
        assert uids(inbox) == [1, 3, 4]
        assert uids(home.inbox()) == [1, 3, 4]

    def test_the_new_line_of_an_old_name_stays_in_the_list(self, home: Home) -> None:
        path = home.deliver("1.a.h:2,", folder="cur")
        inbox = home.inbox()
        assert uids(inbox) == [1]
        add(inbox, count=40)
        assert uids(inbox) == list(range(1, 42))
        os.link(path, home.path / "away")
        assert list(inbox.expunge([1])) == [1]
        with open(home.root / "dovecot-uidlist", "a") as lines:
            lines.write("42 :1.a.h\n")
        (home.path / "away").rename(path)
        assert uids(inbox) == list(range(2, 43))
        inbox.expunge(range(2, 32))
        assert len((home.root / "dovecot-uidlist").read_text().splitlines()) < 20
        assert "42 :1.a.h" in (home.root / "dovecot-uidlist").read_text()
        assert uids(home.inbox()) == uids(inbox) == list(range(32, 43))


class TestCopy:
    @pytest.mark.parametrize("links", [True, False])
    def test_copies_keep_what_belongs_to_them(self, home: Home, links: bool) -> None:
        store = home.store(maildir_copy_with_hardlinks=links)
        inbox = store.open(b"INBOX", writable=True)
        store.create(b"Other")
        other = store.open(b"Other", writable=True)
        add(inbox, MESSAGE, flags=flags.FLAGGED, keywords=["k"], date=1000000000)
        add(inbox)
        uids(inbox), uids(other)
        copied = inbox.copy([1, 2], other, move=False)
        assert (list(copied.source), list(copied.destination)) == ([1, 2], [1, 2])
        assert copied.uidvalidity == other.uidvalidity
        assert state(other) == state(inbox) == {1: (flags.FLAGGED, frozenset({"k"})), 2: (0, NONE)}
        assert other.columns().dates[0] == 1000000000
        assert octets(other, 1) == octets(inbox, 1)
        assert inbox.guid != other.guid

    def test_move(self, home: Home) -> None:
        store = home.store()
        inbox = store.open(b"INBOX", writable=True)
        store.create(b"Other")
        other = store.open(b"Other", writable=True)
        add(inbox, count=2)
        uids(inbox)
        inbox.copy([2], other, move=True)
        assert (uids(inbox), uids(other)) == ([1], [1])

    def test_into_itself(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=2)
        uids(inbox)
        assert list(inbox.copy([1, 2], inbox, move=False).destination) == [3, 4]
        assert uids(inbox) == [1, 2, 3, 4]

    def test_a_message_that_is_gone(self, home: Home) -> None:
        store = home.store()
        inbox = store.open(b"INBOX", writable=True)
        store.create(b"Other")
        other = store.open(b"Other", writable=True)
        home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.a.h:2,", folder="cur")
        uids(inbox)
        (home.root / "cur" / "2.a.h:2,").unlink()
        with pytest.raises(MessageGone, match=r"Some of the requested messages no longer exist\."):
            inbox.copy([1, 2], other, move=False)
        assert uids(other) == []

    def test_a_renamed_source_is_found(self, home: Home) -> None:
        store = home.store()
        inbox = store.open(b"INBOX", writable=True)
        store.create(b"Other")
        other = store.open(b"Other", writable=True)
        home.deliver("1.a.h:2,", folder="cur")
        uids(inbox)
        (home.root / "cur" / "1.a.h:2,").rename(home.root / "cur" / "1.a.h:2,S")
        inbox.copy([1], other, move=False)
        assert list(state(other).values()) == [(flags.SEEN, NONE)]

    def test_preserved_names(self, home: Home) -> None:
        store = home.store(maildir_copy_preserve_filename=True)
        inbox = store.open(b"INBOX", writable=True)
        store.create(b"Other")
        other = store.open(b"Other", writable=True)
        home.deliver("1.a.h:2,S", folder="cur")
        uids(inbox)
        inbox.copy([1], other, move=False)
        inbox.copy([1], other, move=False)
        names = os.listdir(home.root / ".Other" / "cur")
        assert "1.a.h:2,S" in names
        assert len(names) == 2


class TestFollowing:
    def test_changes_by_modseq(self, home: Home) -> None:
        mine, theirs = home.inbox(), home.inbox()
        add(mine, count=3)
        before = mine.refresh()
        uids(theirs)
        theirs.store([2], Operation.ADD, flags.SEEN, NONE)
        theirs.expunge([1])
        add(theirs)
        assert mine.refresh() > before
        changes = mine.changes(before)
        assert changes.complete
        assert list(changes.appeared) == [4]
        assert list(changes.changed) == [2]
        assert list(changes.vanished) == [(1, 1)]
        assert mine.changes(changes.modseq) == (changes.modseq, *mine.changes(changes.modseq)[1:])
        assert not list(mine.changes(changes.modseq).appeared)

    def test_columns_do_not_change_in_the_hands_of_a_session(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=2)
        uids(inbox)
        before = inbox.columns()
        copy = (list(before.uids), list(before.flags), before.keyword_sets)
        inbox.store([1], Operation.ADD, flags.SEEN, frozenset({"x"}))
        inbox.expunge([2])
        assert (list(before.uids), list(before.flags), before.keyword_sets) == copy

    def test_an_unchanged_mailbox_is_not_listed(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        inbox = home.inbox()
        add(inbox, count=2)
        uids(inbox)
        time.sleep(0.1)
        uids(inbox)
        monkeypatch.setattr(os, "listdir", forbidden)
        inbox.refresh()
        inbox.store([1], Operation.ADD, flags.SEEN, NONE)
        inbox.refresh()
        add(inbox)
        assert uids(inbox) == [1, 2, 3]

    @pytest.mark.parametrize("poll", [False, True])
    def test_our_own_change_does_not_hide_a_foreign_one(self, home: Home, poll: bool) -> None:
        inbox = home.inbox(mail_nfs_storage=poll)
        home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.b.h:2,", folder="cur")
        uids(inbox)
        for number in range(20):
            letters = "F" if number % 2 else ""
            old = next((home.root / "cur").glob("2.b.h*"))
            inbox.store([1], Operation.ADD if number % 2 else Operation.REMOVE, flags.SEEN, NONE)
            old.rename(home.root / "cur" / f"2.b.h:2,{letters}")
            assert state(inbox)[2][0] == (flags.FLAGGED if letters else 0)

    def test_a_foreign_change_in_the_middle_of_ours_is_seen(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox = home.inbox()
        home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.b.h:2,", folder="cur")
        uids(inbox)
        inbox.wait()
        time.sleep(0.1)
        uids(inbox)
        real = os.rename

        def rename(old: str, new: str, **kwargs: int) -> None:
            monkeypatch.setattr(os, "rename", real)
            real(home.root / "cur" / "2.b.h:2,", home.root / "cur" / "2.b.h:2,F")
            real(old, new, **kwargs)

        monkeypatch.setattr(os, "rename", rename)
        inbox.store([1], Operation.ADD, flags.SEEN, NONE)
        assert state(inbox) == {1: (flags.SEEN, NONE), 2: (flags.FLAGGED, NONE)}

    def test_a_line_whose_file_is_still_to_come(self, home: Home) -> None:
        """A writer puts the line first, then the file: another session waits for it and keeps its UID."""
        writer, reader = home.inbox(), home.inbox()
        add(writer)
        uids(writer)
        uids(reader)
        with writer._driver.lock(clock.monotonic() + 5) as locked:
            assert locked.assign(["9.late.h"]) == [2]  # type: ignore[attr-defined]
            home.deliver("3.other.h:2,", folder="tmp").rename(home.root / "tmp" / "x")
            os.utime(home.root / "cur")
            assert uids(reader) == [1]
            assert reader.columns().uidnext == 2
            assert home.store().status(b"INBOX").uidnext == 2
            home.deliver("9.late.h:2,", folder="cur")
        assert uids(reader) == [1, 2]
        assert (home.root / "dovecot-uidlist").read_text().splitlines()[-1] == "2 :9.late.h"

    def test_the_last_uids(self, home: Home) -> None:
        home.deliver("1.a.h:2,", folder="cur")
        (home.root / "dovecot-uidlist").write_text("3 V1 N1\n4294967293 :1.a.h\n")
        inbox = home.inbox(fsync_disable=False)
        assert uids(inbox) == [4294967293]
        assert list(add(inbox).uids) == [4294967294]
        assert inbox.columns().uidnext == 4294967295
        with pytest.raises(StoreError) as raised:
            add(inbox)
        assert "no UIDs left" in (raised.value.log or "")
        inbox.close()
        again = home.inbox()
        assert uids(again) == [4294967293, 4294967294]

    def test_waiting(self, home: Home) -> None:
        inbox = home.inbox()
        uids(inbox)
        wait = inbox.wait()
        assert wait.fileno is not None
        assert not inbox.drain()
        home.deliver("1.a.h")
        assert inbox.drain()
        assert uids(inbox) == [1]

    def test_without_inotify_there_is_one_line_and_polling(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from dovecotpy.storage import notify

        class Libc:
            def inotify_init1(self, mode: int) -> int:
                return -1

        monkeypatch.setattr(notify, "_libc", Libc())
        monkeypatch.setattr(notify.ctypes, "get_errno", lambda: 24)
        inbox = home.inbox()
        uids(inbox)
        assert inbox.wait().fileno is None
        home.deliver("1.a.h")
        assert inbox.drain()
        assert uids(inbox) == [1]
        assert [line for _, line in home.lines if "fs.inotify.max_user_instances" in line] == [
            home.lines[0][1]
        ]
        assert len(home.lines) == 1

    def test_deleted_under_a_session(self, home: Home) -> None:
        store = home.store()
        store.create(b"Gone")
        box = store.open(b"Gone", writable=True)
        uids(box)
        home.store().delete(b"Gone")
        with pytest.raises(MailboxReplaced):
            box.refresh()

    def test_another_uidvalidity_under_a_session(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox)
        uids(inbox)
        (home.root / "dovecot-uidlist").write_text("3 V5 N7\n")
        home.deliver("2.b.h")
        with pytest.raises(MailboxReplaced):
            inbox.refresh()

    def test_renamed_under_a_session_goes_on(self, home: Home) -> None:
        store = home.store()
        store.create(b"A")
        box = store.open(b"A", writable=True)
        add(box)
        uids(box)
        store.rename(b"A", b"B")
        assert uids(box) == [1]
        assert octets(box, 1)


class TestRecent:
    def test_the_first_writable_session_claims(self, home: Home) -> None:
        home.deliver("1.a.h")
        first, second = home.inbox(), home.inbox()
        uids(first)
        assert first.claim_recent() == {1}
        uids(second)
        assert second.claim_recent() == frozenset()
        add(second, flags=flags.SEEN)
        uids(first)
        assert first.recent() == {2}
        assert first.claim_recent() == {2}
        uids(second)
        assert second.recent() == frozenset()

    def test_examine_and_status_do_not_claim(self, home: Home) -> None:
        home.deliver("1.a.h")
        store = home.store()
        assert store.status(b"INBOX").recent == 1
        reader = store.open(b"INBOX", writable=False)
        uids(reader)
        assert reader.claim_recent() == {1}
        assert store.status(b"INBOX").recent == 1
        writer = home.inbox()
        uids(writer)
        assert writer.claim_recent() == {1}
        assert store.status(b"INBOX").recent == 0

    def test_without_an_index(self, home: Home) -> None:
        home.deliver("1.a.h")
        first = home.inbox(mail_location="maildir:~/Maildir:INDEX=MEMORY")
        uids(first)
        assert first.claim_recent() == {1}
        second = home.inbox(mail_location="maildir:~/Maildir:INDEX=MEMORY")
        uids(second)
        assert second.claim_recent() == frozenset()


class TestIndex:
    def test_a_known_mailbox_is_opened_without_a_listing_or_state(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox = home.inbox()
        add(inbox, count=3, flags=flags.SEEN, keywords=["k"])
        uids(inbox)
        assert len(list(inbox.columns().dates)) == 3
        time.sleep(0.1)
        before = inbox.columns()
        inbox.claim_recent()
        inbox.close()
        monkeypatch.setattr(os, "listdir", forbidden)
        monkeypatch.setattr(sqlite3, "connect", forbidden)
        again = home.inbox()
        again.refresh()
        assert again.claim_recent() == frozenset()
        assert again.keywords() == {"k"}
        assert again.columns() == before
        assert octets(again, 2)

    @pytest.mark.parametrize("content", [b"", b"junk", b"DPYI\x01\x63" + b"\0" * 200])
    def test_what_cannot_be_believed_is_bypassed_with_one_line(self, home: Home, content: bytes) -> None:
        inbox = home.inbox()
        add(inbox, count=2)
        expected = (inbox.uidvalidity, uids(inbox))
        inbox.close()
        (home.root / snapshot.NAME).write_bytes(content)
        again = home.inbox()
        assert (again.uidvalidity, uids(again)) == expected
        add(again)
        again.close()
        assert len(home.lines) == 1
        assert "dovecotpy.index is not used" in home.lines[0][1]
        third = home.inbox()
        assert uids(third) == [1, 2, 3]
        third.close()
        assert len(home.lines) == 1, "it was not written anew"

    def test_it_may_be_deleted_under_open_sessions(self, home: Home) -> None:
        sessions = [home.inbox(mail_location="maildir:~/Maildir:INDEX=~/index") for _ in range(5)]
        add(sessions[0], count=3)
        for session in sessions:
            uids(session)
        os.system(f"rm -rf {home.path}/index")
        add(sessions[1])
        for session in sessions:
            assert uids(session) == [1, 2, 3, 4]
            session.claim_recent()
            session.close()
        assert uids(home.inbox(mail_location="maildir:~/Maildir:INDEX=~/index")) == [1, 2, 3, 4]

    def test_names_that_are_lost_are_listed_again(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox, count=3)
        uids(inbox)
        time.sleep(0.1)
        uids(inbox)
        inbox.close()
        (home.root / names.NAME).unlink()
        again = home.inbox()
        modseq = again.refresh()
        assert octets(again, 3)
        assert list(again.store([1], Operation.ADD, flags.SEEN, NONE).changed) == [1]
        assert uids(again) == [1, 2, 3]
        assert not list(again.changes(modseq).vanished)

    def test_another_mailbox_in_its_place(self, home: Home) -> None:
        store = home.store("maildir:~/Maildir:INDEX=~/index")
        store.create(b"A")
        box = store.open(b"A", writable=True)
        add(box, count=2)
        uids(box)
        box.close()
        os.system(f"rm -rf {home.root}/.A")
        home.deliver("1.x.h:2,F", folder="cur", box=".A")
        (home.root / ".A" / "dovecot-uidlist").write_text("3 V5 N9\n8 :1.x.h\n")
        again = store.open(b"A", writable=True)
        assert state(again) == {8: (flags.FLAGGED, NONE)}
        assert again.uidvalidity == 5

    def test_what_happened_while_nobody_was_there(self, home: Home) -> None:
        inbox = home.inbox()
        home.deliver("1.a.h:2,", folder="cur")
        home.deliver("2.b.h:2,", folder="cur")
        uids(inbox)
        time.sleep(0.1)
        modseq = inbox.refresh()
        inbox.close()
        (home.root / "cur" / "1.a.h:2,").rename(home.root / "cur" / "1.a.h:2,S")
        (home.root / "cur" / "2.b.h:2,").unlink()
        home.deliver("3.c.h")
        again = home.inbox()
        assert state(again) == {1: (flags.SEEN, NONE), 3: (0, NONE)}
        changes = again.changes(modseq)
        assert (list(changes.appeared), list(changes.vanished)) == ([3], [(2, 2)])


class TestReading:
    def test_a_lying_size_serves_until_the_body_was_read(self, home: Home) -> None:
        home.deliver("1.a.h,S=5,W=7:2,", b"A: b\n\nxyz\n", folder="cur")
        inbox = home.inbox()
        uids(inbox)
        [batch] = inbox.fetch([1], frozenset({b"RFC822.SIZE"}))
        assert batch.values[b"RFC822.SIZE"] == [b"7"]
        [batch] = inbox.fetch([1], frozenset({b"BODYSTRUCTURE", b"ENVELOPE"}))
        [batch] = inbox.fetch([1], frozenset({b"RFC822.SIZE"}))
        assert batch.values[b"RFC822.SIZE"] == [b"13"]
        assert octets(inbox, 1) == b"A: b\n\nxyz\n"

    def test_a_message_renamed_between_look_and_open(self, home: Home) -> None:
        home.deliver("1.a.h:2,", folder="cur")
        inbox = home.inbox()
        uids(inbox)
        (home.root / "cur" / "1.a.h:2,").rename(home.root / "cur" / "1.a.h:2,S")
        assert octets(inbox, 1) == MESSAGE

    def test_a_message_that_goes_while_it_is_open(self, home: Home) -> None:
        inbox = home.inbox()
        add(inbox)
        uids(inbox)
        body = inbox.body(1)
        inbox.expunge([1])
        assert body.read(0, 100)
        body.close()
        [batch] = inbox.fetch([1], frozenset({b"ENVELOPE"}))
        assert batch.values[b"ENVELOPE"] == [None]

    def test_what_is_no_file_is_no_message_to_hang_on(self, home: Home) -> None:
        home.deliver("1.a.h:2,", folder="cur").unlink()
        os.mkfifo(home.root / "cur" / "1.a.h:2,")
        os.symlink("/etc/passwd", home.root / "cur" / "2.b.h:2,")
        inbox = home.inbox()
        uids(inbox)
        for uid in (1, 2):
            with pytest.raises(Exception) as raised:  # noqa: PT011
                inbox.body(uid)
            assert not isinstance(raised.value, (AssertionError, AttributeError))


class TestTemporaryFiles:
    def test_old_ones_go_young_ones_stay(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        inbox = home.inbox()
        inbox.close()
        (home.root / "tmp" / "old").write_text("x")
        real = clock.file_time
        monkeypatch.setattr(clock, "file_time", lambda: real() + TEMPORARY_SECONDS - 100)
        home.inbox()
        assert files(home, "tmp") == ["old"]
        monkeypatch.setattr(clock, "file_time", lambda: real() + TEMPORARY_SECONDS + 100)
        home.inbox()
        assert files(home, "tmp") == []


class TestDuplicates:
    def test_another_message_of_the_same_name_gets_a_new_one(self, home: Home) -> None:
        home.deliver("1.a.h:2,", b"one\n", folder="cur")
        home.deliver("1.a.h:2,S", b"two\n", folder="cur")
        inbox = home.inbox()
        uids(inbox)
        time.sleep(0.1)
        assert len(uids(inbox)) == 2
        assert {octets(inbox, uid) for uid in uids(inbox)} == {b"one\n", b"two\n"}
        assert "Fixed a duplicate: " in home.lines[0][1]

    def test_an_old_hard_link_goes(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        path = home.deliver("1.a.h:2,", folder="cur")
        os.link(path, home.root / "cur" / "1.a.h:2,S")
        inbox = home.inbox()
        assert len(uids(inbox)) == 1
        assert len(files(home)) == 2
        real = clock.file_time
        monkeypatch.setattr(clock, "file_time", lambda: real() + 100)
        uids(inbox)
        assert len(files(home)) == 1
        assert "Unlinked a duplicate: 1.a.h:2," in home.lines[-1][1]


class TestSharedFolder:
    def test_mode_and_group_of_dovecot_shared(self, home: Home) -> None:
        home.root.mkdir()
        (home.root / "dovecot-shared").write_text("")
        os.chmod(home.root / "dovecot-shared", 0o660)
        store = home.store()
        store.create(b"Team")
        box = store.open(b"Team", writable=True)
        add(box, keywords=["k"])
        team = home.root / ".Team"
        assert (team / "dovecot-shared").stat().st_mode & 0o777 == 0o660
        assert team.stat().st_mode & 0o777 == 0o770
        assert (team / "cur").stat().st_mode & 0o777 == 0o770
        modes = {
            path.stat().st_mode & 0o777 for path in [*(team / "cur").iterdir(), team / "dovecot-uidlist"]
        }
        assert modes == {0o660}


def test_nothing_is_left_open(home: Home) -> None:
    def session() -> None:
        store = home.store()
        inbox: Mailbox = store.open(b"INBOX", writable=True)
        add(inbox)
        uids(inbox)
        inbox.wait()
        octets(inbox, 1)
        store.status(b"INBOX")
        inbox.close()
        inbox.close()
        store.close()

    session()
    gc.collect()
    before = open_descriptors()
    for _ in range(5):
        session()
    assert open_descriptors() <= before


def test_paths(tmp_path: Path) -> None:
    home = Home(tmp_path)
    store = home.store("maildir:~/Maildir:CONTROL=~/control:INDEX=~/index")
    store.create(b"A.B")
    box = store.open(b"A.B", writable=True)
    add(box)
    uids(box)
    box.close()
    assert sorted(os.listdir(tmp_path / "control" / ".A.B")) == ["dovecot-uidlist"]
    assert "dovecotpy.index" in os.listdir(tmp_path / "index" / ".A.B")
    assert "dovecot-uidlist" not in os.listdir(tmp_path / "Maildir" / ".A.B")
    store.rename(b"A.B", b"C")
    moved = store.open(b"C", writable=True)
    assert uids(moved) == [1]
    assert os.listdir(tmp_path / "control" / ".C") == ["dovecot-uidlist"]


class TestSavedate:
    def test_what_we_save_is_dated_in_the_list(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        store = home.store()
        store.create(b"A")
        inbox, other = store.open(b"INBOX", writable=True), store.open(b"A", writable=True)
        monkeypatch.setattr("dovecotpy.clock.now", lambda: 1_700_000_000.5)
        add(inbox, date=1_000_000_000)
        uids(inbox)
        monkeypatch.setattr("dovecotpy.clock.now", lambda: 1_700_000_099.0)
        inbox.copy([1], other, move=False)
        monkeypatch.undo()
        uids(other)
        assert inbox.capabilities.savedate
        assert (home.root / "dovecot-uidlist").read_text().splitlines()[1].startswith("1 D1700000000 :")
        for mailbox, saved in ((inbox, 1_700_000_000), (other, 1_700_000_099)):
            assert list(mailbox.columns().savedates) == [saved]
            assert list(mailbox.columns().dates) == [1_000_000_000]
            assert mailbox.store([1], Operation.ADD, flags.SEEN, NONE).changed
            assert list(mailbox.columns().savedates) == [saved]

    def test_it_is_there_after_the_index_was_lost_and_before_dates_were_asked_for(self, home: Home) -> None:
        inbox = home.inbox()
        home.deliver("1.a.h")
        add(inbox, date=1_000_000_000, count=2)
        uids(inbox)
        time.sleep(0.1)
        uids(inbox)
        inbox.close()
        list_path = home.root / "dovecot-uidlist"
        ours = [line for line in list_path.read_text().splitlines() if " D" in line]
        assert len(ours) == 2
        list_path.write_text(re.sub(" D[0-9]+ :", " D1234567890 :", list_path.read_text()))
        for lost in (False, True):
            if lost:
                (home.root / snapshot.NAME).unlink()
            again = home.inbox()
            again.refresh()
            columns = again.columns()
            assert sorted(columns.savedates)[:2] == [1234567890] * 2
            assert sorted(columns.dates)[:2] == [1_000_000_000] * 2
            again.close()

    def test_of_others_the_first_ctime_stays(self, home: Home) -> None:
        path = home.deliver("1.a.h:2,", folder="cur")
        inbox = home.inbox()
        uids(inbox)
        first = list(inbox.columns().savedates)
        assert first == [int(path.stat().st_ctime)]
        inbox.close()
        time.sleep(1.1)
        again = home.inbox()
        again.refresh()
        again.store([1], Operation.ADD, flags.SEEN, NONE)
        assert list(again.columns().savedates) == first

    def test_the_time_in_a_name_is_the_date_for_good(self, home: Home) -> None:
        """Also when flags change its name, and without any index."""
        path = home.deliver("1700000000.a.h:2,", folder="cur")
        for letter in ("S", "FS"):
            inbox = home.inbox()
            uids(inbox)
            assert list(inbox.columns().savedates) == [1_700_000_000]
            inbox.close()
            path = path.rename(path.with_name("1700000000.a.h:2," + letter))
            for kept in home.root.glob("dovecotpy*"):
                kept.unlink()

    @pytest.mark.parametrize("keys", ["D", "Dx", "D-1", "D1234567890123", "W3"])
    def test_a_key_that_is_no_date(self, home: Home, keys: str) -> None:
        path = home.deliver("1.a.h:2,", folder="cur")
        (home.root / "dovecot-uidlist").write_text(f"3 V1 N2\n1 {keys} :1.a.h\n")
        inbox = home.inbox()
        uids(inbox)
        assert list(inbox.columns().savedates) == [int(path.stat().st_ctime)]

    def test_those_beside_an_index_too(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(3):
            home.deliver(f"{number}.a.h:2,", folder="cur")
        for kind in ("dovecotpy.keys.date", "dovecotpy.index", "dovecotpy.index.names", "dovecotpy.recent"):
            (home.root / f"{kind}.tmp.4711.00c0ffee").write_text("x")
        (home.root / "mine.tmp.1").write_text("x")
        home.inbox().close()
        inbox = home.inbox()
        uids(inbox)
        inbox.close()
        assert len(list(home.root.glob("*.tmp.*"))) == 5
        real = clock.file_time
        monkeypatch.setattr(clock, "file_time", lambda: real() + TEMPORARY_SECONDS + 100)
        (home.root / names.NAME).unlink()
        home.deliver("9.a.h:2,", folder="cur")
        inbox = home.inbox()
        uids(inbox)
        inbox.close()
        assert [path.name for path in home.root.glob("*.tmp.*")] == ["mine.tmp.1"]
