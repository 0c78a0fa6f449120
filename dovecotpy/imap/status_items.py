"""The items of STATUS, one unit each, in the order of the answer (RFC 3501 section 6.3.10)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from dovecotpy.imap.dialect import CONDSTORE, IMAP4REV2, OBJECTID
from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.registry import Table, extension
from dovecotpy.imap.wire.tokens import Atom, Token

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession
    from dovecotpy.storage.store import Status


class StatusItem(NamedTuple):
    """One item."""

    value: Callable[["Status"], bytes]
    """from the mailbox's numbers; those that do not stand in them: from `of_session`"""
    enables: bytes = b""
    """the extension that asking for it switches on"""
    of_session: Callable[["ImapSession"], bytes] | None = None


STATUS_SIZE = extension("STATUS=SIZE")
SAVELIMIT = b"SAVELIMIT"
"""CAPABILITY tells it with its value, where imap_save_limit is set (RFC 9738)."""
HARD = 10
"""How many times the announced limit is let through: not every client knows of it."""
APPENDLIMIT = b"APPENDLIMIT"
"""CAPABILITY tells it with its value, where there is one: see `ImapSession.capability`."""


def _modseq(found: "Status") -> bytes:
    return b"%d" % found.highestmodseq


def _append_limit(session: "ImapSession") -> bytes:
    return b"%d" % session.max_message if session.max_message else b"NIL"


def _nothing(found: "Status") -> bytes:
    return b"NIL"


STATUS_ITEMS: Table[StatusItem] = Table()
STATUS_ITEMS.add(b"MESSAGES", StatusItem(lambda found: b"%d" % found.messages))
STATUS_ITEMS.add(b"RECENT", StatusItem(lambda found: b"%d" % found.recent))
STATUS_ITEMS.add(b"UIDNEXT", StatusItem(lambda found: b"%d" % found.uidnext))
STATUS_ITEMS.add(b"UIDVALIDITY", StatusItem(lambda found: b"%d" % found.uidvalidity))
STATUS_ITEMS.add(b"UNSEEN", StatusItem(lambda found: b"%d" % found.unseen))
STATUS_ITEMS.add(b"DELETED", StatusItem(lambda found: b"%d" % found.deleted), IMAP4REV2)
STATUS_ITEMS.add(b"HIGHESTMODSEQ", StatusItem(_modseq, CONDSTORE), CONDSTORE)
STATUS_ITEMS.add(b"SIZE", StatusItem(lambda found: b"%d" % found.size), STATUS_SIZE)
STATUS_ITEMS.add(b"APPENDLIMIT", StatusItem(_nothing, of_session=_append_limit), APPENDLIMIT)
STATUS_ITEMS.add(b"MAILBOXID", StatusItem(lambda found: b"(%b)" % found.mailbox_id), OBJECTID)


_COUNTED = frozenset((b"MESSAGES", b"UNSEEN", b"UIDNEXT", b"UIDVALIDITY", b"APPENDLIMIT"))
"""Items that are told of a mailbox by its counts alone."""


def parse_status_items(tokens: list[Token], disabled: frozenset[bytes]) -> frozenset[bytes]:
    """Names of items. Raises Mistaken."""
    names = set()
    for token in tokens:
        if not isinstance(token, Atom) or STATUS_ITEMS.find(token.upper(), disabled) is None:
            word = token.decode("ascii", "replace") if isinstance(token, bytes) else "(…)"
            raise Mistaken(f"Invalid status item {word}")
        names.add(bytes(token.upper()))
    if not names:
        raise Mistaken("Error in IMAP command STATUS: Empty status list.")
    return frozenset(names)


def enable_for(session: "ImapSession", items: frozenset[bytes]) -> Iterator[bytes]:
    """Switch on what asking for these items does."""
    for _, item in STATUS_ITEMS.ordered(items):
        yield from session.enable(item.enables)


def status_line(session: "ImapSession", name: bytes, items: frozenset[bytes]) -> Iterator[bytes]:
    """The STATUS response of a mailbox, behind pauses where its messages must be read first. Raises StoreError."""
    found = session.store.status(name, sized=b"SIZE" in items, counted=items <= _COUNTED)
    view = session.view
    if view is not None and view.mailbox.name == name and found.highestmodseq:
        found = found._replace(highestmodseq=min(found.highestmodseq, view.highest))
    if b"SIZE" in items and found.size < 0:
        for size in session.store.measure(name):
            if size is None:
                yield b""
            else:
                found = found._replace(size=size)
    pairs = []
    for key, item in STATUS_ITEMS.ordered(items):
        value = item.value(found) if item.of_session is None else item.of_session(session)
        pairs.append(key + b" " + value)
    yield b"* STATUS " + session.rendered(name) + b" (" + b" ".join(pairs) + b")\r\n"
