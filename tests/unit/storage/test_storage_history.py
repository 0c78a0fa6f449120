"""The history that sessions share: numbered once, exact for whoever comes back, whole after whatever a writer's death left."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from typing import Any

import pytest

from dovecotpy import clock
from dovecotpy.storage import flags
from dovecotpy.storage.columns import DATES, FLAGS, MODSEQS, SIZES, UIDS
from dovecotpy.storage.index import history, ledger, names, snapshot
from dovecotpy.storage.mailbox import Mailbox, Operation
from dovecotpy.storage.state import MODSEQS_AHEAD
from tests.unit.storage.storage_kit import Home, add, octets, state, uids

NONE: frozenset[str] = frozenset()


def numbers(mailbox: Mailbox) -> tuple[int, list[int], list[int]]:
    mailbox.refresh()
    columns = mailbox.columns()
    return columns.modseq, list(columns.uids), list(columns.modseqs)


def agree(mailboxes: Sequence[Mailbox]) -> tuple[int, list[int], list[int]]:
    """All have the same numbers; which."""
    found = [numbers(mailbox) for mailbox in mailboxes]
    assert all(each == found[0] for each in found), found
    return found[0]


def flag(mailbox: Mailbox, uid: int, op: Operation = Operation.ADD, bits: int = flags.FLAGGED) -> None:
    assert list(mailbox.store([uid], op, bits, NONE).changed) == [uid]


class TestOneHistory:
    def test_sessions_side_by_side_number_a_change_alike(self, home: Home) -> None:
        sessions = [home.inbox() for _ in range(4)]
        add(sessions[0], count=3)
        modseq, found, _ = agree(sessions)
        assert found == [1, 2, 3]
        flag(sessions[1], 2)
        sessions[2].expunge([1])
        home.deliver("9.x.h")
        (home.root / "cur" / next(name for name in os.listdir(home.root / "cur") if ":2,F" in name)).rename(
            home.root / "cur" / "away"
        )
        (home.root / "cur" / "away").unlink()
        highest, found, _ = agree(sessions)
        assert found == [3, 4]
        assert highest == modseq + 3
        assert numbers(home.inbox())[:2] == (highest, [3, 4])

    def test_a_foreign_change_that_all_notice_gets_one_number(self, home: Home) -> None:
        home.deliver("1.a.h:2,", folder="cur")
        sessions = [home.inbox() for _ in range(5)]
        before, _, _ = agree(sessions)
        for number in range(6):
            now = "1.a.h:2,S" if number % 2 else "1.a.h:2,"
            (home.root / "cur" / now).rename(home.root / "cur" / ("1.a.h:2," if number % 2 else "1.a.h:2,S"))
            assert agree(sessions) == (before + number + 1, [1], [before + number + 1])

    def test_what_was_noted_is_not_looked_for_again(self, home: Home) -> None:
        inbox, other = home.inbox(), home.inbox()
        add(inbox, count=2)
        agree([inbox, other])
        flag(inbox, 1)
        size = (home.root / snapshot.NAME).stat().st_size
        assert state(other)[1] == (flags.FLAGGED, NONE)
        assert (home.root / snapshot.NAME).stat().st_size == size

    def test_a_late_look_does_not_undo_a_change(self, home: Home) -> None:
        """A session lists, another one stores and notes, then the first one comes to note what it saw."""
        home.deliver("1.a.h:2,", folder="cur")
        slow, quick = home.inbox(), home.inbox()
        agree([slow, quick])
        (home.root / "cur" / "1.a.h:2,").rename(home.root / "cur" / "1.a.h:2,R")
        real = slow._driver.sync

        def sync(*arguments: object) -> object:
            delta = real(*arguments)  # type: ignore[arg-type]
            flag(quick, 1)
            return delta

        slow._driver.sync = sync  # type: ignore[method-assign, assignment]
        before = quick.columns().modseq
        slow.refresh()
        slow._driver.sync = real  # type: ignore[method-assign]
        assert state(slow) == state(quick) == {1: (flags.FLAGGED | flags.ANSWERED, NONE)}
        assert agree([slow, quick])[0] == before + 2


class TestChanges:
    @pytest.mark.parametrize("folded", [False, True])
    def test_from_before_the_opening(self, home: Home, folded: bool) -> None:
        inbox = home.inbox()
        add(inbox, count=6)
        since = inbox.refresh()
        flag(inbox, 2)
        inbox.expunge([3, 4])
        inbox.expunge([6])
        add(inbox, count=2)
        inbox.refresh()
        flag(inbox, 7)
        if folded:
            inbox._history._fold(inbox._history._snapshot.head.history, inbox._history._reserved)
        inbox.close()
        again = home.inbox()
        again.refresh()
        changes = again.changes(since)
        assert changes.complete
        assert (list(changes.appeared), list(changes.changed)) == ([7, 8], [2, 7])
        assert list(changes.vanished) == [(3, 4), (6, 6)]
        assert again.changes(again.columns().modseq) == again.changes(since)._replace(
            appeared=again.changes(1 << 40).appeared, changed=again.changes(1 << 40).changed, vanished=[]
        )

    def test_also_through_a_new_snapshot(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(history, "RECORDS_LEAST", 2)
        inbox = home.inbox()
        other = home.inbox()
        add(inbox, count=9)
        told = []
        for uid in (1, 2, 3, 9, 4, 1):
            told.append((inbox.refresh(), state(inbox)))
            flag(inbox, uid, Operation.REMOVE if uid == 1 and len(told) > 1 else Operation.ADD)
            if uid == 3:
                inbox.expunge([5, 6])
        agree([inbox, other])
        for since, before in told:
            for mailbox in (inbox, other, home.inbox()):
                now = state(mailbox)
                changes = mailbox.changes(since)
                assert changes.complete
                assert set(changes.changed) | set(changes.appeared) == {
                    uid for uid in now if now[uid] != before.get(uid)
                } | ({1} if since < told[1][0] else set())
                gone = {uid for first, last in changes.vanished for uid in range(first, last + 1)}
                assert gone == before.keys() - now.keys()

    def test_older_expunges_than_are_kept(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ledger, "MAX_EXPUNGES", 4)
        monkeypatch.setattr(history, "RECORDS_LEAST", 1)
        inbox = home.inbox()
        add(inbox, count=20)
        first = inbox.refresh()
        for uid in range(1, 20, 2):
            inbox.expunge([uid])
        last = inbox.refresh()
        again = home.inbox()
        again.refresh()
        assert not again.changes(first).complete
        assert again.changes(last - 1).complete
        assert list(again.changes(last - 1).vanished) == [(19, 19)]

    def test_the_wall_clock_says_nothing(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        inbox = home.inbox()
        add(inbox, count=2)
        before = inbox.refresh()
        real = clock.now
        for shift in (3600, -3600):
            monkeypatch.setattr(clock, "now", lambda shift=shift: real() + shift)
            flag(inbox, 1, Operation.ADD if shift > 0 else Operation.REMOVE)
        assert agree([inbox, home.inbox()])[0] == before + 2


class TestDeathOfAWriter:
    def torn(self, home: Home) -> tuple[bytes, int, dict[int, tuple[int, frozenset[str]]]]:
        inbox = home.inbox()
        add(inbox, count=3)
        inbox.refresh()
        length = (home.root / snapshot.NAME).stat().st_size
        inbox.store([1, 2], Operation.ADD, flags.SEEN, frozenset({"word"}))
        time.sleep(0.1)
        found = state(inbox)
        inbox.close()
        return (home.root / snapshot.NAME).read_bytes(), length, found

    def test_a_record_cut_anywhere_is_none_and_the_next_one_takes_its_place(self, home: Home) -> None:
        data, length, expected = self.torn(home)
        path = home.root / snapshot.NAME
        store = home.store()
        for end in range(length, len(data)):
            path.write_bytes(data[:end])
            sessions = [store.open(b"INBOX", writable=True) for _ in range(3)]
            assert state(sessions[0]) == expected
            flag(sessions[0], 3, Operation.ADD, flags.DRAFT)
            agree(sessions)
            flag(sessions[0], 3, Operation.REMOVE, flags.DRAFT)
            for mailbox in sessions:
                mailbox.close()
        assert not home.lines

    def test_a_flipped_bit_in_a_record_ends_the_log_there(self, home: Home) -> None:
        data, length, expected = self.torn(home)
        path = home.root / snapshot.NAME
        for at in range(length, len(data), 3):
            path.write_bytes(data[:at] + bytes([data[at] ^ 16]) + data[at + 1 :])
            inbox = home.inbox()
            assert state(inbox) == expected
            inbox.close()

    @pytest.mark.parametrize("column", [UIDS, FLAGS, MODSEQS, SIZES, DATES])
    def test_a_flipped_bit_in_a_column_costs_a_look_at_the_store(self, home: Home, column: int) -> None:
        inbox = home.inbox()
        for number in range(5):
            add(inbox, b"x" * number + b"\r\n", flags=number, date=10**9 + number)
        inbox.refresh()
        flag(inbox, 1)
        expected = state(inbox)
        list(inbox.columns().dates)
        inbox._history._fold(b"h" * 8, inbox._history._reserved)
        highest = inbox.refresh()
        inbox.close()
        path = home.root / snapshot.NAME
        data = bytearray(path.read_bytes())
        directory = os.open(home.root, os.O_RDONLY)
        found = snapshot.open_snapshot(directory)
        os.close(directory)
        assert found is not None
        kind, _, place = found._columns[column]
        assert not kind, "the column has no octets of its own"
        data[place + 2] ^= 64
        path.write_bytes(bytes(data))
        again, beside = home.inbox(), home.inbox()
        for mailbox in (again, beside, again):
            assert state(mailbox) == expected
            columns = mailbox.columns()
            assert list(columns.dates) == [10**9 + number for number in range(5)]
            assert len(columns.modseqs) == len(columns.sizes) == 5
        mine = numbers(again)
        assert mine[0] >= highest
        agree([again, beside, home.inbox()])
        assert len([line for _, line in home.lines if "dovecotpy.index is not used" in line]) <= 3

    def test_the_directory_goes_under_open_sessions(self, home: Home) -> None:
        where = "maildir:~/Maildir:INDEX=~/index"
        sessions = [home.inbox(mail_location=where) for _ in range(3)]
        add(sessions[0], count=3)
        highest, _, _ = agree(sessions)
        shutil.rmtree(home.path / "index")
        flag(sessions[0], 1)
        sessions[1].expunge([2])
        for mailbox in sessions:
            assert sorted(state(mailbox)) == [1, 3]
            assert mailbox.refresh() > highest
            assert octets(mailbox, 3)
        again = home.inbox(mail_location=where)
        assert again.refresh() > max(mailbox.refresh() for mailbox in sessions)

    def test_the_files_go_under_open_sessions(self, home: Home) -> None:
        sessions = [home.inbox() for _ in range(3)]
        add(sessions[0], count=3)
        highest, _, _ = agree(sessions)
        for name in (snapshot.NAME, names.NAME, "dovecotpy.index.lock", "dovecotpy.recent"):
            (home.root / name).unlink(missing_ok=True)
        flag(sessions[0], 1)
        sessions[1].expunge([2])
        assert agree([*sessions, home.inbox()])[0] > highest + MODSEQS_AHEAD // 2
        changes = sessions[2].changes(highest)
        assert changes.complete
        assert (list(changes.changed), list(changes.vanished)) == ([1], [(2, 2)])

    @pytest.mark.parametrize("meanwhile", ["nothing", "flags", "expunge"])
    def test_who_begins_anew_may_be_behind(
        self, home: Home, monkeypatch: pytest.MonkeyPatch, meanwhile: str
    ) -> None:
        """What others told of beyond is not gone, nor is it to be told as gone; changes of it until it is noted again are told."""
        ahead, behind = home.inbox(), home.inbox()
        add(ahead, count=3)
        agree([ahead, behind])
        add(ahead)
        highest, found, _ = numbers(ahead)
        assert found == [1, 2, 3, 4]
        (home.root / snapshot.NAME).unlink()
        with monkeypatch.context() as patch:
            patch.setattr(behind._driver, "stamp", lambda: behind._stamp)
            assert uids(behind) == [1, 2, 3]
        if meanwhile != "nothing":
            [line] = [
                each for each in (home.root / "dovecot-uidlist").read_text().splitlines() if each[:2] == "4 "
            ]
            [path] = home.root.glob("*/" + line.partition(":")[2] + "*")
            base = path.name.partition(":")[0]
            path.rename(home.root / "cur" / f"{base}:2,F") if meanwhile == "flags" else path.unlink()
        ahead.refresh()
        changes = ahead.changes(highest)
        assert changes.complete
        gone = meanwhile == "expunge"
        assert list(changes.vanished) == ([(4, 4)] if gone else [])
        assert gone or 4 in changes.changed
        assert agree([ahead, behind, home.inbox()])[1] == ([1, 2, 3] if gone else [1, 2, 3, 4])

    def test_a_history_that_is_not_believed_tells_of_no_message(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ahead, other = home.inbox(), home.inbox()
        add(ahead, count=2)
        agree([ahead, other])
        real, waiting = history.History._locked, [True]

        def locked(self: history.History, work: Any, wait: float) -> Any:
            if self is ahead._history and waiting:
                waiting.pop()
                flag(other, 1)
                add(other)
                assert uids(other) == [1, 2, 3]
            return real(self, work, wait)

        (home.root / snapshot.NAME).unlink()
        ahead._history.ledger.modseq = 1 << 40
        monkeypatch.setattr(history.History, "_locked", locked)
        ahead.refresh()
        assert not waiting
        assert agree([ahead, other, home.inbox()])[1] == [1, 2, 3]

    def test_a_file_goes_as_soon_as_it_was_written(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before its writer opened it again: it has to be written once more, under higher numbers."""
        real, lost = snapshot.write, [True, True]

        def write(directory: int, *arguments: Any) -> None:
            real(directory, *arguments)
            if lost:
                lost.pop()
                os.unlink(snapshot.NAME, dir_fd=directory)

        monkeypatch.setattr(snapshot, "write", write)
        mailbox, beside = home.inbox(), home.inbox()
        add(mailbox, count=2)
        first = numbers(mailbox)
        flag(mailbox, 1)
        add(mailbox)
        assert not lost
        assert agree([mailbox, beside, home.inbox()])[0] > first[0]
        assert mailbox.capabilities.modseq

    def test_an_index_of_another_mailbox_in_its_place(self, home: Home) -> None:
        store = home.store()
        store.create(b"A")
        box = store.open(b"A", writable=True)
        add(box, count=7)
        uids(box)
        inbox = home.inbox()
        add(inbox, count=2)
        uids(inbox)
        shutil.copy(home.root / ".A" / snapshot.NAME, home.root / snapshot.NAME)
        assert uids(inbox) == [1, 2]
        flag(inbox, 2)
        again = home.inbox()
        assert uids(again) == [1, 2]
        agree([inbox, again])


