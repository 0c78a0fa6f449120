"""The sockets that the auth process binds itself, as root, before it gives its rights up."""

from __future__ import annotations

import grp
import os
import pwd
import socket

from dovecotpy.auth.settings import SocketFile
from dovecotpy.auth.setup import SetupError
from dovecotpy.ipc import fdpass

BACKLOG = 128


def bind(file: SocketFile) -> socket.socket:
    """A listening socket at the path, with its mode and owner from its first moment on. Raises SetupError.

    A socket of a process with our parent (an older generation, a sibling of `count`) is replaced; one that anybody else serves
    is an error; a stale one goes.
    """
    _require_free(file.path)
    fresh = f"{file.path}.{os.getpid()}"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        if os.path.lexists(fresh):
            os.unlink(fresh)
        listener.bind(fresh)
        _own(fresh, file)
        listener.listen(BACKLOG)
        os.rename(fresh, file.path)
    except OSError as error:
        listener.close()
        raise SetupError(f"bind({file.path}) failed: {error.strerror or error}") from error
    finally:
        os.umask(mask)
    listener.setblocking(False)
    return listener


def _own(path: str, file: SocketFile) -> None:
    uid = gid = -1
    try:
        if file.user:
            uid = int(file.user) if file.user.isdigit() else pwd.getpwnam(file.user).pw_uid
        if file.group:
            gid = int(file.group) if file.group.isdigit() else grp.getgrnam(file.group).gr_gid
    except KeyError as error:
        raise SetupError(f"socket {file.path}: no such user or group: {error}") from error
    if (uid, gid) != (-1, -1):
        os.chown(path, uid, gid)
    os.chmod(path, file.mode)


def _require_free(path: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except OSError:
            return
        if _parent(fdpass.peer(probe).pid) != os.getppid():
            raise SetupError(f"Socket already exists: {path}")


def _parent(pid: int) -> int:
    """The parent of a process; 0 when it cannot be known."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0
