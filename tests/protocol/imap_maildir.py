"""Real Maildir stores for sessions in tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dovecotpy.config.table import ROOT_SETTINGS
from dovecotpy.config.values import Settings, Value
from dovecotpy.ipc.record import Level
from dovecotpy.storage.store import Store, StoreUser

DEFAULTS: dict[str, Value] = {name: setting.default_value() for name, setting in ROOT_SETTINGS.items()}


@contextlib.contextmanager
def stores(home: Path, options: str = "", **changes: Value) -> Iterator[Callable[[], Store]]:
    """A maker of stores, all of the same mail in `home`; they are closed at the end, and nothing may have
    gone to the log.

    options: of the mail_location, such as `:INDEX=MEMORY`. changes: settings other than by default.
    """
    settings = Settings(
        {**DEFAULTS, "mail_location": f"maildir:{home}/Maildir{options}", "fsync_disable": True, **changes}
    )
    user = StoreUser("joe", str(home), "", os.getuid(), "imap", "127.0.0.1", "127.0.0.1", {})
    made: list[Store] = []
    lines: list[tuple[Level, str]] = []

    def make() -> Store:
        store = Store(user, settings, (), lambda level, text: lines.append((level, text)))
        made.append(store)
        return store

    try:
        yield make
    finally:
        for store in made:
            store.close()
    assert not lines, lines
