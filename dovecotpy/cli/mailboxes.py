"""`dovecotpy-adm index|rebuild|verify MASK for USER`: what is done to a user's mailboxes, as that user and not as root."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

from dovecotpy import clock, config
from dovecotpy.config.values import Server
from dovecotpy.imap.wire.pattern import Pattern
from dovecotpy.ipc import authmaster
from dovecotpy.ipc.authclient import AuthProtocolError
from dovecotpy.ipc.record import Level
from dovecotpy.mail import identity
from dovecotpy.mail.account import Account, AccountError, resolve
from dovecotpy.mail.preload import preload
from dovecotpy.mail.rules import Rules, RulesError, rules
from dovecotpy.sandbox.privileges import PrivilegeError
from dovecotpy.storage import maintenance
from dovecotpy.storage.errors import StoreError
from dovecotpy.storage.mailbox import Mailbox
from dovecotpy.storage.store import Store, StoreUser

ASK_SECONDS = 60.0
BAR = 30
"""Letters of a full progress bar."""
_SOCKET = re.compile(r"auth-master\.\d+")


class MailboxError(Exception):
    """It cannot be done; str() says why. temporary: it may work later."""

    def __init__(self, text: str, *, temporary: bool = False) -> None:
        super().__init__(text)
        self.temporary = temporary


class Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 0.0
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        """So many of so many messages are done."""
        if not sys.stderr.isatty() or (clock.monotonic() < self._next and done < total):
            return
        self._next = clock.monotonic() + 0.1
        self._shown = True
        filled = BAR * done // max(total, 1)
        bar = "#" * filled + "." * (BAR - filled)
        print(f"\r{self._name} [{bar}] {done}/{total}", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """The line is free again."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class Mailboxes:
    """One user's mailboxes that match a mask. Opening it makes the process that user for good, chrooted where his mail is.

    Raises MailboxError.
    """

    def __init__(self, server: Server, base: Path, user: str, mask: str) -> None:
        settings = config.for_process(server, "mail", "imap")
        spaces = server.protocol("imap").namespaces
        try:
            known = rules(settings)
            account = resolve(*_look_up(base, user), known)
        except (RulesError, AccountError) as error:
            raise MailboxError(str(error)) from error
        _become(account, known)
        who = StoreUser(account.user, account.home, account.mail, account.uid, "adm", "", "", account.fields)
        try:
            self.store = Store(who, settings, spaces, _say)
        except StoreError as error:
            raise MailboxError(error.log or str(error)) from error
        self._mask = Pattern(os.fsencode(mask), self.store.separator)

    def names(self) -> list[bytes]:
        """Those that can be opened."""
        listed = (each for each in self.store.mailboxes() if b"\\Noselect" not in each.attributes)
        return [each.name for each in listed if self._mask.matches(each.name)]


def _say(level: Level, text: str) -> None:
    print(text, file=sys.stderr)


def _look_up(base: Path, user: str) -> tuple[str, dict[str, str]]:
    """The user's name and fields from an auth process. Raises MailboxError."""
    found = sorted(entry for entry in base.iterdir() if _SOCKET.fullmatch(entry.name))
    failure = f"no auth process listens in {base}"
    for path in found:
        try:
            answer = _ask(str(path), user)
        except (OSError, AuthProtocolError) as error:
            failure = f"{path}: {error}"
            continue
        if isinstance(answer, authmaster.NotFound):
            raise MailboxError(f"no such user: {user}")
        if isinstance(answer, authmaster.Failed):
            raise MailboxError(f"the user cannot be looked up: {answer.reason}", temporary=True)
        return answer.user, dict(answer.fields)
    raise MailboxError(failure, temporary=True)


def _ask(path: str, user: str) -> authmaster.Answer:
    """What the auth process that listens there says. Raises OSError, AuthProtocolError."""
    client = authmaster.MasterClient()
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(ASK_SECONDS)
        sock.connect(path)
        sock.sendall(client.hello() + client.user(1, user, "adm"))
        while data := sock.recv(65536):
            for answer in client.feed(data):
                return answer
    raise AuthProtocolError("it closed the connection")


def _become(account: Account, known: Rules) -> None:
    preload()
    try:
        identity.descend(account, known)
        identity.go_home(account)
    except (PrivilegeError, identity.HomeError, OSError) as error:
        raise MailboxError(f"{account.user}: {error}") from error


def index(mailboxes: Mailboxes) -> int:
    """Bring indexes up to date: how many mailboxes failed."""
    return _each(mailboxes, lambda name, progress: _with(mailboxes.store, name, progress, maintenance.index))


def rebuild(mailboxes: Mailboxes) -> int:
    """Make indexes anew from the mail, UIDs and UIDVALIDITY staying as they are: how many mailboxes failed."""
    return _each(
        mailboxes, lambda name, progress: _with(mailboxes.store, name, progress, maintenance.rebuild)
    )


def verify(mailboxes: Mailboxes) -> int:
    """Compare mail, indexes and what is kept beside them, say what does not agree and repair it: how many did not agree."""
    store = mailboxes.store

    def one(name: bytes, progress: Progress) -> list[str]:
        return maintenance.verify(
            lambda: store.open(name, writable=True),
            lambda: store.open(name, writable=True, index=False),
            progress,
        )

    return _each(mailboxes, one)


def _with(
    store: Store, name: bytes, progress: Progress, work: Callable[[Mailbox, maintenance.Advance], None]
) -> list[str]:
    mailbox = store.open(name, writable=True)
    try:
        work(mailbox, progress)
        return []
    finally:
        mailbox.close()


def _each(mailboxes: Mailboxes, work: Callable[[bytes, Progress], list[str]]) -> int:
    names = mailboxes.names()
    failed = 0
    for name in names:
        shown = os.fsdecode(name)
        progress = Progress(shown)
        try:
            lines = work(name, progress)
        except StoreError as error:
            lines = [error.log or str(error)]
        progress.end()
        failed += bool(lines)
        for line in lines or ["ok"]:
            print(f"{shown}: {line}")
    mailboxes.store.close()
    if not names:
        raise MailboxError("no mailbox matches")
    return failed
