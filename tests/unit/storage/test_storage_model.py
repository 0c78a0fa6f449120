"""Mailboxes compared with a small model, over random sequences of what sessions and neighbours do."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dovecotpy.storage import flags
from dovecotpy.storage.mailbox import Mailbox, Operation
from tests.unit.storage.storage_kit import Home, add, octets, state

FLAGS = st.integers(0, flags.ALL)
KEYWORDS = st.frozensets(st.sampled_from(["a", "b", "$Forwarded", "x1", "x2"]), max_size=3)


class Model:
    """What a mailbox is: messages by UID, and a counter that never goes back."""

    def __init__(self) -> None:
        self.messages: dict[int, tuple[bytes, int, frozenset[str]]] = {}
        self.uidnext = 1

    def add(self, data: bytes, bits: int, words: frozenset[str]) -> int:
        uid, self.uidnext = self.uidnext, self.uidnext + 1
        self.messages[uid] = (data, bits, words)
        return uid

    def store(self, uids: list[int], op: Operation, bits: int, words: frozenset[str]) -> None:
        for uid in uids:
            data, old, keywords = self.messages[uid]
            if op is Operation.ADD:
                self.messages[uid] = (data, old | bits, keywords | words)
            elif op is Operation.REMOVE:
                self.messages[uid] = (data, old & ~bits, keywords - words)
            else:
                self.messages[uid] = (data, bits, words)


class Session:
    """A client that believes only what it is told through `changes`."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox
        self.modseq = mailbox.refresh()
        self.view: dict[int, tuple[int, frozenset[str]]] = {}
        self._learn(mailbox.columns().uids)

    def _learn(self, uids: object) -> None:
        columns = self.mailbox.columns()
        for uid in uids:  # type: ignore[attr-defined]
            place = list(columns.uids).index(uid)
            self.view[uid] = (columns.flags[place], columns.keyword_sets[columns.keywords[place]])

    def look(self) -> None:
        modseq = self.mailbox.refresh()
        changes = self.mailbox.changes(self.modseq)
        assert changes.complete
        highest = max(self.view, default=0)
        assert all(uid > highest for uid in changes.appeared)
        for first, last in changes.vanished:
            for uid in [uid for uid in self.view if first <= uid <= last]:
                del self.view[uid]
        self._learn(changes.appeared)
        self._learn(changes.changed)
        self.modseq = modseq


class Client(NamedTuple):
    """What a client that went away was told, and the highest modseq with it."""

    modseq: int
    view: dict[int, tuple[int, frozenset[str]]]

    def comes_back(self, mailbox: Mailbox, lost_at: int) -> None:
        """With nothing but what it was told it learns everything; completely, if the index was not lost since."""
        now = state(mailbox)
        columns = mailbox.columns()
        changes = mailbox.changes(self.modseq)
        assert changes.complete or self.modseq <= lost_at
        told = {*changes.appeared, *changes.changed}
        modseqs = dict(zip(columns.uids, columns.modseqs, strict=True))
        assert told == {uid for uid, modseq in modseqs.items() if modseq > self.modseq}
        view = dict(self.view)
        if changes.complete:
            for first, last in changes.vanished:
                for uid in range(first, last + 1):
                    view.pop(uid, None)
        else:
            view = {uid: found for uid, found in view.items() if uid in now}
        view.update((uid, now[uid]) for uid in told)
        assert view == now


