"""CREATE, DELETE and RENAME (RFC 3501 sections 6.3.3 to 6.3.5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.dialect import OBJECTID
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.names import FORBIDDEN
from dovecotpy.imap.registry import command, extension
from dovecotpy.imap.wire.name import decode, is_valid
from dovecotpy.imap.wire.tokens import Atom
from dovecotpy.storage.annotations import SPECIAL_USE_ENTRY, assignable
from dovecotpy.storage.errors import StoreError

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


CREATE_SPECIAL_USE = extension("CREATE-SPECIAL-USE", requires=("SPECIAL-USE",))


def new_name(name: bytes) -> bytes:
    """The name, if a mailbox may come to have it: canonical modified UTF-7. Raises Refused."""
    if not is_valid(name) or not FORBIDDEN.isdisjoint(decode(name)):
        raise Refused("Invalid mailbox name: " + name.decode("utf-8", "replace"), "CANNOT")
    return name


@command("CREATE")
def create(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Create a mailbox, and tell its id (RFC 8474 section 4.1); a separator at the end of the name says only that it will have children."""
    name = session.mailbox_name(arguments)
    given, made_name = session.given_name, name.removesuffix(session.store.separator)
    uses = _uses(session, arguments) if arguments.more() else b""
    arguments.end()
    session.store.create(new_name(name))
    if uses:
        _assign(session, name.removesuffix(session.store.separator), uses)
    code = None
    if session.dialect.offers(OBJECTID):
        made = session.open(name.removesuffix(session.store.separator), writable=True)
        try:
            code = f"MAILBOXID ({made.mailbox_id.decode('ascii')})"
        finally:
            made.close()
    if session.dialect.rev2 and given.removesuffix(session.store.separator) != session.shown(made_name):
        yield session.list_line(made_name, given)
    yield from session.complete("Create completed.", code)


def _uses(session: "ImapSession", arguments: Arguments) -> bytes:
    """What the new mailbox is to be for (RFC 6154 section 3). Raises Mistaken, CannotDo [USEATTR]."""
    if not session.dialect.offers(CREATE_SPECIAL_USE):
        raise arguments.wrong()
    parameters = Arguments(arguments.name, arguments.list())
    if parameters.atom() != b"USE":
        raise arguments.wrong("Unknown parameter.")
    tokens = parameters.list()
    parameters.end()
    if not all(isinstance(token, Atom) for token in tokens):
        raise arguments.wrong()
    return assignable(b" ".join(bytes(token) for token in tokens if isinstance(token, Atom)))


def _assign(session: "ImapSession", name: bytes, uses: bytes) -> None:
    """Say what a new mailbox is for; if that cannot be said, it goes again."""
    most = session.settings.number("imap_metadata_max_entries")
    try:
        session.store.annotations.set(name, {SPECIAL_USE_ENTRY: uses}, most)
    except StoreError:
        session.store.delete(name)
        raise


@command("DELETE")
def delete(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Delete a mailbox with its messages. The selected one is left first, as in the reference."""
    name = session.mailbox_name(arguments)
    arguments.end()
    if session.view is not None and session.view.mailbox.name == name and name != b"INBOX":
        session.leave_mailbox()
    session.store.delete(name)
    yield from session.complete("Delete completed.")


@command("RENAME")
def rename(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Rename a mailbox with its children; of INBOX the messages move to the new name (RFC 3501 section
    6.3.5).
    """
    old = session.mailbox_name(arguments)
    given_old = session.given_name
    new = session.mailbox_name(arguments)
    given_new = session.given_name
    arguments.end()
    session.store.rename(old, new_name(new))
    if session.dialect.rev2 and (given_old, given_new) != (session.shown(old), session.shown(new)):
        yield session.list_line(new, given_old)
    yield from session.complete("Rename completed.")
