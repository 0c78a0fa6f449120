"""What every fuzz target of bytes shares: a run by time that keeps what it finds, and the way to atheris.

    python tests/fuzz/fuzz_NAME.py [seconds]
    python tests/fuzz/fuzz_NAME.py -max_total_time=600      the same target under atheris, where it is installed

A finding is written to crash-NAME-<number> in the current directory and ends the run with status 1.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

DEFAULT_SECONDS = 60.0


def main(
    name: str, check: Callable[[bytes], object], make: Callable[[random.Random], bytes], arguments: list[str]
) -> int:
    """Run one target: `check` raises for a finding; `make` makes an input from a source of chance."""
    if any(argument.startswith("-") for argument in arguments):
        return _atheris(check, arguments)
    end = time.monotonic() + (float(arguments[0]) if arguments else DEFAULT_SECONDS)
    number = int(time.monotonic() * 1000)
    count = 0
    while time.monotonic() < end:
        number += 1
        count += 1
        data = make(random.Random(number))
        try:
            check(data)
        except Exception as error:
            path = Path(f"crash-{name}-{number}")
            path.write_bytes(data)
            print(f"{error!r}: {path}")
            return 1
    print(f"{count} inputs, no finding")
    return 0


def _atheris(check: Callable[[bytes], object], arguments: list[str]) -> int:
    try:
        import atheris
    except ImportError:
        print("atheris is not installed: give a number of seconds instead", file=sys.stderr)
        return 2
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], *arguments], check)
    atheris.Fuzz()
    return 0
