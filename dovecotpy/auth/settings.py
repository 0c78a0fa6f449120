"""The auth section as the auth process and its workers hold it."""

from __future__ import annotations

import ipaddress
import pwd
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from dovecotpy.auth import passdb, userdb
from dovecotpy.auth.chain import PassStep, UserStep
from dovecotpy.auth.mechanisms import MECHANISMS
from dovecotpy.auth.names import NameRules
from dovecotpy.auth.service import Policy
from dovecotpy.auth.setup import SetupError
from dovecotpy.config.values import Passdb, Settings, Userdb
from dovecotpy.sandbox.privileges import Identity


@dataclass(frozen=True, slots=True)
class SocketFile:
    """A socket that the administrator wants: an absolute path, its mode, its owner where one is given."""

    path: str
    mode: int
    user: str
    group: str


@dataclass(frozen=True, slots=True)
class AuthSettings:
    """Everything of the auth section that is not secret."""

    name: str
    base_dir: str
    policy: Policy
    passdbs: tuple[Passdb, ...]
    userdbs: tuple[Userdb, ...]
    master_sockets: tuple[SocketFile, ...]
    client_sockets: tuple[SocketFile, ...]
    user: str
    chroot: str
    process_size: int
    """megabytes of private memory; 0: no limit"""
    workers: int
    worker_requests: int
    """jobs after which a worker is replaced; 0: never"""
    verbose: bool
    debug: bool
    debug_passwords: bool


def load(blocks: Mapping[str, Settings]) -> AuthSettings:
    """From the blocks `auth`, `passdb.N`, `userdb.N`, `socket.N`. Raises SetupError."""
    auth = blocks["auth"]
    passdbs = tuple(Passdb.of(each) for each in _numbered(blocks, "passdb."))
    userdbs = tuple(Userdb.of(each) for each in _numbered(blocks, "userdb."))
    base = auth.text("base_dir")
    sockets = [each for each in _numbered(blocks, "socket.") if each.text("type") == "listen"]
    _check(passdbs, userdbs)
    return AuthSettings(
        name=auth.text("name"),
        base_dir=base,
        policy=_policy(auth, passdbs),
        passdbs=passdbs,
        userdbs=userdbs or (Userdb("static", ""),),
        master_sockets=tuple(_sockets(sockets, "master", base)),
        client_sockets=tuple(_sockets(sockets, "client", base)),
        user=auth.text("user"),
        chroot=auth.text("chroot"),
        process_size=auth.number("process_size"),
        workers=auth.number("worker_max_count"),
        worker_requests=auth.number("worker_max_request_count"),
        verbose=auth.flag("verbose"),
        debug=auth.flag("debug"),
        debug_passwords=auth.flag("debug_passwords"),
    )


def _numbered(blocks: Mapping[str, Settings], prefix: str) -> list[Settings]:
    found = [(int(name[len(prefix) :]), block) for name, block in blocks.items() if name.startswith(prefix)]
    return [block for _, block in sorted(found, key=lambda item: item[0])]


def _sockets(sections: list[Settings], which: str, base: str) -> list[SocketFile]:
    files = []
    for section in sections:
        path = section.text(f"{which}_path") if f"{which}_path" in section else ""
        if not path:
            continue
        if not path.startswith("/"):
            path = f"{base.rstrip('/')}/{path}"
        user, group = section.text(f"{which}_user"), section.text(f"{which}_group")
        files.append(SocketFile(path, section.number(f"{which}_mode"), user, group))
    return files


def _policy(auth: Settings, passdbs: tuple[Passdb, ...]) -> Policy:
    return Policy(
        mechanisms=_mechanisms(auth.words("mechanisms"), passdbs),
        names=NameRules(
            default_realm=auth.text("default_realm"),
            characters=auth.text("username_chars"),
            translation=auth.text("username_translation"),
            format=auth.text("username_format"),
            master_separator=auth.text("master_user_separator"),
        ),
        failure_delay=auth.number("failure_delay"),
        require_certificate=auth.flag("ssl_require_client_cert"),
        user_from_certificate=auth.flag("ssl_username_from_cert"),
        trusted=_trusted(auth.words("login_trusted_networks") if "login_trusted_networks" in auth else ()),
    )


def _mechanisms(words: tuple[str, ...], passdbs: tuple[Passdb, ...]) -> tuple[str, ...]:
    if not words:
        raise SetupError("No authentication mechanisms configured")
    names = tuple(dict.fromkeys(word.upper() for word in words))
    for name in names:
        if name not in MECHANISMS:
            raise SetupError(f"Unknown authentication mechanism '{name}'")
        if not any(not each.master for each in passdbs):
            raise SetupError(f"No passdbs specified in configuration file. {name} mechanism needs one")
    return names


def _check(passdbs: tuple[Passdb, ...], userdbs: tuple[Userdb, ...]) -> None:
    hint = "(typo, or Dovecot was built without support for it? Check with dovecot --build-options)"
    for each in passdbs:
        if each.driver not in passdb.DRIVERS and each.driver not in passdb.BLOCKING:
            raise SetupError(f"Unknown passdb driver '{each.driver}' {hint}")
        if each.master and each.deny:
            raise SetupError("Master passdb can't have deny=yes")
    for database in userdbs:
        if database.driver not in userdb.DRIVERS and database.driver not in userdb.BLOCKING:
            raise SetupError(f"Unknown userdb driver '{database.driver}' {hint}")
    normal = [each for each in passdbs if not each.master]
    if normal and normal[-1].pass_:
        raise SetupError("Last passdb can't have pass=yes")


def _trusted(networks: tuple[str, ...]) -> Callable[[str], bool]:
    try:
        nets = tuple(ipaddress.ip_network(word.rstrip(","), strict=False) for word in networks)
    except ValueError as error:
        raise SetupError(f"login_trusted_networks: {error}") from error

    def trusted(address: str) -> bool:
        if not nets:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in net for net in nets)

    return trusted


def pass_steps(settings: AuthSettings, complain: Callable[[str], None]) -> list[PassStep]:
    """The passdb chain; databases that may block are left to workers. Raises SetupError."""
    steps = []
    for number, each in enumerate(settings.passdbs):
        make = passdb.DRIVERS.get(each.driver)
        database = make(each.args, complain) if make is not None else None
        steps.append(PassStep(number, each.driver, database, each.deny, each.pass_, each.master))
    return steps


def user_steps(settings: AuthSettings, complain: Callable[[str], None]) -> list[UserStep]:
    """The userdb chain; databases that may block are left to workers. Raises SetupError."""
    steps = []
    for number, each in enumerate(settings.userdbs):
        make = userdb.DRIVERS.get(each.driver)
        database = make(each.args, complain) if make is not None else None
        steps.append(UserStep(number, each.driver, database))
    return steps


def identity(user: str) -> Identity | None:
    """Whom the auth process becomes; None for root, which stays. Raises SetupError."""
    if not user:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError as error:
        raise SetupError(f"auth user doesn't exist: {user}") from error
    if entry.pw_uid == 0:
        return None
    return Identity(entry.pw_uid, entry.pw_gid)
