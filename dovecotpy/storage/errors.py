"""What can go wrong in a store: each error has what the client is told and what the log keeps."""

from __future__ import annotations

from typing import Self

from dovecotpy import clock


class StoreError(Exception):
    """A command cannot be done.

    code: the IMAP response code of the NO, without brackets; None for none. str(error): the text for the client.
    log: the line for the administrator; None where it is a client's ordinary mistake.
    """

    code: str | None = None

    def __init__(self, text: str, *, log: str | None = None, code: str | None = None) -> None:
        super().__init__(text)
        self.log = log
        if code is not None:
            self.code = code


class MailboxNotFound(StoreError):
    """The named mailbox does not exist (RFC 5530 NONEXISTENT; COPY, APPEND and SUBSCRIBE say TRYCREATE)."""

    code = "NONEXISTENT"


class MailboxExists(StoreError):
    """CREATE or RENAME onto a name in use."""

    code = "ALREADYEXISTS"


class InvalidMailboxName(StoreError):
    """A name that cannot be: empty parts, a character that the format forbids, too long."""

    code = "CANNOT"


class CannotDo(StoreError):
    """An operation that this mailbox does not allow: deleting INBOX, writing to a read-only mailbox."""

    code = "CANNOT"


class PermissionDenied(StoreError):
    """The operating system or a rule forbids it."""

    code = "NOPERM"


class NoSpace(StoreError):
    """The disk or the quota is full."""

    code = "OVERQUOTA"


class InUse(StoreError):
    """A lock was not had in time; trying again may help."""

    code = "INUSE"


class LimitReached(StoreError):
    """One of the store's own bounds, such as the keywords of a mailbox."""

    code = "LIMIT"


class MessageGone(StoreError):
    """The message was expunged by somebody else."""

    code = "EXPUNGEISSUED"


class Internal(StoreError):
    """The store is not as it should be. Client: the reference's internal error text; log: the cause."""

    code = "SERVERBUG"

    @classmethod
    def because(cls, log: str) -> Self:
        """With the text that clients get for every internal error, stamped so that it can be found in the log."""
        when = clock.local(clock.now())
        day = f"{when.tm_year:04d}-{when.tm_mon:02d}-{when.tm_mday:02d}"
        stamp = f"{day} {when.tm_hour:02d}:{when.tm_min:02d}:{when.tm_sec:02d}"
        return cls(f"Internal error occurred. Refer to server log for more information. [{stamp}]", log=log)


class MailboxReplaced(StoreError):
    """UIDVALIDITY changed or the mailbox was deleted under an open session: the session must end."""

    code = None
