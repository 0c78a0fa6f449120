"""SORT and THREAD as a session gives them: long answers, answers that are kept, limits; and what a session does while its client is quiet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dovecotpy import clock
from dovecotpy.imap import searching
from dovecotpy.imap import session as session_module
from dovecotpy.imap.commands import arranged
from dovecotpy.search import thread as thread_module
from dovecotpy.storage.flags import SEEN
from dovecotpy.storage.mailbox import Operation
from tests.protocol import imap_maildir, imap_scenarios
from tests.protocol.imap_model import ModelMailbox, ModelStore
from tests.protocol.imap_transcript import Client, settings


def client(scenario: str = "letters", **changes: object) -> Client:
    """A session with INBOX selected."""
    made = Client(imap_scenarios.fill(ModelStore(), scenario), settings(**changes))  # type: ignore[arg-type]
    assert b"a OK [READ-WRITE]" in made.send(b"a SELECT INBOX\r\n")
    return made


@pytest.mark.parametrize(
    "command",
    [
        b"SORT (ARRIVAL) UTF-8 ALL",
        b"THREAD REFS UTF-8 ALL",
        b"UID SORT (SUBJECT) UTF-8 ALL",
        b"UID THREAD ORDEREDSUBJECT UTF-8 ALL",
    ],
)
def test_a_long_answer_is_one_response(monkeypatch: pytest.MonkeyPatch, command: bytes) -> None:
    whole = client("ten").send(b"b " + command + b"\r\n").split(b"\r\n")[0]
    monkeypatch.setattr("dovecotpy.imap.commands.sort.PIECE", 3)
    monkeypatch.setattr(thread_module, "PIECE", 1)
    monkeypatch.setattr(arranged, "MAX_OCTETS", 5)
    made = client("ten")
    for _ in range(2):
        assert made.send(b"b " + command + b"\r\n").split(b"\r\n")[0] == whole
    assert made.session.selected.answers == {}


def test_answers_are_kept_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    real = ModelMailbox.sort

    def sort(self: ModelMailbox, program: Any, uids: Any, scores: Any) -> Iterator[Any]:
        asked.append(program)
        return real(self, program, uids, scores)

    monkeypatch.setattr(ModelMailbox, "sort", sort)
    made = client()
    first = made.send(b"b SORT (SUBJECT) UTF-8 ALL\r\n")
    assert made.send(b"b SORT (SUBJECT) UTF-8 ALL\r\n").split(b"\r\n")[0] == first.split(b"\r\n")[0]
    assert len(asked) == 1
    made.send(b"b SORT (SIZE) UTF-8 ALL\r\nb SORT (SIZE) UTF-8 ALL\r\n")
    assert len(asked) == 3
    monkeypatch.setattr(arranged, "MAX_KEPT", 2)
    made.send(b"b SORT (TO) UTF-8 ALL\r\nb SORT (CC) UTF-8 ALL\r\nb SORT (SUBJECT) UTF-8 ALL\r\n")
    assert len(asked) == 6
    assert len(made.session.selected.answers) == 2


def test_numbers_move_when_messages_go() -> None:
    made = client()
    assert b"* SORT 6 1 3 4 2 5\r\n" in made.send(b"b SORT (SUBJECT) UTF-8 ALL\r\n")
    assert b"* SORT 6 3 4 5\r\n" in made.send(b"b SORT (SUBJECT) UTF-8 3:6\r\n")
    made.session.selected.mailbox.store([1], Operation.ADD, 4, frozenset())
    assert b"* 1 EXPUNGE" in made.send(b"c EXPUNGE\r\n")
    assert b"* SORT 5 2 3 1 4\r\n" in made.send(b"d SORT (SUBJECT) UTF-8 ALL\r\n")
    assert b"* SORT 6 3 4 2 5\r\n" in made.send(b"d UID SORT (SUBJECT) UTF-8 ALL\r\n")


@pytest.mark.parametrize(
    "command", [b"SEARCH TEXT a", b"SORT (SUBJECT) UTF-8 ALL", b"THREAD REFERENCES UTF-8 TEXT a"]
)
def test_no_search_goes_on_for_ever(monkeypatch: pytest.MonkeyPatch, command: bytes) -> None:
    monkeypatch.setattr(searching, "MAX_WORK", -1.0)
    made = client()
    assert made.send(b"b " + command + b"\r\n") == b"b NO [LIMIT] The search takes too long.\r\n"
    monkeypatch.setattr(searching, "MAX_WORK", 10.0)
    assert b"b OK" in made.send(b"b " + command + b"\r\n")


def test_an_algorithm_that_is_disabled() -> None:
    made = client(imap_disabled_extensions=("THREAD=REFS",))
    assert b"THREAD=REFS" not in made.send(b"b CAPABILITY\r\n")
    assert made.send(b"c THREAD REFS UTF-8 ALL\r\n").startswith(b"c BAD ")
    assert b"d OK" in made.send(b"d THREAD REFERENCES UTF-8 ALL\r\n")


def test_the_text_index_grows_while_the_client_is_quiet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: time[0])
    with imap_maildir.stores(tmp_path) as make:
        made = Client(imap_scenarios.fill(make(), "letters"), settings())
        made.pull()
        made.send(b"a SELECT INBOX\r\nb SEARCH 1 BODY x\r\n")
        bodies = tmp_path / "Maildir" / "dovecotpy.text.bodies"
        size = bodies.stat().st_size
        wait = made.session.wait()
        assert wait.interval == session_module.QUIET
        made.tick()
        assert bodies.stat().st_size == size
        for _ in range(100):
            pause = made.session.wait().interval
            if pause > 60:
                break
            time[0] += pause
            made.tick()
        assert bodies.stat().st_size > size + 15_000
        assert made.heard == b""
        assert made.session.wait().interval > 60
        made.send(b"c IDLE\r\n")
        before = made.session.wait().interval
        assert before > 1
        box = make().open(b"INBOX", writable=True)
        draft = box.draft()
        draft.write(b"\r\nnew\r\n")
        box.append([imap_scenarios.Draft(draft, SEEN, frozenset(), None)])
        made.tick()
        assert b"* 7 EXISTS" in made.heard
        time[0] += session_module.QUIET
        assert made.session.wait().interval == 0.0
        size = bodies.stat().st_size
        made.tick()
        assert bodies.stat().st_size > size
        box.close()
