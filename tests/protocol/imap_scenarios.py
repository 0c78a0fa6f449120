"""The mailboxes that transcripts start with, put into any store through its own interface."""

from __future__ import annotations

from array import array
from typing import Any, NamedTuple

from dovecotpy.storage import flags as bits
from dovecotpy.storage.driver import Draft

DATE = 837596665
"""17-Jul-1996 02:44:25 -0700: INTERNALDATE of a message that names no other."""


class Letter(NamedTuple):
    """A message of a scenario."""

    data: bytes
    flags: int = 0
    keywords: tuple[str, ...] = ()
    date: int = DATE


def plain(number: int, size: int = 0) -> bytes:
    """A small message; size: octets of its body."""
    body = b"Body of message %d.\r\n" % number
    while len(body) < size:
        body += b"." * min(70, size - len(body)) + b"\r\n"
    return (
        b"From: Sender %d <sender%d@example.org>\r\nTo: reader@example.org\r\nSubject: Letter %d\r\n"
        b"Date: Tue, %d Jan 2008 10:00:00 +0000\r\nMessage-ID: <%d@example.org>\r\n\r\n"
        % (number, number, number, number, number)
    ) + body


MINUTES = (
    (
        b"Date: Wed, 17 Jul 1996 02:23:25 -0700 (PDT)\r\n"
        b"From: Terry Gray <gray@cac.washington.edu>\r\n"
        b"Subject: IMAP4rev1 WG mtg summary and minutes\r\n"
        b"To: imap@cac.washington.edu\r\n"
        b"cc: minutes@CNRI.Reston.VA.US, John Klensin <KLENSIN@MIT.EDU>\r\n"
        b"Message-Id: <B27397-0100000@cac.washington.edu>\r\n"
        b"MIME-Version: 1.0\r\n"
        b"Content-Type: TEXT/PLAIN; CHARSET=US-ASCII\r\n\r\n"
    )
    + b"".join(b"%-30d\r\n" % line for line in range(91))
    + b"x" * 114
    + b"\r\n"
)
"""The message of the examples of RFC 3501 section 8, as far as that tells it: 3,028 octets in 92 lines of
body.
"""

GLOBAL = b"""\
From: a@example.org\r
Content-Type: multipart/mixed; boundary=b\r
\r
--b\r
Content-Type: Message/Global\r
\r
Subject: gr\xc3\xbc\xc3\x9fe\r
\r
inner\r
--b\r
Content-Type: message/global\r
Content-Transfer-Encoding: base64\r
\r
U3ViamVjdDogeA0KDQp5DQo=\r
--b--\r
"""
HTML = b"Content-Type: text/html\r\n\r\n<p>won<b class=big>der</b>ful &#103;reat a < b\r\n"
WHOLE_GLOBAL = b"Content-Type: message/global\r\n\r\nSubject: all\r\n\r\ntext\r\n"
NESTED = b"""\
From: =?utf-8?q?J=C3=B6rg?= <joerg@example.org>\r
To: Anna <anna@example.org>, list: one@example.org, two@example.org;\r
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r
Date: Mon, 7 Feb 1994 21:52:25 -0800\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="outer"\r
\r
preamble\r
--outer\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
Sch=C3=B6ne Gr=C3=BC=C3=9Fe\r
--outer\r
Content-Type: message/rfc822\r
Content-Description: forwarded\r
\r
From: inner@example.org\r
Subject: inner letter\r
Content-Type: multipart/alternative; boundary=inner\r
\r
--inner\r
\r
inner plain\r
--inner\r
Content-Type: text/html\r
\r
<p>inner html</p>\r
--inner--\r
\r
--outer\r
Content-Type: image/png; name="dot.png"\r
Content-Transfer-Encoding: base64\r
Content-Disposition: attachment; filename="dot.png"\r
\r
iVBORw0KGgo=\r
--outer--\r
epilogue\r
"""


ENCODED = b"""\
From: joe@example.org\r
Subject: encoded\r
MIME-Version: 1.0\r
Content-Type: multipart/mixed; boundary="b"\r
\r
--b\r
Content-Type: text/plain; charset=utf-8\r
Content-Transfer-Encoding: quoted-printable\r
\r
Gr=C3=BC=C3=9Fe, soft=\r
 break\r
--b\r
Content-Type: application/octet-stream\r
Content-Transfer-Encoding: base64\r
\r
AAECAwo=\r
--b\r
Content-Type: application/octet-stream\r
Content-Transfer-Encoding: x-uuencode\r
\r
begin\r
--b\r
Content-Type: text/plain\r
\r
seven bits\r
--b--\r
"""
"""A message of parts in several transfer encodings, the second with NUL, the third in one that is not known."""


