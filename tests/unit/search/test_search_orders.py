"""Kept orders and threads: whatever came, went or was damaged meanwhile, the answer is that of a look at every header."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dovecotpy.message.header import Header, parse_header
from dovecotpy.search import arrange, memory, orders, packed
from dovecotpy.search.arrange import Threads, sort_messages, thread_messages
from dovecotpy.search.evaluate import Found
from dovecotpy.search.memory import Memory
from dovecotpy.search.sort import FROM_HEADER, Criterion, Key
from dovecotpy.search.thread import Algorithm
from tests.unit.search.test_search_packed import Shelf
from tests.unit.search.test_search_sort import Columns

USUAL = [
    (Criterion(Key.DATE),),
    (Criterion(Key.SUBJECT, True),),
    (Criterion(Key.SUBJECT), Criterion(Key.DATE, True)),
    (Criterion(Key.FROM), Criterion(Key.SIZE)),
]
KEYS = st.sampled_from(sorted(set(Key) - {Key.RELEVANCY}, key=str))
PROGRAMS = st.lists(st.builds(Criterion, KEYS, st.booleans()), min_size=1, max_size=3)
SUBJECTS = st.sampled_from([b"", b"a", b"Re: a", b"B", b"b", b"c"])
DAYS = st.sampled_from([None, 1, 2, 3])
NAMES = st.sampled_from([b"", b"x@h", b"Y <x@h>", b"z@h"])


class Box:
    """A mailbox in memory."""

    def __init__(self) -> None:
        self.data: dict[int, tuple[bytes, int, int]] = {}
        """header, INTERNALDATE, size, by UID"""
        self.next = 1
        self.read: list[int] = []

    def deliver(self, subject: bytes, day: int | None, name: bytes, parent: int, date: int) -> None:
        lines = [b"Message-ID: <%d@h>" % self.next, b"Subject: " + subject, b"From: " + name, b"Cc: " + name]
        if day is not None:
            lines.append(b"Date: %d Jan 1970 00:00:00 +0000" % day)
        if parent:
            lines.append(b"References: <%d@h>" % parent)
        self.data[self.next] = b"\r\n".join([*lines, b"", b""]), date, date * 7 % 5
        self.next += 1

    def columns(self) -> Columns:
        uids = sorted(self.data)
        nothing = array("B", bytes(len(uids)))
        sizes = array("q", [self.data[uid][2] for uid in uids])
        dates = array("q", [self.data[uid][1] for uid in uids])
        return Columns(array("I", uids), nothing, nothing, nothing, sizes, dates, (frozenset(),))

    def headers(self, uids: Sequence[int]) -> list[Header | None]:
        self.read += uids
        return [parse_header(self.data[uid][0]) for uid in uids]

    def size(self, uid: int) -> int | None:
        return self.data[uid][2]


def ordered(box: Box, remembered: Memory, program: Sequence[Criterion], uids: Sequence[int]) -> list[int]:
    *_, last = sort_messages(tuple(program), box.columns(), box, remembered, uids, lambda: 0.0)
    assert isinstance(last, Found)
    return list(last.uids)


def naively(box: Box, program: Sequence[Criterion], uids: Sequence[int]) -> list[int]:
    """The same by a plain sort of every key."""
    result = list(uids)
    for key, reverse in reversed(program):
        values: dict[int, object] = {}
        for uid in uids:
            header, date, size = box.data[uid]
            if key in FROM_HEADER:
                values[uid] = FROM_HEADER[key](parse_header(header))
                if values[uid] == arrange.UNKNOWN:
                    values[uid] = date
            else:
                values[uid] = size if key is Key.SIZE else date
        result.sort(key=values.__getitem__, reverse=reverse)  # type: ignore[arg-type]
    return result


def threaded(box: Box, remembered: Memory, algorithm: Algorithm, uids: Sequence[int]) -> Threads:
    *_, last = thread_messages(algorithm, box.columns(), box, remembered, uids, lambda: 0.0)
    assert isinstance(last, Threads)
    return last


class Mailboxes(RuleBasedStateMachine):
    """Three sessions, two of which share a shelf; messages come, go and come back, dates change, the shelf is damaged."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(memory, "PART", 2)
        self.patch.setattr(packed, "FEW_IDS", 3)

    def teardown(self) -> None:
        self.patch.undo()

    @initialize(count=st.integers(0, 5), apart=st.booleans())
    def begin(self, count: int, *, apart: bool) -> None:
        """apart: whether every message is a thread of its own, and tells when it was sent."""
        self.box = Box()
        self.shelf = Shelf()
        self.sessions = [Memory(self.shelf), Memory(self.shelf), Memory()]
        self.removed: dict[int, tuple[bytes, int, int]] = {}
        for number in range(count):
            self.box.deliver(b"a", 1 if apart else None, b"x@h", 0 if apart else number, number)

    @rule(subject=SUBJECTS, day=DAYS, name=NAMES, back=st.integers(0, 3), date=st.integers(0, 400_000))
    def deliver(self, subject: bytes, day: int | None, name: bytes, back: int, date: int) -> None:
        self.box.deliver(subject, day, name, max(self.box.next - back, 0) if back else 0, date)

    @rule(data=st.data())
    def expunge(self, data: st.DataObject) -> None:
        if self.box.data:
            uid = data.draw(st.sampled_from(sorted(self.box.data)))
            self.removed[uid] = self.box.data.pop(uid)
            for session in self.sessions:
                session.forget(uid)

    @rule()
    def come_back(self) -> None:
        self.box.data.update(self.removed)
        self.removed.clear()

    @rule(data=st.data(), date=st.integers(0, 400_000))
    def touch(self, data: st.DataObject, date: int) -> None:
        if self.box.data:
            uid = data.draw(st.sampled_from(sorted(self.box.data)))
            header, _, size = self.box.data[uid]
            self.box.data[uid] = header, date, size

    @rule()
    def arrive_the_other_way_round(self) -> None:
        every = sorted(self.box.data)
        for algorithm in Algorithm:
            threaded(self.box, self.sessions[0], algorithm, every)
        dates = [date for _, date, _ in self.box.data.values()]
        for uid, date in zip(list(self.box.data), reversed(dates), strict=True):
            header, _, size = self.box.data[uid]
            self.box.data[uid] = header, date, size
        for algorithm in Algorithm:
            fresh = threaded(self.box, Memory(), algorithm, every)
            assert threaded(self.box, self.sessions[0], algorithm, every) == fresh

    @rule(who=st.integers(0, 1))
    def reconnect(self, who: int) -> None:
        self.sessions[who] = Memory(self.shelf)

    @rule(data=st.data(), cut=st.integers(0, 300))
    def damage(self, data: st.DataObject, cut: int) -> None:
        if self.shelf.kept:
            kind = data.draw(st.sampled_from(sorted(self.shelf.kept)))
            self.shelf.kept[kind] = self.shelf.kept[kind][:cut]

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        if self.shelf.kept:
            del self.shelf.kept[data.draw(st.sampled_from(sorted(self.shelf.kept)))]

    @rule(who=st.integers(0, 2), program=PROGRAMS, part=st.one_of(st.none(), st.integers(0, 1 << 20)))
    def sort(self, who: int, program: list[Criterion], part: int | None) -> None:
        uids = [uid for uid in sorted(self.box.data) if part is None or part >> uid % 20 & 1]
        assert ordered(self.box, self.sessions[who], program, uids) == naively(self.box, program, uids)

    @rule(who=st.integers(0, 2), algorithm=st.sampled_from(list(Algorithm)), whole=st.booleans())
    def thread(self, who: int, algorithm: Algorithm, whole: bool) -> None:
        uids = sorted(self.box.data)[: None if whole else 3]
        fresh = threaded(self.box, Memory(), algorithm, uids)
        assert threaded(self.box, self.sessions[who], algorithm, uids) == fresh

    @rule(who=st.integers(0, 2))
    def look(self, who: int) -> None:
        every = sorted(self.box.data)
        for program in USUAL:
            assert ordered(self.box, self.sessions[who], program, every) == naively(self.box, program, every)
        for algorithm in Algorithm:
            fresh = threaded(self.box, Memory(), algorithm, every)
            assert threaded(self.box, self.sessions[who], algorithm, every) == fresh

    @invariant()
    def nothing_lasts_that_is_not_bounded(self) -> None:
        assert len(self.shelf.kept) <= 7 + 1 + 7 + 3


