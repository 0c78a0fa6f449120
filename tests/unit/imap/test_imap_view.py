"""A session's view of its mailbox: slices that sets name, and what is told when."""

from __future__ import annotations

import pytest

from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.view import View, with_flag
from dovecotpy.imap.wire.sequence import parse_set
from dovecotpy.storage import flags
from tests.protocol.imap_model import Box, ModelMailbox


def view_of(count: int, *, writable: bool = True) -> tuple[View, Box]:
    """A view of a mailbox with UIDs 2, 4, 6 and so on."""
    box = Box(7)
    for _ in range(count):
        box.uidnext += 1
        box.add(b"x\n")
    return View(ModelMailbox(b"INBOX", box, writable), writable=writable), box  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "by_uid", "uids"),
    [
        (b"1", False, [2]),
        (b"2:3,1", False, [2, 4, 6]),
        (b"*", False, [10]),
        (b"*:4", False, [8, 10]),
        (b"1:5", True, [2, 4]),
        (b"3:3,5", True, []),
        (b"99:*", True, [10]),
        (b"*", True, [10]),
        (b"4294967295", True, []),
    ],
)
def test_sets(text: bytes, by_uid: bool, uids: list[int]) -> None:
    view, _ = view_of(5)
    assert list(view.uids_of(view.spans(parse_set(text), by_uid=by_uid))) == uids


@pytest.mark.parametrize("text", [b"6", b"1:6", b"6:*"])
def test_numbers_beyond_the_last(text: bytes) -> None:
    view, _ = view_of(5)
    with pytest.raises(Mistaken, match="Invalid messageset"):
        view.spans(parse_set(text), by_uid=False)


def test_expunges_wait_until_they_may_be_told() -> None:
    view, box = view_of(4)
    box.remove(4)
    assert b"".join(view.updates(expunges=False, arrivals=True)) == b""
    assert list(view.uids) == [2, 4, 6, 8]
    assert not view.aligned
    assert view.ghost(4) is not None
    assert b"".join(view.updates(expunges=True, arrivals=True)) == b"* 2 EXPUNGE\r\n"
    assert list(view.uids) == [2, 6, 8]
    assert view.aligned
    assert view.ghost(4) is None


def test_expunges_are_told_from_the_last_to_the_first() -> None:
    view, box = view_of(5)
    for uid in (2, 8, 10):
        box.remove(uid)
    said = b"".join(view.updates(expunges=True, arrivals=True))
    assert said == b"* 5 EXPUNGE\r\n* 4 EXPUNGE\r\n* 1 EXPUNGE\r\n"


def test_a_message_that_came_and_went_is_never_told() -> None:
    view, box = view_of(1)
    box.remove(box.add(b"x\n"))
    assert b"".join(view.updates(expunges=True, arrivals=True)) == b""


def test_a_message_that_comes_back_before_it_was_told_gone() -> None:
    view, box = view_of(2)
    message = box.messages[4]
    box.remove(4)
    assert b"".join(view.updates(expunges=False, arrivals=True)) == b""
    box.messages[4] = message
    box.touch(message)
    said = b"".join(view.updates(expunges=True, arrivals=True))
    assert b"EXPUNGE" not in said
    assert view.aligned


def test_arrivals_can_wait() -> None:
    view, box = view_of(1)
    box.add(b"x\n", keywords=["new"])
    assert b"EXISTS" not in b"".join(view.updates(expunges=True, arrivals=False))
    assert b"".join(view.updates(expunges=True, arrivals=True)) == b"* 2 EXISTS\r\n* 2 RECENT\r\n"


def test_a_log_that_does_not_reach_back(monkeypatch: pytest.MonkeyPatch) -> None:
    view, box = view_of(4)
    box.remove(6)
    box.messages[2].flags = flags.SEEN
    box.touch(box.messages[2])
    changes = ModelMailbox.changes
    monkeypatch.setattr(
        ModelMailbox,
        "changes",
        lambda self, since: changes(self, since)._replace(vanished=[], complete=False),
    )
    said = b"".join(view.updates(expunges=True, arrivals=True))
    assert said == b"* 3 EXPUNGE\r\n* 1 FETCH (FLAGS (\\Seen \\Recent))\r\n"


def test_what_was_told_is_not_told_again() -> None:
    view, box = view_of(2)
    for uid in (2, 4):
        box.messages[uid].flags = flags.SEEN
        box.touch(box.messages[uid])
    view.look()
    view.told([2])
    said = b"".join(view.updates(expunges=True, arrivals=True, by_uid=True))
    assert said == b"* 2 FETCH (UID 4 FLAGS (\\Seen \\Recent))\r\n"
    box.messages[2].flags = 0
    box.touch(box.messages[2])
    assert b"".join(view.updates(expunges=True, arrivals=True)) == b"* 1 FETCH (FLAGS (\\Recent))\r\n"


def test_places_by_flag() -> None:
    view, box = view_of(3)
    box.messages[4].flags = flags.SEEN | flags.DELETED
    box.touch(box.messages[4])
    view.look()
    assert with_flag(view.columns, flags.SEEN) == [1]
    assert with_flag(view.columns, flags.SEEN, absent=True) == [0, 2]
    assert with_flag(view.columns, flags.DRAFT) == []


def test_flags_of_many_are_told_under_the_numbers_that_the_client_knows() -> None:
    view, box = view_of(6)
    box.messages[4].flags = flags.SEEN
    box.messages[8].flags = flags.SEEN | flags.FLAGGED
    del box.messages[6]
    box.modseq += 1
    view.columns = view.mailbox.columns()
    view.aligned = False
    view.recent = {8}
    told = view.flags_lines([2, 4, 6, 8], by_uid=False)
    assert told == (
        b"* 1 FETCH (FLAGS ())\r\n"
        b"* 2 FETCH (FLAGS (\\Seen))\r\n"
        b"* 4 FETCH (FLAGS (\\Flagged \\Seen \\Recent))\r\n"
    )
    assert view.flags_lines([4], by_uid=True) == b"* 2 FETCH (UID 4 FLAGS (\\Seen))\r\n"
    assert view.flags_lines([], by_uid=True) == b""