def filed(date: int, size: int, *fields: bytes) -> Letter:
    """A message of these header fields, size octets of body, that arrived at a moment."""
    return Letter(
        b"".join(field + b"\r\n" for field in fields) + b"\r\n" + b"." * (size - 2) + b"\r\n", 0, (), date
    )


LETTERS = [
    filed(
        700000001,
        6000,
        b"From: Zoe <bert@example.org>",
        b"To: Carl <paul@example.org>, anna@example.org",
        b"Cc: dora@example.org",
        b"Subject: Apples",
        b"Date: Tue, 1 Jan 2008 10:00:00 +0000",
        b"Message-ID: <1@example.org>",
    ),
    filed(
        700000002,
        5000,
        b"From: bert@example.org",
        b"To: anna@example.org",
        b"Cc: Emil <emil@example.org>",
        b"Subject: [list] Re:  pears (fwd)",
        b"Date: Tue, 1 Jan 2008 12:00:00 +0300",
        b"Message-ID: <2@example.org>",
    ),
    filed(
        700000003,
        4000,
        b"From: =?utf-8?q?=C3=A4rger?= <carl@example.org>",
        b"To: undisclosed-recipients:;",
        b"Subject: Re: APPLES",
        b"Date: Thu, 3 Jan 2008 10:00:00 +0000",
        b"Message-ID: <3@example.org>",
        b"References: <1@example.org>",
    ),
    filed(
        700000005,
        3000,
        b"From: carl@example.org",
        b"Subject: re: apples",
        b"Date: Fri, 4 Jan 2008 10:00:00 +0000",
        b"Message-ID: <4@example.org>",
    ),
    filed(
        700000004,
        2000,
        b"From: Ada <Dirk@example.org>",
        b"Subject: [fwd: pears]",
        b"Date: Wed, 2 Jan 2008 10:00:00 +0000",
        b"Message-ID: <5@example.org>",
        b'In-Reply-To: <"2"@example.org>',
    ),
    filed(700000006, 1000, b"X-Empty: yes"),
]

SCENARIOS: dict[str, dict[bytes, list[Letter]]] = {
    "empty": {},
    "three": {b"INBOX": [Letter(plain(1), bits.SEEN), Letter(plain(2)), Letter(plain(3))]},
    "ten": {b"INBOX": [Letter(plain(number)) for number in range(1, 11)]},
    "rfc": {b"INBOX": [*(Letter(plain(number), bits.SEEN) for number in range(1, 12)), Letter(MINUTES)]},
    "global": {b"INBOX": [Letter(GLOBAL), Letter(plain(2)), Letter(WHOLE_GLOBAL)]},
    "html": {b"INBOX": [Letter(HTML), Letter(plain(2)), Letter(HTML.replace(b"text/html", b"text/plain"))]},
    "nested": {b"INBOX": [Letter(NESTED)]},
    "encoded": {b"INBOX": [Letter(ENCODED), Letter(plain(2))]},
    "letters": {b"INBOX": LETTERS},
    "large": {b"INBOX": [Letter(plain(1, 300_000))]},
    "flags": {
        b"INBOX": [
            Letter(plain(1), bits.SEEN | bits.ANSWERED, ("$Label1",), 760000000),
            Letter(plain(2), bits.DELETED, (), 770000000),
            Letter(plain(3), bits.FLAGGED | bits.SEEN, ("work", "$Label1"), 780000000),
            Letter(plain(4, 5000), bits.DRAFT, (), 790000000),
            Letter(NESTED, 0, (), 800000000),
        ]
    },
    "tree": {
        b"INBOX": [Letter(plain(1))],
        b"lists": [],
        b"lists.python": [Letter(plain(2)), Letter(plain(3), bits.SEEN)],
        b"lists.imap.protocol": [],
        b"R&AOk-sum&AOk-": [],
        b"with space": [],
    },
}


def fill(store: Any, scenario: str) -> Any:
    """Put a scenario into an empty store, which is returned."""
    for name, letters in SCENARIOS[scenario].items():
        if not store.exists(name):
            store.create(name)
        mailbox = store.open(name, writable=True)
        for letter in letters:
            body = mailbox.draft()
            body.write(letter.data)
            mailbox.append([Draft(body, letter.flags, frozenset(letter.keywords), letter.date)])
        mailbox.close()
    return store


def uids(*numbers: int) -> "array[int]":
    """UIDs as the store takes them."""
    return array("I", numbers)
