"""Whose mail a session serves and as whom it runs: from the fields of the userdb, checked in the order of the reference.

Pure but for the groups of a `system_user`, which the system is asked for while the process is still outside of any chroot.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from dovecotpy.mail.rules import Rules
from dovecotpy.sandbox.privileges import Identity

MAX_ID = 0xFFFFFFFE
MAX_KEY = 2048
"""Octets of a reuse key; an account with more groups than fit has none."""
_USED = frozenset(("uid", "gid", "home", "mail", "chroot", "nice", "system_user"))


class AccountError(Exception):
    """The user cannot have a mail process as he stands in the userdb. str(error): the log's line; the client: an internal failure."""


class Account(NamedTuple):
    """A user with everything resolved to numbers."""

    user: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    """supplementary ones"""
    saved_gid: int | None
    """mail_privileged_group"""
    chroot: str
    """empty: none"""
    home: str
    """as seen from inside the chroot; empty: none known"""
    mail: str
    """the userdb's mail field"""
    nice: int
    system_user: str
    fields: Mapping[str, str]
    """what else the userdb gave"""

    def identity(self) -> Identity:
        """Whom the process becomes."""
        return Identity(self.uid, self.gid, self.groups, self.saved_gid)

    def key(self, protocol: str, generation: str) -> str:
        """Equal for two accounts whose sessions may share a process; empty: this one shares with nobody."""
        groups = ",".join(map(str, self.groups))
        key = f"{protocol} {generation} {self.uid} {self.gid} {groups} {self.saved_gid} {self.nice} {self.chroot}"
        return key if len(key) <= MAX_KEY else ""


def resolve(user: str, fields: Mapping[str, str], rules: Rules) -> Account:
    """The account of `user`. Raises AccountError with the line of the first check that fails."""
    uid, gid = _identity(user, fields, rules)
    _check_uid(user, uid, rules)
    _check_gid(user, gid, rules)
    chroot, home = _place(user, fields, rules)
    if chroot and rules.drop_before_exec:
        raise AccountError(
            f"Can't chroot to directory '{chroot}' (user {user}) with mail_drop_priv_before_exec=yes"
        )
    system_user = fields.get("system_user", "")
    return Account(
        user=user,
        uid=uid,
        gid=gid,
        groups=_groups(system_user, gid, rules) if rules.server_uid == 0 else (gid,),
        saved_gid=rules.privileged_group if rules.server_uid == 0 else None,
        chroot=chroot,
        home=home,
        mail=fields.get("mail", ""),
        nice=_nice(user, fields),
        system_user=system_user,
        fields={name: value for name, value in fields.items() if name not in _USED},
    )


def _identity(user: str, fields: Mapping[str, str], rules: Rules) -> tuple[int, int]:
    uid = _number(user, "uid", fields, rules.default_uid)
    gid = _number(user, "gid", fields, rules.default_gid)
    if uid is None:
        raise AccountError(f"User {user} is missing UID (set mail_uid)")
    if gid is None:
        raise AccountError(f"User {user} is missing GID (set mail_gid)")
    return uid, gid


def _number(user: str, name: str, fields: Mapping[str, str], default: int | None) -> int | None:
    text = fields.get(name, "")
    if not text:
        return default
    if text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID:
        return int(text)
    raise AccountError(f"user {user}: Invalid {name} '{text[:40]}' from the userdb")


def _check_uid(user: str, uid: int, rules: Rules) -> None:
    if uid == 0:
        raise AccountError(f"user {user}: Logins with UID 0 not permitted")
    if uid == rules.login_uid and uid != rules.server_uid:
        raise AccountError(
            f"user {user}: Logins with login_user's UID {uid} not permitted (see http://wiki.dovecot.org/UserIds)."
        )
    if uid < rules.first_uid or (rules.last_uid and uid > rules.last_uid):
        raise AccountError(
            f"user {user}: Logins with UID {uid} not permitted (see first_valid_uid in config file)."
        )


def _check_gid(user: str, gid: int, rules: Rules) -> None:
    if gid < rules.first_gid or (rules.last_gid and gid > rules.last_gid):
        raise AccountError(
            f"user {user}: Logins for users with primary group ID {gid} not permitted"
            " (see first_valid_gid in config file)."
        )


def _place(user: str, fields: Mapping[str, str], rules: Rules) -> tuple[str, str]:
    """The chroot and the home inside of it."""
    home = fields.get("home", "")
    chroot = fields.get("chroot", "")
    if not chroot and rules.chroots and "/./" in home:
        chroot, _, inside = home.partition("/./")
        home = "/" + inside
    if chroot:
        _check_chroot(user, chroot, rules)
    else:
        chroot = rules.default_chroot
    if not chroot:
        return "", home
    if chroot.endswith("/."):
        chroot = chroot.removesuffix("/.")
        if home == chroot or home.startswith(chroot + "/"):
            home = home.removeprefix(chroot)
    return chroot, home if home.startswith("/") else "/" + home


def _check_chroot(user: str, chroot: str, rules: Rules) -> None:
    allowed = any(chroot.startswith(entry) for entry in rules.chroots)
    if not allowed or not chroot.startswith("/") or ".." in chroot.split("/"):
        raise AccountError(
            f"Invalid chroot directory '{chroot}' (user {user}) (see valid_chroot_dirs in config file)"
        )


def _groups(system_user: str, gid: int, rules: Rules) -> tuple[int, ...]:
    """The groups that the system gives `system_user` and that are valid, and those of mail_access_groups; group 0 is never among them."""
    found: list[int] = []
    if system_user:
        found = os.getgrouplist(system_user, gid)
    first = max(rules.first_gid, 1)
    valid = {group for group in found if group >= first and (not rules.last_gid or group <= rules.last_gid)}
    return tuple(sorted({gid} | valid | (set(rules.access_groups) - {0})))


def _nice(user: str, fields: Mapping[str, str]) -> int:
    text = fields.get("nice", "") or "0"
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 3):
        raise AccountError(f"user {user}: Invalid nice '{text[:40]}' from the userdb")
    return max(-20, min(19, int(text)))
