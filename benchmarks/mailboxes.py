"""Synthetic Maildirs from a seeded generator: the same octets for every server and every run, copies by hard links.

Messages have 2 to 20 KB: plain text, text with its HTML, HTML alone, attachments; headers with encoded words and addresses of groups and
lists; three in five answer an earlier message. Every word of RARE stands in the body of one message in a thousand.
"""

from __future__ import annotations

import base64
import os
import quopri
import random
import shutil
import time
from email.header import Header
from pathlib import Path

OWNER = 61240
"""uid and gid of the benchmark's mail"""

SMALLEST, LARGEST = 2000, 20000
BEGAN = 1_704_100_000
"""INTERNALDATE of the first message: January 2024."""
STEP = 420
"""Seconds between two messages."""
POOL = 400_000
LINKS = 50_000
"""Names of one file; ext4 allows 65,000."""
WINDOW = 60
"""A message answers one of so many before it."""
RARE = ("quixotifer", "vellichorine", "zugzwangled")

_SYLLABLES = [
    "ba",
    "ce",
    "di",
    "fo",
    "gu",
    "ha",
    "ke",
    "li",
    "mo",
    "nu",
    "pra",
    "que",
    "ri",
    "sto",
    "tu",
    "ver",
    "wi",
    "xen",
]
_TOPICS = [
    "meeting",
    "invoice",
    "patch",
    "holiday",
    "server",
    "question",
    "report",
    "release",
    "lunch",
    "budget",
]
_NAMES = [
    "Ann Smith",
    "Jörg Müller",
    "Zoë Ångström",
    "Иван Петров",
    "山田太郎",
    "Bob O'Neil",
    "Smith, John",
    "Chloé",
]


