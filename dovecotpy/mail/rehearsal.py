"""A few sessions of the fork server's own, before it forks: what they leave in memory, every worker would have to make by itself.

The interpreter rewrites program text as it runs (after some calls it skips the look-up of names), and each page that a worker writes is a
page that the kernel copies for it. What was run here is rewritten before the fork, so a worker's session writes a sixth less.
The rehearsal has a Maildir of its own below base_dir and no user, no client and no log; where it cannot be had, workers are slower.
"""

from __future__ import annotations

import contextlib
import os
import socket

from dovecotpy.child.title import set_title
from dovecotpy.ipc import authmaster, control, fdpass, handover
from dovecotpy.ipc.control import Verb
from dovecotpy.ipc.handover import HandOver
from dovecotpy.log.client import Log
from dovecotpy.mail import account, intake
from dovecotpy.mail.account import Account
from dovecotpy.mail.prepared import Prepared
from dovecotpy.mail.serving import Guest, Host
from dovecotpy.sandbox import kernel

TIMES = 30
"""The interpreter has rewritten everything after some twenty calls."""
_MESSAGE = b"From: a@example.org\nSubject: rehearsal\n\nbody\n"
_COMMANDS = (
    b'r1 LIST "" "*"\r\nr2 STATUS INBOX (MESSAGES UNSEEN)\r\nr3 SELECT INBOX\r\nr4 FETCH 1:* (UID FLAGS)\r\n'
    b"r5 UID FETCH 1 (BODY.PEEK[HEADER] RFC822.SIZE)\r\nr6 NOOP\r\nr7 LOGOUT\r\n"
)
"""What clients mostly say."""


def rehearse(prepared: Prepared) -> None:
    """Leave nothing but memory behind. Does nothing where workers exec another program. Raises OSError when the directory is lost."""
    if prepared.executable:
        return
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        scratch = f"{prepared.settings.text('base_dir')}/rehearsal.{os.getpid()}"
        with contextlib.suppress(OSError):
            _make(scratch)
            for _ in range(TIMES):
                _speak(prepared)
                _serve(prepared, scratch)
        os.fchdir(before)
        with contextlib.suppress(OSError):
            _remove(scratch)
    finally:
        os.close(before)


def _make(scratch: str) -> None:
    os.mkdir(scratch, 0o700)
    for name in ("cur", "new", "tmp"):
        os.mkdir(f"{scratch}/{name}", 0o700)
    with open(f"{scratch}/cur/1.rehearsal:2,S", "wb", buffering=0) as file:
        file.write(_MESSAGE)


def _remove(path: str) -> None:
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                _remove(entry.path)
            else:
                os.unlink(entry.path)
    os.rmdir(path)


def _hand_over(prepared: Prepared) -> HandOver:
    return HandOver(
        protocol=prepared.service.name,
        auth_name="default",
        auth_pid=1,
        auth_id=1,
        local_address="127.0.0.1",
        remote_address="127.0.0.1",
        local_port=143,
        remote_port=1,
        security="",
        tls_proxied=False,
        session="rehearsal",
        tag="r0",
        client_input=b"",
    )


def _serve(prepared: Prepared, scratch: str) -> None:
    """One session, from a client who has said everything already."""
    settings = prepared.settings.changed(
        {"verbose_proctitle": False, "mail_debug": False, "fsync_disable": True}
    )
    who = Account(
        "rehearsal", os.geteuid(), os.getegid(), (), None, "", scratch, f"maildir:{scratch}", 0, "", {}
    )
    client, ours = socket.socketpair()
    reply, login = fdpass.pair()
    lifeline, master = fdpass.pair()
    lines, log = fdpass.pair()
    with client, login, lifeline, master, lines, log:
        client.sendall(_COMMANDS)
        client.shutdown(socket.SHUT_WR)
        host = Host(prepared.service, settings, (), Log(lines), lifeline)
        host.serve(Guest(who, _hand_over(prepared), ours, reply))


def _speak(prepared: Prepared) -> None:
    """What a spare says to master, auth and login before it has a session."""
    lifeline, master = fdpass.pair()
    queue, login = fdpass.pair(socket.SOCK_DGRAM)
    queue.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    client, far = socket.socketpair()
    reply, near = fdpass.pair()
    with lifeline, master, queue, login, client, far, reply, near:
        control.send(master, Verb.GO)
        control.receive(lifeline)
        control.send(lifeline, Verb.SLOT, prepared.service.name, "rehearsal", "127.0.0.1", "", 0)
        control.send(master, Verb.YES)
        control.receive(lifeline)
        fdpass.send(login, handover.encode(_hand_over(prepared)), (client.fileno(), reply.fileno()))
        packet = intake.take(queue)
        if packet is not None:
            with contextlib.suppress(intake.Forged):
                intake.examine(packet, os.geteuid(), prepared.service.name).close()
    asker = authmaster.MasterClient()
    asker.feed(b"VERSION\t1\t1\nSPID\t1\n")
    asker.request(1, 1, 1)
    asker.feed(b"USER\t1\trehearsal\tuid=1000\tgid=1000\thome=/\n")
    with contextlib.suppress(account.AccountError):
        account.resolve("rehearsal", {"uid": "1000", "gid": "1000", "home": "/"}, prepared.rules)
    set_title(prepared.service.name)
    if kernel.supported():
        kernel.held_capabilities()
