"""The fork server of login workers: `python -I -m dovecotpy.login`, exec'ed by the master.

As root it reads certificate and key; then it enters login_dir, becomes login_user, and forks workers when the master asks.
"""

from __future__ import annotations

import functools
import grp
import os
import pwd
import socket
import sys

import setproctitle

import dovecotpy
from dovecotpy.child import bootstrap, forkserver
from dovecotpy.child.bootstrap import Start
from dovecotpy.config.values import Settings
from dovecotpy.ipc import control
from dovecotpy.log import client as log_client
from dovecotpy.log.client import Log
from dovecotpy.login import policy, tls
from dovecotpy.login.imap import ImapLogin
from dovecotpy.login.logline import LogFormat
from dovecotpy.login.worker import Listener, Service, Worker
from dovecotpy.sandbox import kernel, limits, privileges, seccomp

FAILED = 89
"""Exit status for a fault of the settings."""
MEGABYTE = 1 << 20
SPARE_DESCRIPTORS = 16
LEAST_DESCRIPTORS = 256


def main() -> int:
    """Prepare, give up rights, serve. Returns the exit status."""
    start = bootstrap.receive()
    channel = socket.socket(fileno=start.descriptors["control"])
    log = Log(socket.socket(fileno=start.descriptors["log"]))
    log_client.stderr(log)
    try:
        serve(start, channel, log)
    except (tls.TlsError, policy.PolicyError, privileges.PrivilegeError, OSError, KeyError) as error:
        _refuse(channel, str(error) if not isinstance(error, KeyError) else f"setting {error} was not given")
        return FAILED
    return 0


def serve(start: Start, channel: socket.socket, log: Log) -> None:
    """Become a fork server and be one until the master has enough of it. Raises what `main` tells the master."""
    if start.version != dovecotpy.__version__:
        raise policy.PolicyError(
            f"Dovecot version mismatch: Master is v{start.version}, login is v{dovecotpy.__version__}"
        )
    settings = start.settings["settings"]
    service = prepare(settings, auth_names(start), auth_flags(start), log)
    listeners = listeners_of(start)
    confined = kernel.supported() and seccomp.available()
    name = f"{service.policy.service}-login"
    setproctitle.setproctitle(name)
    become_login_user(settings)
    run = functools.partial(work, settings=settings, service=service, listeners=listeners, log=log, confined=confined)
    keep = (log.fileno(), *(listener.socket.fileno() for listener in listeners))
    forkserver.ForkServer(channel, run, keep).serve()


def prepare(settings: Settings, names: tuple[str, ...], auth: AuthFlags, log: Log) -> Service:
    """Everything that workers share. Raises TlsError, PolicyError."""
    if not names:
        raise policy.PolicyError("No authentication sockets found")
    if auth.wants_certificates:
        settings = settings.changed({"ssl_verify_client_cert": True})
    notice = functools.partial(_notice, log) if settings.flag("verbose_ssl") else None
    return Service(
        policy=policy.from_settings(settings, verbose=auth.verbose),
        contexts=tls.contexts(settings, notice),
        format=LogFormat(settings.text("login_log_format_elements"), settings.text("login_log_format")),
        auth_names=names,
        maximum=settings.number("login_max_connections"),
        single=settings.flag("login_process_per_connection"),
        titles=settings.flag("verbose_proctitle"),
        certificate_field=settings.text("ssl_cert_username_field") if auth.user_from_certificate else "",
        make_session=ImapLogin,
    )