class Mailboxes(RuleBasedStateMachine):
    """Two sessions, deliveries, foreign renames and removals, lost indexes."""

    @initialize(poll=st.booleans())
    def begin(self, poll: bool) -> None:
        self.home = Home(Path("/tmp") / f"storage-model-{os.getpid()}-{os.urandom(4).hex()}")
        self.home.path.mkdir()
        self.model = Model()
        self.changes = {"mail_nfs_storage": poll}
        self.sessions = [self._session(), self._session()]
        self.number = 0
        self.clients: list[Client] = []
        self.lost_at = 0

    def _session(self) -> Session:
        return Session(self.home.inbox(**self.changes))

    def _some(self, data: st.DataObject) -> list[int]:
        return sorted(data.draw(st.sets(st.sampled_from(sorted(self.model.messages)), min_size=1)))

    def _name(self) -> str:
        self.number += 1
        return f"{self.number}.M{self.number}P1.host"

    def _path(self, uid: int) -> Path:
        listed = (self.home.root / "dovecot-uidlist").read_text().splitlines()[1:]
        base = next(line.split(" :")[1] for line in listed if line.startswith(f"{uid} "))
        found = [
            path
            for folder in ("cur", "new")
            for path in (self.home.root / folder).glob("*")
            if path.name.split(":")[0] == base
        ]
        return found[0]

    @rule(who=st.integers(0, 1), bits=FLAGS, words=KEYWORDS, text=st.binary(max_size=20))
    def append(self, who: int, bits: int, words: frozenset[str], text: bytes) -> None:
        for session in self.sessions:
            session.look()
        text = b"X: " + text.replace(b"\r", b"") + b"\n"
        [uid] = add(self.sessions[who].mailbox, text, bits, sorted(words)).uids
        assert uid == self.model.add(text, bits, words)

    @rule(count=st.integers(1, 3))
    def deliver(self, count: int) -> None:
        for _ in range(count):
            self.home.deliver(self._name(), b"delivered\n")
        self.sessions[0].look()
        for _ in range(count):
            self.model.add(b"delivered\n", 0, frozenset())

    @precondition(lambda self: self.model.messages)
    @rule(
        data=st.data(), who=st.integers(0, 1), op=st.sampled_from(list(Operation)), bits=FLAGS, words=KEYWORDS
    )
    def store(self, data: st.DataObject, who: int, op: Operation, bits: int, words: frozenset[str]) -> None:
        uids = self._some(data)
        stored = self.sessions[who].mailbox.store(uids, op, bits, words)
        assert not list(stored.gone)
        self.model.store(uids, op, bits, words)

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data(), who=st.integers(0, 1))
    def expunge(self, data: st.DataObject, who: int) -> None:
        uids = self._some(data)
        self.sessions[who].mailbox.refresh()
        assert list(self.sessions[who].mailbox.expunge(uids)) == uids
        for uid in uids:
            del self.model.messages[uid]

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data(), who=st.integers(0, 1))
    def copy(self, data: st.DataObject, who: int) -> None:
        for session in self.sessions:
            session.look()
        uids = self._some(data)
        box = self.sessions[who].mailbox
        expected = [self.model.add(*self.model.messages[uid]) for uid in uids]
        assert list(box.copy(uids, box, move=False).destination) == expected

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data(), letters=st.sampled_from(["", "F", "S", "FS", "RT"]))
    def foreign_flags(self, data: st.DataObject, letters: str) -> None:
        uid = self._some(data)[0]
        path = self._path(uid)
        path.rename(self.home.root / "cur" / f"{path.name.partition(':')[0]}:2,{letters}")
        bits = sum(
            {"F": flags.FLAGGED, "S": flags.SEEN, "R": flags.ANSWERED, "T": flags.DELETED}[each]
            for each in letters
        )
        self.model.store([uid], Operation.REPLACE, bits, frozenset())

    @precondition(lambda self: self.model.messages)
    @rule(data=st.data())
    def foreign_removal(self, data: st.DataObject) -> None:
        uid = self._some(data)[0]
        self._path(uid).unlink()
        del self.model.messages[uid]

    @rule(who=st.integers(0, 1))
    def look(self, who: int) -> None:
        self.sessions[who].look()

    @rule(
        who=st.integers(0, 1),
        lose=st.sampled_from(["", "dovecotpy.index", "dovecotpy.index.names", "dovecotpy.recent"]),
    )
    def leave_and_come_back(self, who: int, lose: str) -> None:
        self.clients.append(Client(self.sessions[who].modseq, dict(self.sessions[who].view)))
        self.sessions[who].mailbox.close()
        if lose:
            (self.home.root / lose).unlink(missing_ok=True)
        self.sessions[who] = self._session()
        if lose == "dovecotpy.index":
            self.lost_at = max(session.mailbox.refresh() for session in self.sessions)

    @precondition(lambda self: self.clients)
    @rule(data=st.data(), die=st.booleans())
    def client_comes_back(self, data: st.DataObject, die: bool) -> None:
        mailbox = self.home.inbox(**self.changes)
        mailbox.refresh()
        for session in self.sessions:
            self._wait_for_proof(session, self._expected())
        mailbox.refresh()
        data.draw(st.sampled_from(self.clients)).comes_back(mailbox, self.lost_at)
        if not die:
            mailbox.close()

    @rule()
    def rest(self) -> None:
        time.sleep(0.06)

    def _wait_for_proof(self, session: Session, expected: dict[int, tuple[int, frozenset[str]]]) -> None:
        """Without a watch, a name that is missing stays until the directory was still for a clock tick."""
        session.look()
        for _ in range(20):
            if session.view == expected or not self.changes["mail_nfs_storage"]:
                return
            time.sleep(0.02)
            session.look()

    def _expected(self) -> dict[int, tuple[int, frozenset[str]]]:
        return {uid: (bits, words) for uid, (_, bits, words) in self.model.messages.items()}

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "model"):
            return
        expected = self._expected()
        for session in self.sessions:
            self._wait_for_proof(session, expected)
            assert state(session.mailbox) == session.view == expected
            assert session.mailbox.columns().uidnext == self.model.uidnext
            if self.model.messages:
                last = max(self.model.messages)
                assert octets(session.mailbox, last) == self.model.messages[last][0]
        numbered = [session.mailbox.columns() for session in self.sessions if session.mailbox.refresh()]
        assert numbered[0].modseq == numbered[1].modseq
        assert numbered[0].modseqs == numbered[1].modseqs

    def teardown(self) -> None:
        if hasattr(self, "home"):
            for session in self.sessions:
                session.mailbox.close()
            assert not [line for _, line in self.home.lines], self.home.lines
            self.home.close()
            shutil.rmtree(self.home.path)


TestMailboxes = Mailboxes.TestCase
TestMailboxes.settings = settings(
    max_examples=40,
    stateful_step_count=20,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
