"""The rows of the table, by name. One row is one function that gets a server and a mailbox and takes samples under labels:
first (no index, mail written by another program), again (the same session), new connection.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks import mailboxes
from benchmarks.client import Client, Refused
from benchmarks.measure import Bench

STATUS_ITEMS = b"(MESSAGES UNSEEN UIDNEXT UIDVALIDITY)"
SINGLE = 200
"""Commands of a row that asks for one thing at a time."""
MANY = 1000
"""Messages of the rows that work on a thousand."""
NOTICES = 5
NOTICE_PAUSE = 0.15
"""Seconds between an IDLE session's notice and the next change."""
DELIVERIES = 20
LARGE = 100_000_000


class Row(NamedTuple):
    """A row: what it is called, what it does, what its numbers are."""

    name: str
    run: Callable[[Bench], None]
    unit: str = "ms"
    more_is_better: bool = False
    pooled: bool = False
    """Percentiles of the samples of all rounds instead of their median."""
    once: bool = False
    """Independent of the size of the mailbox: at the first size only."""


def read(line: bytes) -> Callable[[Bench], None]:
    """A command on mail that no server has seen, then again, then in a new connection."""

    def run(bench: Bench) -> None:
        user = bench.fresh()
        client = bench.connect(user)
        for label in ("first", "again"):
            with bench.measure(label, client):
                client.command(line)
        client = bench.connect(user)
        with bench.measure("new connection", client):
            client.command(line)

    return run


def known(line: bytes) -> Callable[[Bench], None]:
    """A command on mail that the server knows, in a new connection and again."""

    def run(bench: Bench) -> None:
        client = bench.connect(bench.kept())
        for label in ("new connection", "again"):
            with bench.measure(label, client):
                client.command(line)

    return run


def select(bench: Bench) -> None:
    user = bench.fresh()
    client = bench.connect(user, select=False)
    for label in ("first", "again"):
        with bench.measure(label, client):
            client.command(b"SELECT INBOX")
    client = bench.connect(user, select=False)
    with bench.measure("new connection", client):
        client.command(b"SELECT INBOX")


def bodies(bench: Bench) -> None:
    client = bench.connect(bench.kept())
    for label in ("new connection", "again"):
        with bench.measure(label, client, megabytes=True):
            client.command(b"FETCH 1:%d (BODY.PEEK[])" % MANY)


def one_body(bench: Bench) -> None:
    client = bench.connect(bench.kept())
    chooser = random.Random(bench.round)
    bench.each(
        "p50", client, [b"FETCH %d (BODY.PEEK[])" % chooser.randint(1, bench.messages) for _ in range(SINGLE)]
    )


def search_since(bench: Bench) -> None:
    known(b"SEARCH SINCE " + mailboxes.since(bench.messages))(bench)


def store_one(bench: Bench) -> None:
    client = bench.connect(bench.seen())
    chooser = random.Random(bench.round)
    numbers = chooser.sample(range(1, bench.messages + 1), SINGLE)
    bench.each("p50", client, [b"STORE %d +FLAGS (\\Flagged)" % number for number in numbers])


def store_many(bench: Bench) -> None:
    client = bench.connect(bench.seen())
    with bench.measure("+FLAGS", client):
        client.command(b"STORE 1:%d +FLAGS (\\Flagged)" % MANY)
    with bench.measure("-FLAGS", client):
        client.command(b"STORE 1:%d -FLAGS (\\Flagged)" % MANY)


def append(bench: Bench) -> None:
    message = mailboxes.plain(4096)
    client = bench.connect(bench.seen())
    with bench.measure("", client, things=SINGLE):
        for _ in range(SINGLE):
            client.append(b"INBOX", message)


def transfer(line: bytes) -> Callable[[Bench], None]:
    """COPY or MOVE of a thousand to a new mailbox."""

    def run(bench: Bench) -> None:
        client = bench.connect(bench.fresh())
        client.command(b"CREATE Target")
        with bench.measure("", client, compare=False):
            client.command(line % MANY)

    return run


