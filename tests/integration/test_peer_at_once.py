"""Debian's Dovecot, neomutt in the Maildir itself and we work on one mailbox at once: nothing is lost and in the end all see the same."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.client_world import on_a_terminal
from tests.integration.peer import Peer
from tests.integration.storage_processes import requires_dovecot
from tests.integration.test_whole_sessions import compare_views, quiet
from tests.server import AS_ROOT, MAIL_ID, RawClient, Server, program
from tests.sessions import KEPT, Follower, Record, Worker, check, look

pytestmark = [
    requires_dovecot,
    pytest.mark.skipif(not program("neomutt"), reason="neomutt is not installed"),
]

SECONDS = 10.0
OURS = 3
THEIRS = 2
BOX = "INBOX"
CONFIGURATION = """
set folder = {maildir}
set spoolfile = {maildir}
set mbox_type = Maildir
set quit = yes
set delete = yes
set move = no
set mark_old = no
set confirmappend = no
set maildir_trash = no
set header_cache = ""
set sort = mailbox-order
set wait_key = no
set timeout = 1
set sleep_time = 0
push "{keys}"
"""
LETTERS = {"D": b"\\Draft", "F": b"\\Flagged", "R": b"\\Answered", "S": b"\\Seen", "T": b"\\Deleted"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server(tmp_path, settings={"mail_max_userip_connections": "0"}) as server:
        maildir = server.home("joe") / "Maildir"
        for each in (maildir, maildir / "cur", maildir / "new", maildir / "tmp"):
            each.mkdir()
            server.give(each)
        yield server
        assert "Traceback" not in server.log()
        assert "Error" not in server.log()


class PeerFollower(Follower):
    """The view of a client of Dovecot."""

    def __init__(self, maildir: Path) -> None:
        self.client: RawClient = Peer(maildir, maildir.parent / "dovecot.log")
        self.view, self.recent, self.said, self.mailbox = [], set(), deque(maxlen=KEPT), BOX
        self.command(f"SELECT {BOX}")
        self.look()


class PeerWorker(Worker):
    """The work of a client of ours, done through Dovecot."""

    def _connected(self) -> Follower:
        return PeerFollower(self.server.home("joe") / "Maildir")


class Mutt(threading.Thread):
    """Opens the Maildir itself again and again: flags what came last, saves copies, deletes what was delivered for it.

    Where it finds a file renamed by others at the wrong moment it gives up, and what it was to do next is not done: such visits are cut short.
    """

    def __init__(self, server: Server, home: Path, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.server = server
        self.home = home
        self.stop = stop
        self.maildir = server.home("joe") / "Maildir"
        self.delivered = 0
        self.finished = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stop.is_set():
                for name in ("stays", "goes"):
                    text = b"Subject: outside-%s %d\n\nbody\n" % (name.encode(), self.delivered)
                    self.server.deliver("joe", text, f"17{self.delivered:08}.M1P1.{name}")
                self.delivered += 1
                for keys in (
                    "<last-entry><flag-message><previous-entry><toggle-new>",
                    "<delete-pattern>~s outside-goes<enter>",
                    f"<search>outside-stays<enter><copy-message>{self.maildir}<enter>",
                ):
                    try:
                        self.press(keys + "<sync-mailbox><quit>", seconds=2.0)
                        self.finished += 1
                    except AssertionError:
                        continue
        except BaseException as error:
            self.failure = error

    def press(self, keys: str, seconds: float = 20.0) -> None:
        """One visit. Raises AssertionError unless it came to its end."""
        (self.home / "muttrc").write_text(CONFIGURATION.format(maildir=self.maildir, keys=keys))
        command = ["neomutt", "-n", "-F", str(self.home / "muttrc"), "-f", str(self.maildir)]
        on_a_terminal(command, self.home, seconds, owner=MAIL_ID if AS_ROOT else None)


def in_the_maildir(maildir: Path) -> dict[str, frozenset[bytes]]:
    """The flags and keywords of each message by its base name, as the Maildir's own files say."""
    names = dict(line.split(" ", 1) for line in (maildir / "dovecot-keywords").read_text().splitlines())
    keywords = {chr(ord("a") + int(number)): name.encode() for number, name in names.items()}
    found = {}
    for path in (*(maildir / "new").iterdir(), *(maildir / "cur").iterdir()):
        base, _, letters = path.name.partition(":2,")
        assert base not in found, f"{base} is there twice"
        found[base] = frozenset((LETTERS | keywords)[letter] for letter in letters)
    return found


