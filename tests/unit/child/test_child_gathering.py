"""Functions that ran get a copy of their code; nothing else changes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from dovecotpy.child.gathering import gather


def _twice(number: int, *, plus: int = 0) -> list[int]:
    """Has a function of its own inside."""
    return [each * 2 + plus for each in (number, number + 1)]


def _idle() -> int:
    return 1


def _counter() -> Callable[[], int]:
    count = 0

    def more() -> int:
        nonlocal count
        count += 1
        return count

    return more


def test_what_ran_has_new_code_and_does_the_same() -> None:
    function, before = _twice, _twice.__code__
    results: list[list[int]] = []
    gather(lambda: results.append(_twice(1)))
    assert _twice is function
    assert _twice.__code__ is not before
    assert _twice.__code__ == before
    assert [*results, _twice(3, plus=1)] == [[2, 4], [7, 9]]


def test_what_did_not_run_is_left_alone() -> None:
    before = _idle.__code__
    gather(lambda: None)
    assert _idle.__code__ is before


def test_a_closure_keeps_its_state() -> None:
    more = _counter()
    gather(lambda: [more(), _counter()])
    assert (more(), more()) == (2, 3)
    assert _counter()() == 1


def test_a_failure_ends_the_watching() -> None:
    class Broken(Exception):
        pass

    def fail() -> None:
        raise Broken

    before = _idle.__code__
    with pytest.raises(Broken):
        gather(fail)
    _idle()
    gather(lambda: None)
    assert _idle.__code__ is before
