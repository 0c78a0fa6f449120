"""A mail session that no spare serves: `--exec-mail`, a tunnel, and our own program at the end of a mail_executable wrapper.

`python -I -m dovecotpy.mail.standalone [imap]` serves one session on descriptors 0 and 1 by its environment (reference, processes
section 6): USER, HOME, MAIL, IP, NAMESPACE_n, settings by their names in upper case, RESTRICT_* for whom to become. Without
LOGGED_IN and IMAPLOGINTAG the session greets with PREAUTH; IMAPLOGINTAG is the tag to answer, CLIENT_INPUT (base64) what the client
sent behind its login. DOVECOTPY_FDS may name `settings` (blocks `settings`, `namespace.N`, `plugin`) and `control` (slot and lifeline
of a session that the master knows); what the environment says goes before the settings. With LOG_TO_MASTER lines go to descriptor 2
as records; else to LOGFILE and INFOLOGFILE, to syslog (USE_SYSLOG), or to stderr, with LOG_PREFIX in front.
"""

from __future__ import annotations

import binascii
import os
import socket
import sys
from collections.abc import Mapping

import dovecotpy
from dovecotpy.child import bootstrap, worker
from dovecotpy.config.values import Namespace, Settings, Value
from dovecotpy.ipc import fdpass
from dovecotpy.ipc.handover import HandOver
from dovecotpy.log.client import Log
from dovecotpy.mail import directlog
from dovecotpy.mail.account import Account
from dovecotpy.mail.imap import IMAP
from dovecotpy.mail.pipe import Pipe
from dovecotpy.mail.preload import preload
from dovecotpy.mail.service import Service
from dovecotpy.mail.serving import Guest, Host
from dovecotpy.sandbox import privileges

EXIT_INETD = 1
EXIT_FATAL = 89
SERVICES: Mapping[str, Service] = {"imap": IMAP}
_RESTRICTIONS = (
    "USER",
    "SETUID",
    "SETGID",
    "SETGID_PRIV",
    "SETEXTRAGROUPS",
    "GID_FIRST",
    "GID_LAST",
    "CHROOT",
)


class Unfit(Exception):
    """The environment does not say enough. str(error): the log's line."""


def main() -> int:
    """One session; returns the exit status."""
    name = sys.argv[1] if len(sys.argv) > 1 else "imap"
    if name not in SERVICES:
        sys.stderr.write(f"Fatal: Unknown protocol: '{name}'\n")
        return EXIT_FATAL
    service = SERVICES[name]
    if _from_inetd():
        os.write(1, service.inetd)
        return EXIT_INETD
    log = directlog.choose(os.environ)
    try:
        return _serve(service, log)
    except (Unfit, privileges.PrivilegeError, OSError) as error:
        log.fatal(str(error))
        return EXIT_FATAL


def _serve(service: Service, log: Log) -> int:
    descriptors = _descriptors()
    settings, namespaces = _settings(service, descriptors)
    _check_version(service, settings)
    preload()
    account = _account(service)
    guest = Guest(account, _message(service), Pipe(0), None)
    _restrict(account)
    lifeline = _lifeline(descriptors)
    Host(service, settings, namespaces, log, lifeline, output=Pipe(1)).serve(guest)
    return 0


def _from_inetd() -> bool:
    """Whether somebody lets inetd start this as root, which would log everybody in who connects."""
    if os.geteuid() != 0 or "LOGGED_IN" in os.environ or "IMAPLOGINTAG" in os.environ:
        return False
    try:
        client = socket.socket(fileno=os.dup(0))
    except OSError:
        return False
    with client:
        return client.family in (socket.AF_INET, socket.AF_INET6)


def _descriptors() -> dict[str, int]:
    words = os.environ.get("DOVECOTPY_FDS", "").split()
    pairs = (word.partition("=") for word in words)
    return {name: int(number) for name, _, number in pairs if number.isdigit()}


def _settings(service: Service, descriptors: Mapping[str, int]) -> tuple[Settings, tuple[Namespace, ...]]:
    """The settings that were passed, or the defaults, with what the environment says on top. Raises Unfit."""
    if "settings" in descriptors:
        with open(descriptors["settings"], "rb", buffering=0) as memory:
            blocks = bootstrap.decode_settings(memory.readall())
    else:
        blocks = _defaults(service)
    settings = blocks["settings"]
    changes = {
        name: changed for name in settings if (changed := _changed(name, settings.value(name))) is not None
    }
    spaces = _namespaces() or tuple(
        Namespace.of(block) for name, block in blocks.items() if name.startswith("namespace.")
    )
    return settings.changed(changes), spaces


