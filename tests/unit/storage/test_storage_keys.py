"""Keys that SORT and THREAD go by, on disk: another session needs no header, and what is wrong is not believed."""

from __future__ import annotations

import re
from array import array

import pytest

from dovecotpy.search.arrange import Threads
from dovecotpy.search.evaluate import Found
from dovecotpy.search.sort import Criterion, Key
from dovecotpy.search.thread import Algorithm
from dovecotpy.storage.index import keyfile
from dovecotpy.storage.mailbox import Mailbox
from dovecotpy.storage.source import Messages
from tests.unit.storage.storage_kit import Home

SUBJECTS = (b"delta", b"Re: alpha", b"charlie", b"bravo")
BY_SUBJECT = (Criterion(Key.SUBJECT),)


def deliver(home: Home, number: int, subject: bytes) -> None:
    home.deliver(
        f"{number}.{number}.h:2,", b"Subject: %s\nMessage-ID: <%d@h>\n\nx\n" % (subject, number), folder="cur"
    )


@pytest.fixture
def filled(home: Home) -> Home:
    for number, subject in enumerate(SUBJECTS, 1):
        deliver(home, number, subject)
    return home


def inbox(home: Home) -> Mailbox:
    home.close()
    mailbox = home.store().open(b"INBOX", writable=True)
    mailbox.refresh()
    return mailbox


def by_subject(mailbox: Mailbox) -> list[int]:
    *_, last = mailbox.sort(BY_SUBJECT, array("I", mailbox.columns().uids))
    assert isinstance(last, Found)
    return list(last.uids)


def roots(mailbox: Mailbox) -> list[int]:
    *_, last = mailbox.thread(Algorithm.REFERENCES, array("I", mailbox.columns().uids))
    assert isinstance(last, Threads)
    assert last.rendered.count(b"(") == len(last.uids), "nobody replied"
    return [last.uids[int(place) - 1] for place in re.findall(rb"[0-9]+", last.rendered)]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """UIDs of which headers were asked for."""
    uids: list[int] = []
    headers = Messages.headers

    def spied(self: Messages, wanted: list[int]) -> object:
        uids.extend(wanted)
        return headers(self, wanted)

    monkeypatch.setattr(Messages, "headers", spied)
    return uids


def test_the_next_session_needs_no_header(filled: Home, asked: list[int]) -> None:
    first = inbox(filled)
    answers = by_subject(first), roots(first)
    assert answers[0] == [2, 4, 3, 1]
    assert asked
    asked.clear()
    second = inbox(filled)
    assert (by_subject(second), roots(second)) == answers
    assert asked == []


def test_only_what_came_since_is_asked_for_and_what_went_is_left_out(filled: Home, asked: list[int]) -> None:
    by_subject(inbox(filled))
    asked.clear()
    deliver(filled, 5, b"aardvark")
    (filled.root / "cur" / "4.4.h:2,").unlink()
    assert by_subject(inbox(filled)) == [5, 2, 3, 1]
    assert asked == [5]


@pytest.mark.parametrize("at", [0, 20, 43, 50, 90, -1])
def test_a_damaged_file_of_keys_is_not_believed(filled: Home, asked: list[int], at: int) -> None:
    by_subject(inbox(filled))
    asked.clear()
    (filled.root / (keyfile.NAME + "order-subject")).unlink()
    path = filled.root / (keyfile.NAME + "subject")
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    assert by_subject(inbox(filled)) == [2, 4, 3, 1]
    assert asked == [1, 2, 3, 4]
    for cut in (0, 30, len(data) - 1):
        path.write_bytes(data[:cut])
        assert by_subject(inbox(filled)) == [2, 4, 3, 1]


@pytest.mark.parametrize("kind", ["order-subject", "thread-references"])
@pytest.mark.parametrize("at", [0, 20, 43, 84, 90, 97, 105, -1])
def test_a_damaged_answer_is_not_believed(filled: Home, asked: list[int], kind: str, at: int) -> None:
    first = inbox(filled)
    answers = by_subject(first), roots(first)
    asked.clear()
    path = filled.root / (keyfile.NAME + kind)
    whole = path.read_bytes()
    data = bytearray(whole)
    data[at] ^= 1
    for damaged in (bytes(data), b"", whole[:30], whole[:-1], whole + b"1"):
        path.write_bytes(damaged)
        again = inbox(filled)
        assert (by_subject(again), roots(again)) == answers
        assert path.read_bytes() == whole, "written anew"
    assert asked == []


def test_kept_answers_follow_what_other_sessions_do(filled: Home) -> None:
    first = inbox(filled)
    assert (by_subject(first), roots(first)) == ([2, 4, 3, 1], [1, 2, 3, 4])
    store = filled.store()
    second = store.open(b"INBOX", writable=True)
    second.refresh()
    second.expunge([4])
    deliver(filled, 5, b"bravo two")
    deliver(filled, 6, b"aardvark")
    second.refresh()
    assert by_subject(second) == [6, 2, 5, 3, 1]
    assert roots(second) == [1, 2, 3, 5, 6]
    first.refresh()
    assert by_subject(first) == [6, 2, 5, 3, 1]
    first.expunge([2, 6])
    assert by_subject(first) == [5, 3, 1]
    second.refresh()
    assert (by_subject(second), roots(second)) == ([5, 3, 1], [1, 3, 5])
    third = inbox(filled)
    assert (by_subject(third), roots(third)) == ([5, 3, 1], [1, 3, 5])


def test_keys_of_another_mailbox_are_not_believed(filled: Home) -> None:
    store = filled.store()
    store.create(b"Other")
    by_subject(inbox(filled))
    filled.close()
    other = filled.root / ".Other"
    for number, subject in enumerate(reversed(SUBJECTS), 1):
        (other / "cur" / f"{number}.{number}.h:2,").write_bytes(b"Subject: %s\n\n" % subject)
    path = filled.root / (keyfile.NAME + "subject")
    (other / path.name).write_bytes(path.read_bytes())
    mailbox = filled.store().open(b"Other", writable=True)
    mailbox.refresh()
    assert by_subject(mailbox) == [3, 1, 2, 4]


def test_a_mailbox_without_index_keeps_none(filled: Home) -> None:
    mailbox = filled.store(mail_location="maildir:~/Maildir:INDEX=MEMORY").open(b"INBOX", writable=True)
    mailbox.refresh()
    assert by_subject(mailbox) == [2, 4, 3, 1]
    assert not list(filled.root.glob(keyfile.NAME + "*"))


def test_who_may_not_cache_dates_keeps_no_keys(filled: Home) -> None:
    mailbox = filled.store(mail_never_cache_fields=("date.sent",)).open(b"INBOX", writable=True)
    mailbox.refresh()
    assert by_subject(mailbox) == [2, 4, 3, 1]
    assert not list(filled.root.glob(keyfile.NAME + "*"))


def test_answers_that_are_to_be_forgotten_are_taken_from_headers_again(filled: Home) -> None:
    mailbox = inbox(filled)
    by_subject(mailbox)
    assert list(filled.root.glob(keyfile.NAME + "*"))
    mailbox.forget_answers(array("I", [1]))
    assert not list(filled.root.glob(keyfile.NAME + "*"))
