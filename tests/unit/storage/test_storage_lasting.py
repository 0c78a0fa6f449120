"""No change hides behind one of a session that ended just before it."""

from __future__ import annotations

import pytest

from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import Mailbox, Operation
from tests.unit.storage.storage_kit import Home, state, uids

NONE: frozenset[str] = frozenset()


@pytest.fixture
def home(home: Home) -> Home:
    for number in range(3):
        home.deliver(f"{number}.a.h:2,", folder="cur")
    return home


def flag_and_leave(inbox: Mailbox) -> None:
    uids(inbox)
    inbox.store([2], Operation.ADD, flags.FLAGGED, NONE)
    inbox.close()


@pytest.mark.parametrize("folder", ["new", "cur"])
def test_what_comes_at_once_behind_it_is_seen(home: Home, folder: str) -> None:
    for number in range(20):
        flag_and_leave(home.inbox())
        home.deliver(f"9{number}.a.h" + ("" if folder == "new" else ":2,"), folder=folder)
        assert len(uids(home.inbox())) == 4 + number


def test_an_open_session_goes_on(home: Home) -> None:
    other = home.inbox()
    uids(other)
    flag_and_leave(home.inbox())
    assert state(other)[2] == (flags.FLAGGED, NONE)
    home.deliver("9.a.h:2,S", folder="cur")
    assert uids(other) == [1, 2, 3, 4]
