"""One user's mailboxes: namespaces over the trees of their locations, names checked and translated."""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from dovecotpy.config import specialuse, variables
from dovecotpy.config.values import Namespace, Settings
from dovecotpy.ipc.record import Level
from dovecotpy.storage import flags, items, location, names
from dovecotpy.storage.annotations import Annotations
from dovecotpy.storage.errors import (
    CannotDo,
    InvalidMailboxName,
    MailboxExists,
    MailboxNotFound,
)
from dovecotpy.storage.glance import glance
from dovecotpy.storage.items import Caching, choice
from dovecotpy.storage.location import Location
from dovecotpy.storage.mailbox import CHUNK, Mailbox
from dovecotpy.storage.maildir.closing import Closings
from dovecotpy.storage.maildir.context import Context, Options
from dovecotpy.storage.maildir.filename import Names
from dovecotpy.storage.maildir.tree import MaildirTree
from dovecotpy.storage.namespaces import Space, check, spaces_of, with_inbox
from dovecotpy.storage.notify import Watcher
from dovecotpy.storage.objectid import mailbox_id
from dovecotpy.storage.overview import Counts
from dovecotpy.storage.state import State

_UNSEEN = bytes(0 if bits & flags.SEEN else 1 for bits in range(256))
_DELETED = bytes(1 if bits & flags.DELETED else 0 for bits in range(256))


class StoreUser(NamedTuple):
    """Whose mail it is, after all rights were dropped; paths as seen from inside the chroot."""

    user: str
    home: str
    mail: str
    """the user's mail field; empty: the setting mail_location"""
    uid: int
    service: str
    local_address: str
    remote_address: str
    fields: Mapping[str, str]


class NamespaceView(NamedTuple):
    """A namespace as clients see it."""

    prefix: bytes
    separator: bytes
    type: str
    hidden: bool
    list: bool
    inbox: bool


class Listed(NamedTuple):
    """A mailbox of a listing, with its attributes (RFC 3501 section 7.2.2, RFC 3348, RFC 5258 section 3)."""

    name: bytes
    separator: bytes
    attributes: frozenset[bytes]


class Status(NamedTuple):
    """Numbers of a mailbox that is not selected."""

    messages: int
    recent: int
    unseen: int
    uidnext: int
    uidvalidity: int
    highestmodseq: int
    size: int
    """octets; -1 while the size of some message is not known"""
    deleted: int
    mailbox_id: bytes


def _caching(settings: Settings) -> Caching:
    kept = choice(settings.words("mail_cache_fields"), settings.words("mail_never_cache_fields"))
    return Caching(
        kept,
        not settings.flag("fsync_disable"),
        settings.number("mail_cache_min_mail_count"),
        settings.flag("mail_nfs_index"),
    )


