"""Becoming the user for good, in the order of the architecture: nice, chroot, groups, gid, uid, proof, limits; then his directory."""

from __future__ import annotations

import errno
import os

from dovecotpy import clock
from dovecotpy.mail.account import Account
from dovecotpy.mail.rules import Rules
from dovecotpy.sandbox import limits, privileges

SLOW_SECONDS = 10
"""A home that took longer to enter is told of. No signal can shorten that wait: Linux lets a process that waits for a file server be
killed, not interrupted."""
FALLBACK_DIRECTORY = "/tmp"


class HomeError(Exception):
    """The home cannot be entered. str(error): the log's line; the client: an internal failure."""


def descend(account: Account, rules: Rules) -> None:
    """Become the account's user, root or not, with his limits. Raises PrivilegeError, OSError; the process must end then."""
    if account.nice:
        os.setpriority(os.PRIO_PROCESS, 0, account.nice)
    privileges.drop(account.identity(), chroot=account.chroot)
    limits.limit(data=rules.data_limit)
    os.umask(rules.umask)


def go_home(account: Account) -> str:
    """Make the home the working directory, with the user's own rights; a missing one gives /tmp, unless there is a chroot.

    Returns a warning for the log, mostly empty. Raises HomeError.
    """
    target = account.home or (account.chroot and "/") or FALLBACK_DIRECTORY
    began = clock.monotonic()
    try:
        os.chdir(target)
    except OSError as error:
        if account.chroot or error.errno not in (errno.ENOENT, errno.ENOTDIR):
            full = account.chroot + target
            raise HomeError(f"chdir({full}) failed with uid {account.uid}: {error.strerror}") from error
        os.chdir(FALLBACK_DIRECTORY)
    seconds = clock.monotonic() - began
    return f"chdir({target}) blocked for {seconds:.0f} secs" if seconds > SLOW_SECONDS else ""
