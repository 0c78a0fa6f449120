"""Sessions cut off anywhere, told to stop anywhere, with a store that fails; and two sessions on one mailbox."""

from __future__ import annotations

import re
import select
import tempfile
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from dovecotpy import clock
from dovecotpy.imap import session as imap_session
from dovecotpy.imap.session import ImapSession
from dovecotpy.ipc.record import Level
from dovecotpy.search.evaluate import Found, Progress
from dovecotpy.storage import errors
from dovecotpy.storage.maildir.box import MaildirBox
from tests.protocol import imap_maildir, imap_scenarios
from tests.protocol.imap_answers import Mirror, check, responses
from tests.protocol.imap_model import ModelDraft, ModelMailbox, ModelStore
from tests.protocol.imap_transcript import Client, settings

CONVERSATION = (
    b'a ID ("name" "x")\r\nb SELECT INBOX\r\nc FETCH 1:* (UID FLAGS ENVELOPE BODYSTRUCTURE)\r\n'
    b"d UID FETCH 1:* BODY[]\r\ne SEARCH CHARSET UTF-8 SUBJECT {6}\r\nletter OR SEEN TEXT body\r\n"
    b'f APPEND INBOX (\\Seen) " 7-Feb-1994 21:52:25 -0800" {20+}\r\nSubject: x\r\n\r\nbody\r\n\r\n'
    b"g STORE 1:2 +FLAGS (\\Deleted $Work)\r\nh CREATE other\r\ni COPY 1:2 other\r\nj IDLE\r\nDONE\r\n"
    b'k EXPUNGE\r\nl LIST "" *\r\nm STATUS other (MESSAGES UIDNEXT)\r\nn CLOSE\r\no LOGOUT\r\n'
)


def store_with(scenario: str = "three") -> ModelStore:
    return imap_scenarios.fill(ModelStore(), scenario)  # type: ignore[no-any-return]


def closed(store: ModelStore) -> bool:
    """Whether every mailbox that was opened was closed."""
    return all(mailbox.closed for mailbox in store.opened)


def test_the_whole_conversation() -> None:
    client = Client(store_with(), settings())
    answers = [check(response) for response in responses(client.send(CONVERSATION))]
    tagged = [(tag, text[:2]) for tag, text in answers if tag not in (b"*", b"+", b"login")]
    assert tagged == [(bytes((letter,)), b"OK") for letter in b"abcdefghijklmno"]


def test_a_store_that_takes_longer_than_a_slice_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """However soon a pull gives up, whoever calls again while the session is working hears every answer."""
    monkeypatch.setattr(imap_session, "SLICE", -1.0)
    client = Client(store_with(), settings())
    answers = [check(response) for response in responses(client.send(CONVERSATION))]
    tagged = [(tag, text[:2]) for tag, text in answers if tag not in (b"*", b"+", b"login")]
    assert tagged == [(bytes((letter,)), b"OK") for letter in b"abcdefghijklmno"]


def test_numbers_of_a_listing_open_each_mailbox_once(tmp_path: Path) -> None:
    """And none that is not told. What the mailbox has to say costs no second look."""
    with imap_maildir.stores(tmp_path) as make:
        store = imap_scenarios.fill(make(), "tree")
        opened: list[bytes] = []
        real = store.open
        store.open = lambda name, *, writable: (opened.append(name), real(name, writable=writable))[1]
        client = Client(store, settings())
        client.pull()
        answer = client.send(b'a LIST "" l* RETURN (STATUS (MESSAGES UNSEEN SIZE UIDNEXT APPENDLIMIT))\r\n')
        assert answer.count(b"* STATUS ") == len(opened) == len(set(opened)) == 3


def test_sizes_that_were_read_for_status_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """STATUS SIZE (RFC 8438) reads the messages whose names do not tell their sizes, once."""
    read: list[int] = []
    real = MaildirBox.beginnings

    def beginnings(box: MaildirBox, uids: Sequence[int], most: int, *, whole: bool) -> Iterator[bytes]:
        read.extend(uids)
        return real(box, uids, most, whole=whole)

    monkeypatch.setattr(MaildirBox, "beginnings", beginnings)
    with imap_maildir.stores(tmp_path) as make:
        make().open(b"INBOX", writable=True).close()
        for number in range(40):
            (tmp_path / "Maildir" / "cur" / f"{number}.x:2,").write_bytes(b"A: b\n\nbody\n")
        for _ in range(2):
            store = make()
            client = Client(store, settings())
            client.pull()
            answer = client.send(b"a STATUS INBOX (SIZE)\r\n")
            assert answer.startswith(b'* STATUS "INBOX" (SIZE %d)\r\n' % (40 * 14))
            store.close()
    assert sorted(read) == list(range(1, 41))


