"""Ids of mailboxes, messages and threads that stay the same for good (RFC 8474).

They are made of what the store keeps anyway, so that no index has to survive: the GUID of the mailbox, the
identity of the message, the first Message-ID of its thread. Each kind begins with a letter of its own.
"""

from __future__ import annotations

import re

from dovecotpy.message.fields import Values

try:
    from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # Python 3.11; hashlib would bring OpenSSL into every mail process
    try:
        from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # an interpreter built without
        from hashlib import sha256

EMAILID = b"EMAILID"
THREADID = b"THREADID"
DIGITS = 40
"""Hexadecimal digits of an id, of the 64 that SHA-256 gives."""
_MESSAGE_ID = re.compile(rb"<([^<>]{1,998})>")
_FIELDS = (b"references", b"in-reply-to", b"message-id")


def mailbox_id(guid: bytes, uidvalidity: int, name: bytes) -> bytes:
    """MAILBOXID of the mailbox with this GUID, or, where it could not get one, with this name and UIDVALIDITY."""
    return b"F" + (guid or _digest(b"%d %b" % (uidvalidity, name)))


def email_id(identity: bytes) -> bytes:
    """EMAILID of the message with this identity (`BoxDriver.identities`)."""
    return b"M" + _digest(identity)


def thread_id(header: Values) -> bytes | None:
    """THREADID: of the message that the thread begins with, as far as this message says; None if it says nothing.

    Nothing but the message is looked at, so that it never changes.
    """
    for field in _FIELDS:
        for value in header.all(field):
            found = _MESSAGE_ID.search(value)
            if found is not None:
                return b"T" + _digest(b"".join(found[1].split()))
    return None


def _digest(data: bytes) -> bytes:
    digest: str = sha256(data).hexdigest()
    return digest[:DIGITS].encode("ascii")
