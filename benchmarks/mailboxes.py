"""Synthetic Maildirs: the same octets for every server, a fresh copy for each."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

OWNER = 61240
"""uid and gid of the benchmark's mail"""

_WORDS = [
    "alpha",
    "bravo",
    "charlie",
    "delta",
    "echo",
    "foxtrot",
    "golf",
    "hotel",
    "india",
    "juliett",
    "kilo",
    "lima",
    "mike",
    "november",
    "oscar",
    "papa",
]


def message(number: int, size: int) -> bytes:
    """One message of about `size` octets; the same for the same arguments."""
    chooser = random.Random(number)
    subject = " ".join(chooser.choices(_WORDS, k=5))
    header = (
        f"Return-Path: <sender{number}@example.org>\nReceived: from a.example.org (a.example.org [192.0.2.1])\n"
        f"\tby mail.example.org with ESMTP id {number:08X}\nDate: {1 + number % 28} Oct 2026 10:{number % 60:02d}:00 +0200\n"
        f"From: Sender {number} <sender{number}@example.org>\nTo: Reader <reader@example.org>\nSubject: {subject}\n"
        f"Message-ID: <{number}.bench@example.org>\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n"
    )
    lines = []
    room = size - len(header)
    while room > 0:
        line = " ".join(chooser.choices(_WORDS, k=11))
        lines.append(line)
        room -= len(line) + 1
    return (header + "\n".join(lines) + "\n").encode()


def make(home: Path, count: int, size: int) -> int:
    """A Maildir of `count` messages in cur/ below `home`; the octets in it."""
    maildir = home / "Maildir"
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    octets = 0
    for number in range(count):
        data = message(number, size + number * 7919 % size)
        (
            maildir / "cur" / f"{1790000000 + number}.M{number}P1.bench:2,{'S' if number % 3 else ''}"
        ).write_bytes(data)
        octets += len(data)
    return octets


def fresh(template: Path, home: Path) -> None:
    """A copy of a home for one server, owned by OWNER when root."""
    shutil.rmtree(home, ignore_errors=True)
    shutil.copytree(template, home)
    if os.geteuid() == 0:
        for entry in (home, *home.rglob("*")):
            os.chown(entry, OWNER, OWNER)
