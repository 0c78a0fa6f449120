"""Names of Dovecot 0.99 to 1.2 that are no more, and what they mean today."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from dovecotpy.config.errors import StatementError


class Change(NamedTuple):
    """An assignment that an old name stands for."""

    name: str
    text: str
    protocol: str = ""
    """imap or pop3; empty: that of the line"""


@dataclass(frozen=True, slots=True)
class Legacy:
    """One old name."""

    name: str
    until: str
    """the last series that knew it"""
    instead: str
    """what to write today; empty: nothing"""
    changes: Callable[[str], list[Change]]
    """what its value stands for; raises StatementError"""
    warning: str = ""
    """where the usual one says too little"""
    conflict: str = ""
    """the error when today's name is set too; empty: the last one counts"""

    def warn(self) -> str:
        """What the administrator is told, once."""
        if self.warning:
            return self.warning
        if self.instead:
            return f"{self.name} is an old name, write {self.instead}"
        return f"{self.name} does nothing any more"


def _renamed(name: str, until: str, to: str, protocol: str = "", **more: str) -> Legacy:
    instead = f"protocol {protocol} {{ {to} }}" if protocol else to
    return Legacy(name, until, instead, lambda text: [Change(to, text, protocol)] if text else [], **more)


def _gone(name: str, until: str) -> Legacy:
    return Legacy(name, until, "", lambda text: [])


def _yes(text: str) -> bool:
    if text.lower() not in ("yes", "no"):
        raise StatementError(f"Invalid boolean: {text}")
    return text.lower() == "yes"


def _ssl_disable(text: str) -> list[Change]:
    """`no` is what `ssl` is by default, and must not weaken `ssl = required`."""
    return [Change("ssl", "no")] if _yes(text) else []


IMAP_WORKAROUNDS = ("delay-newmail", "outlook-idle", "netscape-eoh", "tb-extra-mailbox-sep")
POP3_WORKAROUNDS = ("outlook-no-nuls", "oe-ns-eoh")

_OLD_WORKAROUNDS = {
    "oe6-fetch-no-newmail": "delay-newmail",
    "outlook-pop3-no-nuls": "outlook-no-nuls",
}


def _client_workarounds(text: str) -> list[Change]:
    words = [_OLD_WORKAROUNDS.get(word, word) for word in text.split()]
    for word in words:
        if word not in IMAP_WORKAROUNDS + POP3_WORKAROUNDS:
            raise StatementError(f"Unknown client workaround: {word}")
    imap = " ".join(word for word in words if word in IMAP_WORKAROUNDS)
    pop3 = " ".join(word for word in words if word in POP3_WORKAROUNDS)
    return [Change("imap_client_workarounds", imap), Change("pop3_client_workarounds", pop3)]


def _fcntl_locks_disable(text: str) -> list[Change]:
    return [Change("lock_method", "dotlock")] if _yes(text) else []


def _mbox_locks(text: str) -> list[Change]:
    reading = " ".join(word for word in text.split() if word != "dotlock")
    return [Change("mbox_write_locks", text), Change("mbox_read_locks", reading)] if text else []


def _mbox_read_dotlock(text: str) -> list[Change]:
    return [Change("mbox_read_locks", "dotlock fcntl")] if _yes(text) else []


def _use_cyrus_sasl(text: str) -> list[Change]:
    if _yes(text):
        raise StatementError("auth_use_cyrus_sasl is no more: name mechanisms and a passdb")
    return []


_ROOT = (
    _renamed("imap_listen", "0.99", "listen", "imap"),
    _renamed("imaps_listen", "0.99", "ssl_listen", "imap"),
    _renamed("pop3_listen", "0.99", "listen", "pop3"),
    _renamed("pop3s_listen", "0.99", "ssl_listen", "pop3"),
    Legacy("ssl_disable", "1.1", "ssl = no, yes or required", _ssl_disable),
    _gone("ssl_parameters_file", "0.99"),
    _renamed("login_max_logging_users", "1.0 beta", "login_max_connections"),
    _renamed("imap_process_size", "0.99", "mail_process_size", "imap"),
    _renamed("pop3_process_size", "0.99", "mail_process_size", "pop3"),
    _renamed("imap_executable", "0.99", "mail_executable", "imap"),
    _renamed("pop3_executable", "0.99", "mail_executable", "pop3"),
    _gone("imap_use_modules", "1.0 beta"),
    _gone("pop3_use_modules", "1.0 beta"),
    _gone("mail_use_modules", "1.0 beta"),
    _renamed("imap_modules", "1.0 beta", "mail_plugin_dir", "imap"),
    _renamed("pop3_modules", "1.0 beta", "mail_plugin_dir", "pop3"),
    _renamed("mail_modules", "1.0 beta", "mail_plugin_dir"),
    _renamed(
        "mail_extra_groups",
        "1.1",
        "mail_access_groups",
        warning="mail_extra_groups setting was often used insecurely so it is now deprecated, "
        "use mail_access_groups or mail_privileged_group instead",
        conflict="Can't set both mail_extra_groups and mail_access_groups",
    ),
    _renamed(
        "default_mail_env",
        "1.0",
        "mail_location",
        conflict="Both mail_location and default_mail_env set. Use only one of them.",
    ),
    _gone("mailbox_check_interval", "0.99"),
    _renamed("mail_max_flag_length", "0.99", "mail_max_keyword_length"),
    _gone("mail_read_mmaped", "1.0"),
    _gone("mmap_no_write", "1.0"),
    _gone("maildir_check_content_changes", "0.99"),
    Legacy("mbox_locks", "0.99", "mbox_write_locks and mbox_read_locks", _mbox_locks),
    Legacy("mbox_read_dotlock", "0.99", "mbox_read_locks", _mbox_read_dotlock),
    _gone("overwrite_incompatible_index", "1.0 beta"),
    _gone("index_mmap_invalidate", "1.0 beta"),
    Legacy("fcntl_locks_disable", "1.0 beta", "lock_method", _fcntl_locks_disable),
    Legacy(
        "client_workarounds",
        "1.0 beta",
        "imap_client_workarounds and pop3_client_workarounds",
        _client_workarounds,
    ),
    _renamed("pop3_mails_keep_recent", "1.0 beta", "pop3_no_flag_updates"),
)

_AUTH = (
    _renamed("ntlm_use_winbind", "1.1", "use_winbind"),
    Legacy("use_cyrus_sasl", "0.99", "", _use_cyrus_sasl),
)

ROOT_LEGACY = {old.name: old for old in _ROOT}
AUTH_LEGACY = {old.name: old for old in _AUTH}
"""Names without `auth_`."""
