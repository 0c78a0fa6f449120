"""Who may have a mail process and as whom it runs: the settings that decide, with every name resolved once.

Names of users and groups are looked up by the fork server, as root and outside of any chroot; nothing later asks the system for a name
but the groups of a `system_user`, and that before the chroot too.
"""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Callable
from typing import NamedTuple

from dovecotpy.config.values import Settings


class RulesError(Exception):
    """A setting names a user or group that does not exist. Log: one line; the fork server cannot start."""


class Rules(NamedTuple):
    """What the settings say about identities, numbers only."""

    login_uid: int
    """the only uid that hands clients over; no mail process runs as it, unless the whole server does"""
    server_uid: int
    """whom the master runs as: 0, or an ordinary user"""
    default_uid: int | None
    """mail_uid"""
    default_gid: int | None
    """mail_gid"""
    first_uid: int
    last_uid: int
    """0: no upper bound"""
    first_gid: int
    last_gid: int
    """0: no upper bound"""
    chroots: tuple[str, ...]
    """valid_chroot_dirs"""
    default_chroot: str
    """mail_chroot"""
    access_groups: tuple[int, ...]
    privileged_group: int | None
    drop_before_exec: bool
    data_limit: int
    """octets of private memory, 0: none (mail_process_size)"""
    umask: int


def rules(settings: Settings) -> Rules:
    """The rules in these settings. Raises RulesError."""
    server_uid = os.geteuid()
    privileged = settings.text("mail_privileged_group")
    return Rules(
        login_uid=_user("login_user", settings.text("login_user")) if server_uid == 0 else server_uid,
        server_uid=server_uid,
        default_uid=_optional(_user, settings, "mail_uid"),
        default_gid=_optional(_group, settings, "mail_gid"),
        first_uid=settings.number("first_valid_uid"),
        last_uid=settings.number("last_valid_uid"),
        first_gid=settings.number("first_valid_gid"),
        last_gid=settings.number("last_valid_gid"),
        chroots=settings.words("valid_chroot_dirs"),
        default_chroot=settings.text("mail_chroot"),
        access_groups=tuple(
            _group("mail_access_groups", name) for name in settings.words("mail_access_groups")
        ),
        privileged_group=_group("mail_privileged_group", privileged) if privileged else None,
        drop_before_exec=settings.flag("mail_drop_priv_before_exec"),
        data_limit=settings.number("mail_process_size") << 20,
        umask=settings.number("umask"),
    )


def auth_uids(users: Settings) -> frozenset[int]:
    """The uids of the users that auth processes run as. Raises RulesError."""
    return frozenset(_user("auth user", users.text(name)) for name in users if users.text(name))


def _optional(resolve: Callable[[str, str], int], settings: Settings, name: str) -> int | None:
    text = settings.text(name)
    return resolve(name, text) if text else None


def _user(setting: str, name: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        raise RulesError(f"Non-existing {setting}: {name}") from None


def _group(setting: str, name: str) -> int:
    if name.isascii() and name.isdigit():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        if setting == "mail_access_groups":
            raise RulesError(f"unknown group name in extra_groups: {name}") from None
        raise RulesError(f"Non-existing {setting}: {name}") from None
