"""SEARCH, SORT and THREAD of the same messages by Debian's Dovecot and by us.

Compared are the messages that both read alike. Left out, with what differs: dates without zone, year or before 1980 or after 2029 (Dovecot takes
some of them for none), no Date at all (SENTBEFORE there means 1970, here INTERNALDATE), octets above 127 in headers (there U+FFFD, here
ISO 8859-1), charsets that its iconv does not know, addresses that are none (each side repairs them in its own way), parts whose type or encoding
is no such (not searched there), message/delivery-status and the like, attached messages, multiparts without boundary or in each other, parameters of RFC 2231,
and bodies that are not of their charset.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dovecotpy.config.values import Settings
from dovecotpy.imap.wire.sequence import render_numbers
from dovecotpy.message.header import unfolded
from dovecotpy.message.lines import Octets
from dovecotpy.message.structure import parse
from tests.corpus import corpus_messages, requires_corpus
from tests.integration.storage_processes import Dovecot, mail_directory, requires_dovecot
from tests.protocol.imap_maildir import DEFAULTS, stores
from tests.protocol.imap_transcript import Client

pytestmark = [requires_dovecot, requires_corpus]
DATE = 1_100_000_000
Ask = Callable[[str], tuple[str, str]]
"""An answer of Dovecot and ours: the one line of data."""


CHARSETS = "us-ascii|utf-8|iso-8859-(?:1|2|15)|windows-125[0-9]|koi8-r|big5|gb2312|euc-kr|iso-2022-jp"
_DATE = re.compile(
    rb"(?:[A-Z][a-z]{2}, +)?[0-9]{1,2} [A-Z][a-z]{2} (?:19[89][0-9]|20[0-2][0-9]) [0-9:]{8} [+-][0-9]{4}(?: \([A-Z]+\))?"
)
_TYPE = re.compile(rb"(?i)(?:text|image|audio|video|application|multipart)/[a-z0-9.+-]+ *(?:;|$)")
_NAMED = rb"""(?:"[^"\\ ][^"\\]*" |[A-Za-z0-9][A-Za-z0-9 ._'-]* |(?:=\?[^?]+\?.\?[^? ]*\?= )+)?<[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+>"""
_BARE = rb"[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+(?: \([\w ]+\))?"
_ADDRESS = re.compile(rb"(?:%b|%b) *(?:,|$)" % (_NAMED, _BARE))
_WORD_CHARSET = re.compile(rb"=\?([^?\s]+)\?[BbQq]\?")
_KNOWN = re.compile(f"(?i)(?:{CHARSETS})$".encode())
_ENCODINGS = (b"7bit", b"8bit", b"binary", b"base64", b"quoted-printable")


def tame(message: bytes) -> bool:
    """Whether both read a message alike."""
    octets = Octets.of(message)
    top = parse(octets)
    header = top.header
    text = unfolded(header.raw)
    dates = header.all(b"date")
    parts = [top]
    for part in parts:
        parts.extend(part.children)
        kinds = part.header.all(b"content-type")
        if not _KNOWN.match(part.content_type.parameter(b"charset") or b"us-ascii"):
            return False
        if not all(_TYPE.match(kind) for kind in kinds) or len(kinds) > 1 or part.encoding not in _ENCODINGS:
            return False
    return (
        octets.size > header.raw.find(b"\r\n\r\n") >= 0
        and text.isascii()
        and b"\0" not in text
        and (message.isascii() or _is_utf8(message))
        and b"*=" not in message
        and message.count(b"multipart/") <= min(message.count(b"boundary="), 1)
        and len(dates) == 1
        and bool(_DATE.fullmatch(dates[0]))
        and all(bool(_KNOWN.match(name)) for name in _WORD_CHARSET.findall(text))
        and all(_ADDRESS.match(value) for name in (b"from", b"to", b"cc") for value in header.all(name))
        and not any(len(header.all(name)) > 1 for name in (b"from", b"to", b"cc", b"subject", b"references"))
    )


def _is_utf8(message: bytes) -> bool:
    try:
        message.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def deliver(maildir: Path, messages: list[bytes]) -> None:
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    for number, message in enumerate(messages):
        path = maildir / "cur" / f"{number:06d}.a.h:2,{'S' if number % 3 else ''}"
        path.write_bytes(message)
        os.utime(path, (DATE + number * 4001,) * 2)


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    messages = [message.replace(b"\r\n", b"\n") for _, message in corpus_messages()]
    with mail_directory() as path:
        deliver(path / "Maildir", messages)
        shutil.copytree(path / "Maildir", path / "ours" / "Maildir")
        theirs = Dovecot(path / "Maildir")
        theirs.command("SELECT INBOX")
        with stores(path / "ours") as make:
            ours = Client(make(), Settings(DEFAULTS))
            ours.pull()
            ours.send(b"a SELECT INBOX\r\n")

            alike = [number for number, message in enumerate(messages, 1) if tame(message)]
            assert len(alike) > len(messages) / 2
            within = render_numbers(alike).decode()

            def both(command: str) -> tuple[str, str]:
                answers = []
                line = f"{command} {within}"
                for lines in (theirs.command(line), ours.send(f"x {line}\r\n".encode()).split(b"\r\n")):
                    word = command.split()[0].encode()
                    [line] = [line for line in lines if line.startswith(b"* " + word)]
                    answers.append(line.decode())
                return answers[0], answers[1]

            yield both
        theirs.close()


SEARCHES = [
    "UNSEEN",
    "SINCE 20-Nov-2004 BEFORE 10-Dec-2004",
    "SENTSINCE 1-Jan-2002",
    "SENTBEFORE 1-Jan-2001",
    "SENTON 1-Jul-2002",
    "SUBJECT test",
    "SUBJECT re:",
    "FROM com",
    "TO list",
    "CC a",
    "HEADER Message-ID net",
    "HEADER X-Mailer outlook",
    "BODY the",
    "BODY linux",
    "BODY xylophone",
    "TEXT received",
    "TEXT multipart",
    "NOT BODY a",
    "OR SUBJECT a BODY linux",
    "LARGER 5000 SMALLER 6000",
    "SUBJECT the BODY the",
]


def numbers(line: str) -> set[int]:
    return {int(word) for word in line.split()[2:]}


@pytest.mark.parametrize("keys", SEARCHES)
def test_search(ask: Ask, keys: str) -> None:
    for _ in range(2):
        theirs, ours = ask(f"SEARCH {keys}")
        assert numbers(ours) ^ numbers(theirs) == set()


PROGRAMS = [
    "DATE",
    "SUBJECT",
    "FROM",
    "TO",
    "CC",
    "SIZE",
    "ARRIVAL",
    "DISPLAYFROM",
    "DISPLAYTO",
    "REVERSE SUBJECT DATE",
    "FROM REVERSE DATE",
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_sort(ask: Ask, program: str) -> None:
    theirs, ours = ask(f"SORT ({program}) UTF-8")
    assert sorted(theirs.split()) == sorted(ours.split())
    moved = [pair for pair in zip(theirs.split(), ours.split(), strict=True) if pair[0] != pair[1]]
    assert moved == []


@pytest.mark.parametrize("algorithm", ["ORDEREDSUBJECT", "REFERENCES", "REFS"])
def test_thread(ask: Ask, algorithm: str) -> None:
    theirs, ours = ask(f"THREAD {algorithm} UTF-8")
    assert sorted(re.findall(r"\d+", theirs)) == sorted(re.findall(r"\d+", ours))
    assert set(_threads(theirs)) ^ set(_threads(ours)) == set()
    if (
        algorithm != "REFS"
    ):  # Dovecot orders the threads by the Date of their newest message, not by its INTERNALDATE
        assert theirs == ours


def _threads(line: str) -> list[str]:
    """The threads of a response."""
    found = []
    depth = start = 0
    for at, character in enumerate(line):
        if character == "(":
            if not depth:
                start = at
            depth += 1
        elif character == ")":
            depth -= 1
            if not depth:
                found.append(line[start : at + 1])
    return found
