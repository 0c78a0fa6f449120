"""What all mailboxes of one mail_location share."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from dovecotpy.ipc.record import Level
from dovecotpy.storage.maildir.closing import Closings
from dovecotpy.storage.maildir.filename import Names
from dovecotpy.storage.notify import Watcher
from dovecotpy.storage.state import State


class Options(NamedTuple):
    """The settings that a Maildir obeys, by their own names where they are settings."""

    fsync_disable: bool = False
    mail_save_crlf: bool = False
    dotlock_use_excl: bool = True
    maildir_copy_with_hardlinks: bool = True
    maildir_copy_preserve_filename: bool = False
    maildir_stat_dirs: bool = False
    lock_method: str = "fcntl"
    maildir_very_dirty_syncs: bool = False
    mail_nfs_storage: bool = False
    """never inotify, and stat only what was opened just now"""
    interval: float = 30.0
    """mailbox_idle_check_interval in seconds: how often to look where there is no watch"""


class Context(NamedTuple):
    """One mail_location's surroundings."""

    options: Options
    log: Callable[[Level, str], None]
    watcher: Watcher
    state: State
    names: Names
    user: str
    """whose session it is"""
    private: State
    """the user's own, where mailboxes that he shares with others keep what is his alone"""
    is_clash: Callable[[str, str], bool]
    """whether another mailbox than the named one has this GUID too"""
    closings: Closings
    """what is due when the session ends"""

    @property
    def sync(self) -> bool:
        """Whether what an OK promises must survive a power loss."""
        return not self.options.fsync_disable
