"""Program text that runs, side by side in memory.

Code objects lie where their modules were loaded, each hot one among many that a worker never runs. A worker writes the count of references
of each that it runs, and the page around it is copied for it. Copies made one after the other share their pages.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import CodeType, FrameType, FunctionType


def gather(run: Callable[[], None]) -> None:
    """Call `run`, and give every function that ran a new copy of its code. Functions stay who they are."""
    ran: dict[int, CodeType] = {}

    def noticed(frame: FrameType, event: str, argument: object) -> None:
        ran[id(frame.f_code)] = frame.f_code

    sys.setprofile(noticed)
    try:
        run()
    finally:
        sys.setprofile(None)
    copies: dict[int, CodeType] = {}
    for each in gc.get_objects():
        if type(each) is FunctionType and id(each.__code__) in ran:
            each.__code__ = _copy(each.__code__, ran, copies)


def _copy(code: CodeType, ran: dict[int, CodeType], copies: dict[int, CodeType]) -> CodeType:
    """A copy, with copies of what ran of the functions inside of it."""
    found = copies.get(id(code))
    if found is None:
        inner = tuple(
            _copy(each, ran, copies) if isinstance(each, CodeType) and id(each) in ran else each
            for each in code.co_consts
        )
        found = copies[id(code)] = code.replace(co_consts=inner)
    return found
