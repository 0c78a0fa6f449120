"""Stores and mailboxes for tests: a Maildir below a temporary home."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dovecotpy.config.values import Namespace, Settings
from dovecotpy.ipc.record import Level
from dovecotpy.storage.driver import Draft
from dovecotpy.storage.errors import StoreError
from dovecotpy.storage.mailbox import Appended, Mailbox
from dovecotpy.storage.store import Store, StoreUser

MESSAGE = b"From: a@example.org\r\nSubject: test\r\n\r\nbody\r\n"


def settings(**changes: object) -> Settings:
    """The settings that a store reads, fast (no fsync) unless said otherwise."""
    values: dict[str, object] = {
        "fsync_disable": True,
        "mail_special_use": (),
        "mail_save_crlf": False,
        "dotlock_use_excl": True,
        "maildir_copy_with_hardlinks": True,
        "maildir_copy_preserve_filename": False,
        "maildir_stat_dirs": False,
        "maildir_very_dirty_syncs": False,
        "lock_method": "fcntl",
        "mail_nfs_storage": False,
        "mail_nfs_index": False,
        "mailbox_idle_check_interval": 30,
        "mail_cache_fields": (),
        "mail_never_cache_fields": (),
        "mail_cache_min_mail_count": 0,
        "mail_location": "maildir:~/Maildir",
        "mail_text_index": True,
        "mail_text_index_max_size": 0,
    }
    return Settings({**values, **changes})  # type: ignore[arg-type]


class NotingStore(Store):
    """A store that knows which mailboxes it opened."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.opened: list[Mailbox] = []

    def open(self, name: bytes, *, writable: bool, index: bool = True) -> Mailbox:
        mailbox = super().open(name, writable=writable, index=index)
        self.opened.append(mailbox)
        return mailbox


class Home:
    """A user's home with stores over it and what they log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.root = path / "Maildir"
        self.lines: list[tuple[Level, str]] = []
        self._opened: list[NotingStore] = []

    def store(
        self,
        location: str | None = None,
        namespaces: Sequence[Namespace] = (),
        mail: str = "",
        **changes: object,
    ) -> Store:
        """A new store, as another process would open it."""
        if location is not None:
            changes["mail_location"] = location
        user = StoreUser("joe@example.org", str(self.path), mail, os.getuid(), "imap", "", "", {})
        store = NotingStore(
            user, settings(**changes), namespaces, lambda level, text: self.lines.append((level, text))
        )
        self._opened.append(store)
        return store

    def close(self) -> None:
        """Close every store that was opened, with its mailboxes."""
        for store in self._opened:
            for mailbox in store.opened:
                with contextlib.suppress(StoreError, OSError):
                    mailbox.close()
            store.close()

    def inbox(self, **changes: object) -> Mailbox:
        """INBOX in a store of its own."""
        return self.store(**changes).open(b"INBOX", writable=True)

    def deliver(self, name: str, data: bytes = MESSAGE, folder: str = "new", box: str = "") -> Path:
        """Put a file where a delivery agent or another server would."""
        directory = self.root / box if box else self.root
        for each in ("cur", "new", "tmp"):
            (directory / each).mkdir(parents=True, exist_ok=True)
        path = directory / folder / name
        path.write_bytes(data)
        return path


def add(
    mailbox: Mailbox,
    data: bytes = MESSAGE,
    flags: int = 0,
    keywords: Sequence[str] = (),
    date: int | None = None,
    count: int = 1,
) -> Appended:
    """Append messages."""
    drafts = []
    for _ in range(count):
        body = mailbox.draft()
        body.write(data)
        drafts.append(Draft(body, flags, frozenset(keywords), date))
    return mailbox.append(drafts)


def octets(mailbox: Mailbox, uid: int) -> bytes:
    """A message as stored."""
    body = mailbox.body(uid)
    try:
        return body.read(0, body.size)
    finally:
        body.close()


def uids(mailbox: Mailbox) -> list[int]:
    """UIDs after a refresh."""
    mailbox.refresh()
    return list(mailbox.columns().uids)


def state(mailbox: Mailbox) -> dict[int, tuple[int, frozenset[str]]]:
    """Flags and keywords by UID after a refresh."""
    mailbox.refresh()
    columns = mailbox.columns()
    return {
        uid: (flags, columns.keyword_sets[words])
        for uid, flags, words in zip(columns.uids, columns.flags, columns.keywords, strict=True)
    }
