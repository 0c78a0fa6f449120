"""What opening a mailbox and one change cost the index, by size of the mailbox: `python benchmarks/index_cost.py`.

The index is synthetic and the store is a stand-in that is proven unchanged, so that nothing else is measured. Prints medians and the
system calls' worth of octets read.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from array import array
from pathlib import Path
from statistics import median
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1])]

from dovecotpy.storage.columns import FLAGS, MODSEQS  # noqa: E402
from dovecotpy.storage.driver import Ref, Row  # noqa: E402
from dovecotpy.storage.index import snapshot  # noqa: E402
from dovecotpy.storage.index.history import History  # noqa: E402
from dovecotpy.storage.index.snapshot import Head  # noqa: E402
from dovecotpy.storage.state import BOOT  # noqa: E402

ROUNDS = 15
GUID = b"0123456789abcdef0123456789abcdef"


class StandIn:
    """A format of which only the identity is asked for."""

    guid = GUID
    uidvalidity = 5

    def dates(self, uids: Any) -> list[tuple[int, int]]:
        return [(0, 0)] * len(uids)

    def still(self, uids: Any) -> Any:
        return uids


def make(directory: int, count: int) -> None:
    """An index of so many messages, a tenth of them unseen, every column with different values."""
    chance = random.Random(1)
    uids = array("I", range(1, count + 1))
    columns = [
        uids,
        array("B", [8 if chance.random() < 0.9 else 0 for _ in uids]),
        array("I", [chance.randrange(3) for _ in uids]),
        array("Q", [chance.randrange(1, 1000) for _ in uids]),
        array("q", [chance.randrange(2000, 20000) for _ in uids]),
        array("q", [1_700_000_000 + uid for uid in uids]),
        array("q", [1_700_000_000 + uid for uid in uids]),
    ]
    sets = (frozenset[str](), frozenset({"a"}), frozenset({"a", "b"}))
    boot = BOOT.encode()
    head = Head(
        b"h" * 8, b"g" * 8, boot, GUID, 5, count + 1, 1000, 1, (1, 65536), b"n" * 8, b"s", sets, count
    )
    snapshot.write(directory, head, columns.__getitem__, [], [(1, 1)])


def opened(directory: int) -> History:
    history = History(directory, StandIn(), lambda came, went: None, print)  # type: ignore[arg-type]
    assert history.open()
    return history


def select(directory: int) -> float:
    """Open, follow, UIDs and flags, first unseen."""
    start = time.process_time()
    history = opened(directory)
    history.follow()
    columns = history.ledger.columns
    columns.uids, columns.flags.tobytes().find(0)
    taken = time.process_time() - start
    history.close()
    return taken


def store(history: History, uid: int, bits: int) -> float:
    """One change of flags noted; the columns that a client is told from."""
    row = Row(uid, Ref(b""), bits, frozenset(), -1, None, b"", None)
    start = time.process_time()
    history.note((), [row], (), 0)
    history.ledger.column(FLAGS), history.ledger.column(MODSEQS)
    return time.process_time() - start


def fold(history: History) -> float:
    start = time.process_time()
    history._fold(b"h" * 8, (1, 65536))
    return time.process_time() - start


def main() -> None:
    print(f"{'messages':>10} {'SELECT':>10} {'STORE one':>10} {'+100 in log':>12} {'fold':>10}   (ms)")
    for count in (1_000, 10_000, 100_000, 1_000_000):
        with tempfile.TemporaryDirectory() as path:
            directory = os.open(path, os.O_RDONLY)
            make(directory, count)
            cold = median(select(directory) for _ in range(ROUNDS))
            history = opened(directory)
            stored = median(store(history, uid + 1, 1 + uid % 2) for uid in range(100))
            tail = median(select(directory) for _ in range(ROUNDS))
            folded = fold(history)
            history.close()
            os.close(directory)
            print(
                f"{count:>10} {cold * 1e3:>10.2f} {stored * 1e3:>10.3f} {tail * 1e3:>12.2f} {folded * 1e3:>10.1f}"
            )


if __name__ == "__main__":
    main()
