"""Clients that keep only what they were told: cut off after any octet, they come back and know what is.

Five kinds of client follow one Maildir, which other sessions and other programs change meanwhile: a plain one
(RFC 3501), one of IMAP4rev2 with UTF8=ACCEPT (RFC 9051), one with CONDSTORE, one with QRESYNC (RFC 7162), and one with UIDONLY besides
(RFC 9586). What each believes is compared with a fresh FETCH.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase
from hypothesis import settings as examples
from hypothesis import strategies as st
from hypothesis.errors import FlakyFailure
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    rule,
    run_state_machine_as_test,
)

from dovecotpy.imap.view import View
from tests.protocol import imap_maildir, imap_scenarios
from tests.protocol.imap_answers import check, responses, uids_of
from tests.protocol.imap_transcript import Client, settings

_CODE = re.compile(rb"OK \[HIGHESTMODSEQ (\d+)\]")
_MODIFIED = re.compile(rb"\[MODIFIED ([0-9:,]+)\]")
KINDS = ("plain", "rev2", "condstore", "qresync", "uidonly")
WITHOUT_MODSEQS = ("plain", "rev2")
_FLAGS = ("\\Seen", "\\Flagged", "\\Answered", "\\Deleted", "$Work")


class Lost(Exception):
    """The connection is cut."""


class Follower:
    """A client with a cache. kind: one of KINDS."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.uidvalidity = 0
        self.highest = 0
        self.flags: dict[int, frozenset[str]] = {}
        self.modseqs: dict[int, int] = {}
        self.connection: Client | None = None
        self.order: list[int | None] = []
        self._seen_highest = 0
        self._seen_code: int | None = None
        self._syncing = False
        self._changed: set[int] = set()
        self._pulls: int | None = None
        self._octets: int | None = None

    # The connection

    def cut_after(self, pulls: int | None, octets: int | None) -> None:
        """This connection is cut after so many pulls, of which so many octets are heard; None: it is not."""
        self._pulls, self._octets = pulls, octets

    def connect(self, store: Any) -> None:
        self.connection = Client(store, settings())
        self.connection.pull()
        self.order = []

    def lose(self) -> None:
        if self.connection is not None:
            self.connection.session.disconnected()
            self.connection = None
        self._pulls = None
        self._syncing = False

    def say(self, command: str) -> bytes:
        """One command, and everything that comes until its tagged answer. Raises Lost if that does not come."""
        if self.connection is None:
            raise Lost
        session = self.connection.session
        self._changed = set()
        self._seen_highest, self._seen_code = 0, None
        session.feed(b"x " + command.encode() + b"\r\n")
        data = b""
        while True:
            piece = session.pull()
            data += piece
            if not piece and not session.working:
                break
            if self._pulls is not None:
                self._pulls -= 1
                if self._pulls <= 0:
                    break
        lost = self._pulls is not None
        if lost:
            data = data[: min(self._octets or 0, len(data))]
            data = data[: data.rfind(b"\n") + 1]
        tagged = self.hear(data)
        if lost:
            self.lose()
            if tagged is None:
                raise Lost
        assert tagged is not None, data
        return tagged

    # What is heard

    def hear(self, data: bytes) -> bytes | None:
        tagged = None
        for response in responses(data):
            tag, values = check(response, utf8=self.kind == "rev2")
            if tag == b"x":
                tagged = values
                self._code(values)
                self._settle()
            elif isinstance(values, bytes):
                self._code(values)
                if values.startswith(b"OK [UIDVALIDITY "):
                    self._uidvalidity(int(values.split(b"]")[0].split()[-1]))
            elif isinstance(values[0], int):
                self._numbered(*values)
            elif values[0] == "VANISHED":
                self._vanished(uids_of(values[-1]), earlier=len(values) == 3)
        return tagged

    def _code(self, text: bytes) -> None:
        found = _CODE.match(text)
        if found:
            self._seen_code = int(found[1])

    def _settle(self) -> None:
        """RFC 7162 section 6: what counts is known with the tagged answer."""
        if self._syncing:
            return
        if self._seen_code is not None:
            self.highest = self._seen_code
        else:
            self.highest = max(self.highest, self._seen_highest)
        self._seen_highest, self._seen_code = 0, None

    def _uidvalidity(self, value: int) -> None:
        if value != self.uidvalidity:
            self.uidvalidity, self.highest = value, 0
            self.flags.clear()
            self.modseqs.clear()

    def _numbered(self, number: int, word: str, items: list[Any] | None = None) -> None:
        if word == "EXISTS":
            assert number >= len(self.order), "EXISTS takes messages away"
            self.order += [None] * (number - len(self.order))
        elif word == "EXPUNGE":
            assert self.kind not in ("qresync", "uidonly"), "EXPUNGE for a client that wants VANISHED"
            assert number <= len(self.order), "EXPUNGE of a message that is not there"
            self._forget(self.order.pop(number - 1))
        elif word == "UIDFETCH":
            assert self.kind == "uidonly"
            assert items is not None
            if number not in self.order:
                assert None in self.order, "more messages than EXISTS told of"
                self.order[self.order.index(None)] = number
            self._fetched(
                self.order.index(number) + 1,
                {"UID": number, **dict(zip(items[::2], items[1::2], strict=True))},
            )
        elif word == "RECENT":
            assert self.kind != "rev2", "RECENT in IMAP4rev2"
        elif word == "FETCH":
            assert self.kind != "uidonly", "FETCH for a client of UIDONLY"
            assert items is not None
            self._fetched(number, dict(zip(items[::2], items[1::2], strict=True)))

    def _fetched(self, number: int, items: dict[str, Any]) -> None:
        assert number <= len(self.order), "FETCH of a message that EXISTS did not tell of"
        uid = items.get("UID", self.order[number - 1])
        assert self.order[number - 1] in (None, uid), "a number belongs to another message"
        self.order[number - 1] = uid
        if uid is None:
            return
        if "FLAGS" in items:
            self._changed.add(uid)
            assert self.kind != "rev2" or "\\Recent" not in items["FLAGS"], "\\Recent in IMAP4rev2"
            self.flags[uid] = frozenset(map(str, items["FLAGS"])) - {"\\Recent"}
        if "MODSEQ" in items:
            self.modseqs[uid] = items["MODSEQ"][0]
            self._seen_highest = max(self._seen_highest, items["MODSEQ"][0])

    def _vanished(self, uids: list[int], *, earlier: bool) -> None:
        assert self.kind in ("qresync", "uidonly"), "VANISHED for a client that did not enable it"
        for uid in uids:
            if not earlier:
                named = uid if uid in self.order else None
                assert named in self.order, "VANISHED of a message that is not there"
                self.order.remove(named)
            self._forget(uid)

    def _forget(self, uid: int | None) -> None:
        if uid is not None:
            self.flags.pop(uid, None)
            self.modseqs.pop(uid, None)

    # Coming back

    def come_back(self, store: Any, *, known: bool, match: bool) -> None:
        """Connect and find out what happened. Raises Lost."""
        self.lose()
        self.connect(store)
        getattr(self, "_" + self.kind)(known, match)
        assert None not in self.order
        assert set(self.order) == set(self.flags), "told of another number of messages"

    def _plain(self, known: bool, match: bool) -> None:
        self._syncing = True
        self.say("SELECT INBOX")
        self.flags.clear()
        self.say("UID FETCH 1:* (FLAGS)")
        self._syncing = False

    def _rev2(self, known: bool, match: bool) -> None:
        self.say("ENABLE IMAP4rev2 UTF8=ACCEPT")
        self._plain(known, match)

    def _uidonly(self, known: bool, match: bool) -> None:
        self.say("ENABLE UIDONLY")
        if match and not known:
            self._qresync(known, match)
        else:
            self._qresync(known, match=False)

    def _condstore(self, known: bool, match: bool) -> None:
        self._syncing = True
        last = max(self.flags, default=0)
        before = self.uidvalidity
        self.say("SELECT INBOX (CONDSTORE)")
        highest = self._seen_code or 0
        if before != self.uidvalidity:
            last = 0
        there = self._search()
        for uid in [uid for uid in self.flags if uid not in there]:
            self._forget(uid)
        self.order = sorted(there)
        if last:
            self.say(f"UID FETCH 1:{last} (FLAGS) (CHANGEDSINCE {self.highest})")
        self._fetch_new(last)
        self.highest, self._syncing = highest, False

    def _search(self) -> list[int]:
        if self.connection is None:
            raise Lost
        heard = self.connection.send(b"x UID SEARCH ALL\r\n")
        answers = [check(response)[1] for response in responses(heard)]
        self.hear(heard)
        return list(next(values[1:] for values in answers if values[0] == "SEARCH"))

    def _fetch_new(self, last: int) -> None:
        """`n:*` names the last message even where n is beyond it."""
        self.say(f"UID FETCH {last + 1}:* (FLAGS MODSEQ)")

    def _qresync(self, known: bool, match: bool) -> None:
        self.say("ENABLE QRESYNC")
        last = max(self.flags, default=0)
        before = self.uidvalidity
        parameter = ""
        since = self.highest
        if since and match and not known:
            self._by_uid_fetch(since, last)
            return
        if self.highest:
            parameter = f" (QRESYNC ({self.uidvalidity} {self.highest}{self._match(known, match)}))"
        self.say("SELECT INBOX" + parameter)
        if before != self.uidvalidity or not parameter:
            last = 0
        self.order = [*sorted(self.flags), *[None] * (len(self.order) - len(self.flags))]
        self._fetch_new(last)

    def _by_uid_fetch(self, since: int, last: int) -> None:
        """The same without a parameter of SELECT (RFC 7162 section 3.2.5.1)."""
        self._syncing = True
        before = self.uidvalidity
        self.say("SELECT INBOX")
        highest = self._seen_code or 0
        if before != self.uidvalidity:
            since = last = 0
        self.say(f"UID FETCH 1:{last or 1} (FLAGS) (CHANGEDSINCE {since} VANISHED)")
        self.order = [*sorted(self.flags), *[None] * (len(self.order) - len(self.flags))]
        self._fetch_new(last)
        self.highest, self._syncing = highest, False

    def _match(self, known: bool, match: bool) -> str:
        uids = sorted(self.flags)
        text = ""
        if known and uids:
            text += f" 1:{uids[-1]}" if len(uids) % 2 else " " + ",".join(map(str, uids))
        if match and uids:
            sample = list(enumerate(uids, 1))[::2]
            numbers = ",".join(str(number) for number, _ in sample)
            text += f" ({numbers} {','.join(str(uid) for _, uid in sample)})"
        return text

    # At work

    def store_silently(self, uid: int, sign: str, flag: str, *, conditional: bool) -> None:
        condition = (
            f" (UNCHANGEDSINCE {self.highest})" if conditional and self.kind not in WITHOUT_MODSEQS else ""
        )
        tagged = self.say(f"UID STORE {uid}{condition} {sign}FLAGS.SILENT ({flag})")
        done = tagged.startswith(b"OK") and not _MODIFIED.search(tagged)
        if done and uid in self.flags and uid not in self._changed:
            flags = self.flags[uid]
            self.flags[uid] = flags | {flag} if sign == "+" else flags - {flag}

    def catch_up(self) -> None:
        """Hear the rest, also of messages that were only counted."""
        self.say("NOOP")
        if None in self.order:
            last = max((uid for uid in self.order if uid is not None), default=0)
            self.say(f"UID FETCH {last + 1}:* (FLAGS{'' if self.kind in WITHOUT_MODSEQS else ' MODSEQ'})")


