"""The octets that a URL of CATENATE stands for (RFC 4469 section 3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.errors import Refused
from dovecotpy.imap.items import parse_section
from dovecotpy.imap.registry import extension
from dovecotpy.imap.text import MessageText
from dovecotpy.imap.url import InvalidUrl, MessageUrl, parse_url
from dovecotpy.imap.wire.name import canonical
from dovecotpy.message.section import Section, Span
from dovecotpy.message.steps import finished
from dovecotpy.storage.errors import StoreError

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession
    from dovecotpy.storage.mailbox import Mailbox

CATENATE = extension("CATENATE")
_TEXT_CHARACTERS = bytes(octet for octet in range(0x21, 0x7F) if octet not in b'"\\]')


def octets_of(session: "ImapSession", text: bytes) -> Iterator[bytes]:
    """What FETCH BODY.PEEK would give, in pieces. Raises Refused [BADURL], also for what may not be read."""
    try:
        url = parse_url(text)
        section, partial = _section(url)
    except InvalidUrl:
        raise _bad(text) from None
    mailbox, opened = _mailbox(session, url, text)
    try:
        if url.uidvalidity and url.uidvalidity != mailbox.uidvalidity:
            raise _bad(text)
        message = MessageText(mailbox.body(url.uid))
        try:
            found = finished(message.find(section, partial))
            if found is None:
                raise _bad(text)
            if isinstance(found, Span):
                yield from message.chunks(found)
            else:
                yield found
        finally:
            message.close()
    except StoreError:
        raise _bad(text) from None
    finally:
        if opened:
            mailbox.close()


def _mailbox(session: "ImapSession", url: MessageUrl, text: bytes) -> "tuple[Mailbox, bool]":
    """The mailbox that a URL names, and whether the caller must close it."""
    name = None if url.mailbox is None else canonical(url.mailbox, session.store.separator)
    if session.view is not None and name in (None, session.view.mailbox.name):
        return session.view.mailbox, False
    if name is None:
        raise _bad(text)
    try:
        mailbox = session.open(name, writable=False)
    except StoreError:
        raise _bad(text) from None
    try:
        mailbox.refresh()
    except StoreError:
        mailbox.close()
        raise _bad(text) from None
    return mailbox, True


def _section(url: MessageUrl) -> tuple[Section, tuple[int, int] | None]:
    specification, blank, fields = url.section.partition(b" ")
    names: tuple[bytes, ...] = ()
    if blank:
        if fields[:1] != b"(" or fields[-1:] != b")" or not fields[1:-1].split():
            raise InvalidUrl
        names = tuple(name.strip(b'"') for name in fields[1:-1].split())
    section = parse_section(specification.upper(), names, with_fields=bool(blank))
    if section is None:
        raise InvalidUrl
    if url.partial is None:
        return section, None
    start, count = url.partial
    return section, (start, 1 << 62 if count is None else count)


def _bad(text: bytes) -> Refused:
    shown = b"".join(
        bytes((octet,)) if octet in _TEXT_CHARACTERS else b"%%%02X" % octet for octet in text[:1_000]
    )
    return Refused("The URL names nothing that can be read.", "BADURL " + shown.decode("ascii"))
