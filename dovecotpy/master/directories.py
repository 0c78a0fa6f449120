"""The run-time directories and the sockets that the master binds in them.

base_dir is everybody's to read; login_dir is root's, and the login group may go in but not write: its sockets are all that login
processes see of the file system.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from typing import NamedTuple

from dovecotpy.master.pidfile import AlreadyRunning

BACKLOG = 511
_BASE_MODE = 0o755
_LOGIN_MODE = 0o750
_SOCKET_MODE = 0o660
_STALE = ("auth-master.", "auth-worker.")
_CONNECT_SECONDS = 1.0


class Owner(NamedTuple):
    """Whose the login directory is: root's and the login group's; None as an ordinary user, who owns everything."""

    gid: int | None

    def give(self, path: str) -> None:
        """Make it so. Raises OSError."""
        if self.gid is not None:
            os.chown(path, 0, self.gid, follow_symlinks=False)


def prepare_base(base_dir: str) -> list[str]:
    """Make base_dir, or see that it can be entered. Returns the warnings. Raises OSError."""
    with contextlib.suppress(FileExistsError):
        os.makedirs(base_dir, 0o755)
        os.chmod(base_dir, _BASE_MODE)
        return []
    mode = stat.S_IMODE(os.stat(base_dir).st_mode)
    if mode & 0o310 == 0o310:
        return []
    os.chmod(base_dir, _BASE_MODE)
    return [f"Fixing permissions of {base_dir} to be world-readable"]


def prepare_login(login_dir: str, owner: Owner) -> list[str]:
    """Make login_dir and its mail/, with their rights, and empty them. Returns the warnings. Raises OSError, AlreadyRunning."""
    warnings = []
    for path in (login_dir, f"{login_dir}/mail"):
        existed = os.path.isdir(path)
        if not existed:
            os.mkdir(path, _LOGIN_MODE)
        elif _differs(path, owner) and path == login_dir:
            warnings.append(f"Corrected permissions for login directory {path}")
        os.chmod(path, _LOGIN_MODE)
        owner.give(path)
        remove_sockets(path, "")
    return warnings


def _differs(path: str, owner: Owner) -> bool:
    found = os.stat(path)
    return stat.S_IMODE(found.st_mode) != _LOGIN_MODE or (owner.gid is not None and found.st_gid != owner.gid)


def remove_stale(base_dir: str) -> None:
    """Sockets of auth processes that a killed server left. Raises OSError."""
    for prefix in _STALE:
        remove_sockets(base_dir, prefix)


def remove_sockets(directory: str, prefix: str) -> None:
    """Remove the sockets whose name begins so. Raises AlreadyRunning when one in use is among them, OSError."""
    for entry in os.scandir(directory):
        if not entry.name.startswith(prefix) or not stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode):
            continue
        if in_use(entry.path):
            raise AlreadyRunning(f"Dovecot is already running? Socket already exists: {entry.path}")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(entry.path)


def in_use(path: str) -> bool:
    """Whether somebody answers on a socket."""
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_UNIX, kind) as probe:
            probe.settimeout(_CONNECT_SECONDS)
            try:
                probe.connect(path)
            except TimeoutError:
                return True
            except OSError:
                continue
            return True
    return False


def bind_auth(path: str, owner: Owner) -> socket.socket:
    """The socket that login processes reach the auth processes of one section by. Raises OSError."""
    sock = _bind(path, socket.SOCK_STREAM, owner)
    sock.listen(BACKLOG)
    return sock


def bind_queue(path: str, owner: Owner) -> socket.socket:
    """The receiving end of the mail queue of one protocol, with the senders' credentials. Raises OSError."""
    return _bind(path, socket.SOCK_DGRAM, owner)


def unlink_bound(sock: socket.socket) -> None:
    """Close a socket that was bound here, and remove its name."""
    path = sock.getsockname()
    sock.close()
    with contextlib.suppress(OSError):
        os.unlink(path)


def _bind(path: str, kind: int, owner: Owner) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, kind)
    try:
        if kind == socket.SOCK_DGRAM:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        sock.setblocking(False)
        previous = os.umask(0o777)
        try:
            sock.bind(path)
        finally:
            os.umask(previous)
        owner.give(path)
        os.chmod(path, _SOCKET_MODE)
    except OSError as error:
        sock.close()
        raise OSError(error.errno, f"bind({path}) failed: {error.strerror or error}", path) from error
    return sock
