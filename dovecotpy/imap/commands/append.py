"""APPEND of one message or many (RFC 3501 section 6.3.11, RFC 3502), with APPENDUID (RFC 4315 section 3).

Each message goes from the client into a draft of the mailbox in pieces; whether it may come is decided before
its octets are asked for. No draft becomes a message before the last one is in: all of them or none.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.catenate import CATENATE, octets_of
from dovecotpy.imap.errors import CommandFailed, Mistaken, Refused
from dovecotpy.imap.flags import Flags, parse_flags
from dovecotpy.imap.registry import BINARY, command, extension, upload
from dovecotpy.imap.wire.command import LiteralStart
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
MAX_URLS = 100
"""URLs of one command; beyond: NO [LIMIT]."""
MAX_CATENATED = 256 << 20
"""Octets of a message that is put together, whatever mail_max_message_size says; beyond: NO [TOOBIG]."""


MULTIAPPEND = extension("MULTIAPPEND")
extension(BINARY.decode("ascii"))


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


class _Exact:
    """Looks whether octets that may be binary are lines that the store keeps as they are (RFC 3516 section 4.4)."""

    __slots__ = ("is_exact", "_last", "_lines")

    def __init__(self, *, lines: bool) -> None:
        self.is_exact = True
        self._lines = lines
        self._last = b""

    def look(self, data: bytes) -> None:
        """The next octets of the message."""
        window = self._last + data
        lines = window.count(b"\n") - (self._last == b"\n")
        ends = window.count(b"\r\n")
        self.is_exact = self.is_exact and b"\0" not in data and (lines == ends or not self._lines)
        self._last = data[-1:]


@upload("APPEND", after=1)
class Append:
    """The messages of one APPEND on their way into drafts."""

    name = b"APPEND"
    several = True
    """more than one message may come (RFC 3502)"""

    def __init__(self) -> None:
        self.mailbox: Mailbox | None = None
        self.drafts: list[Draft] = []
        self.error: CommandFailed | StoreError | None = None
        self._opened = False
        self._body: DraftBody | None = None
        self._size = 0
        self._done = 0
        """messages that are complete, or have all but the literal that comes now"""
        self._parts = 0
        """tokens of the open CATENATE list that were put into the last draft"""
        self._urls = 0
        self._catenating = False
        """the last draft is put together from parts, and not complete"""
        self._headers: list[_Header] | None = None
        """None: headers may have any octets"""
        self._exact: _Exact | None = None

    def target(self, session: "ImapSession", arguments: Arguments) -> bytes:
        """Take what stands before the first message: the name of the mailbox. Raises CommandFailed."""
        return session.mailbox_name(arguments)

    def begin(self, session: "ImapSession", literal: LiteralStart) -> None:
        """A message of so many octets is announced. Raises CommandFailed, StoreError: it must not come."""
        tokens = literal.arguments[literal.name.startswith(b"UID ") :]
        taken = Arguments(self.name, list(tokens))
        name = self.target(session, taken)
        flags, internaldate = self._walk(session, name, taken, inside=literal.inside)
        unencoded = literal.inside and _is_word(taken.peek(), b"UTF8")
        if unencoded:
            if not session.dialect.utf8 or not literal.binary:
                raise taken.wrong()
            taken.next()
            if taken.list():
                raise taken.wrong()
        elif literal.inside:
            self._part(session, name, flags, internaldate, taken, literal)
            return
        taken.end()
        if not literal.size:
            raise Refused("Can't save a zero byte message.")
        self._start(session, name, flags, internaldate)
        self._done += 1
        self._grow(session, literal.size)
        self._exact = _Exact(lines=not unencoded) if literal.binary else None

    def _walk(
        self,
        session: "ImapSession",
        name: bytes,
        taken: Arguments,
        *,
        inside: bool = False,
        last: bool = False,
    ) -> tuple[Flags, int | None]:
        """Step over the messages that are complete, put together those that are catenated. What stands before the one
        that comes now. inside: the last list is still open. last: nothing comes any more.
        """
        for _ in range(self._done):
            _pass_message(taken)
        while taken.more() or not last:
            if last and isinstance(taken.peek(), String) and taken.left == 1:
                raise self._no_message(taken)
            flags, internaldate = _options(session, taken)
            if not _comes_catenate(session, taken):
                if inside and _is_word(taken.peek(), b"UTF8") and taken.left == 2:
                    return flags, internaldate
                if last:
                    raise self._no_message(taken)
                return flags, internaldate
            if inside and taken.left == 2:
                return flags, internaldate
            taken.next()
            parts = taken.list()
            if not parts:
                raise taken.wrong()
            if not self._catenating:
                self._start(session, name, flags, internaldate)
            self._catenate(session, parts)
            self._catenating = False
            self._parts = 0
            self._done += 1
            if not self._size:
                raise Refused("Can't save a zero byte message.")
        return Flags(0, frozenset()), None

    def _no_message(self, arguments: Arguments) -> CommandFailed:
        """Why what comes is no message; a quoted string is none either."""
        if self.drafts or isinstance(arguments.peek(), Atom):
            return arguments.wrong()
        return arguments.wrong("Missing message literal.")

    def _part(
        self,
        session: "ImapSession",
        name: bytes,
        flags: Flags,
        internaldate: int | None,
        taken: Arguments,
        literal: LiteralStart,
    ) -> None:
        """A TEXT part of a catenated message is announced."""
        if not _comes_catenate(session, taken):
            raise taken.wrong()
        taken.next()
        parts = taken.list()
        unencoded = len(parts) > 1 and parts[-1] == [] and _is_word(parts[-2], b"UTF8")
        if not parts or not (unencoded or _is_word(parts[-1], b"TEXT")):
            raise taken.wrong()
        if unencoded and not (session.dialect.utf8 and literal.binary):
            raise taken.wrong()
        if not self._catenating:
            self._start(session, name, flags, internaldate)
            self._catenating = True
        self._catenate(session, parts[: -2 if unencoded else -1])
        self._parts = len(parts) + (not unencoded)
        self._grow(session, literal.size)
        self._exact = _Exact(lines=not unencoded) if literal.binary else None

    def _start(self, session: "ImapSession", name: bytes, flags: Flags, internaldate: int | None) -> None:
        """A draft for the next message. Raises CommandFailed, StoreError."""
        if self.error is not None:
            raise self.error
        if self.drafts and not (self.several and session.dialect.offers(MULTIAPPEND)):
            raise Mistaken(f"Error in IMAP command {self.name.decode('ascii')}: Invalid arguments.")
        session.bound_saved(len(self.drafts) + 1)
        if len(self.drafts) >= MAX_MESSAGES:
            raise Refused("Too many messages in one APPEND.", "LIMIT")
        if self.mailbox is None:
            try:
                self.mailbox, self._opened = session.target(name)
            except MailboxNotFound as error:
                raise Refused(str(error), "TRYCREATE") from None
        else:
            self.drafts[-1].body.finish(self.drafts[-1].internaldate)
        if _must_be_ascii(session):
            self._headers = [*(self._headers or ()), _Header()]
        self._size = 0
        self._body = self.mailbox.draft()
        self.drafts.append(Draft(self._body, flags.system, flags.keywords, internaldate))

    def _grow(self, session: "ImapSession", size: int) -> None:
        """Raises Refused [TOOBIG]."""
        self._size += size
        limit = session.max_message
        if (limit and self._size > limit) or (self._catenating and self._size > MAX_CATENATED):
            raise Refused("Message size is too large.", "TOOBIG")

    def _catenate(self, session: "ImapSession", parts: list[Token]) -> None:
        """Put the URLs among the parts that were not looked at yet into the draft. Raises CommandFailed, StoreError."""
        while self._parts < len(parts):
            word = parts[self._parts]
            value = parts[self._parts + 1] if self._parts + 1 < len(parts) else None
            if not _is_word(word, b"URL") or not isinstance(value, Atom | String):
                raise Mistaken(f"Error in IMAP command {self.name.decode('ascii')}: Invalid arguments.")
            self._urls += 1
            if self._urls > MAX_URLS:
                raise Refused("Too many URLs in one command.", "LIMIT")
            self._catenating = True
            for piece in octets_of(session, bytes(value)):
                self._grow(session, len(piece))
                self._exact = None
                self.write(piece)
                if self.error is not None:
                    raise self.error
            self._parts += 2

    def write(self, data: bytes) -> None:
        """The next octets. An error of the store waits for the end of the command."""
        if self.error is not None or self._body is None:
            return
        if self._headers is not None:
            self._headers[-1].look(data)
        if self._exact is not None:
            self._exact.look(data)
            if not self._exact.is_exact:
                self.error = Refused("Binary data cannot be stored here.", "UNKNOWN-CTE")
                return
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

    def ready(self, session: "ImapSession", arguments: Arguments) -> "Mailbox":
        """The command is complete: the mailbox that all drafts are for. Raises CommandFailed, StoreError."""
        name = self.target(session, arguments)
        if not arguments.more():
            raise arguments.wrong("Missing arguments")
        self._walk(session, name, arguments, last=True)
        arguments.end()
        if self.error is not None:
            raise self.error
        if self._headers is not None and any(header.has_8bit for header in self._headers):
            raise Refused("The message has 8-bit characters in its header.", "CANNOT")
        if self.mailbox is None:
            raise arguments.wrong("Missing message literal.")
        return self.mailbox

    def taken(self) -> list[Draft]:
        """The drafts, which are the caller's from now on."""
        drafts, self.drafts = self.drafts, []
        return drafts


