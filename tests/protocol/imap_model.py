"""A model of the store in memory, with the interface that sessions see: what a mailbox is, in the fewest
lines.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from dovecotpy import clock
from dovecotpy.message.envelope import envelope
from dovecotpy.message.header import Header
from dovecotpy.message.lines import BytesBody, Octets
from dovecotpy.message.preview import preview
from dovecotpy.message.string import string
from dovecotpy.message.structure import bodystructure, parse
from dovecotpy.message.text import body_text
from dovecotpy.search.arrange import sort_messages, thread_messages
from dovecotpy.search.evaluate import evaluate
from dovecotpy.search.memory import Memory
from dovecotpy.storage import errors
from dovecotpy.storage.annotations import SPECIAL_USE_ENTRY, assignable
from dovecotpy.storage.driver import Capabilities, Columns, Wait
from dovecotpy.storage.objectid import email_id, thread_id

NUMBERS = itertools.count(1)


class Message:
    def __init__(self, data: bytes, flags: int, keywords: frozenset[str], date: int) -> None:
        self.data, self.flags, self.keywords, self.date = data, flags, keywords, date
        self.uid = self.modseq = 0
        self.saved = int(clock.now())
        self.identity = b"%d" % next(NUMBERS)


class Box:
    """What is shared by all sessions."""

    def __init__(self, uidvalidity: int) -> None:
        self.uidvalidity = uidvalidity
        self.mailbox_id = b"F%032x" % uidvalidity
        self.messages: dict[int, Message] = {}
        self.uidnext = 1
        self.modseq = 1
        self.vanished: list[tuple[int, int]] = []
        self.unclaimed: set[int] = set()
        self.previewed: set[int] = set()
        self.replaced = False
        self.lasting = True

    def add(self, data: bytes, flags: int = 0, keywords: Iterable[str] = (), date: int = 837586565) -> int:
        message = Message(data, flags, frozenset(keywords), date)
        message.uid, self.uidnext = self.uidnext, self.uidnext + 1
        self.messages[message.uid] = message
        self.unclaimed.add(message.uid)
        self.touch(message)
        return message.uid

    def touch(self, message: Message) -> None:
        self.modseq += 1
        message.modseq = self.modseq

    def remove(self, uid: int) -> None:
        if self.messages.pop(uid, None) is not None:
            self.modseq += 1
            self.vanished.append((self.modseq, uid))
            self.unclaimed.discard(uid)


class ModelBody(BytesBody):
    def __init__(self, data: bytes) -> None:
        super().__init__(data, crlf=False)

    def fd(self) -> None:
        return None

    def close(self) -> None:
        pass


class ModelDraft:
    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.size = 0
        self.abandoned = False

    def write(self, data: bytes) -> None:
        self.pieces.append(data)
        self.size += len(data)

    def finish(self, internaldate: int | None) -> None:
        pass

    def abandon(self) -> None:
        self.abandoned = True


class Changes(NamedTuple):
    modseq: int
    appeared: list[int]
    changed: list[int]
    vanished: list[tuple[int, int]]
    complete: bool


class Batch(NamedTuple):
    uids: Sequence[int]
    values: dict[bytes, list[bytes | None]]


class Stored(NamedTuple):
    changed: Sequence[int]
    modified: Sequence[int]
    gone: Sequence[int]


class Appended(NamedTuple):
    uidvalidity: int
    uids: Sequence[int]


class Copied(NamedTuple):
    uidvalidity: int
    source: Sequence[int]
    destination: Sequence[int]


class Status(NamedTuple):
    messages: int
    recent: int
    unseen: int
    uidnext: int
    uidvalidity: int
    highestmodseq: int
    size: int
    mailbox_id: bytes
    deleted: int = 0


USES = (b"Archive", b"Drafts", b"Junk", b"Sent", b"Trash")


class Space(NamedTuple):
    type: str = "private"
    prefix: bytes = b""
    separator: bytes = b"."
    hidden: bool = False
    list: bool = True
    inbox: bool = True


class Listed(NamedTuple):
    name: bytes
    separator: bytes
    attributes: frozenset[bytes]


class ModelMailbox:
    def __init__(self, name: bytes, box: Box, writable: bool) -> None:
        self.name, self.box, self.writable = name, box, writable
        self.uidvalidity, self.mailbox_id = box.uidvalidity, box.mailbox_id
        self.capabilities = Capabilities(True, box.lasting, True, 26, True)
        self.closed = False

    def refresh(self) -> int:
        if self.box.replaced:
            raise errors.MailboxReplaced("Mailbox UIDVALIDITY changed")
        return self.box.modseq

    def columns(self) -> Columns:
        messages = [self.box.messages[uid] for uid in sorted(self.box.messages)]
        sets = [frozenset(), *{message.keywords for message in messages if message.keywords}]
        return Columns(
            self.box.modseq,
            self.uidvalidity,
            self.box.uidnext,
            array("I", [message.uid for message in messages]),
            array("B", [message.flags for message in messages]),
            array("I", [sets.index(message.keywords) for message in messages]),
            array("Q", [message.modseq for message in messages]),
            array("q", [Octets.of(message.data).size for message in messages]),
            array("q", [message.date for message in messages]),
            array("q", [message.saved for message in messages]),
            tuple(sets),
        )

    def keywords(self) -> frozenset[str]:
        return frozenset().union(*(message.keywords for message in self.box.messages.values()))

    def changes(self, since: int) -> Changes:
        changed = [uid for uid, message in self.box.messages.items() if message.modseq > since]
        vanished = [(uid, uid) for modseq, uid in self.box.vanished if modseq > since]
        return Changes(self.box.modseq, changed, changed, vanished, True)

    def claim_recent(self) -> frozenset[int]:
        claimed = frozenset(self.box.unclaimed)
        self.box.unclaimed.clear()
        return claimed

    def recent(self) -> frozenset[int]:
        return frozenset(self.box.unclaimed)

    def fetch(self, uids: Sequence[int], items: frozenset[bytes]) -> Iterator[Batch]:
        there = [uid for uid in uids if uid in self.box.messages]
        for start in range(0, len(there), 100):
            part = array("I", there[start : start + 100])
            yield Batch(part, {item: [self._item(uid, item) for uid in part] for item in items})

    def _item(self, uid: int, item: bytes) -> bytes:
        octets = Octets.of(self.box.messages[uid].data)
        part = parse(octets)
        if item == b"ENVELOPE":
            return envelope(part.header)
        if item == b"THREADID":
            found = thread_id(part.header)
            return b"NIL" if found is None else b"(" + found + b")"
        if item == b"RFC822.SIZE":
            return b"%d" % octets.size
        if item.startswith(b"PREVIEW"):
            if item == b"PREVIEW":
                self.box.previewed.add(uid)
            return string(preview(octets, part).encode()) if uid in self.box.previewed else b"NIL"
        if item.startswith(b"HEADER.FIELDS "):
            return part.header.fields(item.split(b" ")[1:])
        return bodystructure(part, item == b"BODYSTRUCTURE")

    def _message(self, uid: int) -> Message:
        if uid not in self.box.messages:
            raise errors.MessageGone("Message is gone")
        return self.box.messages[uid]

    def body(self, uid: int) -> ModelBody:
        return ModelBody(self._message(uid).data)

    def store(
        self,
        uids: Sequence[int],
        op: Any,
        flags: int,
        keywords: frozenset[str],
        unchanged_since: int | None = None,
    ) -> Stored:
        changed, modified = [], []
        for uid in uids:
            message = self.box.messages.get(uid)
            if message is None:
                continue
            if unchanged_since is not None and message.modseq > unchanged_since:
                modified.append(uid)
                continue
            before = (message.flags, message.keywords)
            if op.name == "ADD":
                message.flags, message.keywords = message.flags | flags, message.keywords | keywords
            elif op.name == "REMOVE":
                message.flags, message.keywords = message.flags & ~flags, message.keywords - keywords
            else:
                message.flags, message.keywords = flags, keywords
            if before != (message.flags, message.keywords):
                self.box.touch(message)
                changed.append(uid)
        return Stored(changed, modified, [uid for uid in uids if uid not in self.box.messages])

    def draft(self) -> ModelDraft:
        return ModelDraft()

    def append(self, drafts: Sequence[Any]) -> Appended:
        uids = []
        for draft in drafts:
            date = int(clock.now()) if draft.internaldate is None else draft.internaldate
            uids.append(self.box.add(b"".join(draft.body.pieces), draft.flags, draft.keywords, date))
        return Appended(self.uidvalidity, uids)

    def copy(self, uids: Sequence[int], to: "ModelMailbox", *, move: bool) -> Copied:
        messages = [self._message(uid) for uid in uids]
        new = [to.box.add(each.data, each.flags, each.keywords, each.date) for each in messages]
        for uid, each in zip(new, messages, strict=True):
            to.box.messages[uid].identity = each.identity
        if move:
            self.expunge(uids)
        return Copied(to.uidvalidity, uids, new)

    def copying(self, uids: Sequence[int], to: "ModelMailbox") -> Iterator[int]:
        yield 0
        return self.copy(uids, to, move=False)

    def replace(self, uid: int, to: "ModelMailbox", draft: Any) -> Appended:
        self._message(uid)
        appended = to.append([draft])
        self.expunge([uid])
        return appended

    def expunge(self, uids: Sequence[int]) -> Sequence[int]:
        for uid in uids:
            self.box.remove(uid)
        return uids

    def search(self, query: Any, within: Sequence[int], budget: float) -> Iterator[Any]:
        return evaluate(query, self.columns(), self, within, clock.monotonic)

    def email_ids(self, uids: Sequence[int]) -> list[bytes | None]:
        found = (self.box.messages.get(uid) for uid in uids)
        return [None if message is None else email_id(message.identity) for message in found]

    def object_id(self, item: bytes, uid: int) -> bytes | None:
        return self.email_ids([uid])[0] if item == b"EMAILID" else thread_id(self.header(uid))

    has_chores = False

    def sort(self, program: Any, uids: Sequence[int], scores: Any = None) -> Iterator[Any]:
        return sort_messages(program, self.columns(), self, Memory(), uids, clock.monotonic, scores)

    def thread(self, algorithm: Any, uids: Sequence[int]) -> Iterator[Any]:
        return thread_messages(algorithm, self.columns(), self, Memory(), uids, clock.monotonic)

    def headers(self, uids: Sequence[int]) -> Sequence[Header]:
        return [self.header(uid) for uid in uids]

    def header(self, uid: int) -> Header:
        return parse(Octets.of(self.box.messages[uid].data)).header

    def decoded_text(self, uid: int) -> Iterator[str]:
        octets = Octets.of(self.box.messages[uid].data)
        return body_text(octets, parse(octets))

    def size(self, uid: int) -> int:
        return Octets.of(self.box.messages[uid].data).size

    def wait(self) -> Wait:
        return Wait(None, 30.0)

    def drain(self) -> bool:
        return True

    def close(self) -> None:
        self.closed = True


class ModelAnnotations:
    """Metadata in a dict by mailbox."""

    def __init__(self, store: "ModelStore") -> None:
        self.store = store
        self.values: dict[object, dict[bytes, bytes]] = {}

    def key(self, name: bytes) -> object:
        return self.store._find(name).mailbox_id if name else b""

    def get(self, name: bytes) -> dict[bytes, bytes]:
        found = dict(sorted(self.values.get(self.key(name), {}).items()))
        uses = self.uses(name) if name else frozenset()
        found.pop(SPECIAL_USE_ENTRY, None)
        if uses:
            found[SPECIAL_USE_ENTRY] = b" ".join(sorted(uses))
        return found

    def uses(self, name: bytes) -> frozenset[bytes]:
        told = self.values.get(self.key(name), {}).get(SPECIAL_USE_ENTRY)
        if told is not None:
            return frozenset(told.split())
        there = [self.values.get(box.mailbox_id, {}) for box in self.store.boxes.values()]
        given = b" ".join(each.get(SPECIAL_USE_ENTRY, b"") for each in there).split()
        return frozenset({b"\\" + name} if name in USES else ()).difference(given)

    def set(self, name: bytes, changes: Any, most: int) -> None:
        if not name and any(entry.startswith(b"/shared/") for entry in changes):
            raise errors.PermissionDenied("Shared entries of the server cannot be set.")
        after = dict(self.values.get(self.key(name), {}))
        before = len(after)
        for entry, value in changes.items():
            if entry == SPECIAL_USE_ENTRY and name:
                value = assignable(value or b"") or (b"" if name in USES else None)
            after.pop(entry, None)
            if value is not None:
                after[entry] = value
        if len(after) > most and len(after) > before:
            raise errors.LimitReached("Too many metadata entries.", code="METADATA TOOMANY")
        self.values[self.key(name)] = after
        if name:
            self.store.boxes[name].modseq += 1


class ModelStore:
    """One user's mailboxes; several sessions may share one."""

    separator = b"."

    def __init__(self) -> None:
        self.boxes: dict[bytes, Box] = {b"INBOX": Box(1000)}
        self.namespaces = (Space(),)
        self._subscriptions: list[bytes] = []
        self._next_uidvalidity = 1001
        self.opened: list[ModelMailbox] = []
        self.annotations = ModelAnnotations(self)

    def mailboxes(self) -> Iterator[Listed]:
        for name in sorted(self.boxes):
            yield Listed(name, b".", self.annotations.uses(name))

    def _find(self, name: bytes) -> Box:
        if name not in self.boxes:
            raise errors.MailboxNotFound(f"Mailbox doesn't exist: {name.decode('ascii', 'replace')}")
        return self.boxes[name]

    def open(self, name: bytes, *, writable: bool) -> ModelMailbox:
        mailbox = ModelMailbox(name, self._find(name), writable)
        self.opened.append(mailbox)
        return mailbox

    def exists(self, name: bytes) -> bool:
        return name in self.boxes

    def create(self, name: bytes) -> None:
        name = name.rstrip(b".")
        if name in self.boxes:
            raise errors.MailboxExists("Mailbox exists.")
        self.boxes[name] = Box(self._next_uidvalidity)
        self._next_uidvalidity += 1

    def delete(self, name: bytes) -> None:
        if name == b"INBOX":
            raise errors.CannotDo("INBOX can't be deleted.")
        self._find(name).replaced = True
        del self.boxes[name]

    def rename(self, old: bytes, new: bytes) -> None:
        if new in self.boxes:
            raise errors.MailboxExists("Target mailbox already exists")
        box = self._find(old)
        for name in [name for name in self.boxes if name == old or name.startswith(old + b".")]:
            if old == b"INBOX" and name != old:
                continue
            self.boxes[new + name[len(old) :]] = self.boxes.pop(name)
        if old == b"INBOX":
            self.boxes[b"INBOX"], self.boxes[new] = box, Box(self._next_uidvalidity)
            self._next_uidvalidity += 1
            for uid, message in sorted(box.messages.items()):
                self.boxes[new].add(message.data, message.flags, message.keywords, message.date)
                box.remove(uid)

    def subscriptions(self) -> list[bytes]:
        return list(self._subscriptions)

    def subscribe(self, name: bytes, wanted: bool) -> None:
        if name in self._subscriptions:
            self._subscriptions.remove(name)
        if wanted:
            self._subscriptions.append(name)

    def status(self, name: bytes, *, sized: bool = True, counted: bool = False) -> Status:
        box = self._find(name)
        unseen = sum(not message.flags & 8 for message in box.messages.values())
        return Status(
            len(box.messages),
            len(box.unclaimed),
            unseen,
            box.uidnext,
            box.uidvalidity,
            box.modseq * box.lasting,
            -1,
            box.mailbox_id,
            sum(bool(message.flags & 4) for message in box.messages.values()),
        )

    def measure(self, name: bytes) -> Iterator[int | None]:
        yield None
        yield sum(Octets.of(message.data).size for message in self._find(name).messages.values())

    def close(self) -> None:
        pass
