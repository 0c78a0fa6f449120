"""Becoming the user for good, in the order of the architecture: nice, chroot, groups, gid, uid, proof, limits; then his directory."""

from __future__ import annotations

import errno
import os
import signal

from dovecotpy.mail.account import Account
from dovecotpy.mail.rules import Rules
from dovecotpy.sandbox import limits, privileges

CHDIR_SECONDS = 30
"""A home on a server that does not answer holds a login up for so long."""
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
    try:
        _chdir(target)
    except OSError as error:
        missing = error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ETIMEDOUT)
        if account.chroot or not missing:
            full = account.chroot + target
            raise HomeError(f"chdir({full}) failed with uid {account.uid}: {error.strerror}") from error
        os.chdir(FALLBACK_DIRECTORY)
        if error.errno == errno.ETIMEDOUT:
            return f"chdir({target}) blocked for {CHDIR_SECONDS} secs"
    return ""


def _chdir(target: str) -> None:
    """chdir() that a dead file server cannot hold for ever. Raises OSError."""
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(CHDIR_SECONDS)
    try:
        os.chdir(target)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, signal.SIG_IGN)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