TestMailboxes = Mailboxes.TestCase
TestMailboxes.settings = settings(max_examples=150, stateful_step_count=25, deadline=None)


def filled(count: int) -> Box:
    box = Box()
    for number in range(count):
        box.deliver(b"%d" % (number * 7919 % 1000), number % 28 + 1, b"x@h", number // 2, number)
    return box


def test_another_session_needs_no_header_and_no_key() -> None:
    box, shelf = filled(300), Shelf()
    program = (Criterion(Key.SUBJECT, True),)
    every = list(box.data)
    answers = (
        ordered(box, Memory(shelf), program, every),
        threaded(box, Memory(shelf), Algorithm.REFERENCES, every),
    )
    del shelf.kept["subject"], shelf.kept["links"]
    box.read.clear()
    again = Memory(shelf)
    assert ordered(box, again, program, every) == answers[0]
    assert threaded(box, again, Algorithm.REFERENCES, every) == answers[1]
    assert box.read == []


def test_a_few_messages_more_or_less_are_taken_in() -> None:
    box, shelf = filled(300), Shelf()
    program = (Criterion(Key.SUBJECT),)
    ordered(box, Memory(shelf), program, list(box.data))
    box.read.clear()
    saved = shelf.saved
    del box.data[17]
    box.deliver(b"17", 1, b"x@h", 0, 1)
    every = list(box.data)
    remembered = Memory(shelf)
    assert ordered(box, remembered, program, every) == naively(box, program, every)
    assert box.read == [301], "the header of the new one alone"
    assert shelf.saved == saved, "two changes are not worth writing"
    for _ in range(6):
        box.deliver(b"18", 1, b"x@h", 0, 1)
        every = list(box.data)
        assert ordered(box, remembered, program, every) == naively(box, program, every)
    assert shelf.saved > saved


@pytest.mark.parametrize("connects_again", [True, False])
def test_refs_look_at_internaldate_where_there_is_a_date(*, connects_again: bool) -> None:
    box, shelf = Box(), Shelf()
    for arrival in (1, 2, 3):
        box.deliver(b"a", 1, b"x@h", 0, arrival)
    remembered = Memory(shelf)
    assert threaded(box, remembered, Algorithm.REFS, [1, 2, 3]).rendered == b"(1)(2)(3)"
    header, _, size = box.data[1]
    box.data[1] = header, 4, size
    remembered = Memory(shelf) if connects_again else remembered
    assert threaded(box, remembered, Algorithm.REFS, [1, 2, 3]).rendered == b"(2)(3)(1)"


def test_references_do_not_look_at_internaldate_where_there_is_a_date() -> None:
    box, remembered = Box(), Memory(Shelf())
    for subject in (b"a", b"b"):
        box.deliver(subject, 1, b"x@h", 0, 1)
    assert threaded(box, remembered, Algorithm.REFERENCES, [1, 2]).rendered == b"(1)(2)"
    header, _, size = box.data[1]
    box.data[1] = header, 4, size
    box.read.clear()
    assert threaded(box, remembered, Algorithm.REFERENCES, [1, 2]).rendered == b"(1)(2)"
    assert box.read == []


def test_a_few_messages_of_a_large_mailbox_do_not_have_all_read() -> None:
    box, shelf = filled(300), Shelf()
    assert ordered(box, Memory(shelf), (Criterion(Key.SUBJECT),), [5, 6, 7])
    assert box.read == [5, 6, 7]
    assert "order-subject" not in shelf.kept


def test_orders_in_memory_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "MAX_ORDERED", 500)
    box = filled(300)
    remembered = Memory()
    for key in FROM_HEADER:
        ordered(box, remembered, (Criterion(key),), list(box.data))
        assert sum(remembered.order(each) is not None for each in FROM_HEADER) == 1


