"""The fork server of login workers: `python -I -m dovecotpy.login`, exec'ed by the master.

As root it reads certificate and key; then it enters login_dir, becomes login_user, and forks workers when the master asks.
"""

from __future__ import annotations

import functools
import os
import pwd
import socket
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import dovecotpy
from dovecotpy.child import bootstrap, forkserver
from dovecotpy.child.bootstrap import Start
from dovecotpy.child.title import set_title
from dovecotpy.config.values import Settings
from dovecotpy.ipc import control
from dovecotpy.log import client as log_client
from dovecotpy.log.client import Log
from dovecotpy.login import policy
from dovecotpy.login.imap import ImapLogin
from dovecotpy.login.logline import LogFormat
from dovecotpy.login.rehearsal import rehearse
from dovecotpy.login.worker import Listener, Service, Worker
from dovecotpy.sandbox import kernel, limits, privileges, seccomp

if TYPE_CHECKING:
    from OpenSSL import SSL

    from dovecotpy.login.tls import Contexts

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
    except (policy.PolicyError, privileges.PrivilegeError, OSError, KeyError) as error:
        _refuse(channel, str(error) if not isinstance(error, KeyError) else f"setting {error} was not given")
        return FAILED
    return 0


def serve(start: Start, channel: socket.socket, log: Log) -> None:
    """Become a fork server and be one until the master has enough of it. Raises what `main` tells the master."""
    settings = start.settings["settings"]
    ignored = "version_ignore" in settings and settings.flag("version_ignore")
    if start.version != dovecotpy.__version__ and not ignored:
        raise policy.PolicyError(
            f"Dovecot version mismatch: Master is v{start.version}, login is v{dovecotpy.__version__}"
        )
    service = prepare(settings, auth_names(start), auth_flags(start), log)
    listeners = listeners_of(start)
    confinement = seccomp.Filter() if kernel.supported() and seccomp.available() else None
    name = f"{service.policy.service}-login"
    set_title(name)
    rehearse(service, login_directory(settings))
    become_login_user(settings)
    run = functools.partial(
        work, settings=settings, service=service, listeners=listeners, log=log, confinement=confinement
    )
    keep = (log.fileno(), *(listener.socket.fileno() for listener in listeners))
    forkserver.ForkServer(channel, run, keep).serve()


def prepare(settings: Settings, names: tuple[str, ...], auth: AuthFlags, log: Log) -> Service:
    """Everything that workers share. Raises TlsError, PolicyError."""
    if not names:
        raise policy.PolicyError("No authentication sockets found")
    if auth.wants_certificates:
        settings = settings.changed({"ssl_verify_client_cert": True})
    return Service(
        policy=policy.from_settings(settings, verbose=auth.verbose),
        contexts=tls_contexts(settings, log),
        format=LogFormat(settings.text("login_log_format_elements"), settings.text("login_log_format")),
        auth_names=names,
        maximum=settings.number("login_max_connections"),
        single=settings.flag("login_process_per_connection"),
        titles=settings.flag("verbose_proctitle"),
        certificate_field=settings.text("ssl_cert_username_field") if auth.user_from_certificate else "",
        make_session=ImapLogin,
    )


def tls_contexts(settings: Settings, log: Log) -> Contexts | None:
    """What TLS needs; None without it. Raises TlsError."""
    if settings.text("ssl") == "no":
        return None
    # OpenSSL and what comes with it double the size of a process, and with it the price of each worker: who has no TLS does without.
    # This is still root's part, where the interpreter's files can be read.
    from dovecotpy.login import tls

    notice = functools.partial(_notice, log) if settings.flag("verbose_ssl") else None
    return tls.contexts(settings, notice)


class AuthFlags(NamedTuple):
    """What login must know of the auth sections' settings; on if any section has it on."""

    verbose: bool = False
    wants_certificates: bool = False
    user_from_certificate: bool = False