def test_cut_off_at_every_octet() -> None:
    """Whatever the place, the answers so far are sound, nothing stays open, and no half message is stored."""
    for at in range(len(CONVERSATION)):
        store = store_with()
        client = Client(store, settings())
        for response in responses(client.send(CONVERSATION[:at])):
            check(response)
        client.session.disconnected()
        assert client.session.ended is not None
        assert closed(store)
        assert client.pull() == b""
        appended = [each for each in store.boxes[b"INBOX"].messages.values() if each.uid > 3]
        assert all(each.data == b"Subject: x\r\n\r\nbody\r\n" for each in appended)


def test_octet_by_octet() -> None:
    whole = Client(store_with(), settings()).send(CONVERSATION)
    client = Client(store_with(), settings())
    pieces = b"".join(client.send(bytes((octet,))) for octet in CONVERSATION)
    assert _without_time(pieces) == _without_time(whole)


def _without_time(data: bytes) -> list[bytes]:
    return [line for line in data.split(b"\r\n") if b"Search completed" not in line]


@pytest.mark.parametrize("end", ["disconnected", "shut_down"])
def test_ended_between_any_two_pulls(end: str) -> None:
    """What was said before is whole responses, or a literal that is cut where it was, with nothing behind it."""
    pulls = 0
    while True:
        store = store_with("large")
        client = Client(store, settings())
        client.session.feed(b"a SELECT INBOX\r\nb FETCH 1 (UID BODY[] BODY.PEEK[TEXT])\r\nc NOOP\r\n")
        said = b"".join(client.session.pull() for _ in range(pulls))
        done = not client.session.working and b"c OK" in said
        getattr(client.session, end)()
        said += client.pull()
        assert client.session.ended is not None
        assert not client.session.working
        assert closed(store)
        within = b"b FETCH" not in said and b"* 1 FETCH" in said and b"b OK" not in said
        if end == "shut_down" and not within:
            assert said.endswith(b"* BYE Server shutting down.\r\n")
        if not within:
            for response in responses(said):
                check(response)
        if done:
            return
        pulls += 1


def test_the_greeting_without_a_login() -> None:
    made = ImapSession(store_with(), settings(), "", b"", lambda level, text: None, user="joe")  # type: ignore[arg-type]
    assert made.pull().startswith(b"* PREAUTH [CAPABILITY IMAP4rev1 ")


def test_input_behind_the_login_is_served() -> None:
    made = ImapSession(store_with(), settings(), "a1", b"a2 NOOP\r\na3 LOG", lambda level, text: None)  # type: ignore[arg-type]
    assert made.pull().endswith(b"] Logged in.\r\na2 OK NOOP completed.\r\n")
    made.feed(b"OUT\r\n")
    assert made.pull() == b"* BYE Logging out\r\na3 OK Logout completed.\r\n"
    assert made.ended is not None
    assert made.ended.text == "Disconnected: Logged out"


FAILURES = [
    (
        errors.NoSpace("Not enough disk space", log="disk full"),
        b"NO [OVERQUOTA] Not enough disk space",
        "disk full",
    ),
    (errors.InUse("Timeout while waiting for lock"), b"NO [INUSE] Timeout while waiting for lock", None),
    (errors.PermissionDenied("Permission denied"), b"NO [NOPERM] Permission denied", None),
    (
        errors.Internal("Internal error occurred.", log="why"),
        b"NO [SERVERBUG] Internal error occurred.",
        "why",
    ),
]


@pytest.mark.parametrize(("error", "answer", "line"), FAILURES)
@pytest.mark.parametrize(
    ("method", "command"),
    [
        ("store", b"STORE 1 +FLAGS (\\Answered)"),
        ("copy", b"COPY 1 INBOX"),
        ("append", b"APPEND INBOX {1+}\r\nx"),
        ("draft", b"APPEND INBOX {1+}\r\nx"),
        ("search", b"SEARCH ALL"),
        ("fetch", b"FETCH 1 ENVELOPE"),
        ("body", b"FETCH 1 BODY.PEEK[]"),
    ],
)
def test_a_store_that_fails(
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    command: bytes,
    error: errors.StoreError,
    answer: bytes,
    line: str | None,
) -> None:
    client = Client(store_with(), settings())
    client.send(b"a SELECT INBOX\r\n")
    monkeypatch.setattr(ModelMailbox, method, _raising(error))
    assert client.send(b"b " + command + b"\r\n") == b"b " + answer + b"\r\n"
    assert [text for level, text in client.lines if level == Level.ERROR] == ([line] if line else [])
    assert client.send(b"c NOOP\r\n") == b"c OK NOOP completed.\r\n"


