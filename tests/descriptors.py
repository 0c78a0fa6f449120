"""The descriptors this process has open, for tests that nothing stays open.

Compare sets, not counts: another test's leftovers may be closed by the garbage collector at any moment, and
a count that falls says nothing about what the test at hand did.
"""

import os


def open_descriptors() -> frozenset[int]:
    """The numbers of all open descriptors, without the one that lists them."""
    return frozenset(number for number in map(int, os.listdir("/proc/self/fd")) if is_open(number))


def is_open(number: int) -> bool:
    """Whether a number is that of an open descriptor."""
    try:
        os.fstat(number)
    except OSError:
        return False
    return True
