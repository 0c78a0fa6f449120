"""The environment of a program that mail_executable names: the interface that wrappers and plugins know (reference, section 6)."""

from __future__ import annotations

import binascii
import os
from collections.abc import Mapping, Sequence

import dovecotpy
from dovecotpy.config import variables
from dovecotpy.config.values import Namespace, Settings
from dovecotpy.ipc.handover import HandOver
from dovecotpy.mail.account import Account
from dovecotpy.mail.rules import Rules

FACILITIES: Mapping[str, int] = {
    name: number << 3
    for number, name in enumerate(
        (
            "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
            "", "", "", "", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
        )
    )
    if name
}  # fmt: skip
"""What syslog(3) calls them."""

_NAMED = frozenset(
    (
        "mailbox_idle_check_interval", "mail_never_cache_fields", "mail_max_keyword_length", "mail_save_crlf",
        "mmap_disable", "dotlock_use_excl", "fsync_disable", "mailbox_list_index_disable", "lock_method",
        "pop3_uidl_format",
    )
)  # fmt: skip
_FAMILIES = ("mail_cache_", "mail_nfs_", "maildir_", "mbox_", "dbox_rotate_")


def of_session(
    account: Account,
    message: HandOver,
    settings: Settings,
    namespaces: Sequence[Namespace],
    plugin: Settings,
    *,
    service: str,
) -> dict[str, str]:
    """What a program gets for a session that is logged in. The login's tag and the input behind it travel along."""
    values = {
        **variables.for_user(account.user),
        "h": account.home,
        "s": service,
        "l": message.local_address,
        "r": message.remote_address,
        "a": str(message.local_port),
        "b": str(message.remote_port),
        "p": str(os.getpid()),
        "i": str(account.uid),
    }
    given = of_settings(settings, namespaces, plugin, values, service=service)
    given.update((name.upper(), value) for name, value in account.fields.items() if _sane(name))
    given |= {
        "USER": account.user,
        "HOME": account.home,
        "IP": message.remote_address,
        "LOGGED_IN": "1",
        "MAIL": variables.expand(account.mail or settings.text("mail_location"), values),
        "LOG_TO_MASTER": "1",
        "IMAPLOGINTAG": message.tag,
        "DOVECOTPY_SESSION": message.session,
    }
    if message.local_address:
        given["LOCAL_IP"] = message.local_address
    if message.client_input:
        given["CLIENT_INPUT"] = binascii.b2a_base64(message.client_input, newline=False).decode("ascii")
    return {name: value for name, value in given.items() if "\0" not in value}


def of_settings(
    settings: Settings,
    namespaces: Sequence[Namespace],
    plugin: Settings,
    values: Mapping[str, str],
    *,
    service: str,
) -> dict[str, str]:
    """What a program gets of the settings. values: of the %-variables, for locations and plugin settings."""
    given = {"DOVECOT_VERSION": dovecotpy.__version__}
    given |= {
        name.upper(): text for name in settings if _travels(name, service) and (text := _text(settings, name))
    }
    for flag, name in (
        ("shutdown_clients", "STDERR_CLOSE_SHUTDOWN"),
        ("mail_debug", "DEBUG"),
        ("mail_full_filesystem_access", "FULL_FILESYSTEM_ACCESS"),
    ):
        if flag in settings and settings.flag(flag):
            given[name] = "1"
    for name in ("mail_plugins", "mail_plugin_dir"):
        if name in settings and (text := _text(settings, name)):
            given[name.upper()] = text
    if "syslog_facility" in settings:
        given["SYSLOG_FACILITY"] = str(FACILITIES.get(settings.text("syslog_facility"), FACILITIES["mail"]))
    if "TZ" in os.environ:
        given["TZ"] = os.environ["TZ"]
    for number, namespace in enumerate(namespaces, 1):
        given |= _namespace(f"NAMESPACE_{number}", namespace, values)
    for name in plugin:
        if _sane(name):
            given[name.upper()] = variables.expand(_text(plugin, name), values)
    return given


def restrictions(account: Account, rules: Rules) -> dict[str, str]:
    """Whom the program shall become itself, where it is run as root; it blanks them after use."""
    given = {
        "RESTRICT_SETUID": str(account.uid),
        "RESTRICT_SETGID": str(account.gid),
        "RESTRICT_GID_FIRST": str(rules.first_gid),
        "RESTRICT_GID_LAST": str(rules.last_gid),
        "RESTRICT_SETEXTRAGROUPS": ",".join(map(str, account.groups)),
    }
    if account.system_user:
        given["RESTRICT_USER"] = account.system_user
    if account.saved_gid is not None:
        given["RESTRICT_SETGID_PRIV"] = str(account.saved_gid)
    if account.chroot:
        given["RESTRICT_CHROOT"] = account.chroot
    return given


def _travels(name: str, service: str) -> bool:
    return name in _NAMED or name.startswith((*_FAMILIES, service + "_"))


def _text(settings: Settings, name: str) -> str:
    """A setting as text: yes is 1, no is nothing."""
    value = settings.value(name)
    if isinstance(value, bool):
        return "1" if value else ""
    return " ".join(value) if isinstance(value, tuple) else str(value)


def _namespace(name: str, namespace: Namespace, values: Mapping[str, str]) -> dict[str, str]:
    given = {
        name: variables.expand(namespace.location, values),
        name + "_TYPE": namespace.type,
        name + "_PREFIX": namespace.prefix,
        name + "_LIST": namespace.list,
    }
    if namespace.separator:
        given[name + "_SEP"] = namespace.separator
    for word, flag in (
        ("INBOX", namespace.inbox),
        ("HIDDEN", namespace.hidden),
        ("SUBSCRIPTIONS", namespace.subscriptions),
    ):
        if flag:
            given[f"{name}_{word}"] = "1"
    return given


def _sane(name: str) -> bool:
    return bool(name) and "=" not in name and "\0" not in name
