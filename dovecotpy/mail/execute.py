"""mail_executable: the session is another program's, run with the client as 0 and 1 and the log as 2.

`ok` is said before exec: the pid stays, and so does the slot, since the control socket is inherited. What can be seen to fail is
seen before.
"""

from __future__ import annotations

import contextlib
import os
import socket

from dovecotpy.child.bootstrap import encode_settings
from dovecotpy.ipc import handover
from dovecotpy.ipc.handover import Refused
from dovecotpy.mail import environment, identity
from dovecotpy.mail.account import Account
from dovecotpy.mail.prepared import Prepared
from dovecotpy.mail.rules import Rules
from dovecotpy.mail.serving import Guest
from dovecotpy.sandbox import limits
from dovecotpy.sandbox.privileges import PrivilegeError

EXIT_EXEC = 84

_NOW = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL


def execute(prepared: Prepared, guest: Guest, lifeline: socket.socket) -> int:
    """Run the program for this guest. Returns only when that failed, with the exit status."""
    account, message = guest.account, guest.message
    words = prepared.executable
    given = environment.of_session(
        account,
        message,
        prepared.settings,
        prepared.namespaces,
        prepared.plugin,
        service=prepared.service.name,
    )
    if not prepared.rules.drop_before_exec:
        given |= environment.restrictions(account, prepared.rules)
    try:
        _prepare(account, prepared.rules)
        if not os.access(words[0], os.X_OK):
            raise OSError(f"execv({words[0]}) failed: it cannot be executed")
        given["DOVECOTPY_FDS"] = _descriptors(prepared, lifeline)
    except (OSError, PrivilegeError, identity.HomeError) as error:
        return _failed(prepared, guest, str(error))
    if not _answer(guest, handover.Accepted(os.getpid())):
        return 0
    return _exec(prepared, guest, words, given)


def _prepare(account: Account, rules: Rules) -> None:
    """Rights, limits and directory, as far as they are given before exec. Raises OSError, PrivilegeError, HomeError."""
    if rules.drop_before_exec or rules.server_uid != 0:
        identity.descend(account, rules)
        identity.go_home(account)
        return
    if account.nice:
        os.setpriority(os.PRIO_PROCESS, 0, account.nice)
    limits.limit(data=rules.data_limit)
    os.umask(rules.umask)
    outside = account._replace(home=account.chroot + account.home)
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        identity.go_home(outside)
    finally:
        os.seteuid(0)
        os.setegid(0)


def _descriptors(prepared: Prepared, lifeline: socket.socket) -> str:
    """What our own program finds its settings and its slot by, if it is the one that runs in the end."""
    blocks = {"settings": prepared.settings, "plugin": prepared.plugin}
    blocks |= {f"namespace.{index}": space.settings() for index, space in enumerate(prepared.namespaces)}
    memory = os.memfd_create("settings", 0)
    os.write(memory, encode_settings(blocks))
    os.lseek(memory, 0, os.SEEK_SET)
    os.set_inheritable(lifeline.fileno(), True)
    return f"settings={memory} control={lifeline.fileno()}"


def _answer(guest: Guest, answer: handover.Accepted | handover.Denied) -> bool:
    """Tell the login process; False when it has gone."""
    if guest.reply is None:
        return True
    try:
        guest.reply.send(handover.encode_answer(answer), _NOW)
    except OSError:
        return False
    return True


def _exec(prepared: Prepared, guest: Guest, words: tuple[str, ...], given: dict[str, str]) -> int:
    """No way back from here: the client is ours."""
    title: list[str] = []
    if prepared.settings.flag("verbose_proctitle"):
        title = [f"[{guest.account.user}", f"{guest.message.remote_address or '??'}]"]
    os.dup2(guest.client.fileno(), 0)
    os.dup2(guest.client.fileno(), 1)
    os.dup2(prepared.log.fileno(), 2)
    try:
        os.execve(words[0], [words[0].rpartition("/")[2], *words[1:], *title], given)
    except OSError as error:
        _say(prepared, guest, f"execv({words[0]}) failed: {error.strerror}")
    with contextlib.suppress(OSError):
        guest.client.send(prepared.service.refusal, _NOW)
    return EXIT_EXEC


def _failed(prepared: Prepared, guest: Guest, text: str) -> int:
    _say(prepared, guest, text)
    _answer(guest, handover.Denied(Refused.INTERNAL, text))
    return EXIT_EXEC


def _say(prepared: Prepared, guest: Guest, text: str) -> None:
    message = guest.message
    prepared.log.fatal(text, user=guest.account.user, session=message.session, address=message.remote_address)