def in_the_list(maildir: Path) -> dict[int, str]:
    """The base name of each UID."""
    lines = (maildir / "dovecot-uidlist").read_text().splitlines()[1:]
    matches = [re.match(r"(\d+) .*?:(.*)", line) for line in lines]
    return {int(match[1]): match[2].partition(":2,")[0] for match in matches if match}


def renumbered_by_dovecot(maildir: Path) -> set[int]:
    """UIDs that Dovecot took away: it believes one listing that misses a file, and gives the message that it finds later a new UID."""
    log = (maildir.parent / "dovecot.log").read_text()
    return {int(uid) for uid in re.findall(r"reappeared, giving a new UID \(old uid=(\d+)", log)}


def seen_by_dovecot(maildir: Path) -> dict[int, frozenset[bytes]]:
    follower = PeerFollower(maildir)
    follower.command("NOOP")
    follower.look()
    follower.close()
    return {known.uid: known.flags for known in follower.view if known.uid and known.flags is not None}


def all_agree(server: Server) -> dict[int, frozenset[bytes]]:
    """Ours, Dovecot's and the files' own account of every message. Raises AssertionError."""
    maildir = server.home("joe") / "Maildir"
    ours = {uid: flags for uid, (flags, _) in look(server, "joe", BOX).messages.items()}
    assert seen_by_dovecot(maildir) == ours
    files, names = in_the_maildir(maildir), in_the_list(maildir)
    assert sorted(files) == sorted(names[uid] for uid in ours)
    assert {uid: files[names[uid]] for uid in ours} == ours
    return ours


@pytest.mark.timeout(240)
def test_all_three_at_once(server: Server, tmp_path: Path) -> None:
    stop, record = threading.Event(), Record()
    maildir, home = server.home("joe") / "Maildir", tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    workers = [Worker(server, record, number, stop, mailboxes=(BOX,), pause=0.1) for number in range(OURS)]
    workers += [
        PeerWorker(server, record, OURS + number, stop, mailboxes=(BOX,), pause=0.1)
        for number in range(THEIRS)
    ]
    mutt = Mutt(server, home, stop)
    for thread in (*workers, mutt):
        thread.start()
    time.sleep(SECONDS)
    stop.set()
    for thread in (*workers, mutt):
        thread.join(60)
        assert not thread.is_alive()
        if thread.failure is not None:
            raise thread.failure
    assert not [loss for worker in workers for loss in worker.losses], "connections ended by themselves"
    assert mutt.finished > 1
    deleted = set(record.maybe_gone)
    quiet(server)
    compare_views(server, workers)
    moved = renumbered_by_dovecot(maildir)
    record.maybe_gone |= {(BOX, uid) for uid in moved}
    seen = look(server, "joe", BOX)
    check(record, {BOX: seen})
    left = {"", *(token for _, token in seen.messages.values())}
    assert {record.stored.get((BOX, uid), "") for uid in moved if (BOX, uid) not in deleted} <= left
    all_agree(server)
    mutt.press(
        "<tag-pattern>! ~F<enter><tag-prefix><flag-message><delete-pattern>~s outside-goes<enter><sync-mailbox><quit>"
    )
    flagged = all_agree(server)
    assert all(b"\\Flagged" in flags for flags in flagged.values())
    outside = [name for name in in_the_maildir(maildir) if name.endswith((".goes", ".stays"))]
    assert sorted(outside) == sorted(f"17{number:08}.M1P1.stays" for number in range(mutt.delivered))
    for cache in (*maildir.glob("dovecot.index*"), *maildir.glob("dovecotpy.*")):
        cache.unlink()
    assert all_agree(server) == flagged
    print(
        f"{len(flagged)} messages, {len(record.gone)} expunged, {mutt.finished} visits of neomutt, {len(moved)} renumbered by Dovecot"
    )