def _raising(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    return fail


def test_a_store_that_cannot_be_refreshed_does_not_undo_an_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    """COPY is done when it is done, whatever the look afterwards says."""
    store = store_with()
    client = Client(store, settings())
    client.send(b"a SELECT INBOX\r\n")
    monkeypatch.setattr(ModelMailbox, "refresh", _raising(errors.Internal("x", log="cannot look")))
    assert client.send(b"b COPY 1 INBOX\r\n").startswith(b"b OK [COPYUID")
    assert client.lines == [(Level.ERROR, "cannot look")]


def test_marking_as_read_that_fails_does_not_fail_the_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(store_with(), settings())
    client.send(b"a SELECT INBOX\r\n")
    monkeypatch.setattr(ModelMailbox, "store", _raising(errors.NoSpace("full", log="disk full")))
    assert client.send(b"b FETCH 2 BODY[TEXT]\r\n").endswith(b")\r\nb OK Fetch completed.\r\n")
    assert client.lines == [(Level.ERROR, "disk full")]


class _Failing:
    """A body that cannot be read beyond some place."""

    crlf = True

    def __init__(self, size: int, readable: int) -> None:
        self.size, self.readable = size, readable
        self.closed = False

    def read(self, at: int, n: int) -> bytes:
        if at + n > self.readable:
            raise errors.Internal("read error", log="I/O error")
        return b"x" * n

    def close(self) -> None:
        self.closed = True


def test_a_message_that_breaks_off_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its length was told: nothing but the end is honest."""
    body = _Failing(4 << 20, 2 << 20)
    client = Client(store_with(), settings())
    client.send(b"a SELECT INBOX\r\n")
    monkeypatch.setattr(ModelMailbox, "body", lambda self, uid: body)
    said = client.send(b"b FETCH 1 BODY.PEEK[]\r\nc NOOP\r\n")
    assert said.startswith(b"* 1 FETCH (BODY[] {4194304}\r\nxxx")
    assert said.endswith(b"xxx")
    assert len(said) < 3 << 20
    assert client.session.ended is not None
    assert client.session.ended.text.startswith("Disconnected: Message could not be read")
    assert body.closed


def test_our_own_faults_go_to_the_runner(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(store_with(), settings())
    client.send(b"a SELECT INBOX\r\n")
    monkeypatch.setattr(ModelMailbox, "copy", _raising(ZeroDivisionError("fault")))
    with pytest.raises(ZeroDivisionError):
        client.send(b"b COPY 1 INBOX\r\n")
    client.session.disconnected()


def test_nul_octets_never_reach_a_client() -> None:
    store = ModelStore()
    store.boxes[b"INBOX"].add(b"Subject: a\0b\nX: \0\n\nbo\0dy\n")
    client = Client(store, settings())
    client.send(b"a SELECT INBOX\r\n")
    said = client.send(b"b FETCH 1 (BODY.PEEK[] BODY.PEEK[HEADER.FIELDS (X)] BODY.PEEK[TEXT] ENVELOPE)\r\n")
    assert b"\0" not in said
    assert b"bo\x80dy" in said


def test_a_long_search_lets_the_runner_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Slices: no pull takes much more than SLICE, and a silent command shows that it lives."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])

    def slow(self: ModelMailbox, query: object, within: object, budget: float) -> Iterator[object]:
        for _ in range(1000):
            now[0] += budget
            yield Progress(int(now[0] - 1000), 60)
        yield Found(array("I"))

    monkeypatch.setattr(ModelMailbox, "search", slow)
    client = Client(store_with(), settings())
    client.send(b"a SELECT INBOX\r\n")
    client.session.feed(b"b SEARCH ALL\r\n")
    said = b""
    longest = 0.0
    while b"b OK" not in said:
        before = now[0]
        said += client.session.pull()
        longest = max(longest, now[0] - before)
    assert longest <= imap_session.SLICE + 2 * 0.05
    assert said.count(b'* OK [INPROGRESS ("b" ') == 3
    assert b'* OK [INPROGRESS ("b" 15 60)] Processed 25% of the items\r\n' in said


def test_the_search_of_the_example_of_inprogress(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9585 section 4, with the seconds between two signs that this server has."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])

    def slow(self: ModelMailbox, query: object, within: object, budget: float) -> Iterator[object]:
        for done in (454, 999):
            now[0] += imap_session.PATIENCE + 1
            yield Progress(done, 1000)
        now[0] += 5
        yield Found(array("I", (2, 3)))

    monkeypatch.setattr(ModelMailbox, "search", slow)
    client = Client(store_with(), settings())
    client.send(b"a SELECT INBOX\r\n")
    assert re.sub(rb"[(][0-9.]+ secs[)]", b"", client.send(b'A001 search text "this will be slow"\r\n')) == (
        b'* OK [INPROGRESS ("A001" 454 1000)] Processed 45% of the items\r\n'
        b'* OK [INPROGRESS ("A001" 999 1000)] Processed 99% of the items\r\n'
        b"* SEARCH 2 3\r\n"
        b"A001 OK Search completed .\r\n"
    )


def test_the_copy_of_the_example_of_inprogress(monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 9585 section 4, of ten messages."""
    now = [1000.0]
    monkeypatch.setattr(clock, "monotonic", lambda: now[0])

    def slow(self: ModelMailbox, uids: Sequence[int], to: ModelMailbox) -> Iterator[int]:
        for done in (1, 4, 9):
            now[0] += imap_session.PATIENCE + 1
            yield done
        return self.copy(uids, to, move=False)

    monkeypatch.setattr(ModelMailbox, "copying", slow)
    client = Client(store_with("ten"), settings())
    client.send(b"a CREATE Meeting-Minutes\r\nb SELECT INBOX\r\n")
    said = client.send(b"A003 COPY 1:10 Meeting-Minutes\r\n")
    assert re.findall(rb'INPROGRESS [(]"A003" ([0-9]+) 10[)]', said) == [b"1", b"4", b"9"]
    assert said.splitlines()[-1].startswith(b"A003 OK [COPYUID ")


@pytest.mark.parametrize("selected", [True, False])
def test_another_mailbox_that_is_deleted_meanwhile(
    monkeypatch: pytest.MonkeyPatch, *, selected: bool
) -> None:
    """It is the selected one alone whose end is the session's."""
    client = Client(store_with("tree"), settings())
    client.pull()
    if selected:
        client.send(b"a SELECT INBOX\r\n")
    monkeypatch.setattr(ModelMailbox, "append", _raising(errors.MailboxReplaced("Mailbox was deleted")))
    assert client.send(b"b APPEND lists {1+}\r\nx\r\n") == b"b NO Mailbox was deleted\r\n"
    assert client.session.ended is None
    monkeypatch.setattr(ModelMailbox, "refresh", _raising(errors.MailboxReplaced("Mailbox was deleted")))
    said = client.send(b"c NOOP\r\n")
    assert said == (b"* BYE Mailbox was deleted\r\n" if selected else b"c OK NOOP completed.\r\n")


def test_a_long_answer_to_search_is_one_response() -> None:
    store = store_with("empty")
    for _ in range(9000):
        store.boxes[b"INBOX"].add(b"x\n")
    client = Client(store, settings())
    client.send(b"a SELECT INBOX\r\n")
    first = responses(client.send(b"b SEARCH ALL\r\n"))[0]
    assert check(first)[1] == ["SEARCH", *range(1, 9001)]
    client.session.feed(b"c UID SEARCH ALL\r\n")
    said = client.session.pull()
    assert not said.endswith(b"\r\n")
    client.session.shut_down()
    assert b"BYE" not in client.pull()


def test_a_disk_that_is_full_in_the_middle_of_a_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest of the message is read and thrown away, the answer comes in its place, the draft goes."""
    store = store_with()
    client = Client(store, settings())
    drafts: list[ModelDraft] = []
    monkeypatch.setattr(ModelMailbox, "draft", lambda self: drafts.append(ModelDraft()) or drafts[-1])
    monkeypatch.setattr(ModelDraft, "write", _raising(errors.NoSpace("Not enough disk space", log="full")))
    client.pull()
    assert client.send(b"b APPEND INBOX {200000}\r\n") == b"+ OK\r\n"
    assert client.send(b"x" * 100_000) == b""
    assert client.send(b"x" * 100_000 + b"\r\n") == b"b NO [OVERQUOTA] Not enough disk space\r\n"
    assert [draft.abandoned for draft in drafts] == [True]
    assert client.lines == [(Level.ERROR, "full")]
    assert closed(store)
    assert client.send(b"c NOOP\r\n") == b"c OK NOOP completed.\r\n"


def test_new_mail_is_noticed_in_idle(tmp_path: Path) -> None:
    """Another program delivers a file: the descriptor of wait() becomes readable, and tick() tells it."""
    with imap_maildir.stores(tmp_path) as make:
        client = Client(make(), settings())
        client.send(b"a SELECT INBOX\r\nb IDLE\r\n")
        wait = client.session.wait()
        assert wait.fileno is not None
        (tmp_path / "Maildir/tmp/1.x").write_bytes(b"Subject: new\n\nbody\n")
        (tmp_path / "Maildir/tmp/1.x").rename(tmp_path / "Maildir/new/1200000000.1.x")
        heard = b""
        deadline = time.monotonic() + 5
        while b"EXISTS" not in heard and time.monotonic() < deadline:
            assert select.select([client.session.wait().fileno], [], [], 5)[0], "nothing was noticed"
            client.tick()
            heard, client.heard = heard + client.heard, b""
        assert heard == b"* 1 EXISTS\r\n* 1 RECENT\r\n"
        assert client.send(b"DONE\r\n") == b"b OK Idle completed.\r\n"
        client.session.disconnected()


def test_idle_waits_for_what_the_mailbox_names(monkeypatch: pytest.MonkeyPatch) -> None:
    from dovecotpy.storage.driver import Wait

    monkeypatch.setattr(ModelMailbox, "wait", lambda self: Wait(77, 30.0))
    client = Client(store_with(), settings())
    client.pull()
    assert client.session.wait().fileno is None
    assert 1790 < client.session.wait().interval <= 1800
    client.send(b"a SELECT INBOX\r\nb IDLE\r\n")
    assert client.session.wait() == Wait(77, 30.0)
    monkeypatch.setattr(ModelMailbox, "wait", lambda self: Wait(None, 0.0))
    assert 110 < client.session.wait().interval <= 120
    client.send(b"DONE\r\nc IDLE x\r\n")
    assert client.session.wait().fileno is None


# Two sessions on one mailbox, each seen through a client that believes only what it was told

ACTIONS = st.lists(
    st.tuples(
        st.integers(0, 1),
        st.sampled_from(
            ["noop", "fetch", "uid fetch", "store", "silent", "uid store", "delete", "expunge", "uid expunge"]
            + ["append", "copy", "search", "body", "idle", "check"]
        ),
        st.integers(1, 12),
        st.integers(1, 12),
        st.sampled_from([b"\\Seen", b"\\Flagged", b"\\Answered", b"\\Deleted", b"work", b"play"]),
        st.sampled_from([b"", b"+", b"-"]),
    ),
    max_size=30,
)


class Believer:
    """A client with its mirror, that sends only what is sound by its own picture."""

    def __init__(self, store: object) -> None:
        self.client = Client(store, settings())
        self.client.pull()
        self.mirror = Mirror()
        self.serial = 0
        self.run(b"SELECT INBOX")
        self.fetch_all()

    def run(self, command: bytes, *, expunges: bool = True) -> bytes:
        self.serial += 1
        tag = b"t%d" % self.serial
        said = self.client.send(tag + b" " + command + b"\r\n")
        tagged = self.mirror.hear(said, expunges=expunges)
        assert list(tagged) == [tag], said
        assert not tagged[tag].startswith(b"BAD"), (command, said)
        return said

    def fetch_all(self) -> None:
        if self.mirror.messages:
            self.run(b"FETCH 1:* (UID FLAGS)", expunges=False)

    def act(self, action: str, low: int, high: int, flag: bytes, sign: bytes) -> None:
        count = len(self.mirror.messages)
        numbers = b"%d:%d" % (max(1, min(low, count)), max(1, min(high, count)))
        uids = b"%d:%d" % (low, high)
        if action in ("fetch", "store", "silent", "search", "body", "copy", "delete") and not count:
            return
        by_number = {
            "fetch": b"FETCH " + numbers + b" (FLAGS UID RFC822.SIZE)",
            "store": b"STORE " + numbers + b" " + sign + b"FLAGS (" + flag + b")",
            "search": b"SEARCH " + numbers,
            "body": b"FETCH " + numbers + b" BODY[TEXT]",
        }
        others = {
            "noop": b"NOOP",
            "check": b"CHECK",
            "uid fetch": b"UID FETCH " + uids + b" (FLAGS INTERNALDATE)",
            "uid store": b"UID STORE " + uids + b" " + sign + b"FLAGS (" + flag + b")",
            "expunge": b"EXPUNGE",
            "uid expunge": b"UID EXPUNGE " + uids,
            "append": b"APPEND INBOX (" + flag + b") {3+}\r\nx\r\n",
            "copy": b"COPY " + numbers + b" INBOX",
        }
        if action in by_number:
            self.run(by_number[action], expunges=False)
        elif action in others:
            self.run(others[action])
        elif action == "idle":
            self.mirror.hear(self.client.send(b"i IDLE\r\n"))
            self.client.tick()
            self.mirror.hear(self.client.heard)
            self.client.heard = b""
            self.mirror.hear(self.client.send(b"DONE\r\n"))
        elif action == "delete":
            self.run(b"STORE " + numbers + b" +FLAGS (\\Deleted)", expunges=False)
        else:
            self.silent(max(1, min(low, count)), flag)

    def silent(self, number: int, flag: bytes) -> None:
        """Set a flag without an answer: the client believes that it was set, unless it is told otherwise."""
        known = self.mirror.messages[number - 1]
        if "FLAGS" in known and flag.decode() not in known["FLAGS"]:
            known["FLAGS"] = [*known["FLAGS"], flag.decode()]
        self.run(b"STORE %d +FLAGS.SILENT (%b)" % (number, flag), expunges=False)

    def settle(self) -> list[tuple[Any, Any]]:
        """What the client believes after a NOOP, having asked for what it was never told."""
        self.run(b"NOOP")
        for number, known in enumerate(self.mirror.messages, 1):
            if "FLAGS" not in known or "UID" not in known:
                self.run(b"FETCH %d (UID FLAGS)" % number, expunges=False)
        return [
            (known["UID"], sorted(name for name in known["FLAGS"] if name != "\\Recent"))
            for known in self.mirror.messages
        ]


@examples(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_two_sessions_on_maildir(actions: list[tuple[int, str, int, int, bytes, bytes]]) -> None:
    """The same on files, where each session has a store of its own: both and a third one agree in the end."""
    with tempfile.TemporaryDirectory() as home, imap_maildir.stores(Path(home)) as make:
        pair = [Believer(imap_scenarios.fill(make(), "three")), Believer(make())]
        for who, *action in actions:
            pair[who].act(*action)  # type: ignore[arg-type]
        third = Believer(make())
        truth = third.settle()
        assert pair[0].settle() == truth
        assert pair[1].settle() == truth
        for each in (*pair, third):
            each.client.session.disconnected()


@examples(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(ACTIONS)
def test_two_sessions(actions: list[tuple[int, str, int, int, bytes, bytes]]) -> None:
    """Each answer is legal where it stands, and what each client was told adds up to what is there."""
    store = store_with("three")
    pair = [Believer(store), Believer(store)]
    for who, *action in actions:
        pair[who].act(*action)  # type: ignore[arg-type]
    names = {8: "\\Seen", 2: "\\Flagged", 1: "\\Answered", 4: "\\Deleted", 16: "\\Draft"}
    truth = [
        (uid, sorted([*(name for bit, name in names.items() if each.flags & bit), *each.keywords]))
        for uid, each in sorted(store.boxes[b"INBOX"].messages.items())
    ]
    assert pair[0].settle() == truth
    assert pair[1].settle() == truth


def test_recent_belongs_to_one_session() -> None:
    store = store_with("three")
    first, second = Client(store, settings()), Client(store, settings())
    first.send(b"a SELECT INBOX\r\n")
    second.send(b"a SELECT INBOX\r\n")
    store.boxes[b"INBOX"].add(b"x\n")
    assert first.send(b"b NOOP\r\n") == b"* 4 EXISTS\r\n* 4 RECENT\r\nb OK NOOP completed.\r\n"
    assert second.send(b"b NOOP\r\n") == b"* 4 EXISTS\r\n* 0 RECENT\r\nb OK NOOP completed.\r\n"
