"""APPEND of one message or many (RFC 3501 section 6.3.11, RFC 3502), with APPENDUID (RFC 4315 section 3).

Each message goes from the client into a draft of the mailbox in pieces; whether it may come is decided before
its octets are asked for. No draft becomes a message before the last one is in: all of them or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import CommandFailed, Mistaken, Refused
from dovecotpy.imap.flags import Flags, parse_flags
from dovecotpy.imap.registry import command, extension, upload
from dovecotpy.imap.wire.sequence import render_numbers
from dovecotpy.imap.wire.tokens import Atom, Streamed, String, Token
from dovecotpy.message.date import parse_internaldate
from dovecotpy.storage.driver import Draft, DraftBody
from dovecotpy.storage.errors import MailboxNotFound, StoreError

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession
    from dovecotpy.storage.mailbox import Mailbox


MAX_MESSAGES = 1_000
"""Messages of one APPEND; beyond: NO [LIMIT], before the next one is asked for."""
MAX_OPTIONS = 2
"""What may stand before a message: flags, a date."""


UTF8_ACCEPT = b"UTF8=ACCEPT"
MULTIAPPEND = extension("MULTIAPPEND")


class _Header:
    """Looks for octets of 8 bits in the header of a message that comes in pieces."""

    __slots__ = ("has_8bit", "_ended", "_tail")

    def __init__(self) -> None:
        self.has_8bit = False
        self._ended = False
        self._tail = b"\n"

    def look(self, data: bytes) -> None:
        """The next octets of the message."""
        if self._ended:
            return
        window = self._tail + data
        ends = [end for end in (window.find(b"\n\r\n"), window.find(b"\n\n")) if end >= 0]
        self._ended = bool(ends)
        self.has_8bit = self.has_8bit or not window[: min(ends, default=len(window))].isascii()
        self._tail = window[-2:]


@upload("APPEND", after=1)
class Append:
    """The messages of one APPEND on their way into drafts."""

    def __init__(self) -> None:
        self.mailbox: Mailbox | None = None
        self.drafts: list[Draft] = []
        self.error: StoreError | None = None
        self._opened = False
        self._body: DraftBody | None = None
        self._headers: list[_Header] | None = None
        """None: headers may have any octets"""

    def begin(self, session: "ImapSession", arguments: list[Token], size: int) -> None:
        """A message of so many octets is announced. Raises CommandFailed, StoreError: it must not come."""
        taken = Arguments(b"APPEND", list(arguments))
        name = session.mailbox_name(taken)
        if self.drafts and not session.dialect.offers(MULTIAPPEND):
            raise taken.wrong()
        for _ in self.drafts:
            _pass_message(taken)
        flags, internaldate = _options(session, taken)
        taken.end()
        if self.error is not None:
            raise self.error
        if not size:
            raise Refused("Can't save a zero byte message.")
        if len(self.drafts) >= MAX_MESSAGES:
            raise Refused("Too many messages in one APPEND.", "LIMIT")
        if session.max_message and size > session.max_message:
            raise Refused("Message size is too large.", "TOOBIG")
        if self.mailbox is None:
            try:
                self.mailbox, self._opened = session.target(name)
            except MailboxNotFound as error:
                raise Refused(str(error), "TRYCREATE") from None
        else:
            self.drafts[-1].body.finish(self.drafts[-1].internaldate)
        if _must_be_ascii(session):
            self._headers = [*(self._headers or ()), _Header()]
        self._body = self.mailbox.draft()
        self.drafts.append(Draft(self._body, flags.system, flags.keywords, internaldate))

    def write(self, data: bytes) -> None:
        """The next octets. An error of the store waits for the end of the command."""
        if self.error is not None or self._body is None:
            return
        if self._headers is not None:
            self._headers[-1].look(data)
        try:
            self._body.write(data)
        except StoreError as error:
            self.error = error

    def abandon(self) -> None:
        """Throw away what did not become a message. Idempotent."""
        for draft in self.drafts:
            draft.body.abandon()
        self.drafts = []
        if self.mailbox is not None and self._opened:
            self.mailbox.close()
        self.mailbox = None

    def save(self) -> tuple[int, bytes]:
        """Save all messages or none: UIDVALIDITY and the set of UIDs. Raises Refused, StoreError."""
        if self.error is not None:
            raise self.error
        if self._headers is not None and any(header.has_8bit for header in self._headers):
            raise Refused("The message has 8-bit characters in its header.", "CANNOT")
        assert self.mailbox is not None
        appended = self.mailbox.append(self.drafts)
        self.drafts = []
        return appended.uidvalidity, render_numbers(appended.uids)


def _must_be_ascii(session: "ImapSession") -> bool:
    """Whether headers may not have octets of 8 bits (RFC 6855 section 4)."""
    strict = session.settings.text("imap_append_8bit_headers") == "reject"
    return strict and UTF8_ACCEPT not in session.dialect.enabled


def _options(session: "ImapSession", arguments: Arguments) -> tuple[Flags, int | None]:
    """What stands before a message: flags and a date, both optional. Raises CommandFailed."""
    flags = Flags(0, frozenset())
    if isinstance(arguments.peek(), list):
        flags = parse_flags(arguments.list(), session.max_keyword)
    internaldate = None
    if isinstance(arguments.peek(), String):
        moment = parse_internaldate(arguments.string())
        if moment is None:
            raise Mistaken("Invalid internal date.")
        internaldate = moment.timestamp
    return flags, internaldate


def _pass_message(arguments: Arguments) -> None:
    """Step over one message with what stands before it; `begin` has looked at that. Raises Mistaken."""
    for _ in range(MAX_OPTIONS + 1):
        if isinstance(arguments.next(), Streamed):
            return
    raise arguments.wrong()


@command("APPEND")
def append(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Put the messages that came by `Append` into their mailbox."""
    taking = session.upload
    if not isinstance(taking, Append):
        raise _without_message(session, arguments)
    if not isinstance(arguments.rest()[-1], Streamed):
        raise arguments.wrong()
    uidvalidity, uids = taking.save()
    taking.abandon()
    yield from session.complete("Append completed.", f"APPENDUID {uidvalidity} {uids.decode('ascii')}")


def _without_message(session: "ImapSession", arguments: Arguments) -> CommandFailed:
    """Why an APPEND without a literal is none. A message as a quoted string is no APPEND either."""
    session.mailbox_name(arguments)
    if not arguments.more():
        return arguments.wrong("Missing arguments")
    if isinstance(arguments.peek(), Atom):
        return arguments.wrong()
    return arguments.wrong("Missing message literal.")
