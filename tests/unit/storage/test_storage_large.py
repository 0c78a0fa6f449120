"""Large messages: what is looked at between two pauses is bounded, and so is the memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy.imap.text import MessageText
from dovecotpy.message.lines import Octets
from dovecotpy.message.section import Section, Span
from dovecotpy.message.structure import STEP, Part, bodystructure_steps, parse_steps
from dovecotpy.storage.items import PREVIEW
from tests.unit.storage.storage_kit import Home

SIZE = 12_000_000
"""Octets of every shape; of an ordinary message with an attachment also LARGEST."""
LARGEST = 100_000_000
EXTRA = 16 << 20
"""Octets of memory that a large message may take beyond what a small one does."""
BETWEEN = 2 * STEP
"""Octets that may be read between two pauses."""


def attachment(size: int = SIZE) -> Iterator[bytes]:
    """A text and something large."""
    yield b"From: a@example.org\nSubject: large\nContent-Type: multipart/mixed; boundary=bound\n\n--bound\n\nhello\n"
    yield b"--bound\nContent-Type: application/zip\nContent-Transfer-Encoding: base64\n\n"
    line = b"QUJD" * 19 + b"\n"
    for _ in range(size // len(line) // 1000):
        yield line * 1000
    yield b"--bound--\n"


def repeated(start: bytes, piece: bytes, end: bytes = b"") -> Iterator[bytes]:
    yield start
    many = piece * (1_000_000 // len(piece))
    for _ in range(SIZE // len(many)):
        yield many
    yield end


SHAPES = {
    "attachment": attachment,
    "largest": lambda: attachment(LARGEST),
    "text": lambda: repeated(b"Subject: x\n\n", b"all work and no play\n"),
    "one line": lambda: repeated(b"Subject: x\n\n", b"x"),
    "line ends": lambda: repeated(b"Subject: x\n\n", b"\n"),
    "carriage returns": lambda: repeated(b"Subject: x\n\n", b"\r"),
    "header without end": lambda: repeated(b"Subject: x\n", b"A: b\n"),
    "one field": lambda: repeated(b"Subject: ", b"x y "),
    "empty parts": lambda: repeated(b"Content-Type: multipart/mixed; boundary=b\n\n", b"--b\n\n"),
    "parts of headers": lambda: repeated(
        b"Content-Type: multipart/mixed; boundary=b\n\n",
        b"--b\n" + b"Content-Description: xxxxxxxxxxxxxxxx\n" * 300,
    ),
    "no delimiter": lambda: repeated(b"Content-Type: multipart/mixed; boundary=b\n\n", b"-b\n--a\n"),
    "nested": lambda: repeated(
        b"".join(b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(10)),
        b"--c\n",
    ),
    "messages": lambda: repeated(b"", b"Content-Type: message/rfc822\n\n"),
}


class Reader:
    """A body that knows how much was read of it since the last pause."""

    crlf = False

    def __init__(self, path: Path) -> None:
        self.descriptor = os.open(path, os.O_RDONLY)
        self.size = os.fstat(self.descriptor).st_size
        self.since = 0
        self.most = 0
        self.pauses = 0

    def read(self, at: int, n: int) -> bytes:
        data = os.pread(self.descriptor, n, at)
        self.since += len(data)
        self.most = max(self.most, self.since)
        return data

    def fd(self) -> tuple[int, int] | None:
        return None

    def close(self) -> None:
        os.close(self.descriptor)

    def pause(self) -> None:
        self.since = 0
        self.pauses += 1


@pytest.fixture(scope="module", params=sorted(SHAPES))
def large(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("large") / "message"
    with path.open("wb") as file:
        file.writelines(SHAPES[request.param]())
    yield path
    path.unlink()


def parsed(reader: Reader, octets: Octets) -> Part:
    steps = parse_steps(octets)
    while True:
        try:
            next(steps)
        except StopIteration as done:
            part: Part = done.value
            return part
        reader.pause()


def test_work_between_pauses(large: Path) -> None:
    reader = Reader(large)
    part = parsed(reader, Octets(reader))
    assert reader.most <= BETWEEN
    assert reader.pauses >= SIZE // BETWEEN
    rendered = 0
    for _ in bodystructure_steps(part):
        rendered += 1
    assert rendered >= count(part) // 512
    for section in (
        Section(),
        Section((1,)),
        Section((), b"TEXT"),
        Section((), b"HEADER.FIELDS", (b"subject",)),
    ):
        reader.pause()
        reader.most = 0
        text = MessageText(reader)
        for _ in text.find(section, (5_000_000, 10)):
            reader.pause()
        assert reader.most <= BETWEEN
    reader.close()


def count(part: Part) -> int:
    """Parts of a tree."""
    waiting, found = [part], 0
    while waiting:
        each = waiting.pop()
        found += 1
        waiting += each.children
    return found


def peak_of(work: object) -> int:
    """Octets by which the memory of a child at most grew while it worked."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            Path("/proc/self/clear_refs").write_text("5")
            before = resident("VmHWM")
            work()  # type: ignore[operator]
            os.write(writer, b"%d" % (resident("VmHWM") - before))
        finally:
            os._exit(0)
    os.close(writer)
    told = os.read(reader, 100)
    os.close(reader)
    os.waitpid(pid, 0)
    assert told, "the child failed"
    return int(told)


def resident(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(name + ":")[2].split()[0]) * 1024


def test_memory(large: Path, tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.deliver("1.small.h:2,", b"Subject: small\n\nx\n", folder="cur")
    os.link(large, home.root / "cur" / "2.large.h:2,")
    mailbox = home.inbox()
    mailbox.refresh()
    items = frozenset((b"ENVELOPE", b"BODY", b"BODYSTRUCTURE", b"RFC822.SIZE", PREVIEW))

    def fetch(uid: int) -> None:
        for _ in mailbox.fetch([uid], items):
            pass
        for section in (Section(), Section((2,)), Section((), b"TEXT")):
            text = MessageText(mailbox.body(uid))
            found = None
            steps = text.find(section, None)
            while True:
                try:
                    next(steps)
                except StopIteration as done:
                    found = done.value
                    break
            if isinstance(found, Span):
                for _ in text.chunks(found):
                    pass
            text.close()

    fetch(1)
    assert peak_of(lambda: fetch(2)) <= EXTRA
    home.close()
