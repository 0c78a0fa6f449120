"""What a configuration means for the master: which services there are, and how each is started with what settings."""

from __future__ import annotations

import os
import pwd
import socket
import sys
from collections.abc import Callable, Mapping, Sequence

from dovecotpy import config
from dovecotpy.config.values import Auth, AuthSocket, Server, Settings, SocketPath, Value
from dovecotpy.log.sinks import STDERR
from dovecotpy.master import listen
from dovecotpy.master.authservice import AuthPlan
from dovecotpy.master.listen import Wanted
from dovecotpy.master.listeners import Open
from dovecotpy.master.logins import LoginLimits
from dovecotpy.master.mailservice import MailPlan
from dovecotpy.master.slots import Limits
from dovecotpy.master.spawn import Program

PROTOCOLS = ("imap",)
"""Those whose processes exist."""
IMPORT_ENVIRONMENT = "DOVECOTPY_IMPORT_ENVIRONMENT"
"""Names of variables, separated by blanks, that the master and its children keep of the environment of the start."""

_MODULES = {
    "log": "dovecotpy.log",
    "auth": "dovecotpy.auth",
    "auth-worker": "dovecotpy.auth.worker",
    "login": "dovecotpy.login",
    "mail": "dovecotpy.mail",
}

Commands = Mapping[str, tuple[str, ...]]
"""How a kind of child is executed."""


def commands() -> Commands:
    """The built-in ones: this interpreter, isolated from the environment and from the user's files."""
    return {kind: (sys.executable, "-I", "-m", module) for kind, module in _MODULES.items()}


