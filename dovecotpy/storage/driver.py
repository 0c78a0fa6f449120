"""What a storage format writes: no sequence number, no IMAP and no path crosses this interface.

A format (maildir, later mbox, dbox, SQL with an object store) brings a `Tree` for each mail_location and a `BoxDriver` for each
mailbox. `storage/mailbox.py` exists once, on top of any driver: index, caches, expunge log. Mailbox names here are the bytes of
the format's own spelling on disk (modified UTF-7) with the real hierarchy separator, without any namespace prefix.
"""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol


class Ref(NamedTuple):
    """Where a format finds one message: offset and hash, file and offset, object key. Empty: by its UID."""

    key: bytes


UNKNOWN_DATE = -(1 << 62)
"""An internal date that nobody looked at yet; `BoxDriver.dates` does."""


class Row(NamedTuple):
    """One message as the store knows it."""

    uid: int
    ref: Ref
    flags: int
    """bits of `storage.flags`"""
    keywords: frozenset[str]
    internaldate: int
    """seconds since the epoch, or UNKNOWN_DATE"""
    savedate: int | None
    guid: bytes
    size: int | None
    """octets with every line ended by CRLF; None until the body was read"""


class Capabilities(NamedTuple):
    """What a mailbox can keep."""

    uids: bool
    modseq: bool
    savedate: bool
    max_keywords: int
    writable: bool


class Blocks:
    """UIDs and paths by rising UID, many at a time: an iterable of the single ones too, once."""

    __slots__ = ("parts",)

    def __init__(self, parts: "Iterator[tuple[array[int], list[str]]]") -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for uids, paths in self.parts:
            yield from zip(uids, paths, strict=True)


class Arrivals(NamedTuple):
    """Many new messages as parallel columns in UID order, types as in `Columns`; dates are unknown."""

    uids: "array[int]"
    flags: "array[int]"
    keywords: "array[int]"
    """index into keyword_sets"""
    keyword_sets: tuple[frozenset[str], ...]
    sizes: "array[int]"

    def rows(self) -> list[Row]:
        """The same, message by message."""
        sets = self.keyword_sets
        columns = zip(self.uids, self.flags, self.keywords, self.sizes, strict=True)
        return [
            Row(uid, Ref(b""), bits, sets[words], UNKNOWN_DATE, None, b"", None if size < 0 else size)
            for uid, bits, words, size in columns
        ]


class Delta(NamedTuple):
    """What a sync found changed. `stamp`: as `BoxDriver.stamp`, of the state that was seen."""

    appeared: list[Row]
    changed: list[Row]
    vanished: list[int]
    stamp: bytes
    recent: list[int]
    """UIDs among `appeared` that no session was told of yet"""
    uidnext: int
    """what may be told: no message below it will appear any more"""
    complete: bool
    """False: a name that was not found is not proven gone, or a new one waits for the lock; ask again"""
    arrivals: Arrivals | None = None
    """appeared besides, beyond all that was known"""


class Draft(NamedTuple):
    """A message to be saved: `body` is a file that the driver made with `BoxDriver.draft`."""

    body: "DraftBody"
    flags: int
    keywords: frozenset[str]
    internaldate: int | None
    """None: now"""
    identity: bytes | None = None
    """of the message that it is a copy of, as `BoxDriver.identities` gives it"""


class DraftBody(Protocol):
    """A message on its way into the store. Nothing of it is visible until `Locked.save`."""

    size: int
    """octets written so far"""

    def write(self, data: bytes) -> None:
        """Append octets as they came from the client (CRLF line ends). Raises NoSpace, StoreError."""

    def finish(self, internaldate: int | None) -> None:
        """Everything is written: make it durable, before the lock is taken. None: received now. Idempotent. Raises NoSpace, StoreError."""

    def abandon(self) -> None:
        """Throw it away; also done for drafts that are never saved when their session ends. Idempotent."""


class Body(Protocol):
    """The octets of a message, immutable while open."""

    size: int
    """octets as stored"""
    crlf: bool
    """every line is known to end in CRLF, so that stored octets are those that are sent"""

    def read(self, at: int, n: int) -> bytes:
        """Up to n octets from a place, as stored. Raises StoreError."""

    def fd(self) -> tuple[int, int] | None:
        """Descriptor and offset where the stored octets lie as one run, or None."""

    def close(self) -> None:
        """Give the descriptor back. Idempotent."""


class Moved(Exception):
    """A ref does not lead to its message any more: sync, then try again."""


class Lost(Exception):
    """What an index remembered cannot be read any more."""


