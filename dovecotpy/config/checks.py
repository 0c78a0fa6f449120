"""Whether a configuration that could be read can be run here: users, files, directories, and settings that contradict each other.

The texts are those that administrators know from 1.1.
"""

from __future__ import annotations

import grp
import os
import pwd
import resource
from collections.abc import Iterator
from typing import NamedTuple

from dovecotpy.config import nfs, specialuse
from dovecotpy.config.legacy import IMAP_WORKAROUNDS
from dovecotpy.config.secrets import exposed
from dovecotpy.config.table import AUTH_SETTINGS, ROOT_SETTINGS
from dovecotpy.config.values import Auth, Configuration, Namespace, Server, Settings

KNOWN_PROTOCOLS = frozenset({"imap", "imaps", "pop3", "pop3s", "none"})
PLAINTEXT = frozenset({"plain", "login"})

RESERVED_DESCRIPTORS = 32
"""What a master holds besides one descriptor for each process: listeners, logs, its own."""


class Finding(NamedTuple):
    """Something that the administrator should know."""

    fatal: bool
    """the server must not start"""
    text: str


def check(configuration: Configuration, running_as_root: bool) -> list[Finding]:
    """Everything that speaks against running this configuration on this machine, and what is merely worth a warning.

    It looks at the system but changes nothing, so it serves a dump too. Without root, users and groups are not looked up, as none can
    be changed to.
    """
    findings: list[Finding] = []
    for server in configuration.servers:
        findings.extend(_server(server, running_as_root))
    findings.extend(_descriptors(configuration))
    findings.extend(_warning(text) for text in exposed(configuration))
    return list(dict.fromkeys(findings))


def _error(text: str) -> Finding:
    return Finding(True, text)


def _warning(text: str) -> Finding:
    return Finding(False, text)


def _server(server: Server, running_as_root: bool) -> Iterator[Finding]:
    yield from _protocols(server)
    yield from _logs(server.general)
    for name in ("imap", "pop3"):
        if server.serves(name) or (name == "imap" and not server.serves("pop3")):
            yield from _protocol(server, name, running_as_root)
    yield from _login_groups(server, running_as_root)
    if not server.auths:
        yield _error(f"Missing auth section for server {server.name}")
    for auth in server.auths:
        yield from _auth(server, auth, running_as_root)


def _protocols(server: Server) -> Iterator[Finding]:
    if not server.protocols:
        yield _error("No protocols given in configuration file")
    elif not (server.serves("imap") or server.serves("pop3") or "none" in server.protocols):
        yield _error("Invalid protocols given in configuration file")
    else:
        for word in server.protocols:
            if word not in KNOWN_PROTOCOLS:
                yield _error(f"Unknown protocol in configuration file: {word}")


def _logs(settings: Settings) -> Iterator[Finding]:
    for name, what in (("log_path", "log"), ("info_log_path", "info log")):
        path = settings.text(name)
        if path and path != "/dev/stderr":
            reason = unusable(os.path.dirname(path) or ".", os.W_OK | os.X_OK)
            if reason:
                yield _error(f"Can't write to {what} directory {os.path.dirname(path)}: {reason}")


def _protocol(server: Server, name: str, running_as_root: bool) -> Iterator[Finding]:
    settings = server.protocol(name).settings
    yield from _counts(settings)
    yield from _contradictions(settings)
    yield from _programs(settings, name)
    if settings.text("ssl") != "no":
        yield from _certificates(settings)
    if running_as_root:
        yield from _users(settings)
    namespaces = server.protocol(name).namespaces
    yield from _namespaces(namespaces)
    if server.general.flag("nfs_check") and not settings.flag("mmap_disable"):
        locations = [settings.text("mail_location"), *(space.location for space in namespaces)]
        for path in nfs.on_nfs(locations):
            yield _warning(
                f"{path} is on NFS: mmap_disable = yes is needed there, and mail_nfs_storage and mail_nfs_index where several "
                "machines use it (nfs_check = no says that it is not)"
            )
    if server.serves(name):
        yield from _reachable(server, settings)


def _counts(settings: Settings) -> Iterator[Finding]:
    for name in ("max_mail_processes", "login_processes_count", "login_max_connections"):
        if settings.number(name) < 1:
            yield _error(f"{name} must be at least 1")
    if settings.number("login_max_processes_count") < 1:
        yield _error("login_max_processes_count must be at least 1")
    for what in ("uid", "gid"):
        last = settings.number(f"last_valid_{what}")
        if last and settings.number(f"first_valid_{what}") > last:
            yield _error(f"first_valid_{what} can't be larger than last_valid_{what}")


