"""Fuzz imap/: whatever a client sends, its session answers soundly, answers every tag, and goes on.

    python tests/fuzz/fuzz_imap.py [seconds]      mutates conversations for so long
    python tests/fuzz/fuzz_imap.py -max_total_time=600      the same under atheris, where it is installed

A finding is written to crash-imap-<number>.txt in the current directory and ends the run with status 1. Under
pytest a short run of fixed seeds is a test.
"""

from __future__ import annotations

import random
import re
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2])]

from dovecotpy.imap.wire import command as wire  # noqa: E402
from tests.fuzz import campaign  # noqa: E402
from tests.protocol import imap_scenarios  # noqa: E402
from tests.protocol.imap_answers import check as sound  # noqa: E402
from tests.protocol.imap_answers import responses  # noqa: E402
from tests.protocol.imap_model import ModelStore  # noqa: E402
from tests.protocol.imap_transcript import Client, settings  # noqa: E402

SLOW = 5.0
"""Seconds that one conversation of up to 64 KiB may take."""

SEEDS = [
    b'a CREATE Sent\r\nb SUBSCRIBE Sent\r\nc LIST (SUBSCRIBED RECURSIVEMATCH) "" (% S* "x.%") RETURN (CHILDREN SPECIAL-USE STATUS (SIZE MESSAGES))\r\n',
    b"a CREATE p.q.r\r\nb SUBSCRIBE p.q.r\r\nc DELETE p.q.r\r\nd LIST (REMOTE SPECIAL-USE SUBSCRIBED) {0+}\r\n {1+}\r\n* RETURN ()\r\n",
    b'a APPEND INBOX (\\Seen) {3+}\r\nabc (work) " 7-Feb-1994 21:52:25 -0800" {3+}\r\nabc {3+}\r\nabc\r\nb STATUS INBOX (APPENDLIMIT SIZE)\r\n',
    b"a SELECT INBOX\r\nb FETCH 1:* (PREVIEW (LAZY) UID)\r\nc UID FETCH 1:* PREVIEW\r\nd FETCH * (PREVIEW (LAZY) BODY.PEEK[1])\r\n",
    b"a COMPRESS DEFLATE\r\nb COMPRESS DEFLATE\r\nc SELECT INBOX\r\nd IDLE\r\nDONE\r\n",
    b'a SELECT INBOX\r\nb FETCH 1:* (UID FLAGS ENVELOPE BODY[1.HEADER.FIELDS (To "Cc")]<0.90>)\r\nc LOGOUT\r\n',
    b"a EXAMINE {5}\r\nINBOX\r\nb UID SEARCH CHARSET UTF-8 OR (SUBJECT {2+}\r\n\xc3\xb6 SEEN) NOT 1:2,* SINCE 1-Feb-1994\r\n",
    b'a SELECT INBOX\r\nb STORE 1:3 +FLAGS.SILENT (\\Deleted work)\r\nc UID EXPUNGE 1:2\r\nd CLOSE\r\ne LIST "" %.*\r\n',
    b'a APPEND INBOX (\\Seen) " 7-Feb-1994 21:52:25 -0800" {12+}\r\nSubject: x\r\n\r\nb COPY 1 INBOX\r\nc IDLE\r\nDONE\r\n',
    b'a CREATE a.b\r\nb RENAME a.b c\r\nc SUBSCRIBE c\r\nd LSUB "" *\r\ne STATUS c (MESSAGES UIDNEXT)\r\nf DELETE c\r\n',
    b'a ID ("name" NIL)\r\nb ENABLE X\r\nc NAMESPACE\r\nd CAPABILITY\r\ne NOOP\r\nf CHECK\r\ng UNSELECT\r\nh X\r\n',
    b"a SELECT INBOX\r\nb UID FETCH 1:* (BODYSTRUCTURE RFC822.SIZE INTERNALDATE BODY.PEEK[2.1.MIME] RFC822)\r\n",
    b"a ENABLE QRESYNC\r\nb SELECT INBOX (QRESYNC (1000 3 1:9 (1:3,5 1:3,7)) CONDSTORE)\r\nc UID MOVE 2 INBOX\r\n"
    b"d UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)\r\ne STORE 1 (UNCHANGEDSINCE 9) -FLAGS.SILENT (\\Seen)\r\n",
    b'a SELECT INBOX\r\nb SEARCH RETURN (MIN MAX ALL COUNT SAVE) MODSEQ "/flags/\\\\seen" all 2\r\nc FETCH $ (EMAILID THREADID)\r\n'
    b"d STATUS INBOX (HIGHESTMODSEQ MAILBOXID)\r\ne UID SEARCH UID $ OR EMAILID M1 SAVEDSINCE 1-Feb-1994\r\nf FETCH 1 SAVEDATE\r\n",
    b"a SELECT INBOX\r\nb SORT RETURN (MIN MAX COUNT PARTIAL -1:-2 SAVE) (REVERSE SIZE) UTF-8 OLDER 5\r\n"
    b"c UID FETCH 1:* UID (PARTIAL 1:2 CHANGEDSINCE 1)\r\nd SEARCH RETURN (RELEVANCY ALL) FUZZY TEXT {2+}\r\n\xc3\xb6\r\n",
    b"a SELECT INBOX\r\nb FETCH 1:* (BINARY.PEEK[1]<0.5> BINARY.SIZE[2])\r\nc UID FETCH 5 BINARY[1]\r\n"
    b'd UID REPLACE 2 INBOX (\\Seen) ~{4+}\r\nA:b\n\r\ne REPLACE 1 INBOX CATENATE (TEXT {4+}\r\nA:b\n URL "/INBOX/;UID=1")\r\n',
    b'a APPEND INBOX CATENATE (URL "/INBOX;UIDVALIDITY=1000/;UID=5/;SECTION=1.MIME/;PARTIAL=1.5" TEXT {2+}\r\nab) {3+}\r\nabc\r\n',
    b"a SETMETADATA INBOX (/private/a {3+}\r\na\xc3\xb6 /shared/b NIL /private/c ~{3+}\r\na\0b)\r\n"
    b"b GETMETADATA (MAXSIZE 2 DEPTH infinity) INBOX (/private/a /private/c)\r\n"
    b'c LIST "" % RETURN (METADATA (/private/a))\r\nd CREATE s (USE (\\Sent \\Junk))\r\n',
    b'a SETMETADATA "" (/private/filters/values/f "OR SEEN FILTER g" /private/filters/values/g "ALL NOT FILTER f")\r\nb SELECT INBOX\r\nc SEARCH FILTER f\r\n',
    b"a ENABLE UIDONLY QRESYNC\r\nb SELECT INBOX\r\nc UID FETCH 1:* (FLAGS BODY.PEEK[TEXT])\r\nd UID STORE 1 +FLAGS (\\Deleted)\r\n"
    b"e EXPUNGE\r\nf UIDBATCHES 500 1:3\r\ng UID SEARCH 1\r\nh FETCH 1 FLAGS\r\n",
    b'a ENABLE IMAP4rev2 UTF8=ACCEPT\r\nb CREATE "e\xcc\x81"\r\nc SELECT "\xc3\xa9"\r\nd LIST "" "*\xc3\xa9" RETURN (STATUS (DELETED))\r\n'
    b'e APPEND "\xc3\xa9" UTF8 (~{4+}\r\nA:b\n) CATENATE (UTF8 (~{4+}\r\nA:b\n))\r\nf SEARCH SUBJECT "\xff"\r\ng LANGUAGE de en\r\n',
]
PIECES = [
    b"\r\n",
    b"\n",
    b"\r",
    b" ",
    b"(",
    b")",
    b'"',
    b"\\",
    b"{",
    b"}",
    b"{3}\r\n",
    b"{7+}\r\n",
    b"{0}\r\n",
    b"*",
    b"%",
    b"+",
]
PIECES += [
    b"NIL",
    b"1:*",
    b"4294967295",
    b"0",
    b",",
    b":",
    b"[",
    b"]",
    b"<",
    b">",
    b".",
    b"\0",
    b"\xff",
    b"\xc3\xb6",
    b"&AOk-",
]
PIECES += [
    b"a UID ",
    b"a FETCH 1 ",
    b"BODY[",
    b"HEADER.FIELDS (",
    b"NOT ",
    b"OR ",
    b"CHARSET ",
    b"(" * 40,
    b"9" * 30,
    b"x" * 300,
]
PIECES += [
    b"a NOOP\r\n",
    b"a IDLE\r\n",
    b"DONE\r\n",
    b"a SELECT INBOX\r\n",
    b"a APPEND INBOX ",
    b"{4294967296+}\r\n",
    b"a LOGOUT\r\n",
]
PIECES += [
    b"a LIST (SUBSCRIBED RECURSIVEMATCH) ",
    b'a LIST "" (% *) ',
    b" RETURN (SUBSCRIBED STATUS (SIZE UIDNEXT)",
    b"RECURSIVEMATCH ",
    b"SPECIAL-USE",
    b"STATUS (APPENDLIMIT)",
    b" (\\Seen) {3+}\r\nabc",
    b"a COMPRESS DEFLATE\r\n",
    b"a ENABLE QRESYNC\r\n",
    b"a SELECT INBOX (QRESYNC (1000 1 ",
    b"(CHANGEDSINCE ",
    b" VANISHED)",
    b"(UNCHANGEDSINCE ",
    b"RETURN (",
    b"SAVE",
    b"$",
    b"a ENABLE IMAP4rev2 UIDONLY UTF8=ACCEPT\r\n",
    b"~{3+}\r\na\0b",
    b" UTF8 (~{3+}\r\n",
    b" CATENATE (",
    b"URL /INBOX/;UID=1/;SECTION=1",
    b"PARTIAL -1:-5 ",
    b"FUZZY ",
    b"FILTER f ",
    b"BINARY[1]",
    b"MODSEQ ",
    b"9223372036854775807",
]