class Remembered(Protocol):
    """Where an index says that messages were, by UID: paths as `BoxDriver.remembered` gave them."""

    def find(self, uid: int) -> str | None:
        """One message's; None where none is remembered. Raises Lost."""

    def several(self, uids: Sequence[int]) -> dict[int, str]:
        """Those of many messages, as far as any is remembered; UIDs ascending. Raises Lost."""

    def all(self) -> Iterable[tuple[int, str]]:
        """All of them, by rising UID. Raises Lost."""

    def close(self) -> None:
        """Give back descriptors. Idempotent."""


class Gone(NamedTuple):
    """Answer for a row that is not there any more."""

    uid: int


class Changed(NamedTuple):
    """Answer for a row that somebody else changed meanwhile: what it is now."""

    row: Row


class Wait(NamedTuple):
    """How to learn of foreign changes: a descriptor that becomes readable (None: only by asking) and how often to ask, in seconds."""

    fileno: int | None
    interval: float


class Columns(NamedTuple):
    """A mailbox at one modseq, as parallel columns in UID order. Never changed once handed out."""

    modseq: int
    uidvalidity: int
    uidnext: int
    uids: "array[int]"
    """type 'I', ascending"""
    flags: "array[int]"
    """type 'B', bits of storage.flags"""
    keywords: "array[int]"
    """type 'I', index into keyword_sets"""
    modseqs: "array[int]"
    """type 'Q'"""
    sizes: "array[int]"
    """type 'q', octets in CRLF form; -1: not known yet"""
    dates: "array[int]"
    """type 'q', INTERNALDATE in seconds since the epoch"""
    savedates: "array[int]"
    """type 'q', seconds since the epoch; -1: none"""
    keyword_sets: tuple[frozenset[str], ...]
    """0 is always the empty set"""


class BoxInfo(NamedTuple):
    """One mailbox of a tree, or a name that only has children."""

    disk: bytes
    """name on disk: modified UTF-7, real separator, without namespace prefix"""
    selectable: bool
    children: bool | None
    """None: not known without looking"""
    marked: bool | None
    """new mail since it was last selected, where that is cheap to know"""


class BoxDriver(Protocol):
    """One mailbox of one format."""

    guid: bytes
    uidvalidity: int
    capabilities: Capabilities
    told: int
    """UIDs below were told: `Locked.save` and `link` give rows at or above it only where a sync must tell others first"""

    def stamp(self) -> bytes:
        """Equal to an earlier one: proven unchanged since. Empty: not known."""

    def settled_stamp(self) -> bytes:
        """As `stamp`, as of the end of our last write, without looking."""

    def lock(self, deadline: float) -> "AbstractContextManager[Locked]":
        """The right to write, by `clock.monotonic()` deadline. Raises InUse."""

    def draft(self) -> DraftBody:
        """A new message to write into. Raises NoSpace, StoreError."""

    def sync(self, known: Columns, since: bytes) -> Delta:
        """As `Locked.sync`, taking the lock only where something must be written; without it, what can be seen is told.

        Raises MailboxReplaced, StoreError.
        """

    def dates(self, uids: Sequence[int]) -> list[tuple[int, int]]:
        """INTERNALDATE and the date of saving for each, in seconds since the epoch."""

    def identities(self, uids: Sequence[int]) -> list[bytes | None]:
        """What tells a message from all others, in every mailbox, and its copies share; None where it is gone."""

    def body(self, uid: int) -> Body:
        """A message's octets. Raises Moved (sync, then again) or MessageGone."""

    def beginnings(self, uids: Sequence[int], most: int, *, whole: bool) -> Iterator[bytes]:
        """The first octets of each message, as stored, up to `most`; empty where it takes more than a look at the place where it was.

        whole: empty also for a message of `most` octets or more.
        """

    def adopt(
        self,
        stamp: bytes,
        uidvalidity: int,
        guid: bytes,
        told: int,
        uids: Sequence[int],
        names: Remembered,
        behind: frozenset[int] = frozenset(),
    ) -> bool:
        """Take what an index remembers, `names` included; True if the mailbox is proven unchanged since.

        behind: UIDs whose names may be older than the stamp.
        """

    def remembered(self) -> Iterable[tuple[int, str]]:
        """What an index should keep of each message for `adopt`, by rising UID."""

    def moved(self) -> Mapping[int, str] | None:
        """What of that changed since `adopt` or `kept`, empty where a message is gone; None: it is all new."""

    def kept(self) -> None:
        """An index wrote it down."""

    def rest_on(self, source: Remembered) -> None:
        """All of it can be read from here, so that it need not be in memory."""

    @property
    def behind(self) -> AbstractSet[int]:
        """As given to `adopt`, until their names are found."""

    def guess(self, row: Row) -> None:
        """Of one of these: find it where its flags say that it is, if it is there."""

    def proof(self) -> bytes:
        """As `lasting_stamp`, right after our own write; empty where only time or a look proves anything."""

    def heard(self, came: Sequence[int], went: Sequence[int], uidnext: int) -> None:
        """Other sessions told of new messages, and of some that are gone, and that none will appear below `uidnext` any more."""

    def still(self, uids: Sequence[int]) -> list[int]:
        """Those of these messages that are what the last sync or write of this session saw: nobody changed them since."""

    @property
    def known_until(self) -> int:
        """Every message below this UID is known by its name; at most `told`."""

    def known_rows(self) -> list[Row]:
        """Every message as the last sync saw it."""

    def lasting_stamp(self) -> bytes:
        """A stamp that still proves something after this process has gone; empty: not yet."""

    def private_seen(self) -> frozenset[int] | None:
        """UIDs that this user has seen, where that is not for others to know; None: \\Seen is a flag like others."""

    def reserve_modseqs(self, least: int) -> tuple[int, int]:
        """Modseqs from `least` on that nobody used, reserved on disk: the first one and the one behind the last. Raises StoreError."""

    def events(self) -> Wait:
        """How to notice what others do to it."""

    def drain(self) -> bool:
        """Read what `events().fileno` has; True when the mailbox may have changed."""

    def defined_keywords(self) -> frozenset[str]:
        """Keywords that the format has names for, in use or not. Raises StoreError."""

    def disown(self) -> None:
        """Forget what was adopted: it was of another mailbox."""

    @property
    def closed(self) -> bool:
        """`close` was called."""

    def close(self) -> None:
        """Give back descriptors and watches. Idempotent."""