def expunge(bench: Bench) -> None:
    client = bench.connect(bench.seen())
    client.command(b"STORE 1:%d +FLAGS.SILENT (\\Deleted)" % MANY)
    with bench.measure("", client):
        client.command(b"EXPUNGE")


def status(bench: Bench) -> None:
    user = bench.fresh(folders=True)
    for label in ("first", "new connection"):
        client = bench.connect(user, select=False)
        with bench.measure(label, client):
            for number in range(FOLDERS):
                client.command(b"STATUS f%03d %s" % (number, STATUS_ITEMS))


def list_status(bench: Bench) -> None:
    """CHILDREN is asked for, because Dovecot leaves it out otherwise and answers shorter."""
    user = bench.fresh(folders=True)
    for label in ("first", "new connection"):
        client = bench.connect(user, select=False)
        with bench.measure(label, client):
            client.command(b'LIST "" * RETURN (CHILDREN STATUS %s)' % STATUS_ITEMS)


def store_reconnect(bench: Bench) -> None:
    user = bench.fresh()
    client = bench.connect(user)
    client.command(b"STORE %d +FLAGS (\\Flagged)" % (bench.messages // 2))
    client.command(b"LOGOUT")
    client = bench.connect(user, select=False)
    with bench.measure("", client):
        client.command(b"SELECT INBOX")


def delivery(bench: Bench) -> None:
    """APPEND by one session while another changes the flags of all messages without a pause."""
    user = bench.fresh()
    storing = bench.connect(user)
    client = bench.connect(user, select=False)
    message = mailboxes.plain(4096)
    over = threading.Event()
    rounds = 0

    def store() -> None:
        nonlocal rounds
        while not over.is_set():
            storing.command(b"STORE 1:* %cFLAGS.SILENT (\\Flagged)" % b"+-"[rounds % 2])
            rounds += 1

    thread = threading.Thread(target=store)
    thread.start()
    try:
        for _ in range(DELIVERIES):
            began = time.perf_counter()
            client.append(b"INBOX", message)
            bench.record("", (time.perf_counter() - began) * 1000)
    finally:
        over.set()
        thread.join()


def idle_append(bench: Bench) -> None:
    user = bench.fresh()
    idle, client = bench.connect(user), bench.connect(user, select=False)
    message = mailboxes.plain(4096)
    _notices(bench, lambda: client.append(b"INBOX", message), b" EXISTS", idle)


def idle_store(bench: Bench) -> None:
    user = bench.fresh()
    idle, client = bench.connect(user), bench.connect(user)
    numbers = iter(range(1, NOTICES + 1))
    _notices(bench, lambda: client.command(b"STORE %d +FLAGS (\\Answered)" % next(numbers)), b"FETCH", idle)


def idle_delivery(bench: Bench) -> None:
    user = bench.fresh()
    idle = bench.connect(user)
    _notices(bench, lambda: mailboxes.deliver(bench.home(user)), b" EXISTS", idle)


def _notices(bench: Bench, change: Callable[[], object], text: bytes, idle: Client) -> None:
    idle.begin_idle()
    for _ in range(NOTICES):
        time.sleep(NOTICE_PAUSE)
        change()
        began = time.perf_counter()
        bench.record("", (idle.wait_for(text, 10) - began) * 1000)


def large(bench: Bench) -> None:
    """What matters here is the peak of memory."""
    message = mailboxes.plain(LARGE)
    client = bench.connect(bench.fresh())
    with bench.measure("APPEND", client, things=LARGE // 1_000_000):
        client.append(b"INBOX", message)
    client.command(b"NOOP")
    with bench.measure("FETCH", client, megabytes=True):
        client.command(b"FETCH %d (BODY.PEEK[])" % (bench.messages + 1))


def session_memory(bench: Bench) -> None:
    """Private memory of a session that has asked for everything once."""
    client = bench.connect(bench.fresh())
    for line in (
        b"FETCH 1:* (UID FLAGS ENVELOPE)",
        b"SEARCH SUBJECT report",
        b"SORT (SUBJECT) UTF-8 ALL",
        b"THREAD REFERENCES UTF-8 ALL",
    ):
        try:
            client.command(line)
        except Refused:
            continue
    bench.record("", bench.private_kib(client) / 1024)


FOLDERS = 100
FOLDER_MESSAGES = 20

ENVELOPE = b"FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)"
FIELDS = b"FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (FROM TO SUBJECT DATE)])"

ROWS = (
    Row("SELECT", select),
    Row("FETCH (UID FLAGS)", known(b"FETCH 1:* (UID FLAGS)")),
    Row("FETCH ENVELOPE", read(ENVELOPE)),
    Row("FETCH BODYSTRUCTURE", read(b"FETCH 1:* (UID BODYSTRUCTURE)")),
    Row("FETCH HEADER.FIELDS", read(FIELDS)),
    Row("FETCH 1000 bodies", bodies, "MB/s", more_is_better=True),
    Row("FETCH one body", one_body, "µs"),
    Row("SEARCH UNSEEN", known(b"SEARCH UNSEEN")),
    Row("SEARCH SINCE", search_since),
    Row("SEARCH SUBJECT", read(b"SEARCH SUBJECT holiday")),
    Row("SEARCH BODY rare", read(b"SEARCH BODY " + mailboxes.RARE[0].encode())),
    Row("SORT (DATE)", read(b"SORT (DATE) UTF-8 ALL")),
    Row("SORT (SUBJECT)", read(b"SORT (SUBJECT) UTF-8 ALL")),
    Row("THREAD REFERENCES", read(b"THREAD REFERENCES UTF-8 ALL")),
    Row("STORE one", store_one, "µs"),
    Row("STORE 1000", store_many),
    Row("APPEND 4 KB", append, "/s", more_is_better=True),
    Row("COPY 1000", transfer(b"COPY 1:%d Target")),
    Row("MOVE 1000", transfer(b"MOVE 1:%d Target")),
    Row("EXPUNGE 1000", expunge),
    Row("STATUS of 100", status, once=True),
    Row("LIST-STATUS of 100", list_status, once=True),
    Row("STORE, reconnect, SELECT", store_reconnect),
    Row("APPEND while STORE 1:*", delivery, pooled=True),
    Row("IDLE notice of APPEND", idle_append, pooled=True, once=True),
    Row("IDLE notice of STORE", idle_store, pooled=True, once=True),
    Row("IDLE notice of a delivery", idle_delivery, pooled=True, once=True),
    Row("100 MB message", large, "MB/s", more_is_better=True, once=True),
    Row("private memory of a session", session_memory, "MiB"),
)

AIMS = {
    "FETCH (UID FLAGS)": 3.0,
    "FETCH ENVELOPE, first": 1.5,
    "FETCH ENVELOPE, again": 8.0,
    "FETCH ENVELOPE, new connection": 8.0,
    "SEARCH BODY rare, first": 1.5,
    "SEARCH BODY rare, again": 20.0,
    "SORT (DATE), again": 8.0,
    "SORT (SUBJECT), again": 8.0,
    "THREAD REFERENCES, again": 50.0,
    "STORE": 1.2,
    "APPEND 4 KB": 1.2,
    "COPY 1000": 3.0,
    "MOVE 1000": 1.5,
    "FETCH 1000 bodies": 1.2,
    "IDLE notice of APPEND": 40.0,
    "IDLE notice of STORE": 40.0,
    "IDLE notice of a delivery": 40.0,
    "private memory": 0.0,
}
"""The least ratio aimed at, by the beginning of a line's name, the longest counts; 1.0 where none is named."""


def aim(line: str) -> float:
    """Of a line of the table."""
    return AIMS.get(max((name for name in AIMS if line.startswith(name)), key=len, default=""), 1.0)
