"""The counting rules of the master, as tables."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.ipc.control import Refusal
from dovecotpy.master.backoff import Backoff
from dovecotpy.master.clockwatch import ClockWatch
from dovecotpy.master.logins import LoginCounts, LoginLimits, LoginOrders, LoginRule
from dovecotpy.master.reports import Reports
from dovecotpy.master.slots import Limits, Session, Slots
from dovecotpy.master.spares import SpareRule

SINGLE = LoginLimits(per_connection=True, minimum=3, maximum=128)
SHARED = LoginLimits(per_connection=False, minimum=3, maximum=8)


@pytest.mark.parametrize(
    ("limits", "wanted", "processes", "listening", "orders", "wanted_after"),
    [
        # the first second
        (SINGLE, 0, 0, 0, LoginOrders(fork=3), 3),
        (SHARED, 0, 0, 0, LoginOrders(fork=3), 3),
        # all is well
        (SINGLE, 3, 3, 3, LoginOrders(), 3),
        (SINGLE, 3, 9, 3, LoginOrders(), 3),
        # nobody listens: twice as many
        (SINGLE, 3, 3, 0, LoginOrders(fork=6), 6),
        (SINGLE, 6, 20, 0, LoginOrders(fork=12), 12),
        (SINGLE, 64, 100, 0, LoginOrders(fork=28), 128),
        (SINGLE, 128, 100, 0, LoginOrders(fork=28), 128),
        # enough listen: one less
        (SINGLE, 12, 30, 12, LoginOrders(), 11),
        (SINGLE, 12, 30, 9, LoginOrders(fork=2), 11),
        # all are there and none listens: the oldest gives way
        (SINGLE, 128, 128, 0, LoginOrders(drop_oldest=True), 128),
        (SINGLE, 128, 128, 1, LoginOrders(), 127),
        # shared processes, all full: they listen although they are
        (SHARED, 8, 8, 0, LoginOrders(listen_again=True), 8),
        (SHARED, 3, 3, 0, LoginOrders(fork=5), 6),
        (SHARED, 8, 8, 1, LoginOrders(), 7),
    ],
)
def test_login_rule(
    limits: LoginLimits,
    wanted: int,
    processes: int,
    listening: int,
    orders: LoginOrders,
    wanted_after: int,
) -> None:
    rule = LoginRule(limits)
    rule.wanted = wanted
    assert rule.tick(LoginCounts(processes, listening)) == orders
    assert rule.wanted == wanted_after


def test_an_abnormal_end_stops_forking_until_the_next_tick() -> None:
    rule = LoginRule(SINGLE)
    rule.tick(LoginCounts(0, 0))
    rule.abnormal_end()
    assert rule.refill(LoginCounts(0, 0)) == LoginOrders()
    assert rule.tick(LoginCounts(0, 0)).fork == 3


def test_running_out_between_two_ticks_counts_as_nobody_listening() -> None:
    rule = LoginRule(SINGLE)
    rule.tick(LoginCounts(0, 0))
    rule.ran_out()
    assert rule.refill(LoginCounts(3, 0)).fork == 3
    assert rule.tick(LoginCounts(6, 3)).fork == 3
    assert rule.wanted == 6
    rule.tick(LoginCounts(9, 6))
    assert rule.wanted == 5


@given(
    st.booleans(),
    st.integers(1, 40),
    st.integers(1, 60),
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=30),
)
def test_never_more_login_processes_than_the_maximum(
    single: bool, minimum: int, maximum: int, seconds: list[tuple[int, int]]
) -> None:
    rule = LoginRule(LoginLimits(single, minimum, maximum))
    for processes, listening in seconds:
        processes = min(processes, maximum)
        counts = LoginCounts(processes, min(listening, processes))
        for orders in (rule.tick(counts), rule.refill(counts)):
            assert 0 <= orders.fork <= maximum - processes
        assert rule.wanted <= max(minimum, maximum)


def test_spares_double_while_they_run_out_and_shrink_by_one() -> None:
    rule = SpareRule(3, 100)
    targets = []
    for ran_out in (False, True, True, True, False, False):
        if ran_out:
            rule.ran_out()
        rule.wanted(0, 50)
        rule.tick()
        targets.append(rule.target)
    assert targets == [3, 6, 12, 24, 23, 22]


@pytest.mark.parametrize(
    ("spares", "sessions", "wanted"),
    [
        (0, 0, 3),
        (3, 0, 0),
        (2, 5, 1),
        (0, 8, 3),
        (0, 9, 2),
        (0, 10, 1),
        (1, 10, 0),
        (0, 25, 1),
        (5, 0, 0),
    ],
)
def test_one_spare_beyond_the_limit_waits_to_refuse(spares: int, sessions: int, wanted: int) -> None:
    assert SpareRule(3, 10).wanted(spares, sessions) == wanted


def test_a_target_never_passes_the_maximum() -> None:
    rule = SpareRule(3, 10)
    for _ in range(5):
        rule.ran_out()
        rule.wanted(0, 50)
        rule.tick()
    assert rule.target == 10


def test_a_target_does_not_pass_the_sessions_of_its_second() -> None:
    rule = SpareRule(3, 100)
    for sessions, target in ((16, 6), (16, 12), (16, 16), (16, 16), (40, 32), (2, 32)):
        rule.ran_out()
        rule.wanted(0, sessions)
        rule.tick()
        assert rule.target == target


def test_slots_are_counted_by_process_and_by_user_and_address() -> None:
    slots = Slots()
    limits = Limits(processes=4, connections=2)
    joe = Session("imap", "joe", "192.0.2.1")
    slots.take("a", joe)
    assert slots.refusal(joe, limits) is None
    slots.take("b", joe)
    assert slots.refusal(joe, limits) is Refusal.TOO_MANY_CONNECTIONS
    for other in (("pop3", "joe", "192.0.2.1"), ("imap", "jane", "192.0.2.1"), ("imap", "joe", "192.0.2.2")):
        assert slots.refusal(Session(*other), limits) is None
    assert slots.refusal(joe, limits._replace(connections=0)) is None
    slots.take("c", Session("imap", "jane", "::1"))
    slots.take("d", Session("imap", "jim", "::1"))
    assert slots.refusal(Session("imap", "new", "::1"), limits) is Refusal.TOO_MANY_PROCESSES
    assert slots.free("a")
    assert not slots.free("a")
    assert slots.refusal(joe, limits) is None
    assert slots.count(joe) == 1


def test_an_owner_has_one_slot() -> None:
    slots = Slots()
    joe, jane = Session("imap", "joe", "::1"), Session("imap", "jane", "::1")
    slots.take("a", joe)
    slots.take("a", jane)
    assert (len(slots), slots.count(joe), slots.count(jane)) == (1, 0, 1)
    assert slots.holds("a")
    assert not slots.holds("b")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.sampled_from("xyz")), max_size=60))
def test_slots_agree_with_a_plain_list(steps: list[tuple[bool, int, str]]) -> None:
    slots = Slots()
    model: dict[int, Session] = {}
    for take, owner, user in steps:
        if take:
            model[owner] = Session("imap", user, "::1")
            slots.take(owner, model[owner])
        else:
            assert slots.free(owner) is (model.pop(owner, None) is not None)
        assert len(slots) == len(model)
        for name in "xyz":
            session = Session("imap", name, "::1")
            assert slots.count(session) == sum(held == session for held in model.values())


def test_delays_grow_to_a_minute_and_the_first_failure_is_said() -> None:
    backoff = Backoff()
    now, waits, said = 100.0, [], []
    for _ in range(9):
        said.append(backoff.failed(now))
        wait = 0.0
        while not backoff.may_try(now + wait):
            wait += 0.5
        waits.append(wait)
        now += wait
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert said == [True] + [False] * 8
    assert backoff.succeeded()
    assert not backoff.succeeded()
    assert backoff.may_try(now)


@pytest.mark.parametrize(
    ("jump", "text"),
    [
        (0.0, ""),
        (0.4, ""),
        (-0.6, ""),
        (-3600.0, "Time just moved backwards by 3600 seconds."),
        (3600.0, "Time just moved forwards by 3600 seconds."),
        (-1.6, "Time just moved backwards by 2 seconds."),
    ],
)
def test_a_jump_of_the_wall_clock_is_one_line(jump: float, text: str) -> None:
    watch = ClockWatch(1_000_000.0, 50.0)
    assert watch.look(1_000_001.0, 51.0) == ""
    assert watch.look(1_000_002.0 + jump, 52.0) == text
    assert watch.look(1_000_003.0 + jump, 53.0) == ""


def test_a_limit_is_said_once_a_minute() -> None:
    reports = Reports()
    assert reports.due("a", 0.0)
    assert not reports.due("a", 59.0)
    assert reports.due("b", 59.0)
    assert reports.due("a", 60.0)