class Locked(Protocol):
    """A mailbox while its lock is held."""

    def sync(self, known: Columns, since: bytes) -> Delta:
        """What changed since `since`. UIDs are never below the reserve. Raises StoreError."""

    def begin_at(self, uidvalidity: int, uidnext: int) -> None:
        """Of a mailbox that nobody looked at: UIDs below were told, and none of them is given again, whatever its list lost."""

    def save(self, drafts: Sequence[Draft]) -> list[Row]:
        """All or none, durable as an OK promises. Raises NoSpace, StoreError."""

    def link(self, source: BoxDriver, rows: "Iterable[Row]") -> "Generator[int, None, list[Row] | None]":
        """Copies without copying octets, in the order of `rows`; returns None: copy the octets instead. All or none, durable.

        Pauses now and then and yields how many are placed; closed or thrown into before its end, it takes back what it placed.
        """

    def flags(self, want: Sequence[Row]) -> list[Row | Gone | Changed]:
        """Set flags and keywords to what each row says; an answer for each, in order."""

    def remove(self, rows: Sequence[Row]) -> list[int]:
        """Expunge; UIDs that are gone now (those that were already too). Works on a full disk."""


class Tree(Protocol):
    """A mail_location: the mailboxes of one user in one format."""

    separator: bytes

    def mailboxes(self) -> Iterable[BoxInfo]:
        """Every mailbox; INBOX under the name b"INBOX"."""

    def open(self, disk: bytes, *, writable: bool) -> BoxDriver:
        """Raises MailboxNotFound, InvalidMailboxName, StoreError."""

    def exists(self, disk: bytes) -> bool:
        """Whether there is a mailbox of that name. Raises InvalidMailboxName, StoreError."""

    def index_directory(self, disk: bytes) -> int | None:
        """A new descriptor of the directory of a mailbox's index; None: it has none."""

    def create(self, disk: bytes) -> None:
        """Durable. Raises MailboxExists, InvalidMailboxName, StoreError."""

    def delete(self, disk: bytes) -> None:
        """Raises MailboxNotFound, CannotDo, StoreError."""

    def rename(self, old: bytes, new: bytes) -> None:
        """With its children. Durable. Raises MailboxNotFound, MailboxExists, InvalidMailboxName, StoreError."""

    def subscriptions(self) -> list[bytes]:
        """Names on disk form, also of mailboxes that do not exist."""

    def subscribe(self, disk: bytes, wanted: bool) -> None:
        """Raises StoreError."""

    def close(self) -> None:
        """Give back descriptors. Idempotent."""
