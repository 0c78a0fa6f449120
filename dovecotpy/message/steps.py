"""Work in steps: a generator that pauses now and then, and returns what it was for."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

Pause = TypeVar("Pause")
Result = TypeVar("Result")


def finished(steps: Generator[object, None, Result]) -> Result:
    """The result of work that is not to pause."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Result = done.value
            return result


def paused(steps: Generator[object, None, Result], pause: Pause) -> Generator[Pause, None, Result]:
    """The result of work, with `pause` wherever it pauses."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: Result = done.value
            return result
        yield pause
