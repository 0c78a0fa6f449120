"""SELECT and EXAMINE (RFC 3501 sections 6.3.1 and 6.3.2). Their parameters: `select_parameters.py`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import CONDSTORE, OBJECTID
from dovecotpy.imap.filters import FILTER_VALUES
from dovecotpy.imap.registry import command
from dovecotpy.imap.select_parameters import SELECT_PARAMETERS, parse_parameters
from dovecotpy.imap.view import View
from dovecotpy.imap.wire.response import untagged
from dovecotpy.storage import flags as bits

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

"""The entry of a filter among those of the server (RFC 5466 section 3.2)."""
_UNSEEN = bytes(not value & bits.SEEN for value in range(256))


@command("SELECT")
def select(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Open a mailbox to read and write."""
    return _open(session, arguments, writable=True)


@command("EXAMINE")
def examine(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Open a mailbox to read; nothing in it changes by that, \\Recent neither."""
    return _open(session, arguments, writable=False)


def _open(session: "ImapSession", arguments: Arguments, *, writable: bool) -> Iterator[bytes]:
    """Whatever was selected before is left, also if this fails (RFC 3501 section 6.3.1)."""
    name = session.mailbox_name(arguments)
    given = session.given_name
    parameters = parse_parameters(session, arguments)
    if session.view is not None:
        session.leave_mailbox()
        if session.dialect.offers(CONDSTORE) or session.dialect.rev2:
            yield untagged(b"OK", "Previous mailbox closed.", "CLOSED")
    units = SELECT_PARAMETERS.ordered(frozenset(parameters))
    for _, unit in units:
        session.dialect.enable(unit.enables)
    mailbox = session.open(name, writable=writable)
    try:
        view = View(mailbox, writable=writable and mailbox.writable, dialect=session.dialect)
    except BaseException:
        mailbox.close()
        raise
    view.filter_value = lambda name: session.store.annotations.get(b"").get(FILTER_VALUES + name)
    session.view = view
    yield describe(view)
    if session.dialect.rev2:
        yield session.list_line(name, given)
    for parameter, unit in units:
        if unit.opened is not None:
            yield from unit.opened(view, parameters[parameter])
    code = "READ-WRITE" if view.writable else "READ-ONLY"
    yield session.tagged("Select completed.", code)


def describe(view: View) -> bytes:
    """The untagged responses for a mailbox that is being selected, in the reference's order."""
    columns = view.columns
    pieces = [
        view.flags_response(),
        view.counts(),
    ]
    unseen = columns.flags.tobytes().translate(_UNSEEN).find(1)
    if unseen >= 0 and not view.dialect.uidonly and not view.dialect.rev2:
        pieces.append(untagged(b"OK", "First unseen.", f"UNSEEN {unseen + 1}"))
    pieces.append(untagged(b"OK", "UIDs valid", f"UIDVALIDITY {columns.uidvalidity}"))
    pieces.append(untagged(b"OK", "Predicted next UID", f"UIDNEXT {columns.uidnext}"))
    if view.dialect.offers(CONDSTORE):
        pieces.append(view.highest_response())
    if view.dialect.offers(OBJECTID):
        code = f"MAILBOXID ({view.mailbox.mailbox_id.decode('ascii')})"
        pieces.append(untagged(b"OK", "Mailbox id", code))
    return b"".join(pieces)
