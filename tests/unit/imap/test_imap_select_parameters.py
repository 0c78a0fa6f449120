"""What SELECT (QRESYNC …) works out of what a client knows (RFC 7162 section 3.2.5)."""

from __future__ import annotations

from array import array

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import QRESYNC, vanished_lines
from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.select_parameters import matched_uid, parse_parameters
from dovecotpy.imap.view import View, gaps
from dovecotpy.imap.wire import sequence
from dovecotpy.imap.wire.tokens import Atom
from tests.protocol.imap_model import Box, ModelMailbox, ModelStore
from tests.protocol.imap_transcript import Client, settings

known_sets = st.sets(st.integers(1, 60), max_size=40)


def view_of(uids: set[int]) -> View:
    box = Box(1)
    for _ in range(60):
        box.add(b"x")
    for uid in set(range(1, 61)) - uids:
        box.remove(uid)
    return View(ModelMailbox(b"INBOX", box, True), writable=True)  # type: ignore[arg-type]


@given(known=known_sets, data=st.data())
def test_the_largest_uid_up_to_which_nothing_vanished(known: set[int], data: st.DataObject) -> None:
    """Whatever sample a client gives: up to the UID that is found, it knows exactly what is there."""
    there = data.draw(st.sets(st.sampled_from(sorted(known)))) if known else set()
    pairs = [pair for pair in enumerate(sorted(known), 1) if data.draw(st.booleans())]
    numbers = sequence.ranges_of([number for number, _ in pairs])
    uids = sequence.ranges_of([uid for _, uid in pairs])
    found = matched_uid(view_of(there), (numbers, uids))
    assert {uid for uid in known if uid <= found} == {uid for uid in there if uid <= found}
    true = [uid for number, uid in pairs if sorted(there)[number - 1 : number] == [uid]]
    assert found == max(true, default=0)


def test_a_sample_of_four_thousand_million_numbers_is_no_work() -> None:
    everything = [(1, 0xFFFFFFFF)]
    assert matched_uid(view_of({1, 2, 4}), (everything, everything)) == 2


@given(uids=known_sets, low=st.integers(1, 60), count=st.integers(0, 60))
def test_gaps(uids: set[int], low: int, count: int) -> None:
    missing = [uid for uid in range(low, low + count + 1) if uid not in uids]
    assert gaps(array("I", sorted(uids)), low, low + count) == sequence.ranges_of(missing)


@given(left=known_sets, right=known_sets)
def test_common(left: set[int], right: set[int]) -> None:
    both = sequence.common(sequence.ranges_of(sorted(left)), sequence.ranges_of(sorted(right)))
    assert [uid for low, high in both for uid in range(low, high + 1)] == sorted(left & right)


def test_a_long_vanished_is_several_lines() -> None:
    """No line of more than about 8,000 octets (RFC 7162 section 4)."""
    lines = vanished_lines([(uid, uid) for uid in range(4_000_000_000, 4_000_002_000, 2)]).split(b"\r\n")
    assert max(map(len, lines)) < 8_192
    assert len(lines) == 4


@pytest.mark.parametrize("text", [b"QRESYNC", b"(", b"CONDSTORE"])
def test_what_is_no_list(text: bytes) -> None:
    session = Client(ModelStore(), settings()).session
    session.dialect.enable(QRESYNC)
    with pytest.raises(Mistaken):
        parse_parameters(session, Arguments(b"SELECT", [Atom(text)]))
