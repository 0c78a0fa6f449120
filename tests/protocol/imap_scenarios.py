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

FEBRUARY_2006 = 1139702400
"""12-Feb-2006 00:00:00 +0000, from which on the examples of RFC 5182 search."""

DISCUSSED = (
    "166 167 168 169 172 170 171 173 174,175,176,178,181,180 179 177,183,182,188,184,185,186,187,189 190 191 192 193 "
    "194,195 196,197,198 199 200,202 201 203 204 205 206,207 208"
)
"""The messages of the examples of THREAD (RFC 5256 section 3) by sent date; those of one subject stand together."""

ANSWERED = {
    170: "lost",
    179: "lost",
    184: "188",
    189: "188",
    186: "185",
    196: "195",
    198: "197",
    202: "200",
    206: "205",
    207: "206",
}
"""What messages of those examples answer."""


def discussed() -> list[Letter]:
    """208 messages, those from the 166th on being of March 2000."""
    order = DISCUSSED.replace(",", " ").split()
    subject = {int(number): each.split(",")[0] for each in DISCUSSED.split() for number in each.split(",")}
    letters = []
    for number in range(166, 209):
        minutes = order.index(str(number))
        lines = [
            f"Subject: Topic {subject[number]}",
            f"Date: Mon, 6 Mar 2000 10:{minutes:02}:00 +0000",
            f"Message-ID: <{number}@example.org>",
        ]
        if number in ANSWERED:
            lines.append(f"References: <{ANSWERED[number]}@example.org>")
        letters.append(Letter("\r\n".join([*lines, "", ""]).encode(), 0, (), 952336800 + number))
    return [Letter(plain(number)) for number in range(1, 166)] + letters


def marked(number: int) -> Letter:
    """A message of the mailbox of the examples of RFC 4731, which has 23."""
    flagged = bits.FLAGGED if number in (2, 10, 11) else 0
    seen = bits.SEEN if number < 4 else 0
    return Letter(plain(number), flagged | seen | (bits.DELETED if number > 8 else 0), (), 770000000)


def saved(number: int) -> Letter:
    """A message of the mailbox of the examples of RFC 5182, which has 21."""
    late = number == 2 or 10 <= number <= 15 or number == 21
    return Letter(
        plain(number, 5000 if number == 12 else 0),
        bits.FLAGGED if number in (2, 14, 17) else 0,
        ("$Junk",) if number in (4, 5) else (),
        FEBRUARY_2006 + number if late else DATE,
    )


LOREM = (
    b"Lorem ipsum dolor sit amet, consectetur adipiscing elit.\r\n"
    b"Curabitur aliquam turpis et ante dictum, et pulvinar dui congue.\r\n"
    b"Maecenas hendrerit, lorem non imperdiet pellentesque, nulla\r\n"
    b"ligula nullam, and what stands behind the two hundredth character.\r\n"
)


def previewed(number: int, sender: bytes, body: bytes) -> Letter:
    """A message of the mailbox of the examples of RFC 8970."""
    header = b"From: %s\r\nDate: %d Sep 2020 15:03:11 +0000\r\nContent-Type: text/plain\r\n\r\n"
    return Letter(header % (sender, 22 + number) + body)


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
    "many": {b"INBOX": [Letter(plain(number)) for number in range(1, 151)]},
    "marked": {b"INBOX": [marked(number) for number in range(1, 24)]},
    "saved": {b"INBOX": [saved(number) for number in range(1, 22)], b"Junk": [], b"Other Messages": []},
    "lorem": {
        b"INBOX": [
            previewed(1, b"a@example.org", LOREM),
            previewed(2, b"b@example.org", b""),
            previewed(3, b"c@example.org", b"Message data from message 3.\r\n"),
            previewed(4, b"d@example.org", b"Message 4 preview\r\n"),
            previewed(5, b"foo@example.org", b"Preview text!\r\n"),
            previewed(6, b"foo@example.org", b"Another preview!\r\n"),
        ]
    },
    "discussed": {b"INBOX": discussed()},
    "sorted": {
        b"INBOX": [
            filed(date, 100, b"Subject: " + subject, b"Date: " + sent)
            for date, subject, sent in (
                (750000000, b"Winter", b"Fri, 4 Feb 1994 10:00:00 +0000"),
                (770000000, b"Re: winter", b"Thu, 3 Feb 1994 10:00:00 +0000"),
                (750000000, b"Summer", b"Sat, 5 Feb 1994 10:00:00 +0000"),
                (780000000, b"Summer", b"Tue, 1 Feb 1994 10:00:00 +0000"),
                (750000000, b"Autumn", b"Mon, 7 Feb 1994 10:00:00 +0000"),
            )
        ]
    },
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