class TestWhatIsLearntOfMessages:
    """Dates and sizes that one session looked up are there for those that begin while it still goes on."""

    @pytest.mark.parametrize("count", [history.LEARNT_LEAST, history.FOLD_LEAST])
    def test_another_session_does_not_look_them_up_again(
        self, home: Home, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        for number in range(count):
            os.utime(home.deliver(f"{number}.a.h"), (10**9 + number, 10**9 + number))
        inbox = home.inbox()
        inbox.refresh()
        known = sorted(inbox.columns().dates)
        modseq = inbox.refresh()
        other = home.inbox()
        assert other.refresh() == modseq
        monkeypatch.setattr(type(other._driver), "dates", None)
        assert sorted(other.columns().dates) == known == [10**9 + number for number in range(count)]
        assert list(other.columns().savedates) == list(inbox.columns().savedates)
        assert not inbox._history.ledger.learnt

    def test_few_of_them_wait_for_the_end_of_the_session(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.utime(home.deliver("1.a.h"), (10**9, 10**9))
        inbox = home.inbox()
        inbox.refresh()
        assert list(inbox.columns().dates) == [10**9]
        before = inbox._history._end
        inbox.refresh()
        assert inbox._history._end == before
        inbox.close()
        other = home.inbox()
        other.refresh()
        monkeypatch.setattr(type(other._driver), "dates", None)
        assert list(other.columns().dates) == [10**9]

    def test_they_are_kept_while_another_session_writes_the_file_anew(self, home: Home) -> None:
        for number in range(history.LEARNT_LEAST):
            os.utime(home.deliver(f"{number}.a.h"), (10**9, 10**9))
        inbox, other = home.inbox(), home.inbox()
        inbox.refresh()
        other.refresh()
        assert set(inbox.columns().dates) == {10**9}
        flag(other, 1)
        other._history._lock.take(0)
        other._history._fold(b"another1", other._history._reserved)
        other._history._lock.release()
        uids(inbox)
        third = home.inbox()
        third.refresh()
        assert set(third._history.ledger.column(DATES)) == {10**9}


def test_numbers_go_on_beyond_a_reserve(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dovecotpy.storage.state.MODSEQS_AHEAD", 3)
    inbox, other = home.inbox(), home.inbox()
    add(inbox)
    given = [inbox.refresh()]
    for number in range(10):
        flag((inbox, other)[number % 2], 1, Operation.REMOVE if number % 2 else Operation.ADD)
        given.append(agree([inbox, other])[0])
    assert given == sorted(set(given))


def test_an_index_that_cannot_be_written_costs_the_numbers_alone(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = home.inbox()
    add(inbox, count=2)
    highest = inbox.refresh()
    real = os.pwrite

    def full(descriptor: int, data: bytes, place: int) -> int:
        if snapshot.NAME in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(28, "No space left on device")
        return real(descriptor, data, place)

    monkeypatch.setattr(os, "pwrite", full)
    flag(inbox, 1)
    assert state(inbox)[1] == (flags.FLAGGED, NONE)
    assert not inbox.capabilities.modseq
    told = inbox.refresh()
    late = home.inbox()
    assert state(late)[1] == (flags.FLAGGED, NONE)
    assert not late.capabilities.modseq
    monkeypatch.undo()
    again = home.inbox()
    assert again.refresh() > max(told, highest)
    assert again.capabilities.modseq
    assert sum("No space left" in line for _, line in home.lines) == 2


def test_a_reserve_that_begins_where_the_old_numbers_end_is_used(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    inbox = home.inbox()
    add(inbox)
    inbox.refresh()
    end = inbox._history._reserved[1]
    inbox.close()
    again = home.inbox()
    asked: list[tuple[int, int]] = []
    real = again._driver.reserve_modseqs
    monkeypatch.setattr(
        again._driver, "reserve_modseqs", lambda least: asked.append(real(least)) or asked[-1]
    )
    again.discard_index()
    assert again.refresh() == end
    assert [first for first, _ in asked] == [end]


class TestWhatIsOwed:
    """A change that could not be noted when it was seen is found by a comparison with all that the format knows."""

    def owing(self, home: Home, monkeypatch: pytest.MonkeyPatch, *, still: bool) -> Mailbox:
        inbox = home.inbox()
        add(inbox, count=2)
        inbox.refresh()
        rows = [row._replace(flags=flags.FLAGGED) for row in inbox._driver.known_rows()]
        monkeypatch.setattr(inbox._driver, "known_rows", lambda: rows)
        monkeypatch.setattr(inbox._driver, "still", lambda uids: list(uids) if still else [])
        inbox._history.owed = True
        return inbox

    def test_it_is_compared_once(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        inbox = self.owing(home, monkeypatch, still=True)
        compared: list[int] = []
        real = inbox._history._compared
        monkeypatch.setattr(
            inbox._history, "_compared", lambda rows, uidnext: compared.append(uidnext) or real(rows, uidnext)
        )
        inbox.refresh()
        assert state(inbox)[1] == (flags.FLAGGED, NONE)
        assert not inbox._history.owed
        assert len(compared) == 1

    def test_what_changed_again_meanwhile_is_looked_at_again(
        self, home: Home, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inbox = self.owing(home, monkeypatch, still=False)
        assert inbox._history.note((), (), (), 0) is history.Noted.DOUBTFUL

    def test_the_same_behind_what_was_learnt(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        inbox = self.owing(home, monkeypatch, still=False)
        inbox._history.ledger.learn_sizes({1: 77})
        assert inbox._history.keep_learnt(1) is history.Noted.DOUBTFUL
        assert not inbox._history.ledger.learnt

    def test_no_stamp_is_kept_of_it(self, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
        inbox = self.owing(home, monkeypatch, still=False)
        inbox._history.keep(b"stamp", b"")
        assert inbox._history.stamp == b""