class World(RuleBasedStateMachine):
    """One Maildir, its clients, and everybody else."""

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="resync-"))
        self.stack = contextlib.ExitStack()
        self.make = self.stack.enter_context(imap_maildir.stores(self.home))
        self.followers = {kind: Follower(kind) for kind in KINDS}
        self.counter = 0

    def teardown(self) -> None:
        for follower in self.followers.values():
            follower.lose()
        self.other.session.disconnected()
        self.stack.close()
        shutil.rmtree(self.home)

    @initialize()
    def start(self) -> None:
        store = imap_scenarios.fill(self.make(), "ten")
        store.create(b"other")
        self.other = Client(store, settings())
        self.other.send(b"o SELECT INBOX\r\n")

    # Everybody else

    @rule(
        uid=st.integers(1, 14),
        flag=st.sampled_from(_FLAGS),
        sign=st.sampled_from("+-"),
    )
    def other_session_stores(self, uid: int, flag: str, sign: str) -> None:
        self._other(f"UID STORE {uid} {sign}FLAGS ({flag})")

    @rule(low=st.integers(1, 12), count=st.integers(0, 3))
    def other_session_expunges(self, low: int, count: int) -> None:
        self._other(f"UID STORE {low}:{low + count} +FLAGS.SILENT (\\Deleted)")
        self._other(f"UID EXPUNGE {low}:{low + count}")

    @rule(uid=st.integers(1, 14))
    def other_session_moves(self, uid: int) -> None:
        self._other(f"UID MOVE {uid} other")

    @rule()
    def other_session_appends(self) -> None:
        self._other("APPEND INBOX (\\Flagged) {3+}\r\nx\r\n")

    def _other(self, command: str) -> None:
        heard = self.other.send(b"o " + command.encode() + b"\r\n")
        assert re.search(rb"^o (OK|NO \[EXPUNGEISSUED\])", heard, re.MULTILINE), heard

    @rule(at=st.integers(0, 20), flags=st.sampled_from(("", "S", "FS", "T", "R")))
    def program_renames(self, at: int, flags: str) -> None:
        found = self._files()
        if found:
            path = found[at % len(found)]
            path.rename(self.home / "Maildir" / "cur" / (path.name.split(":")[0] + ":2," + flags))

    @rule(at=st.integers(0, 20))
    def program_deletes(self, at: int) -> None:
        found = self._files()
        if found:
            found[at % len(found)].unlink()

    @rule()
    def program_delivers(self) -> None:
        self.counter += 1
        (self.home / "Maildir" / "new" / f"1000{self.counter}.delivered").write_bytes(b"Subject: new\n\nx\n")

    def _files(self) -> list[Path]:
        box = self.home / "Maildir"
        return sorted(path for folder in ("new", "cur") for path in (box / folder).iterdir())

    # The clients

    kinds = st.sampled_from(KINDS)

    @rule(kind=kinds, known=st.booleans(), match=st.booleans())
    def comes_back(self, kind: str, known: bool, match: bool) -> None:
        follower = self.followers[kind]
        follower.come_back(self.make(), known=known, match=match)
        self.compare(follower)

    @rule(
        kind=kinds,
        known=st.booleans(),
        match=st.booleans(),
        pulls=st.integers(1, 30),
        octets=st.integers(0, 900),
    )
    def comes_back_and_is_cut(self, kind: str, known: bool, match: bool, pulls: int, octets: int) -> None:
        follower = self.followers[kind]
        follower.lose()
        follower.cut_after(pulls, octets)
        with contextlib.suppress(Lost):
            store = self.make()
            follower.connect(store)
            getattr(follower, "_" + kind)(known, match)
        follower.lose()

    @rule(
        kind=kinds,
        at=st.integers(0, 20),
        flag=st.sampled_from(_FLAGS),
        sign=st.sampled_from("+-"),
        conditional=st.booleans(),
        cut=st.none() | st.tuples(st.integers(1, 8), st.integers(0, 300)),
    )
    def stores(
        self, kind: str, at: int, flag: str, sign: str, conditional: bool, cut: tuple[int, int] | None
    ) -> None:
        follower = self._at_work(kind, cut)
        if follower is None or not follower.flags:
            return
        uids = sorted(follower.flags)
        with contextlib.suppress(Lost):
            follower.store_silently(uids[at % len(uids)], sign, flag, conditional=conditional)

    @rule(
        kind=kinds,
        command=st.sampled_from(
            (
                "NOOP",
                "STORE 1:2 +FLAGS (\\Answered)",
                "STORE 1:* -FLAGS (\\Seen)",
                "FETCH 1:* (UID FLAGS MODSEQ)",
                "EXPUNGE",
                "UID STORE 1:* +FLAGS.SILENT (\\Deleted)",
                "SEARCH ALL",
                "UID SEARCH ALL",
                "STATUS INBOX (HIGHESTMODSEQ)",
                "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)",
                "UID SEARCH 1:2",
            )
        ),
        cut=st.none() | st.tuples(st.integers(1, 8), st.integers(0, 300)),
    )
    def says(self, kind: str, command: str, cut: tuple[int, int] | None) -> None:
        follower = self._at_work(kind, cut)
        if follower is None:
            return
        if "VANISHED" in command and kind not in ("qresync", "uidonly"):
            return
        if kind == "uidonly":
            command = command.replace("UID SEARCH 1", "UID SEARCH UID 1")
            command = "UID " + command if command.startswith(("STORE", "FETCH", "SEARCH")) else command
        if command.startswith(("STORE", "FETCH", "UID SEARCH 1")) and len(follower.order) < 2:
            return
        if kind in WITHOUT_MODSEQS:
            command = command.replace(" MODSEQ", "").replace("HIGHESTMODSEQ", "MESSAGES")
        with contextlib.suppress(Lost):
            if ".SILENT" in command:
                command = command.replace(".SILENT", "")
            follower.say(command)

    @rule(
        kind=kinds,
        at=st.integers(0, 20),
        command=st.sampled_from(
            ("STORE 1 +FLAGS (\\Answered)", "STORE 1 -FLAGS (\\Answered)", "FETCH 1:* FLAGS")
        ),
    )
    def names_numbers_while_a_message_goes(self, kind: str, at: int, command: str) -> None:
        """Expunges may not be told then (RFC 3501 section 7.4.1); what is told must not hide them."""
        follower = self._at_work(kind, None)
        command = "UID " + command if kind == "uidonly" else command
        if follower is not None and follower.order and self._files():
            self.program_deletes(at)
            follower.say(command)

    @rule(kind=kinds)
    def is_told_everything(self, kind: str) -> None:
        """While it is connected, too, a client knows what is."""
        follower = self._at_work(kind, None)
        if follower is not None:
            follower.catch_up()
            self.compare(follower)

    def _at_work(self, kind: str, cut: tuple[int, int] | None) -> Follower | None:
        follower = self.followers[kind]
        if follower.connection is None:
            return None
        follower.cut_after(*cut or (None, None))
        return follower

    # What is

    def compare(self, follower: Follower) -> None:
        """What a client believes, and what a fresh session is told."""
        fresh = Follower("condstore")
        fresh.connect(self.make())
        fresh.say("EXAMINE INBOX (CONDSTORE)")
        highest = fresh.highest
        fresh.say("UID FETCH 1:* (FLAGS MODSEQ)")
        fresh.lose()
        assert follower.flags == fresh.flags
        if follower.kind not in WITHOUT_MODSEQS:
            assert follower.highest <= highest
            assert follower.modseqs == fresh.modseqs