def _defaults(service: Service) -> dict[str, Settings]:
    """A tunnel that runs this program by itself has no master: every setting is what an empty file makes it."""
    from dovecotpy import config

    server = config.load(os.devnull).servers[0]
    return {"settings": config.for_process(server, "mail", service.name)}


def _changed(name: str, value: Value) -> Value | None:
    """What the environment says of a setting; None: nothing. Raises Unfit."""
    text = os.environ.get(name.upper())
    if text is None:
        return None
    if isinstance(value, bool):
        return text not in ("", "0", "no")
    if isinstance(value, tuple):
        return tuple(text.split())
    if isinstance(value, int):
        if not text.isdigit():
            raise Unfit(f"Invalid number in the environment: {name.upper()}={text}")
        return int(text)
    return text


def _namespaces() -> tuple[Namespace, ...]:
    """The namespaces that the environment names, from NAMESPACE_1 on."""
    found: list[Namespace] = []
    while (location := os.environ.get(name := f"NAMESPACE_{len(found) + 1}")) is not None:
        found.append(
            Namespace(
                type=os.environ.get(name + "_TYPE", "private"),
                separator=os.environ.get(name + "_SEP", ""),
                prefix=os.environ.get(name + "_PREFIX", ""),
                location=location,
                inbox=name + "_INBOX" in os.environ,
                hidden=name + "_HIDDEN" in os.environ,
                list=os.environ.get(name + "_LIST", "yes").replace("1", "yes"),
                subscriptions=name + "_SUBSCRIPTIONS" in os.environ,
                alias_for=None,
            )
        )
    return tuple(found)


def _check_version(service: Service, settings: Settings) -> None:
    master = os.environ.get("DOVECOT_VERSION", dovecotpy.__version__)
    if master != dovecotpy.__version__ and not settings.flag("version_ignore"):
        raise Unfit(
            f"Dovecot version mismatch: Master is v{master}, {service.name} is v{dovecotpy.__version__}"
            " (if you don't care, set version_ignore=yes)"
        )


def _account(service: Service) -> Account:
    """The user whose process this is. Raises Unfit."""
    user = os.environ.get("USER", "")
    if not user:
        raise Unfit("USER environment missing")
    return Account(
        user=user,
        uid=_number("SETUID", os.geteuid()),
        gid=_number("SETGID", os.getegid()),
        groups=tuple(int(word) for word in _restriction("SETEXTRAGROUPS").split(",") if word.isdigit()),
        saved_gid=_number("SETGID_PRIV", -1) if _restriction("SETGID_PRIV") else None,
        chroot=_restriction("CHROOT"),
        home=os.environ.get("HOME", ""),
        mail=os.environ.get("MAIL", ""),
        nice=0,
        system_user="",
        fields={},
    )


def _message(service: Service) -> HandOver:
    """What a login process would have said."""
    try:
        client_input = binascii.a2b_base64(os.environ.get("CLIENT_INPUT", ""))
    except binascii.Error as error:
        raise Unfit(f"CLIENT_INPUT is not base64: {error}") from error
    return HandOver(
        protocol=service.name,
        auth_name="",
        auth_pid=0,
        auth_id=0,
        local_address=os.environ.get("LOCAL_IP") or os.environ.get("TCPLOCALIP", ""),
        remote_address=os.environ.get("IP") or os.environ.get("TCPREMOTEIP", ""),
        local_port=0,
        remote_port=0,
        security="",
        tls_proxied=False,
        session=os.environ.get("DOVECOTPY_SESSION", ""),
        tag=os.environ.get("IMAPLOGINTAG", ""),
        client_input=client_input,
    )


def _restriction(name: str) -> str:
    return os.environ.get("RESTRICT_" + name, "")


def _number(name: str, default: int) -> int:
    text = _restriction(name)
    if text and not text.isdigit():
        raise Unfit(f"Invalid number in the environment: RESTRICT_{name}={text}")
    return int(text) if text else default


def _restrict(account: Account) -> None:
    """Become whom RESTRICT_* names, once. Raises PrivilegeError, OSError, Unfit."""
    if os.geteuid() == 0 and _restriction("SETUID"):
        privileges.drop(account.identity(), chroot=account.chroot)
    for name in _RESTRICTIONS:
        os.environ.pop("RESTRICT_" + name, None)


def _lifeline(descriptors: Mapping[str, int]) -> socket.socket:
    """The control socket of the slot; where there is no master, a socket of our own that signals can ring."""
    if "control" in descriptors:
        return socket.socket(fileno=descriptors["control"])
    lifeline, other = fdpass.pair()
    other.detach()
    return lifeline


if __name__ == "__main__":
    worker.leave(main())