def _contradictions(settings: Settings) -> Iterator[Finding]:
    if settings.flag("mail_drop_priv_before_exec") and settings.text("mail_chroot"):
        yield _error("mail_drop_priv_before_exec=yes and mail_chroot don't work together")
    if settings.flag("mail_nfs_index") and not settings.flag("mmap_disable"):
        yield _error("mail_nfs_index=yes requires mmap_disable=yes")
    if settings.flag("mail_nfs_index") and settings.flag("fsync_disable"):
        yield _error("mail_nfs_index=yes requires fsync_disable=no")
    if os.path.normpath(settings.text("login_dir")) == os.path.normpath(settings.text("base_dir")):
        yield _error("login_dir can't be the same as base_dir")
    for word in settings.words("imap_client_workarounds"):
        if word not in IMAP_WORKAROUNDS:
            yield _error(f"Unknown client workaround: {word}")
    try:
        specialuse.uses(settings.words("mail_special_use"))
    except specialuse.Wrong as error:
        known = ", ".join(specialuse.USES)
        yield _error(f"mail_special_use: Not a NAME=\\Use with one of {known}: {error}")


def _programs(settings: Settings, protocol: str) -> Iterator[Finding]:
    for name, what in (("mail_executable", "mail"), ("login_executable", "login")):
        program = settings.text(name)
        if program != ROOT_SETTINGS[name].default_value(protocol):
            yield from _program(program, what)
    directory = settings.text("mail_plugin_dir")
    if settings.words("mail_plugins") and directory != ROOT_SETTINGS["mail_plugin_dir"].default_value(
        protocol
    ):
        reason = unusable(directory, os.R_OK | os.X_OK)
        if reason:
            yield _error(f"Can't access mail module directory: {directory}: {reason}")


def _program(line: str, what: str) -> Iterator[Finding]:
    path = line.split(" ", 1)[0]
    reason = unusable(path, os.X_OK)
    if reason:
        yield _error(f"Can't use {what} executable {path}: {reason}")


def _certificates(settings: Settings) -> Iterator[Finding]:
    for name, what in (
        ("ssl_ca_file", "SSL CA file"),
        ("ssl_cert_file", "SSL certificate"),
        ("ssl_key_file", "SSL key file"),
    ):
        path = settings.text(name)
        reason = unusable(path, os.R_OK) if path else None
        if reason:
            yield _error(f"Can't use {what} {path}: {reason}")


def _users(settings: Settings) -> Iterator[Finding]:
    login_user = settings.text("login_user")
    uid = uid_of(login_user)
    if uid is None:
        yield _error(f"Login user doesn't exist: {login_user}")
    elif uid == 0:
        yield _error(f"login_user {login_user} must not be root")
    if settings.text("mail_uid") and number_of_user(settings.text("mail_uid")) is None:
        yield _error(f"Non-existing mail_uid: {settings.text('mail_uid')}")
    if settings.text("mail_gid") and number_of_group(settings.text("mail_gid")) is None:
        yield _error(f"Non-existing mail_gid: {settings.text('mail_gid')}")
    group = settings.text("mail_privileged_group")
    if group and number_of_group(group) is None:
        yield _error(f"Non-existing mail_privileged_group: {group}")


def _login_groups(server: Server, running_as_root: bool) -> Iterator[Finding]:
    if not (running_as_root and server.serves("imap") and server.serves("pop3")):
        return
    users = (server.imap.settings.text("login_user"), server.pop3.settings.text("login_user"))
    groups = [_primary_group(user) for user in users]
    if None not in groups and groups[0] != groups[1]:
        yield _error(f"All login process users must belong to same group ({users[0]} vs {users[1]})")


def _auth(server: Server, auth: Auth, running_as_root: bool) -> Iterator[Finding]:
    if running_as_root:
        yield from _auth_user(server, auth.settings.text("user"))
    program = auth.settings.text("executable")
    if program != AUTH_SETTINGS["executable"].default:
        yield from _program(program, "auth")
    root = auth.settings.text("chroot")
    reason = unusable(root, os.X_OK) if root else None
    if reason:
        yield _error(f"Can't access auth chroot directory {root}: {reason}")
    if auth.settings.number("count") < 1:
        yield _error("auth count must be at least 1")
    connects = any(socket.type == "connect" for socket in auth.sockets)
    if not auth.passdbs and not connects:
        yield _error(f"No passdbs specified for auth {auth.name}")


def _auth_user(server: Server, user: str) -> Iterator[Finding]:
    uid = uid_of(user)
    if uid is None:
        yield _error(f"Auth user doesn't exist: {user}")
        return
    for name in ("imap", "pop3"):
        login_user = server.protocol(name).settings.text("login_user")
        if server.serves(name) and uid_of(login_user) == uid:
            yield _error(f"login_user {login_user} (uid {uid}) must not be same as auth_user")