_STREAMED = re.compile(rb"APPEND|REPLACE")
"""Commands whose literals the framing leaves to the session."""


def check(data: bytes) -> None:
    """Raise if anything about a conversation is not as it must be."""
    started = time.perf_counter()
    store = imap_scenarios.fill(ModelStore(), "flags")
    store.boxes[b"INBOX"].add(imap_scenarios.NESTED[:-30] + data[:200])
    client = Client(store, settings(imap_max_line_length=2000, mail_max_message_size=5000))
    client.pull()
    said = client.send(data)
    if any(b"[" in keyword for keyword in _keywords(store)):
        return  # an atom, but nothing that a reader of FETCH answers can tell from a section
    utf8 = b"ENABLE" in data.upper()
    answered = _hear(said, utf8=utf8)
    if not _STREAMED.search(data.upper()) and b"IDLE" not in data.upper():
        assert answered == _tags(data)[: len(answered)]
        if client.session.ended is None:
            assert answered == _tags(data)
    client.session.tick()
    client.session.shut_down()
    _hear(client.pull(), utf8=utf8)
    assert client.session.ended is not None
    assert all(mailbox.closed for mailbox in store.opened)
    assert time.perf_counter() - started < SLOW


def _keywords(store: ModelStore) -> set[bytes]:
    """Every keyword of any message."""
    boxes = store.boxes.values()
    return {word.encode() for box in boxes for each in box.messages.values() for word in each.keywords}