def test_keys_that_the_shelf_has_take_no_memory() -> None:
    box, shelf = filled(300), Shelf()
    remembered = Memory(shelf)
    ordered(box, remembered, (Criterion(Key.SUBJECT),), list(box.data))
    threaded(box, remembered, Algorithm.REFS, list(box.data))
    assert not remembered._known


def test_links_that_are_too_many_to_be_packed_are_threaded_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    box = filled(50)
    every = list(box.data)
    expected = threaded(box, Memory(), Algorithm.REFERENCES, every)

    def overflow(keys: object) -> None:
        raise OverflowError

    monkeypatch.setattr(packed.LinkColumns, "of", overflow)
    monkeypatch.setattr(memory, "PART", 7)
    shelf = Shelf()
    assert threaded(box, Memory(shelf), Algorithm.REFERENCES, every) == expected
    assert list(shelf.kept) == ["thread-references"]


ORDERS = st.lists(st.integers(0, 3), max_size=6)


def made(values: list[int]) -> orders.Order:
    uids = array("I", range(10, 10 + len(values)))
    steps = orders.make(uids, values, orders.Dated(uids[:2], 99))
    while True:
        try:
            next(steps)
        except StopIteration as done:
            order: orders.Order = done.value
            return order


@given(ORDERS)
def test_an_order_comes_back(values: list[int]) -> None:
    order = made(values)
    assert orders.unpack(orders.pack(order)) == order
    by_rank = orders.ranks(order)
    assert [x < y for x in by_rank for y in by_rank] == [x < y for x in values for y in values]
    assert list(orders.backwards(order)) == sorted(range(len(values)), key=values.__getitem__, reverse=True)


@given(ORDERS, st.integers(0), st.binary(max_size=4))
def test_damaged_octets_are_unusable_or_say_something_else(values: list[int], at: int, change: bytes) -> None:
    order = made(values)
    rendered = b"".join(b"(%d)" % (place + 1) for place in order.places)
    whole = orders.pack(order), orders.pack_threads(orders.Threaded(order.uids, order.dated, rendered))
    for octets, unpack in zip(whole, (orders.unpack, orders.unpack_threads), strict=True):
        cut = at % (len(octets) + 1)
        for damaged in (octets[:cut], octets[:cut] + change + octets[cut + len(change) :], change + octets):
            try:
                found = unpack(damaged)
            except packed.Unusable:
                continue
            assert isinstance(found, orders.Order | orders.Threaded)
            if isinstance(found, orders.Order):
                orders.backwards(found), orders.ranks(found)
            else:
                b"".join(orders.renumbered(found.rendered, range(len(found.uids))))


@given(st.lists(st.integers(1, 40), min_size=1, max_size=40), st.integers(1, 30))
def test_threads_are_numbered_anew_in_pieces(places: list[int], step: int) -> None:
    rendered = b"".join(b"(%d %d)" % (place, 40) for place in places)
    numbers = [place * 1001 for place in range(1, 41)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(orders, "MAX_STEP", step)
        found = b"".join(orders.renumbered(rendered, numbers))
    assert found == b"".join(b"(%d %d)" % (place * 1001, 40_040) for place in places)
