"""What commands use of a session: its dialect, its mailbox, and the answers that it owes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import dovecotpy.imap.commands  # noqa: F401 - fills the table of commands
from dovecotpy.imap import names
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import Dialect
from dovecotpy.imap.errors import Mistaken, Refused
from dovecotpy.imap.registry import Entry, capabilities, extension, switched_off
from dovecotpy.imap.status_items import APPENDLIMIT, HARD, SAVELIMIT
from dovecotpy.imap.view import View
from dovecotpy.imap.wire.name import canonical
from dovecotpy.imap.wire.response import status, string, untagged
from dovecotpy.ipc.record import Level
from dovecotpy.storage.errors import MailboxReplaced, StoreError

if TYPE_CHECKING:
    from dovecotpy.config.values import Settings
    from dovecotpy.storage.mailbox import Mailbox
    from dovecotpy.storage.store import Store


INPROGRESS = extension("INPROGRESS")


class Conversation:
    """What the client and the server agreed on so far. Arguments: see `ImapSession`."""

    def __init__(self, store: "Store", settings: "Settings", log: Callable[[Level, str], None]) -> None:
        self.store = store
        self.settings = settings
        self.log = log
        self.view: View | None = None
        self.workarounds = frozenset(settings.words("imap_client_workarounds"))
        disabled = settings.words("imap_disabled_extensions")
        self.dialect = Dialect(
            switched_off(frozenset(name.upper().encode("ascii", "replace") for name in disabled))
        )
        self.max_message = settings.number("mail_max_message_size")
        self.max_keyword = settings.number("mail_max_keyword_length")
        self.save_limit = settings.number("imap_save_limit") if self.dialect.offers(SAVELIMIT) else 0
        """messages that one COPY or APPEND should have at most; 0: no limit"""
        self.within_literal = False
        """the last that was said ends inside a response: a line of text now would be taken for a part of it
        """
        self.given_name = b""
        """the last mailbox name as the client wrote it"""
        self._tag = b"*"
        self._entry: Entry | None = None
        self._progress: tuple[int, int] | None = None

    @property
    def selected(self) -> View:
        """The view of the selected mailbox. Raises Mistaken if there is none."""
        if self.view is None:
            raise Mistaken("No mailbox selected.")
        return self.view

    def capability(self) -> bytes:
        """The names that CAPABILITY tells: imap_capability instead of our own, or added to them behind a `+`."""
        override = self.settings.text("imap_capability").encode("ascii", "replace").strip()
        if override and override[:1] != b"+":
            return override
        names = list(capabilities(self.dialect.disabled))
        if self.max_message and self.dialect.offers(APPENDLIMIT):
            names.append(b"APPENDLIMIT=%d" % self.max_message)
        if self.save_limit:
            names.append(SAVELIMIT + b"=%d" % self.save_limit)
        if override:
            names.append(override[1:].strip())
        return b" ".join(names)

    def bound_saved(self, count: int, lowest: int | None = None) -> None:
        """One command saves so many messages. Raises Refused [MESSAGELIMIT] beyond HARD times the limit (RFC 9738 section
        3.1). lowest: the UID of the last of those, from the highest on, that a command may have.
        """
        if self.save_limit and count > self.save_limit * HARD:
            code = f"MESSAGELIMIT {self.save_limit}" + (f" {lowest}" if lowest is not None else "")
            raise Refused("Too many messages in one command, try a smaller subset.", code)

    def mailbox_name(self, arguments: Arguments) -> bytes:
        """The next argument as a mailbox name: INBOX in capitals, the workarounds applied."""
        name = self.given_name = bytes(arguments.astring())
        separator = self.store.separator
        if "tb-extra-mailbox-sep" in self.workarounds and len(name) > 1 and name.endswith(separator):
            name = name[: -len(separator)]
        if self.dialect.utf8:
            try:
                name = names.stored(name, self._exists)
            except names.NotUtf8:
                raise arguments.wrong("Mailbox name is not UTF-8.") from None
        return canonical(name, separator)

    def _exists(self, name: bytes) -> bool:
        try:
            return self.store.exists(name)
        except StoreError:
            return False

    def shown(self, name: bytes) -> bytes:
        """A mailbox name as the client knows it."""
        return names.shown(name) if self.dialect.utf8 else name

    def rendered(self, name: bytes) -> bytes:
        """A mailbox name as a string of a response."""
        return names.quoted(names.shown(name)) if self.dialect.utf8 else string(name)

    def list_line(self, name: bytes, old: bytes | None = None) -> bytes:
        """The LIST response of a mailbox that another command tells of (RFC 9051 section 6.3.9.7). old: what the client
        called it, where that is something else.
        """
        found = next((box for box in self.store.mailboxes() if box.name == name), None)
        attributes = b" ".join(sorted(found.attributes)) if found is not None else b""
        separator = found.separator if found is not None else self.store.separator
        line = b"* LIST (%b) %b %b" % (attributes, string(separator), self.rendered(name))
        if old is not None and old != self.shown(name):
            line += b' ("OLDNAME" (%b))' % names.quoted(old)
        return line + b"\r\n"

    def open(self, name: bytes, *, writable: bool) -> "Mailbox":
        """Open a mailbox; the caller closes it. Raises StoreError."""
        return self.store.open(name, writable=writable)

    def target(self, name: bytes) -> tuple["Mailbox", bool]:
        """The mailbox to put messages into, and whether the caller must close it. Raises StoreError."""
        if self.view is not None and self.view.writable and self.view.mailbox.name == name:
            return self.view.mailbox, False
        return self.store.open(name, writable=True), True

    def leave_mailbox(self) -> None:
        """Close the selected mailbox, if any. Expunges nothing."""
        if self.view is not None:
            mailbox = self.view.mailbox
            self.view = None
            mailbox.close()

    def complete(
        self,
        text: str,
        code: str | Callable[[], str | None] | None = None,
        *,
        condition: bytes = b"OK",
        arrivals: bool = False,
        expunges: bool = True,
    ) -> Iterator[bytes]:
        """What is new in the mailbox, as far as this command may tell it, then the tagged answer.

        code: may be asked for when everything new was told. expunges: EXPUNGE may be told, if this command may at
        all. arrivals: new messages are told even under the workaround delay-newmail.
        """
        expunges = expunges and (self._entry is None or self._entry.expunges)
        yield from self._updates(expunges=expunges, arrivals=arrivals)
        if self.view is not None:
            yield self.view.settle_highest()
        if callable(code):
            code = code()
        yield self.tagged(text, code, condition=condition)

    def updates(self) -> Iterator[bytes]:
        """What is new in the mailbox, expunges included."""
        return self._updates(expunges=True)

    def tagged(self, text: str, code: str | None = None, *, condition: bytes = b"OK") -> bytes:
        """The tagged answer of the command at work."""
        return status(self._tag, condition, text, code)

    def enable(self, capability: bytes) -> Iterator[bytes]:
        """Switch an extension on, if it is one that can be; with a mailbox selected, HIGHESTMODSEQ for a client
        that begins to want modseqs (RFC 7162 section 3.1).
        """
        before = self.dialect.condstore
        self.dialect.enable(capability)
        if self.dialect.condstore and not before and self.view is not None and self.view.modseqs_last:
            yield self.view.highest_response()

    def note_progress(self, done: int, total: int) -> None:
        """How much of its work the command at work has done, for the sign of life (RFC 9585)."""
        self._progress = done, total

    @property
    def tag(self) -> bytes:
        """The tag of the command at work."""
        return self._tag

    def in_one_response(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        """Pieces of which only the last ends the response: nothing else is said before."""
        held = next(pieces, None)
        for piece in pieces:
            assert held is not None
            self.within_literal = True
            yield held
            held = piece
        self.within_literal = False
        if held is not None:
            yield held

    def _updates(self, *, expunges: bool, arrivals: bool = True) -> Iterator[bytes]:
        """What is new. A store that cannot say it now is logged, and asked again with the next command."""
        if self.view is None:
            return
        arrivals = arrivals or "delay-newmail" not in self.workarounds
        by_uid = self._entry is not None and self._entry.by_uid
        try:
            yield from self.view.updates(expunges=expunges, arrivals=arrivals, by_uid=by_uid)
        except MailboxReplaced:
            raise
        except StoreError as error:
            if error.log is not None:
                self.log(Level.ERROR, error.log)

    def _sign_of_life(self) -> bytes:
        """What a command that is silent for long says (RFC 9585 section 4)."""
        text = "Hang in there.."
        if not self.dialect.offers(INPROGRESS):
            return untagged(b"OK", text)
        tag = "NIL" if b"]" in self._tag else '"' + self._tag.decode("ascii", "replace") + '"'
        if self._progress is None:
            return untagged(b"OK", text, f"INPROGRESS ({tag} NIL NIL)")
        done, total = self._progress
        if not done < total:
            return untagged(b"OK", text, f"INPROGRESS ({tag} {done} NIL)")
        return untagged(
            b"OK", f"Processed {100 * done // total}% of the items", f"INPROGRESS ({tag} {done} {total})"
        )