class Store:
    """All mailboxes of one user. log: takes the administrator's lines.

    Raises StoreError whose log line says what is wrong with locations or namespaces.
    """

    def __init__(
        self,
        user: StoreUser,
        settings: Settings,
        namespaces: Sequence[Namespace],
        log: Callable[[Level, str], None],
    ) -> None:
        self._user = user
        self._settings = settings
        self._log = log
        self._caching = _caching(settings)
        self._text_limit = None
        if settings.flag("mail_text_index"):
            self._text_limit = settings.number("mail_text_index_max_size")
        self._watcher = Watcher(lambda text: log(Level.WARNING, text))
        self._closings = Closings()
        self._states: list[State] = []
        self._trees: list[MaildirTree] = []
        try:
            self._spaces = self._make_spaces(namespaces)
        except BaseException:
            self.close()
            raise
        self._uses = {
            name.encode(): frozenset(use.encode() for use in each)
            for name, each in specialuse.uses(settings.words("mail_special_use")).items()
        }
        self._inbox = next(space for space in self._spaces if space.inbox)
        own = self._states[self._trees.index(self._inbox.tree)]
        for tree in self._trees:
            tree.keep_private_in(own)
        self.annotations = Annotations(self, own)
        self.namespaces: tuple[NamespaceView, ...] = tuple(
            NamespaceView(each.prefix, each.separator, each.type, each.hidden, each.list, each.inbox)
            for each in self._spaces
        )
        self.separator: bytes = next(each.separator for each in self._spaces if each.list)

    # Locations

    def _make_spaces(self, namespaces: Sequence[Namespace]) -> tuple[Space, ...]:
        given = with_inbox(namespaces) or (Namespace("private", "", "", "", True, False, "yes", True, None),)
        trees = {}
        for each in given:
            if each.alias_for is None:
                trees[each.prefix] = self._tree(
                    each, "mail_location" if not namespaces else f"Namespace '{each.prefix}'"
                )
        spaces = spaces_of(given, trees)
        check(spaces)
        return spaces

    def _tree(self, space: Namespace, prefix: str) -> MaildirTree:
        where = self._location(space, prefix)
        if where.driver != "maildir":
            raise location.wrong(
                f"mail storage driver {where.driver} is not supported yet (only maildir is)", prefix
            )
        setting = self._settings
        options = Options(
            fsync_disable=setting.flag("fsync_disable"),
            mail_save_crlf=setting.flag("mail_save_crlf"),
            dotlock_use_excl=setting.flag("dotlock_use_excl"),
            maildir_copy_with_hardlinks=setting.flag("maildir_copy_with_hardlinks"),
            maildir_copy_preserve_filename=setting.flag("maildir_copy_preserve_filename"),
            maildir_stat_dirs=setting.flag("maildir_stat_dirs"),
            lock_method=setting.text("lock_method"),
            maildir_very_dirty_syncs=setting.flag("maildir_very_dirty_syncs"),
            mail_nfs_storage=setting.flag("mail_nfs_storage"),
            interval=float(setting.number("mailbox_idle_check_interval")),
        )
        context = Context(
            options,
            self._log,
            self._watcher,
            _NO_STATE,
            Names(),
            self._user.user,
            _NO_STATE,
            _never,
            self._closings,
        )
        tree = MaildirTree(where, context, inbox=space.inbox)
        self._trees.append(tree)
        state = State(
            tree.control_directory(),
            tree.control_root(),
            method=options.lock_method,
            sync=not options.fsync_disable,
            exclusive=options.dotlock_use_excl,
        )
        self._states.append(state)
        tree.use(state)
        return tree

    def _location(self, space: Namespace, prefix: str) -> Location:
        user = self._user
        text = space.location or user.mail or self._settings.text("mail_location")
        if not text:
            return location.autodetect(user.home)
        values = variables.for_user(user.user) | {
            "h": user.home,
            "s": user.service,
            "l": user.local_address,
            "r": user.remote_address,
            "p": str(os.getpid()),
            "i": str(user.uid),
        }
        return location.parse(variables.expand(text, values), user.home, prefix)

    # Names

    def _find(self, name: bytes) -> tuple[Space, bytes]:
        """Namespace and name on disk. Raises InvalidMailboxName, MailboxNotFound."""
        names.check(name)
        if name.upper() == b"INBOX":
            return self._inbox, b"INBOX"
        if name[:5].upper() == b"INBOX" and name[5:6] == self._inbox.separator:
            name = b"INBOX" + name[5:]
        space = None
        for each in self._spaces:
            if name.startswith(each.prefix) and (space is None or len(each.prefix) > len(space.prefix)):
                space = each
        if space is None:
            raise MailboxNotFound("Unknown namespace.")
        return space, names.to_disk(name[len(space.prefix) :], space.separator, space.tree.separator)

    def _shown(self, space: Space, disk: bytes) -> bytes:
        if disk == b"INBOX" and space.inbox:
            return disk
        return space.prefix + disk.replace(space.tree.separator, space.separator)

    # Listing

    def mailboxes(self) -> Iterable[Listed]:
        """Every mailbox of the namespaces that are listed, and names that only have children."""
        for space in self._spaces:
            if space.list:
                yield from self._mailboxes_of(space)

    def _mailboxes_of(self, space: Space) -> Iterable[Listed]:
        found: dict[bytes, bool] = {}
        for box in space.tree.mailboxes():
            found[self._shown(space, box.disk)] = box.selectable
        told = self.annotations.uses([name for name in found if found[name]])
        parents: set[bytes] = set()
        there = frozenset(found)
        for name in there:
            at = name.rfind(space.separator)
            while at > 0:
                parents.add(name[:at])
                found.setdefault(name[:at], False)
                at = name.rfind(space.separator, 0, at)
        for name in sorted(found):
            attributes = {b"\\HasChildren" if name in parents else b"\\HasNoChildren"}
            if not found[name] and name != b"INBOX":
                attributes.add(b"\\Noselect" if name in there else b"\\NonExistent")
            elif space.type == "private":
                uses = self._uses.get(name.removeprefix(space.prefix), _NO_USES)
                attributes |= self.annotations.use_of(name, told) if told else uses
            yield Listed(name, space.separator, frozenset(attributes))

    def uses_by_name(self, name: bytes) -> frozenset[bytes]:
        """What the settings say that a mailbox is for."""
        space, _ = self._find(name)
        if space.type != "private":
            return _NO_USES
        return self._uses.get(name.removeprefix(space.prefix), _NO_USES)

    def mailbox_guid(self, name: bytes, *, writable: bool) -> str:
        """What State knows a mailbox by. writable: it gets one if it has none. Raises as `open`."""
        if not writable:
            return self.status(name, sized=False).mailbox_id[1:].decode("ascii")
        mailbox = self.open(name, writable=True)
        try:
            return mailbox.mailbox_id[1:].decode("ascii")
        finally:
            mailbox.close()

    def touch(self, name: bytes) -> None:
        """Raise the modseq of a mailbox of which something changed that is not in its messages. Raises as `open`."""
        mailbox = self.open(name, writable=True)
        try:
            mailbox.touch()
        finally:
            mailbox.close()

    def shared_state(self, name: bytes) -> State:
        """The State of the namespace of a mailbox."""
        return self._states[self._trees.index(self._find(name)[0].tree)]

    def exists(self, name: bytes) -> bool:
        """Whether a mailbox can be opened. Raises InvalidMailboxName, StoreError."""
        space, disk = self._find(name)
        return bool(disk) and space.tree.exists(disk)

    def open(self, name: bytes, *, writable: bool, index: bool = True) -> Mailbox:
        """index False: as if it had none. Raises MailboxNotFound, InvalidMailboxName, StoreError."""
        space, disk = self._find(name)
        if not disk:
            raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(name)}")
        try:
            driver = space.tree.open(disk, writable=writable)
        except MailboxNotFound:
            raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(name)}") from None
        directory = space.tree.index_directory(disk) if index else None
        mailbox = Mailbox(driver, name, directory, self._log, writable=writable, caching=self._caching)
        mailbox.text_limit = self._text_limit
        return mailbox

    def status(self, name: bytes, *, sized: bool = True, counted: bool = False) -> Status:
        """Numbers of a mailbox; \\Recent is not claimed. Raises as `open`.

        sized False: its size does not matter. counted: nothing matters but what `Counts` has.
        """
        space, disk = self._find(name)
        if not disk:
            return self._status(name, sized=sized)[0]
        if counted:
            stamp = space.tree.look(disk)
            counts = space.tree.overview.find(disk, stamp) if stamp else None
            if counts is not None:
                return _UNCOUNTED._replace(**counts._asdict())
        return self._glance(space, disk, name, sized=sized) or self._counted(space, disk, name, sized=sized)

    def _counted(self, space: Space, disk: bytes, name: bytes, *, sized: bool) -> Status:
        """As `status`, of a mailbox that had to be opened: noted, if its index had settled what it looked like."""
        found, stamp = self._status(name, sized=sized)
        if stamp and stamp == space.tree.look(disk):
            counts = Counts(found.messages, found.unseen, found.deleted, found.uidnext, found.uidvalidity)
            space.tree.overview.note(disk, stamp, counts)
        return found

    def _glance(self, space: Space, disk: bytes, name: bytes, *, sized: bool) -> Status | None:
        """As `status`, from the index alone; None: the mailbox must be opened to tell."""
        seen = space.tree.glance(disk)
        if seen is None:
            return None
        directory, stamp = seen
        try:
            found = glance(directory, stamp, sized=sized)
        finally:
            os.close(directory)
        if found is None:
            return None
        unseen, deleted = sum(found.flags.translate(_UNSEEN)), sum(found.flags.translate(_DELETED))
        counts = Counts(found.messages, unseen, deleted, found.uidnext, found.uidvalidity)
        space.tree.overview.note(disk, stamp, counts)
        return Status(
            messages=found.messages,
            recent=found.recent,
            unseen=unseen,
            uidnext=found.uidnext,
            uidvalidity=found.uidvalidity,
            highestmodseq=found.modseq if space.tree.keeps_modseqs else 0,
            size=-1 if found.sizes and min(found.sizes) < 0 else sum(found.sizes),
            deleted=deleted,
            mailbox_id=mailbox_id(found.guid, found.uidvalidity, name),
        )

    def _status(self, name: bytes, *, sized: bool) -> tuple[Status, bytes]:
        """And the mailbox's stamp when it was closed, as far as that proves something."""
        mailbox = self.open(name, writable=False)
        try:
            mailbox.refresh()
            columns = mailbox.columns()
            bits = columns.flags.tobytes()
            sizes = columns.sizes if sized else _UNASKED
            found = Status(
                messages=len(columns.uids),
                recent=len(mailbox.recent()),
                unseen=sum(bits.translate(_UNSEEN)),
                uidnext=columns.uidnext,
                uidvalidity=columns.uidvalidity,
                highestmodseq=columns.modseq if mailbox.capabilities.modseq else 0,
                size=-1 if sizes and min(sizes) < 0 else sum(sizes),
                deleted=sum(bits.translate(_DELETED)),
                mailbox_id=mailbox.mailbox_id,
            )
        finally:
            mailbox.close()
        return found, mailbox.kept_stamp

    def measure(self, name: bytes) -> Iterator[int | None]:
        """The octets of all messages: the sizes that are not known are learnt, and kept for the next time.

        Gives None now and then, for a pause, and the number last. Raises as `open`.
        """
        mailbox = self.open(name, writable=False)
        try:
            mailbox.refresh()
            columns = mailbox.columns()
            unknown = array(
                "I", [uid for uid, size in zip(columns.uids, columns.sizes, strict=True) if size < 0]
            )
            total = sum(size for size in columns.sizes if size >= 0)
            for batch in mailbox.fetch(unknown, frozenset((items.SIZE,))):
                total += sum(int(size) for size in batch.values.get(items.SIZE, ()) if size is not None)
                yield None
        finally:
            mailbox.close()
        yield total

    # Making and removing

    def create(self, name: bytes) -> None:
        """Durable. A separator at the end says that children will follow. Raises MailboxExists, InvalidMailboxName, StoreError."""
        space, disk = self._find(name.removesuffix(self.separator) if name != self.separator else name)
        if not disk:
            raise MailboxExists("Namespace already exists.")
        names.check_new(disk, space.tree.separator)
        space.tree.create(disk)

    def delete(self, name: bytes) -> None:
        """Its children stay. Raises MailboxNotFound, CannotDo, StoreError."""
        space, disk = self._find(name)
        if disk == b"INBOX" and space.inbox:
            raise CannotDo("INBOX can't be deleted.")
        if not disk:
            raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(name)}")
        try:
            space.tree.delete(disk)
        except MailboxNotFound:
            raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(name)}") from None

    def rename(self, old: bytes, new: bytes) -> None:
        """With its children; INBOX gives its messages to the new mailbox and stays (RFC 3501 section 6.3.5).

        Raises MailboxNotFound, MailboxExists, InvalidMailboxName, CannotDo, StoreError.
        """
        space, disk = self._find(old)
        target_space, target = self._find(new.removesuffix(self.separator))
        if not target:
            raise MailboxExists("Target mailbox already exists")
        names.check_new(target, target_space.tree.separator)
        if target_space.tree is not space.tree:
            raise CannotDo("Can't rename mailbox to another storage type.")
        if target_space.tree.exists(target):
            raise MailboxExists("Target mailbox already exists")
        if disk == b"INBOX" and space.inbox:
            self._rename_inbox(new.removesuffix(self.separator))
            return
        try:
            space.tree.rename(disk, target)
        except MailboxNotFound:
            raise MailboxNotFound(f"Mailbox doesn't exist: {os.fsdecode(old)}") from None

    def _rename_inbox(self, new: bytes) -> None:
        self.create(new)
        inbox = self.open(b"INBOX", writable=True)
        try:
            target = self.open(new, writable=True)
            try:
                inbox.refresh()
                uids = inbox.columns().uids
                for start in range(0, len(uids), CHUNK):
                    inbox.copy(uids[start : start + CHUNK], target, move=True)
            finally:
                target.close()
            self.annotations.copy(b"INBOX", new)
        finally:
            inbox.close()

    # Subscriptions

    def _subscriptions_of(self, space: Space) -> Space:
        """The namespace that keeps a namespace's subscriptions: itself, or the one with the longest prefix above it."""
        if space.subscriptions:
            return space
        above = [each for each in self._spaces if each.subscriptions and space.prefix.startswith(each.prefix)]
        return max(above, key=lambda each: len(each.prefix), default=self._inbox)

    def subscriptions(self) -> list[bytes]:
        """Every subscribed name, also of mailboxes that do not exist."""
        found: dict[bytes, None] = {}
        for space in self._spaces:
            if space.subscriptions and not space.is_alias:
                found.update((self._shown(space, disk), None) for disk in space.tree.subscriptions())
        return list(found)

    def subscribe(self, name: bytes, wanted: bool) -> None:
        """Subscribe or, with wanted False, unsubscribe. Raises InvalidMailboxName, InUse, StoreError."""
        space, disk = self._find(name)
        keeper = self._subscriptions_of(space)
        if keeper is not space:
            disk = names.to_disk(name[len(keeper.prefix) :], keeper.separator, keeper.tree.separator)
        if not disk:
            raise InvalidMailboxName("Invalid mailbox name.")
        keeper.tree.subscribe(disk, wanted)

    def close(self) -> None:
        """Give everything back. Idempotent."""
        self._watcher.close()
        self._closings.close()
        for state in self._states:
            state.close()
        for tree in self._trees:
            tree.close()


def _never(guid: str, name: str) -> bool:
    return False


_UNCOUNTED = Status(0, -1, 0, 0, 0, 0, -1, 0, b"")
_UNASKED = array("q", (-1,))
_NO_USES: frozenset[bytes] = frozenset()
_NO_STATE = State(-1, "")
