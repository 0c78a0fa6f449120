"""The fork server of the mail processes of one protocol: `python -I -m dovecotpy.mail`, exec'ed by the master.

It imports what sessions need, looks every name up, and forks. It holds nothing of any user, no TCP listener and no key. Descriptors:
control, log, queue. Settings: `settings`, `namespace.N`, `plugin`, `auth_users`.
"""

from __future__ import annotations

import os
import socket
import sys

import dovecotpy
from dovecotpy.child import bootstrap, gathering
from dovecotpy.child.forkserver import ForkServer
from dovecotpy.child.title import set_title
from dovecotpy.config.values import Namespace, Settings
from dovecotpy.ipc import control
from dovecotpy.ipc.control import Verb
from dovecotpy.log.client import Log
from dovecotpy.mail import spare
from dovecotpy.mail.imap import IMAP
from dovecotpy.mail.preload import preload
from dovecotpy.mail.prepared import NEEDED, Prepared
from dovecotpy.mail.rehearsal import rehearse
from dovecotpy.mail.rules import RulesError, auth_uids, rules
from dovecotpy.sandbox import kernel

EXIT_FATAL = 89
CAPABILITIES = frozenset(("setuid", "setgid", "sys_chroot", "sys_nice", "kill", "dac_read_search"))
"""What is needed to become a user: his ids, his chroot (below directories that he alone may enter), his priority; and to end a forger."""


def main() -> int:
    """Serve until the master retires this generation."""
    start = bootstrap.receive()
    channel = socket.socket(fileno=start.descriptors["control"])
    try:
        prepared = prepare(start)
    except (Unfit, RulesError) as error:
        control.send(channel, Verb.FAILED, str(error))
        return EXIT_FATAL
    preload()
    gathering.gather(lambda: rehearse(prepared, 2))
    rehearse(prepared)
    if os.geteuid() == 0 and not prepared.executable:
        kernel.limit_capabilities(CAPABILITIES)
    set_title(prepared.service.name)
    keep = (prepared.log.fileno(), prepared.queue.fileno())
    ForkServer(channel, lambda birth: spare.work(prepared, birth), keep).serve()
    return 0


class Unfit(Exception):
    """This generation cannot serve. str(error): one log line."""


def prepare(start: bootstrap.Start) -> Prepared:
    """What every worker will need. Raises Unfit, RulesError."""
    settings = start.settings.get("settings", Settings({}))
    ignore = "version_ignore" in settings and settings.flag("version_ignore")
    if start.version != dovecotpy.__version__ and not ignore:
        raise Unfit(
            f"Dovecot version mismatch: Master is v{start.version}, imap is v{dovecotpy.__version__}"
            " (if you don't care, set version_ignore=yes)"
        )
    try:
        for name in NEEDED:
            settings.value(name)
        return Prepared(
            service=IMAP,
            settings=settings,
            namespaces=tuple(Namespace.of(block) for block in start.blocks("namespace.")),
            plugin=start.settings.get("plugin", Settings({})),
            rules=rules(settings),
            log=Log(socket.socket(fileno=start.descriptors["log"])),
            queue=socket.socket(fileno=start.descriptors["queue"]),
            generation=str(os.getpid()),
            auth_uids=frozenset((0, os.geteuid()))
            | auth_uids(start.settings.get("auth_users", Settings({}))),
        )
    except KeyError as error:
        raise Unfit(f"imap was started without {error}") from error


if __name__ == "__main__":
    sys.exit(main())
