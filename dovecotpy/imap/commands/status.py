"""STATUS (RFC 3501 section 6.3.10)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire.response import string
from dovecotpy.imap.wire.tokens import Atom, Token

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

ITEMS: Mapping[bytes, str] = {
    b"MESSAGES": "messages",
    b"RECENT": "recent",
    b"UIDNEXT": "uidnext",
    b"UIDVALIDITY": "uidvalidity",
    b"UNSEEN": "unseen",
}
"""Items by name, in the order of the answer: attributes of the store's Status."""


@command("STATUS")
def status(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell counts of a mailbox without opening it; \\Recent stays unclaimed."""
    name = session.mailbox_name(arguments)
    items = _items(arguments.list())
    arguments.end()
    found = session.store.status(name)
    pairs = [b"%b %d" % (item, getattr(found, ITEMS[item])) for item in ITEMS if item in items]
    yield b"* STATUS " + string(name) + b" (" + b" ".join(pairs) + b")\r\n"
    yield from session.complete("Status completed.")


def _items(tokens: list[Token]) -> frozenset[bytes]:
    names = set()
    for token in tokens:
        if not isinstance(token, Atom) or token.upper() not in ITEMS:
            word = token.decode("ascii", "replace") if isinstance(token, bytes) else "(…)"
            raise Mistaken(f"Invalid status item {word}")
        names.add(bytes(token.upper()))
    if not names:
        raise Mistaken("Error in IMAP command STATUS: Empty status list.")
    return frozenset(names)
