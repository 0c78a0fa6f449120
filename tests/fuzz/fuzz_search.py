"""Fuzz search/ and the text index: any octets as a message or as a file of the index.

    python tests/fuzz/fuzz_search.py [seconds]      mutates messages and files for so long
    python tests/fuzz/fuzz_search.py -max_total_time=600      the same under atheris, where it is installed

Checked: the short way to a message's text gives what the long one gives; subjects, addresses and message ids give keys in short time;
whatever a file of the index holds, what is found there was really written, and messages can be added. The first octet says which.
A finding is written to crash-search-<number> in the current directory and ends the run with status 1.
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[2])]

from dovecotpy.message.header import parse_header  # noqa: E402
from dovecotpy.message.lines import Octets  # noqa: E402
from dovecotpy.message.text import message_keys, stored_header_key  # noqa: E402
from dovecotpy.message.usual import usual_text  # noqa: E402
from dovecotpy.search import keys  # noqa: E402
from dovecotpy.search.sort import FROM_HEADER  # noqa: E402
from dovecotpy.storage.index.textfile import BODIES, Record, TextFile, _head, pack  # noqa: E402
from tests.fuzz import campaign, fuzz_message  # noqa: E402

SLOW = 5.0
"""Seconds that one input may take."""

RECORDS = [Record(uid, uid % 3, (b"PART" * uid, b"TEXT %d " % uid * uid)) for uid in range(1, 20)]
FILE = b"".join((_head(b"g", 1), *pack(RECORDS[:7], 2), *pack(RECORDS[7:], 2)))


def finished(steps: Generator[None, None, Any]) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def check(data: bytes) -> None:
    """Raise if anything is not as it must be."""
    start = time.perf_counter()
    if data[:1] == b"F":
        check_file(data[1:])
    else:
        check_message(data[1:])
    assert time.perf_counter() - start < SLOW


def lines(keys: bytes) -> list[bytes]:
    """The texts of an area, with one form of line ends: which one a text has is no part of what can be looked for."""
    return keys.replace(b"\r\n", b"\n").split(b"\0")


def check_message(data: bytes) -> None:
    header = parse_header(data)
    for read in FROM_HEADER.values():
        read(header)
    links = keys.links(header)
    assert all(b"@" in identity for identity in links.references)
    long_header, long_body = finished(message_keys(Octets.of(data), 1 << 30))
    short_header, short_body = stored_header_key(data), usual_text(data)
    assert short_header in (None, long_header)
    if short_body is not None:
        for short, long in zip(short_body, long_body, strict=True):
            assert sorted(lines(short)) == sorted(lines(long))


def check_file(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / BODIES).write_bytes(data)
        descriptor = os.open(directory, os.O_RDONLY)
        file = TextFile(descriptor, BODIES, 2, b"g", 1)
        try:
            file.refresh()
            check_hits(file)
            file.append([Record(99, 0, (b"", b"NEW"))])
            assert 99 in file
            other = TextFile(descriptor, BODIES, 2, b"g", 1)
            other.refresh()
            assert 99 in other
            other.close()
            check_hits(file)
        finally:
            file.close()
            os.close(descriptor)


def check_hits(file: TextFile) -> None:
    """A message that is found was written so."""
    written = {record.uid: record for record in RECORDS}
    for key in (b"PART", b"TEXT 1", b"T"):
        for area in (0, 1):
            for number, uids in file.chunks_of(list(written)).items():
                hits = file.look(number, area, key, uids, 0)
                for hit in hits.found if hits is not None else ():
                    assert key in written[hit.uid].areas[area]
                    assert key in bytes(hits.data[hit.start : hit.end])  # type: ignore[union-attr]


def make(source: random.Random) -> bytes:
    if source.random() < 0.3:
        return b"F" + fuzz_message.mutated(FILE, source)
    return b"M" + fuzz_message.message(source)


if __name__ == "__main__":
    sys.exit(campaign.main("search", check, make, sys.argv[1:]))
