"""How many clients a login process takes: the reference's table as tests, and a model beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.ipc.control import LoginState
from dovecotpy.login.occupancy import Occupancy, Report


def shared(maximum: int) -> Occupancy:
    return Occupancy(maximum, single=False)


def test_the_first_report_says_that_it_listens() -> None:
    counts = shared(4)
    assert counts.report() == Report(LoginState.LISTENING, 0, 0)
    assert counts.report() is None


@pytest.mark.parametrize(
    ("maximum", "tls", "taken"),
    [
        (1, False, 1),
        (2, False, 1),
        (3, False, 2),
        (4, False, 3),
        (256, False, 255),
        (4, True, 2),
        (6, True, 3),
        (256, True, 128),
    ],
)
def test_it_stops_listening_before_it_is_full(maximum: int, tls: bool, taken: int) -> None:
    """A place is kept for TLS: listening ends when count + new + 1 reaches the maximum; TLS counts twice before login."""
    counts = shared(maximum)
    clients = 0
    while counts.listening:
        assert counts.victims() == 0
        counts.accepted(tls=tls)
        clients += 1
    assert clients == taken
    assert counts.report() == Report(LoginState.FULL_PRELOGINS, clients, 0)


def test_it_listens_again_when_somebody_leaves() -> None:
    counts = shared(3)
    counts.accepted(tls=False)
    counts.accepted(tls=False)
    assert not counts.listening
    counts.logged_in(tls=False)
    assert counts.listening and counts.clients == 1


def test_proxies_fill_it() -> None:
    counts = shared(2)
    for _ in range(2):
        counts.listen_although_full()
        counts.accepted(tls=True)
        counts.logged_in(tls=True)
    assert not counts.listening
    assert counts.report() == Report(LoginState.FULL_LOGINS, 0, 2)
    counts.listen_although_full()
    counts.accepted(tls=False)
    counts.ended(tls=False)
    assert counts.report() is None and not counts.listening
    counts.proxy_ended()
    assert counts.listening


def test_starttls_counts_once_more() -> None:
    counts = shared(10)
    counts.accepted(tls=False)
    assert counts.weight == 1
    counts.secured()
    assert counts.weight == 2
    counts.logged_in(tls=True)
    assert (counts.weight, counts.clients, counts.tls) == (1, 1, 1)


@pytest.mark.parametrize(("maximum", "expected"), [(1, 0), (2, 1), (32, 1), (33, 16), (256, 16)])
def test_the_oldest_give_way(maximum: int, expected: int) -> None:
    counts = shared(maximum)
    for _ in range(maximum):
        counts.listen_although_full()
        counts.accepted(tls=False)
    counts.listen_although_full()
    assert counts.victims() == expected


def test_one_connection_ends_the_listening_for_good() -> None:
    counts = Occupancy(256, single=True)
    assert counts.report() == Report(LoginState.LISTENING, 0, 0)
    counts.accepted(tls=True)
    assert counts.report() == Report(LoginState.FULL_PRELOGINS, 1, 0)
    counts.listen_although_full()
    assert not counts.listening and counts.victims() == 0
    counts.logged_in(tls=True)
    assert counts.report() == Report(LoginState.FULL_LOGINS, 0, 1)
    counts.proxy_ended()
    assert counts.report() is None and not counts.listening


def test_a_closed_process_never_listens() -> None:
    counts = shared(4)
    counts.accepted(tls=False)
    counts.close()
    counts.listen_although_full()
    counts.ended(tls=False)
    assert not counts.listening


@given(
    st.integers(1, 40),
    st.booleans(),
    st.lists(
        st.sampled_from(["plain", "tls", "starttls", "login", "end", "proxy end", "listen"]), max_size=80
    ),
)
def test_counts_follow_the_clients(maximum: int, single: bool, events: list[str]) -> None:
    counts = Occupancy(maximum, single=single)
    before: list[bool] = []  # each client before login: is it TLS
    proxies = 0
    told = -1
    for event in events:
        if event in ("plain", "tls") and counts.listening:
            before.append(event == "tls")
            counts.accepted(tls=before[-1])
        elif event == "starttls" and False in before:
            before.remove(False)
            before.append(True)
            counts.secured()
        elif event == "login" and before:
            tls = before.pop()
            proxies += tls
            counts.logged_in(tls=tls)
        elif event == "end" and before:
            counts.ended(tls=before.pop())
        elif event == "proxy end" and proxies:
            proxies -= 1
            counts.proxy_ended()
        elif event == "listen":
            counts.listen_although_full()
        assert (counts.prelogin, counts.clients) == (len(before), len(before) + proxies)
        assert counts.tls == sum(before) + proxies
        report = counts.report()
        if report is not None:
            assert report.state != told
            assert not single or report.state > told
            told = report.state
        assert (told == LoginState.LISTENING) == (counts.listening and not (single and told > 0))