def _must_be_ascii(session: "ImapSession") -> bool:
    """Whether headers may not have octets of 8 bits (RFC 6855 section 4)."""
    strict = session.settings.text("imap_append_8bit_headers") == "reject"
    return strict and not session.dialect.utf8


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


def _is_word(token: Token | None, word: bytes) -> bool:
    return isinstance(token, Atom) and token.upper() == word


def _comes_catenate(session: "ImapSession", arguments: Arguments) -> bool:
    """Whether a message comes that is put together from parts (RFC 4469)."""
    return session.dialect.offers(CATENATE) and _is_word(arguments.peek(), CATENATE)


def _pass_message(arguments: Arguments) -> None:
    """Step over one message with what stands before it; `begin` has looked at that. Raises Mistaken."""
    for _ in range(MAX_OPTIONS + 1):
        token = arguments.next()
        if isinstance(token, Streamed):
            return
        if _is_word(token, CATENATE) or _is_word(token, b"UTF8"):
            arguments.list()
            return
    raise arguments.wrong()


@command("APPEND")
def append(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Put the messages that came by `Append` into their mailbox."""
    taking = session.upload
    if not isinstance(taking, Append):
        taking = session.upload = Append()
    mailbox = taking.ready(session, arguments)
    appended = mailbox.append(taking.taken())
    taking.abandon()
    code = f"APPENDUID {appended.uidvalidity} {render_numbers(appended.uids).decode('ascii')}"
    yield from session.complete("Append completed.", code)
