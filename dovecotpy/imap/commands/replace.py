"""REPLACE and UID REPLACE: a new message in place of another one (RFC 8508)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.commands.append import Append
from dovecotpy.imap.dialect import CONDSTORE
from dovecotpy.imap.errors import Refused
from dovecotpy.imap.registry import State, command, upload
from dovecotpy.imap.wire.response import untagged
from dovecotpy.imap.wire.sequence import render_numbers
from dovecotpy.storage.errors import MessageGone

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

MAX_NUMBER = 0xFFFFFFFF
GONE = "Some of the requested messages no longer exist."


@upload("REPLACE", after=2)
class Replace(Append):
    """The message of a REPLACE on its way into a draft."""

    name = b"REPLACE"
    several = False

    def target(self, session: "ImapSession", arguments: Arguments) -> bytes:
        """Take the message that goes, which must be there, and the name of the mailbox."""
        going(session, arguments, by_uid=self.name.startswith(b"UID "))
        return session.mailbox_name(arguments)


@upload("UID REPLACE", after=3)
class ReplaceByUid(Replace):
    """The same of UID REPLACE."""

    name = b"UID REPLACE"


def going(session: "ImapSession", arguments: Arguments, *, by_uid: bool) -> int:
    """The UID of the message that the next argument names. Raises Mistaken, Refused."""
    view = session.selected
    number = arguments.number(MAX_NUMBER)
    if not by_uid:
        session.dialect.need_numbers()
        if not 0 < number <= len(view.uids):
            raise arguments.wrong("Invalid message number.")
        number = view.uids[number - 1]
    if not view.writable:
        raise Refused("Mailbox is read-only.", "NOPERM")
    if view.index(number) < 0:
        raise Refused("There is no such message.", "NONEXISTENT")
    if view.place(number) < 0:
        raise Refused(GONE, "EXPUNGEISSUED")
    return number


@command("REPLACE", state=State.SELECTED, capabilities=("REPLACE",))
@command("UID REPLACE", state=State.SELECTED, capabilities=("REPLACE",))
def replace(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Save the message, tell its UID, then remove the other one (sections 3.4 and 4.3)."""
    kind = ReplaceByUid if arguments.by_uid else Replace
    taking = session.upload
    if not isinstance(taking, Replace):
        taking = session.upload = kind()
    view = session.selected
    view.look()
    uid = going(session, Arguments(arguments.name, [arguments.peek_required()]), by_uid=arguments.by_uid)
    target = taking.ready(session, arguments)
    (draft,) = taking.taken()
    try:
        appended = view.mailbox.replace(uid, target, draft)
    except MessageGone:
        raise Refused(GONE, "EXPUNGEISSUED") from None
    finally:
        draft.body.abandon()
    taking.abandon()
    if session.dialect.offers(b"UIDPLUS"):
        code = f"APPENDUID {appended.uidvalidity} {render_numbers(appended.uids).decode('ascii')}"
        yield untagged(b"OK", "Replacement message ready.", code)
    tell = view.modseqs_last and session.dialect.offers(CONDSTORE)
    yield from session.complete(
        "Replace completed.", (lambda: f"HIGHESTMODSEQ {view.highest}") if tell else None
    )