def _hear(said: bytes, *, utf8: bool) -> list[bytes]:
    """The tags answered, in order, `*` for what has none; every response is sound."""
    tags = []
    for response in responses(said):
        tag, values = sound(response, utf8=utf8)
        unasked = tag in (b"*", b"+")
        if not unasked or (tag == b"*" and isinstance(values, bytes) and values.startswith(b"BAD ")):
            tags.append(tag)
    return tags


def _tags(data: bytes) -> list[bytes]:
    """The tags that must be answered: one for each thing that the framing makes of the input."""
    parser = wire.CommandParser(
        max_line=2000, max_literal=65536, max_literals=262144, binary=frozenset((b"SETMETADATA",))
    )
    parser.feed(data)
    tags = []
    while (event := parser.next()) is not None:
        if not isinstance(event, wire.NeedLiteral | wire.LiteralStart | wire.LiteralData):
            tags.append(event.tag)
            if isinstance(event, wire.Command) and event.name == b"LOGOUT" and not event.arguments:
                break
    return tags


def mutated(data: bytes, source: random.Random) -> bytes:
    """A conversation changed in a few places."""
    message = bytearray(data)
    for _ in range(source.randint(1, 8)):
        at = source.randint(0, len(message))
        kind = source.randrange(5)
        if kind == 0:
            message[at : at + source.randint(0, 20)] = source.choice(PIECES)
        elif kind == 1:
            message[at:at] = source.choice(PIECES) * source.choice((1, 1, 1, 2, 50))
        elif kind == 2 and message:
            start = source.randrange(len(message))
            message[at:at] = message[start : start + source.randint(1, 80)]
        elif kind == 3:
            message[at:at] = source.choice(SEEDS)
        elif message:
            message[min(at, len(message) - 1)] = source.randrange(256)
    return bytes(message[:65536])


def conversation(source: random.Random) -> bytes:
    return mutated(source.choice(SEEDS), source)


if __name__ == "__main__":
    sys.exit(campaign.main("imap", check, conversation, sys.argv[1:]))
