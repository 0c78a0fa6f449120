"""Fuzz message/: any octets give valid renderings whose sizes are those of the octets.

    python tests/fuzz/fuzz_message.py [seconds]      mutates the corpus (or the built-in seeds) for so long
    python tests/fuzz/fuzz_message.py -max_total_time=600 -rss_limit_mb=2048      the same under atheris, where it is installed

A finding is written to crash-message-<number>.eml in the current directory and ends the run with status 1.
"""

from __future__ import annotations

import functools
import random
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from dovecotpy.message.address import parse_addresses  # noqa: E402
from dovecotpy.message.date import parse_date  # noqa: E402
from dovecotpy.message.encoded_word import decode_words  # noqa: E402
from dovecotpy.message.envelope import envelope  # noqa: E402
from dovecotpy.message.lines import Octets, crlf  # noqa: E402
from dovecotpy.message.section import Section, resolve  # noqa: E402
from dovecotpy.message.structure import Part, bodystructure, bodystructures, parse  # noqa: E402
from dovecotpy.message.text import body_text, header_text  # noqa: E402
from dovecotpy.message.usual import usual_structure, usual_text  # noqa: E402
from dovecotpy.storage.source import FIRST_READ  # noqa: E402
from tests.corpus import CORPUS, corpus_messages  # noqa: E402
from tests.fuzz import campaign  # noqa: E402
from tests.message_openings import check_opening  # noqa: E402
from tests.strict_imap import check_body, check_envelope, parse_response_data  # noqa: E402

SLOW = 5.0
"""Seconds that one message of up to 1 MiB may take."""

SEEDS = [
    b"From: a@b\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: message/rfc822\n\n"
    b"Content-Type: multipart/digest; boundary=bb\n\n--bb\n\nSubject: x\n\nx\n--bb--\n--b--\n",
    b'To: g: "a \\" b" (c) <@r:d@e>, f;\nDate: Tue, 14 Nov 2023 08:09:10 +0100\nSubject: =?utf-8?b?w7w=?=\n y\n\nbody\n',
]
PIECES = [
    b"\n",
    b"\r",
    b"\n\n",
    b"--",
    b"\n--b\n",
    b'"',
    b"\\",
    b"(",
    b")",
    b"<",
    b">",
    b":",
    b";",
    b",",
    b"=?",
    b"?=",
    b"\0",
]
PIECES += [
    b"Content-Type: multipart/mixed; boundary=b\n",
    b"Content-Type: message/rfc822\n",
    b"*0*=",
    b"=",
    b"\xff",
    b" ",
]


def check(data: bytes) -> None:
    """Raise if anything about the message is not as it must be."""
    start = time.perf_counter()
    octets = Octets.of(data)
    whole = crlf(data)
    root = parse(octets)
    assert usual_structure(data) in (None, (*bodystructures(root), len(whole)))
    usual_text(data)
    assert (root.start, root.body_end) == (0, len(whole))
    check_envelope(parse_response_data(envelope(root.header))[0])
    for extended in (False, True):
        check_body(parse_response_data(bodystructure(root, extended))[0], extended)
    check_places(root, len(whole))
    for entry in root.header.entries:
        value = root.header.raw_value(entry)
        parse_addresses(value)
        parse_date(value)
        decode_words(value)
    header_text(root.header)
    for _ in body_text(octets, root):
        pass
    resolve(root, Section((1, 1, 1), b"HEADER"))
    check_opening(data[:FIRST_READ])
    assert time.perf_counter() - start < SLOW


def check_places(part: Part, size: int) -> None:
    assert 0 <= part.start <= part.body_start <= part.body_end <= size
    at = part.body_start
    for child in part.children:
        assert at <= child.start
        assert child.body_end <= part.body_end
        at = child.body_end
        check_places(child, size)


def mutated(data: bytes, source: random.Random) -> bytes:
    message = bytearray(data)
    for _ in range(source.randint(1, 10)):
        at = source.randint(0, len(message))
        kind = source.randrange(4)
        if kind == 0:
            message[at : at + source.randint(0, 40)] = source.choice(PIECES)
        elif kind == 1:
            message[at:at] = source.choice(PIECES) * source.randint(1, 200)
        elif kind == 2 and message:
            start = source.randrange(len(message))
            message[at:at] = message[start : start + source.randint(1, 400)]
        elif message:
            message[min(at, len(message) - 1)] = source.randrange(256)
    return bytes(message)


def message(source: random.Random) -> bytes:
    return mutated(source.choice(_seeds()), source)


@functools.cache
def _seeds() -> list[bytes]:
    """The corpus where it is, but its largest messages; else what stands here."""
    if not CORPUS.is_dir():
        return SEEDS
    return [data for _, data in corpus_messages() if len(data) < 50_000]


if __name__ == "__main__":
    sys.exit(campaign.main("message", check, message, sys.argv[1:]))