class Plan:
    """One configuration as the master sees it.

    server: what is run; key_password: what was typed for `-p`; programs: by kind.
    """

    def __init__(self, server: Server, programs: Commands, key_password: str = "") -> None:
        self.server = server
        self.general = server.general
        self.base_dir = self.general.text("base_dir").rstrip("/") or "/"
        self.login_dir = os.path.join(self.base_dir, self.general.text("login_dir")).rstrip("/")
        self._programs = programs
        self.key_password = key_password
        self.protocols = tuple(name for name in PROTOCOLS if server.serves(name))

    @property
    def ignore_versions(self) -> bool:
        """version_ignore."""
        return self.general.flag("version_ignore")

    @property
    def shutdown_clients(self) -> bool:
        """Whether sessions end with the server."""
        return self.general.flag("shutdown_clients")

    @property
    def logs_to_stderr(self) -> bool:
        """Whether the standard error of the start is a log: then the server keeps it."""
        return STDERR in (self.general.text("log_path"), self.general.text("info_log_path"))

    def fixed(self) -> dict[str, str]:
        """What a running server cannot change."""
        user = self.server.imap.settings.text("login_user")
        return {"base_dir": self.base_dir, "login_dir": self.login_dir, "login_user": user}

    def login_group(self) -> int | None:
        """The primary group of login_user; None when not started as root. Raises KeyError for an unknown user."""
        if os.geteuid() != 0:
            return None
        return pwd.getpwnam(self.server.imap.settings.text("login_user")).pw_gid

    def warnings(self) -> list[str]:
        """What is configured and not served."""
        left = [
            name for name in self.server.protocols if name != "none" and name.rstrip("s") not in PROTOCOLS
        ]
        return (
            [f"protocols: {' '.join(left)} not served by this version, no listener is opened"] if left else []
        )

    def places(self) -> list[Wanted]:
        """Where to listen. Raises ListenError."""
        found: list[Wanted] = []
        for name in self.server.protocols:
            if name.rstrip("s") not in self.protocols:
                continue
            settings = self.server.protocol(name.rstrip("s")).settings
            plain = not name.endswith("s")
            if not plain and settings.text("ssl") == "no":
                continue
            setting = "listen" if plain or not settings.words("ssl_listen") else "ssl_listen"
            found += listen.wanted(name, settings.words(setting), setting)
        listen.refuse_collisions(found)
        return found

    def certificate_files(self) -> list[str]:
        """The files of TLS that are in use."""
        names = ("ssl_cert_file", "ssl_key_file", "ssl_ca_file")
        used = [self.server.protocol(name).settings for name in self.protocols]
        return [settings.text(name) for settings in used if settings.text("ssl") != "no" for name in names]

    def log_settings(self) -> Settings:
        """What the log process is given; one with other settings must follow it."""
        settings: Settings = config.for_process(self.server, "log", "imap")
        return settings

    def log_kinds(self) -> list[str]:
        """Every kind that writes records."""
        numbers = range(len(self.server.auths))
        auths = [f"{kind}.{number}" for number in numbers for kind in ("auth", "auth-worker")]
        mail = [kind for name in self.protocols for kind in (f"{name}-login", name)]
        return ["master", "log", *auths, *mail]

    def auth_names(self) -> list[str]:
        """The sections, in the order of the file."""
        return [auth.name for auth in self.server.auths]

    def log_program(self, readers: Mapping[str, int], stderr: int, standard: int) -> Program:
        """The log process; `standard`: what /dev/stderr was at the start."""
        blocks = {"settings": self.log_settings(), "auths": self._auths()}
        return Program(self._programs["log"], "log", {**readers, "stderr": standard}, blocks, stderr)

    def auth_plan(
        self, auth: Auth, program: Callable[[], Program], worker_program: Callable[[], Program]
    ) -> AuthPlan:
        """How many auth processes a section has."""
        numbers = (auth.settings.number("count"), auth.settings.number("worker_max_count"))
        return AuthPlan(auth.name, *numbers, program, worker_program, self._auth_master)

    def _auth_master(self, pid: int) -> str:
        return os.path.join(self.base_dir, f"auth-master.{pid}")

    def auth_program(self, auth: Auth, listener: socket.socket, log: int) -> Program:
        """An auth process; `listener`: the socket that login processes reach it by."""
        given = {"auth.listen": listener.fileno(), "log": log}
        return Program(self._programs["auth"], "auth", given, self._auth_blocks(auth), log)

    def auth_worker_program(self, auth: Auth, log: int) -> Program:
        """The fork server of the workers of an auth section."""
        return Program(
            self._programs["auth-worker"], "fork server", {"log": log}, self._auth_blocks(auth), log
        )

    def login_limits(self, protocol: str) -> LoginLimits:
        """How many login processes."""
        settings = self.server.protocol(protocol).settings
        return LoginLimits(
            settings.flag("login_process_per_connection"),
            settings.number("login_processes_count"),
            settings.number("login_max_processes_count"),
        )

    def login_program(self, protocol: str, open_now: Sequence[Open], log: int) -> Program:
        """The fork server of login processes, with the listeners that are open when it is started."""
        settings = config.for_process(self.server, "login", protocol).changed(self._login_extra(protocol))
        descriptors = {"log": log}
        addresses: dict[str, Value] = {}
        counts = {"plain": 0, "ssl": 0}
        for place, sock in open_now:
            kind = "ssl" if place.tls else "plain"
            name = f"{kind}.{counts[kind]}"
            counts[kind] += 1
            descriptors[f"listen.{name}"] = sock.fileno()
            addresses[name] = str(place.address)
        blocks = {"settings": settings, "listeners": Settings(addresses), "auths": self._auths()}
        return Program(self._programs["login"], "fork server", descriptors, blocks, log)

    def _login_extra(self, protocol: str) -> dict[str, Value]:
        extra: dict[str, Value] = {
            "protocol": protocol,
            "base_dir": self.base_dir,
            "login_dir": self.login_dir,
            "version_ignore": self.ignore_versions,
        }
        for name in ("verbose", "ssl_require_client_cert", "ssl_username_from_cert"):
            extra[f"auth_{name}"] = any(auth.settings.flag(name) for auth in self.server.auths)
        if self.key_password:
            extra["ssl_key_password"] = self.key_password
        return extra

    def mail_plan(self, protocol: str) -> MailPlan:
        """How many mail processes."""
        settings = self.server.protocol(protocol).settings
        limits = Limits(settings.number("max_mail_processes"), settings.number("mail_max_userip_connections"))
        return MailPlan(protocol, limits, settings.number("mail_spare_processes"))

    def mail_program(self, protocol: str, queue: socket.socket, log: int) -> Program:
        """The fork server of mail processes."""
        of_protocol = self.server.protocol(protocol)
        extra: dict[str, Value] = {
            "protocol": protocol,
            "base_dir": self.base_dir,
            "login_dir": self.login_dir,
            "version_ignore": self.ignore_versions,
        }
        users = enumerate(auth.settings.text("user") for auth in self.server.auths)
        blocks = {
            "settings": config.for_process(self.server, "mail", protocol).changed(extra),
            "plugin": Settings(dict(of_protocol.plugin)),
            "auths": self._auths(),
            "auth_users": Settings({str(number): user for number, user in users}),
        }
        for number, namespace in enumerate(of_protocol.namespaces):
            blocks[f"namespace.{number}"] = namespace.settings()
        return Program(
            self._programs["mail"], "fork server", {"queue": queue.fileno(), "log": log}, blocks, log
        )

    def _auths(self) -> Settings:
        return Settings({str(number): name for number, name in enumerate(self.auth_names())})

    def _auth_blocks(self, auth: Auth) -> dict[str, Settings]:
        general: dict[str, Value] = {
            "name": auth.name,
            "base_dir": self.base_dir,
            "login_dir": self.login_dir,
            "login_user": self.server.imap.settings.text("login_user"),
            "login_trusted_networks": self.server.imap.settings.words("login_trusted_networks"),
            "version_ignore": self.ignore_versions,
            "verbose_proctitle": self.server.imap.settings.flag("verbose_proctitle"),
        }
        blocks = {"auth": auth.settings.changed(general)}
        blocks.update({f"passdb.{number}": entry.settings() for number, entry in enumerate(auth.passdbs)})
        blocks.update({f"userdb.{number}": entry.settings() for number, entry in enumerate(auth.userdbs)})
        blocks.update({f"socket.{number}": _socket(entry) for number, entry in enumerate(auth.sockets)})
        return blocks


def _socket(entry: AuthSocket) -> Settings:
    values: dict[str, Value] = {"type": entry.type}
    for side, where in (("master", entry.master), ("client", entry.client)):
        if where is not None:
            values.update(_path(side, where))
    return Settings(values)


def _path(side: str, where: SocketPath) -> dict[str, Value]:
    return {f"{side}_{name}": value for name, value in where._asdict().items()}