class Generator:
    """Messages by number; the same for the same number."""

    def __init__(self) -> None:
        chooser = random.Random("mailboxes")
        words = ["".join(chooser.choices(_SYLLABLES, k=chooser.randint(1, 4))) for _ in range(3000)]
        weights = [1 / (rank + 2) for rank in range(len(words))]
        self._words = words
        self._text = self._lines(chooser.choices(words, weights, k=POOL // 5))
        spiced = [
            word if number % 9 else word + "é"
            for number, word in enumerate(chooser.choices(words, weights, k=POOL // 5))
        ]
        self._utf8 = self._lines(spiced)
        self._quoted = quopri.encodestring(self._utf8.encode()).decode()
        self._base64 = base64.encodebytes(chooser.randbytes(POOL)).decode()
        self._parents: dict[int, int] = {}

    @staticmethod
    def _lines(words: list[str]) -> str:
        return "\n".join(" ".join(words[at : at + 10]) for at in range(0, len(words), 10)) + "\n"

    @staticmethod
    def _slice(pool: str, at: float, size: int) -> str:
        """Whole lines of about `size` characters."""
        begin = pool.index("\n", int(at * (len(pool) - size - 200))) + 1
        return pool[begin : pool.index("\n", begin + size) + 1]

    def parent(self, number: int) -> int:
        """The number of the message that this one answers, or -1."""
        if number not in self._parents:
            chooser = random.Random(number * 2 + 1)
            earlier = number - 1 - chooser.randrange(WINDOW)
            self._parents[number] = earlier if chooser.random() < 0.6 and earlier >= 0 else -1
        return self._parents[number]

    def _ancestors(self, number: int) -> list[int]:
        """Oldest first, at most 12."""
        found: list[int] = []
        while (number := self.parent(number)) >= 0 and len(found) < 12:
            found.insert(0, number)
        return found

    def _header(self, number: int, chooser: random.Random) -> str:
        ancestors = self._ancestors(number)
        topic = random.Random(ancestors[0] if ancestors else number)
        subject = f"{topic.choice(_TOPICS)} {' '.join(topic.choices(self._words, k=4))}"
        if topic.random() < 0.2:
            subject = Header(f"{subject} – größer", "utf-8").encode()
        name = _NAMES[number * 7 % len(_NAMES)]
        shown = f'"{name}"' if name.isascii() else Header(name, "utf-8").encode()
        cc = "".join(f",\n\tReader {i} <reader{i}@example.net>" for i in range(number % 4))
        lines = [
            f"Return-Path: <sender{number % 300}@example.org>",
            f"Received: from a.example.org (a.example.org [192.0.2.1])\n\tby mail.example.org (Postfix) with ESMTPS id {number:010X}\n"
            f"\tfor <user@example.org>; {_rfc2822(BEGAN + number * STEP)}",
            f"Date: {_rfc2822(BEGAN + number * STEP - number % 90)}",
            f"From: {shown} <sender{number % 300}@example.org>",
            f"To: Reader <reader@example.org>{cc}",
            f"Subject: {'Re: ' if ancestors else ''}{subject}",
            f"Message-ID: <{number}.{number * 7919 % 1000003}@bench.example.org>",
        ]
        if ancestors:
            ids = [f"<{a}.{a * 7919 % 1000003}@bench.example.org>" for a in ancestors]
            lines += [f"In-Reply-To: {ids[-1]}", "References: " + "\n\t".join(ids)]
        if chooser.random() < 0.3:
            lines += ["List-Id: <bench.example.org>", f"X-Mailer: bench {number % 5}"]
        return "\n".join(lines) + "\nMIME-Version: 1.0\n"

    def message(self, number: int) -> bytes:
        """The octets of one message, lines ended by LF."""
        chooser = random.Random(number)
        header = self._header(number, chooser)
        size = min(LARGEST, max(SMALLEST, int(chooser.lognormvariate(8.8, 0.6)))) - len(header)
        rare = f"here {RARE[number // 1000 % len(RARE)]} stands\n" if number % 1000 == 500 else ""
        kind = chooser.random()
        at = chooser.random()
        if kind < 0.35:
            body = "Content-Type: text/plain; charset=us-ascii\n\n" + rare + self._slice(self._text, at, size)
        elif kind < 0.5:
            body = "Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
            body += rare + self._slice(self._utf8, at, size)
        elif kind < 0.75:
            body = self._alternative(number, rare, at, size)
        elif kind < 0.9:
            body = self._mixed(number, rare, at, size)
        else:
            body = "Content-Type: text/html; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n"
            body += _html(rare + self._slice(self._utf8, at, size))
        return (header + body).encode()

    def _alternative(self, number: int, rare: str, at: float, size: int) -> str:
        boundary = f"=_{number:08x}"
        quoted = "charset=utf-8\nContent-Transfer-Encoding: quoted-printable\n\n"
        text = self._slice(self._quoted, at, size // 3)
        html = _html(self._slice(self._quoted, at, size * 2 // 3 - 100))
        return (
            f'Content-Type: multipart/alternative;\n\tboundary="{boundary}"\n\n--{boundary}\nContent-Type: text/plain; {quoted}{rare}{text}\n'
            f"--{boundary}\nContent-Type: text/html; {quoted}{html}\n--{boundary}--\n"
        )

    def _mixed(self, number: int, rare: str, at: float, size: int) -> str:
        boundary = f"----=_Part_{number}"
        text = self._slice(self._text, at, size // 4)
        attached = self._slice(self._base64, at, size * 3 // 4)
        return (
            f'Content-Type: multipart/mixed; boundary="{boundary}"\n\nThis is a message in several parts.\n--{boundary}\n'
            f"Content-Type: text/plain; charset=utf-8\n\n{rare}{text}\n--{boundary}\n"
            f'Content-Type: application/pdf; name="paper{number}.pdf"\nContent-Transfer-Encoding: base64\n'
            f'Content-Disposition: attachment; filename="paper{number}.pdf"\n\n{attached}\n--{boundary}--\n'
        )


def _html(text: str) -> str:
    return f"<html><body><p>{text}</p></body></html>\n"


def _rfc2822(moment: int) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime(moment))


def since(count: int) -> bytes:
    """A date that one message in ten is not older than."""
    return time.strftime("%d-%b-%Y", time.gmtime(BEGAN + count * STEP * 9 // 10)).encode()


def own(path: Path) -> None:
    """Give a tree to OWNER."""
    for directory, _, files in os.walk(path):
        os.chown(directory, OWNER, OWNER)
        for name in files:
            os.chown(os.path.join(directory, name), OWNER, OWNER)


def make(home: Path, count: int, folder: str = "", generator: Generator | None = None) -> int:
    """A Maildir of `count` messages in cur/ below `home`; the octets in it."""
    generator = generator or Generator()
    maildir = home / "Maildir" / folder
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    octets = 0
    for number in range(count):
        data = generator.message(number)
        moment = BEGAN + number * STEP
        path = f"{maildir}/cur/{moment}.V801I{number:x}M{number * 7919 % 1000000:06d}.bench:2,{'S' if number % 3 else ''}"
        with open(path, "wb") as file:
            file.write(data)
        os.utime(path, (moment, moment))
        octets += len(data)
    own(home)
    return octets


def copy(template: Path, home: Path) -> None:
    """A copy of a home whose files are links to the template's; directories keep their dates, as by cp -a."""
    shutil.copytree(template, home, copy_function=os.link)
    for directory, _, _ in os.walk(home):
        os.chown(directory, OWNER, OWNER)


def linked(home: Path, count: int) -> None:
    """A Maildir of any size out of few files: each has LINKS names."""
    generator = Generator()
    maildir = home / "Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    own(home)
    source = ""
    for number in range(count):
        path = f"{maildir}/cur/{BEGAN + number * STEP}.V801I{number:x}.bench:2,{'S' if number % 3 else ''}"
        if number % LINKS:
            os.link(source, path)
        else:
            source = path
            Path(path).write_bytes(generator.message(number))
            os.chown(path, OWNER, OWNER)


_delivered = 0


def deliver(home: Path) -> None:
    """As an MTA does: through tmp/ into new/."""
    global _delivered
    _delivered += 1
    maildir = home / "Maildir"
    name = f"{int(time.time())}.V802I{_delivered:x}.bench"
    temporary = maildir / "tmp" / name
    temporary.write_bytes(plain(4096))
    os.chown(temporary, OWNER, OWNER)
    temporary.rename(maildir / "new" / name)


def plain(size: int) -> bytes:
    """A message of text alone, lines ended by CRLF."""
    header = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: plain\r\nDate: Mon, 01 Jan 2024 10:00:00 +0000\r\n\r\n"
    line = b"All work and no play makes a dull line of seventy-eight characters, no more..\r\n"
    return (header + line * (size // len(line) + 1))[: size - 2] + b"\r\n"


def remove(homes: list[Path]) -> None:
    """Remove copies."""
    for home in homes:
        shutil.rmtree(home, ignore_errors=True)