EXAMPLES = int(os.environ.get("RESYNC_EXAMPLES", "40"))
"""More of them are a proof; these are a test."""
RUN = examples(
    max_examples=EXAMPLES,
    phases=(Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink),
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


TRIES = 8
"""Runs in which a planted fault must be noticed: chance may pass it by in one."""


def test_whoever_comes_back_knows_what_is() -> None:
    run_state_machine_as_test(World, settings=RUN)


@pytest.mark.parametrize("name", ["vanished_earlier", "changed_since", "untold"])
def test_the_machine_notices_a_fault(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Expunges that a client is not told of when it comes back; flags; flags while it is there."""
    if name == "untold":
        look = View.look

        def forgetful(self: View) -> None:
            look(self)
            self._changed = set(sorted(self._changed)[1:])

        monkeypatch.setattr(View, "look", forgetful)
    else:
        monkeypatch.setattr(View, name, lambda *arguments: iter(()))
    short = examples(RUN, max_examples=200, phases=(Phase.generate,), database=None)
    with pytest.raises((AssertionError, FlakyFailure)):
        for _ in range(TRIES):
            run_state_machine_as_test(World, settings=short)


@pytest.mark.parametrize("faulty", [False, True])
def test_a_modseq_never_hides_an_expunge(monkeypatch: pytest.MonkeyPatch, *, faulty: bool) -> None:
    """A STORE by number tells a modseq above that of an expunge that it may not tell: HIGHESTMODSEQ stays below."""
    if faulty:
        monkeypatch.setattr(View, "settle_highest", lambda self: b"")
    world = World()
    try:
        world.start()
        world.comes_back("qresync", False, False)
        world.program_deletes(5)
        world.followers["qresync"].say("STORE 1 +FLAGS (\\Answered)")
        if faulty:
            with pytest.raises(AssertionError):
                world.comes_back("qresync", False, False)
        else:
            world.comes_back("qresync", False, False)
    finally:
        world.teardown()