def _namespaces(namespaces: tuple[Namespace, ...]) -> Iterator[Finding]:
    if not namespaces:
        return
    for namespace in namespaces:
        if len(namespace.separator) > 1:
            yield _error(
                f"Namespace '{namespace.prefix}': Hierarchy separator must be only one character long"
            )
        yield from _prefix(namespace)
        yield from _alias(namespace, namespaces)
    for wrong in _namespaces_together(namespaces):
        yield _error(f"namespace configuration error: {wrong}")


def _prefix(namespace: Namespace) -> Iterator[Finding]:
    if namespace.list == "no":
        return
    ends = not namespace.separator or namespace.prefix.endswith(namespace.separator)
    if namespace.prefix and not ends:
        text = f"list=yes requires prefix={namespace.prefix} to end with separator"
        yield _error(f"namespace configuration error: {text}")


def _alias(namespace: Namespace, namespaces: tuple[Namespace, ...]) -> Iterator[Finding]:
    if namespace.alias_for is None:
        return
    targets = [
        other for other in namespaces if other.prefix == namespace.alias_for and other is not namespace
    ]
    if not targets:
        yield _error(
            f"Namespace '{namespace.prefix}': alias_for points to unknown namespace: {namespace.alias_for}"
        )
    elif targets[0].alias_for is not None:
        chain = f"{namespace.alias_for} -> {targets[0].alias_for}"
        yield _error(f"Namespace '{namespace.prefix}': alias_for chaining isn't allowed: {chain}")


def _namespaces_together(namespaces: tuple[Namespace, ...]) -> Iterator[str]:
    inboxes = sum(namespace.inbox for namespace in namespaces)
    private = sum(namespace.type == "private" for namespace in namespaces)
    listed = [namespace for namespace in namespaces if namespace.list != "no"]
    if inboxes > 1:
        yield "There can be only one namespace with inbox=yes"
    if inboxes == 0 and private != 1:
        yield "inbox=yes namespace missing"
    if not listed:
        yield "no list=yes namespaces"
    if len({namespace.separator for namespace in listed if namespace.separator}) > 1:
        yield "All list=yes namespaces must use the same separator"
    if any(
        not namespace.prefix and namespace.list == "no" and not namespace.hidden for namespace in namespaces
    ):
        yield "Empty prefix requires list=yes"
    if not any(namespace.subscriptions for namespace in namespaces):
        yield "no subscriptions=yes namespaces"


def _reachable(server: Server, settings: Settings) -> Iterator[Finding]:
    mechanisms = {word.lower() for auth in server.auths for word in auth.settings.words("mechanisms")}
    closed = settings.flag("disable_plaintext_auth") and settings.text("ssl") == "no"
    if closed and mechanisms and mechanisms <= PLAINTEXT:
        yield _warning(
            "There is no way to login to this server: "
            "disable_plaintext_auth=yes, ssl=no, no non-plaintext auth mechanisms."
        )


def _descriptors(configuration: Configuration) -> Iterator[Finding]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    wanted = RESERVED_DESCRIPTORS
    for server in configuration.servers:
        wanted += server.general.number("max_mail_processes")
        for name in ("imap", "pop3"):
            if server.serves(name):
                wanted += server.protocol(name).settings.number("login_max_processes_count")
    if limit not in (resource.RLIM_INFINITY, -1) and limit < wanted:
        yield _warning(
            f"fd limit {limit} is lower than what Dovecot can use under full load (more than {wanted}). Either grow the "
            "limit or change login_max_processes_count and max_mail_processes settings"
        )


def unusable(path: str, mode: int) -> str | None:
    """Why a path cannot be used in this way, in the system's words; None when it can."""
    try:
        os.stat(path)
    except (OSError, ValueError) as error:
        return error.strerror if isinstance(error, OSError) else str(error)
    return None if os.access(path, mode, effective_ids=True) else "Permission denied"


def uid_of(name: str) -> int | None:
    """The uid of a user by name, None where there is none."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def number_of_user(text: str) -> int | None:
    """The uid of a user by name or number, None where there is none."""
    return int(text) if text.isascii() and text.isdigit() else uid_of(text)


def number_of_group(text: str) -> int | None:
    """The gid of a group by name or number, None where there is none."""
    if text.isascii() and text.isdigit():
        return int(text)
    try:
        return grp.getgrnam(text).gr_gid
    except (KeyError, ValueError):
        return None


def _primary_group(user: str) -> int | None:
    try:
        return pwd.getpwnam(user).pw_gid
    except (KeyError, ValueError):
        return None
