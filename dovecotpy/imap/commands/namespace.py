"""NAMESPACE (RFC 2342)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire.response import string

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession


@command("NAMESPACE", capabilities=("NAMESPACE",))
def namespace(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell the prefixes of the personal, other users' and shared namespaces that are not hidden."""
    arguments.end()
    yield (
        b"* NAMESPACE "
        + b" ".join(_kind(session, kind) for kind in ("private", "shared", "public"))
        + b"\r\n"
    )
    yield from session.complete("Namespace completed.")


def _kind(session: "ImapSession", kind: str) -> bytes:
    """One of the three lists. 1.x calls other users' namespaces `shared`, shared ones `public`."""
    pairs = [
        b"(" + session.rendered(space.prefix) + b" " + string(space.separator) + b")"
        for space in session.store.namespaces
        if space.type == kind and not space.hidden
    ]
    return b"(" + b"".join(pairs) + b")" if pairs else b"NIL"
