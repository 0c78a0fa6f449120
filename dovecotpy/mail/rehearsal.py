"""A few lives of the fork server's own, before it forks: what they leave in memory, every worker would have to make by itself.

The interpreter rewrites program text as it runs (after some calls it skips the look-up of names) and remembers where it found an
attribute, and each page that a worker writes is a page that the kernel copies for it. What was run here is rewritten before the fork.
So the fork server lives the whole life of a worker, from the wait for a client to the last log line, but for becoming a user. A
helper plays the others: the master, the login process with its client, the auth process. The Maildir is one of its own below
base_dir; there is no user and no log. Where that cannot be had, workers are slower.
"""

from __future__ import annotations

import contextlib
import os
import socket

from dovecotpy.child import worker
from dovecotpy.config.values import Value
from dovecotpy.ipc import authmaster, control, fdpass, handover
from dovecotpy.ipc.control import Verb
from dovecotpy.ipc.handover import HandOver
from dovecotpy.log.client import Log
from dovecotpy.mail.account import Account
from dovecotpy.mail.prepared import Prepared
from dovecotpy.mail.rules import Rules
from dovecotpy.mail.spare import Spare
from dovecotpy.sandbox import kernel

TIMES = 30
"""The interpreter has rewritten everything after some twenty calls."""
PATIENCE = 5.0
"""Seconds that the helper waits for a step of the fork server."""
_MESSAGE = b"From: a@example.org\nSubject: rehearsal\n\nbody\n"
_COMMANDS = (
    b'r1 LIST "" "*"\r\nr2 STATUS INBOX (MESSAGES UNSEEN)\r\nr3 SELECT INBOX\r\nr4 FETCH 1:* (UID FLAGS)\r\n'
    b"r5 UID FETCH 1 (BODY.PEEK[HEADER] RFC822.SIZE)\r\nr6 NOOP\r\nr7 LOGOUT\r\n"
)
"""What clients mostly say."""


def rehearse(prepared: Prepared, times: int = TIMES) -> None:
    """So many lives, which leave nothing but memory behind. Does nothing where workers exec another program. Raises OSError when the directory is lost."""
    if prepared.executable:
        return
    before = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        scratch = f"{prepared.settings.text('base_dir')}/rehearsal.{os.getpid()}"
        with contextlib.suppress(OSError):
            _make(scratch)
            _live(prepared, scratch, times)
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


def _live(prepared: Prepared, scratch: str, times: int) -> None:
    """The lives of so many workers, one after the other."""
    master, lifeline = fdpass.pair()
    login, queue = fdpass.pair(socket.SOCK_DGRAM)
    reader, lines = fdpass.pair()
    queue.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    with lifeline, queue, lines, reader:
        with master, login:
            helper = os.fork()
            if helper == 0:
                _help(prepared.service.name, scratch, master, login, times)
        try:
            stage = _stage(prepared, scratch, Log(lines))
            for _ in range(times):
                Spare(stage._replace(queue=queue.dup()), lifeline, become=_become).live()
        finally:
            lifeline.close()
            os.waitpid(helper, 0)


def _stage(prepared: Prepared, scratch: str, log: Log) -> Prepared:
    """What a worker is given, with this process in the place of the others."""
    own = os.geteuid()
    quiet: dict[str, Value] = {
        "base_dir": scratch,
        "verbose_proctitle": False,
        "mail_debug": False,
        "mail_process_reuse": False,
        "fsync_disable": True,
    }
    rules = prepared.rules._replace(
        login_uid=own, server_uid=own, first_uid=1, last_uid=0, first_gid=1, last_gid=0, default_chroot=""
    )
    return prepared._replace(
        settings=prepared.settings.changed(quiet),
        namespaces=(),
        rules=rules,
        log=log,
        auth_uids=frozenset((own,)),
    )


def _become(account: Account, rules: Rules) -> None:
    """Instead of becoming the user."""
    if kernel.supported():
        kernel.held_capabilities()


def _help(protocol: str, scratch: str, master: socket.socket, login: socket.socket, times: int) -> None:
    """The life of the helper. Never returns."""
    status = 1
    try:
        worker.close_all_but((master.fileno(), login.fileno()))
        master.settimeout(PATIENCE)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as auth:
            auth.settimeout(PATIENCE)
            auth.bind(f"{scratch}/auth-master.{os.getpid()}")
            auth.listen()
            for _ in range(times):
                _play(protocol, scratch, master, login, auth)
        status = 0
    except OSError:
        pass  # the fork server sees the end of what it waits for
    finally:
        os._exit(status)


def _play(
    protocol: str, scratch: str, master: socket.socket, login: socket.socket, auth: socket.socket
) -> None:
    """The others' part in one life. Raises OSError."""
    client, theirs = socket.socketpair()
    reply, answered = fdpass.pair()
    with client, reply:
        with theirs, answered:
            client.sendall(_COMMANDS)
            client.shutdown(socket.SHUT_WR)
            client.settimeout(PATIENCE)
            control.send(master, Verb.GO)
            offer = handover.encode(_hand_over(protocol))
            fdpass.send(login, offer, (theirs.fileno(), answered.fileno()))
        asked, _ = auth.accept()
        with asked:
            user = f"USER\t1\trehearsal\tuid={os.geteuid() or 1}\tgid={os.getegid() or 1}\thome={scratch}\tmail=maildir:{scratch}\n"
            asked.sendall(
                f"VERSION\t{authmaster.MAJOR}\t{authmaster.MINOR}\nSPID\t{os.getpid()}\n{user}".encode()
            )
            while (said := control.receive(master)) is not None and said.verb is not Verb.SLOT:
                pass
            control.send(master, Verb.YES)
        while client.recv(65536):
            pass


def _hand_over(protocol: str) -> HandOver:
    return HandOver(
        protocol=protocol,
        auth_name="default",
        auth_pid=os.getpid(),
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