def auth_names(start: Start) -> tuple[str, ...]:
    """The auth sections in the order of the file; each is the name of a socket in login_dir."""
    block = start.settings.get("auths", Settings({}))
    return tuple(block.text(name) for name in sorted(block.names(), key=int))


def auth_flags(start: Start) -> AuthFlags:
    """What the master says of the auth sections, in names with `auth_` in front; left out where it is off."""
    settings = start.settings["settings"]

    def has(name: str) -> bool:
        return name in settings and settings.flag(name)

    from_certificate = has("auth_ssl_username_from_cert")
    return AuthFlags(
        has("auth_verbose"), from_certificate or has("auth_ssl_require_client_cert"), from_certificate
    )


def listeners_of(start: Start) -> list[Listener]:
    """The master's listening sockets. They must not block: all workers are woken and one of them gets the client."""
    found = []
    for prefix, is_tls in (("listen.plain.", False), ("listen.ssl.", True)):
        for descriptor in start.matching(prefix):
            sock = socket.socket(fileno=descriptor)
            sock.setblocking(False)
            # clients inherit it from their listener: without it a TLS handshake waits for a delayed acknowledgement
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            found.append(Listener(sock, is_tls))
    return found


def become_login_user(settings: Settings) -> None:
    """Enter login_dir and become login_user, without any other group. Raises PrivilegeError, OSError, PolicyError.

    A server that was not started as root keeps its user: login_user is then its own or nobody's business.
    """
    os.chdir(login_directory(settings))
    os.umask(0o077)
    if os.geteuid() != 0:
        privileges.drop(privileges.Identity(os.geteuid(), os.getegid()))
        return
    identity = login_identity(settings.text("login_user"))
    kernel.limit_capabilities(frozenset({"sys_chroot", "setuid", "setgid"}))
    privileges.drop(identity, chroot="." if settings.flag("login_chroot") else "")


def login_directory(settings: Settings) -> str:
    """login_dir, which is below base_dir where it does not begin with a slash."""
    directory = settings.text("login_dir")
    return os.path.join(settings.text("base_dir"), directory) if "base_dir" in settings else directory


def login_identity(user: str) -> privileges.Identity:
    """Whom login processes become. Raises PolicyError."""
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise policy.PolicyError(f"Login user doesn't exist: {user}") from error
    if entry.pw_uid == 0:
        raise policy.PolicyError("Login process must not run as root")
    return privileges.Identity(entry.pw_uid, entry.pw_gid)


def work(
    birth: forkserver.Birth,
    *,
    settings: Settings,
    service: Service,
    listeners: Sequence[Listener],
    log: Log,
    confinement: seccomp.Filter | None,
) -> int:
    """What a forked worker does from its birth to its end; its exit status."""
    confine(settings, len(listeners), service, confinement)
    worker = Worker(service, birth.control, listeners, log, set_title=set_title)
    return worker.run()


def confine(settings: Settings, listeners: int, service: Service, confinement: seccomp.Filter | None) -> None:
    """Limits and the filter of system calls. Raises OSError."""
    maximum = 1 if service.single else service.maximum
    limits.limit(
        descriptors=max(LEAST_DESCRIPTORS, SPARE_DESCRIPTORS + listeners + 2 * maximum),
        processes=1 if os.geteuid() != 0 else None,
        data=settings.number("login_process_size") * MEGABYTE,
    )
    if confinement is not None:
        confinement.install(os.getpid())


def _notice(log: Log, connection: SSL.Connection, text: str, warning: bool) -> None:
    address = getattr(connection.get_app_data(), "address", "?")
    line = f"{text} [{address}]"
    if warning:
        log.warning(line, address=address)
    else:
        log.info(line, address=address)


def _refuse(channel: socket.socket, text: str) -> None:
    """Tell the master why nothing comes of this process; a master that has gone need not know."""
    try:
        control.send(channel, control.Verb.FAILED, text)
    except OSError:
        return


if __name__ == "__main__":
    sys.exit(main())
