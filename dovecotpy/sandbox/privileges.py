"""Becoming somebody else for good: chroot, groups, gid, uid, and the proof that nothing comes back."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from dovecotpy.sandbox import kernel


class PrivilegeError(Exception):
    """Rights could not be given up as asked, or came back. Log: one line; the process must end."""


class Identity(NamedTuple):
    """Whom a process becomes. Everything is numeric: names are resolved before, outside of any chroot."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    """supplementary groups"""
    saved_gid: int | None = None
    """a group that stays within reach as saved gid (mail_privileged_group), or none"""


def drop(identity: Identity, *, chroot: str = "", directory: str = "/") -> None:
    """Enter the chroot if one is given, become `identity`, prove that root is gone, forbid new privileges.

    A process that is not root may only "become" what it is. Raises PrivilegeError, OSError.
    """
    if identity.uid == 0 and os.geteuid() == 0:
        raise PrivilegeError("uid 0 is no identity to drop to")
    if os.geteuid() != 0:
        _require_same(identity, chroot)
        kernel.no_new_privileges()
        return
    if chroot:
        os.chroot(chroot)
        os.chdir(directory)
    os.setgroups(identity.groups or (identity.gid,))
    saved = identity.gid if identity.saved_gid is None else identity.saved_gid
    os.setresgid(identity.gid, identity.gid, saved)
    os.setresuid(identity.uid, identity.uid, identity.uid)
    prove(identity)
    kernel.no_new_privileges()


def prove(identity: Identity) -> None:
    """Raises PrivilegeError unless the process is `identity` and cannot become root again."""
    if os.getresuid() != (identity.uid,) * 3:
        raise PrivilegeError("uid did not change as asked")
    saved = identity.gid if identity.saved_gid is None else identity.saved_gid
    if os.getresgid() != (identity.gid, identity.gid, saved):
        raise PrivilegeError("gid did not change as asked")
    for regain in (lambda: os.setuid(0), lambda: os.setresuid(-1, 0, -1)):
        _must_fail(regain, "root")
    if identity.gid != 0 and saved != 0:
        _must_fail(lambda: os.setgid(0), "group 0")
    if kernel.held_capabilities():
        raise PrivilegeError("capabilities were kept")


def _must_fail(regain: Callable[[], None], what: str) -> None:
    try:
        regain()
    except PermissionError:
        return
    raise PrivilegeError(f"We couldn't drop root privileges ({what} came back)")


def _require_same(identity: Identity, chroot: str) -> None:
    if chroot:
        raise PrivilegeError("chroot needs root")
    if identity.uid != os.geteuid():
        raise PrivilegeError(f"not running as root, can't become uid {identity.uid}")


def groups_of(user: str, gid: int, extra: Sequence[int], *, first: int, last: int) -> tuple[int, ...]:
    """The supplementary groups of a system user, and `extra`, but those outside of first..last (last 0: no upper bound).

    Call it before any chroot: afterwards the C library would read files that the user may own.
    """
    found = os.getgrouplist(user, gid) if user else [gid]
    valid = [group for group in found if group >= first and (last == 0 or group <= last)]
    return tuple(sorted({gid, *valid, *extra}))
