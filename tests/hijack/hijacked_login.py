"""Runs inside the login processes of one test's server: gives IMAP before login a command `XATTACK name` that does what an attacker
would do who has taken over the process. Everything it needs is imported before the chroot, as an attacker would bring it along.
"""

from __future__ import annotations

import array
import ctypes
import gc
import os
import resource
import signal
import socket

from dovecotpy.imap.wire.tokens import Token
from dovecotpy.ipc import handover
from dovecotpy.log.client import Log
from dovecotpy.login import imap
from dovecotpy.login.worker import Worker


def worker() -> Worker:
    """The worker that serves the attacker."""
    return next(thing for thing in gc.get_objects() if isinstance(thing, Worker))


def outcome(name: str, attempt: object) -> str:
    """What came of one attempt."""
    assert callable(attempt)
    try:
        return f"{name}: worked ({attempt()!r})"
    except OSError as error:
        return f"{name}: {error.strerror}"


def send(data: bytes, descriptors: tuple[int, ...]) -> None:
    """Straight into the mail queue."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("mail/imap")
        rights = (
            [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors).tobytes())]
            if descriptors
            else []
        )
        sock.sendmsg([data], rights)


def forge(auth_id: int, auth_pid: int) -> bytes:
    """A hand-over of a client whom no auth process knows from us."""
    return handover.encode(
        handover.HandOver(
            "imap",
            "default",
            auth_pid,
            auth_id,
            "127.0.0.1",
            "127.0.0.1",
            143,
            1,
            "",
            False,
            "forged",
            "a",
            b"",
        )
    )


def attack_forged_request() -> list[str]:
    """Claim other people's logins, in the name of every process that may be of this server."""
    said = []
    for auth_pid in range(os.getpid() - 30, os.getpid() + 10):
        client, other = socket.socketpair()
        reply, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            send(forge(1, auth_pid), (other.fileno(), far.fileno()))
        except BlockingIOError:
            break
        other.close()
        far.close()
        reply.settimeout(0.2)
        try:
            answer = reply.recv(1000)
        except OSError:
            answer = b""
        if answer.startswith(b"ok"):
            said.append(f"got a mailbox by auth pid {auth_pid}")
        client.close()
        reply.close()
    return said or ["no mailbox"]


def attack_garbage() -> list[str]:
    """What no login process says, with too few, too many and the wrong descriptors."""
    pipe, _ = os.pipe()
    one, two = socket.socketpair()
    for data in (b"", b"1\tx", os.urandom(500), forge(1, 2)):
        for descriptors in (
            (),
            (one.fileno(),),
            (pipe, pipe),
            (one.fileno(), two.fileno()),
            (one.fileno(),) * 9,
        ):
            outcome("garbage", lambda data=data, descriptors=descriptors: send(data, descriptors))
    return ["sent"]


def attack_shut_down() -> list[str]:
    """Take queue and listeners away from everybody."""
    said = []
    for listener in worker()._listeners:
        take_away = listener.socket.shutdown
        said.append(outcome("shut down a listener", lambda take_away=take_away: take_away(socket.SHUT_RDWR)))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect("mail/imap")
        said.append(outcome("shut down the queue", lambda: sock.shutdown(socket.SHUT_RDWR)))
    said.append(
        outcome("bind a queue", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).bind("mail/mine"))
    )
    said.append(outcome("remove the queue", lambda: os.unlink("mail/imap")))
    return said


def attack_fill_log() -> list[str]:
    """More lines than anybody can write."""
    log = next(thing for thing in gc.get_objects() if isinstance(thing, Log))
    for number in range(50_000):
        log.error(f"noise {number} " + "x" * 500)
    descriptor = log.fileno()
    raw = socket.socket(fileno=os.dup(descriptor))
    raw.setblocking(False)
    for number in range(20_000):
        outcome("raw", lambda number=number: raw.send(b"\x02i\tjoe\t\t\timap(joe): forged %d" % number))
    return ["filled"]


def attack_neighbours() -> list[str]:
    """Signal, trace, limit, start something."""
    libc = ctypes.CDLL(None, use_errno=True)

    def trace(pid: int) -> None:
        if libc.ptrace(16, pid, None, None) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    parent = os.getppid()
    return [
        outcome("kill the parent", lambda: os.kill(parent, signal.SIGKILL)),
        outcome("kill everybody", lambda: os.kill(-1, signal.SIGKILL)),
        outcome("kill a neighbour", lambda: os.kill(os.getpid() - 1, signal.SIGKILL)),
        outcome("trace the parent", lambda: trace(parent)),
        outcome("limit the parent", lambda: resource.prlimit(parent, resource.RLIMIT_NOFILE, (0, 0))),
        outcome("a pidfd", lambda: os.pidfd_open(parent)),
        outcome("exec", lambda: os.execv("/bin/sh", ["sh"])),
        outcome("fork", os.fork),
        outcome("root", lambda: os.setuid(0)),
        outcome("leave the chroot", lambda: os.chroot("..")),
        outcome("the password file", lambda: os.open("/etc/passwd", os.O_RDONLY)),
    ]


ATTACKS = {
    b"FORGE": attack_forged_request,
    b"GARBAGE": attack_garbage,
    b"SHUTDOWN": attack_shut_down,
    b"LOG": attack_fill_log,
    b"NEIGHBOURS": attack_neighbours,
}


def attack(session: imap.ImapLogin, arguments: list[Token]) -> bool:
    """The command XATTACK."""
    name = arguments[0]
    assert isinstance(name, bytes)
    for line in ATTACKS[name.upper()]():
        session.out += b"* OK " + line.encode() + b"\r\n"
    return session._ok(b"done")


imap._COMMANDS[b"XATTACK"] = attack
