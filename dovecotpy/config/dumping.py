"""What `-n` and `-a` print: the settings as they are in force, in the form of 1.x."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping

import dovecotpy
from dovecotpy.config.setting import Setting
from dovecotpy.config.table import AUTH_SETTINGS, LDA_SETTINGS, NAMESPACE_SETTINGS, ROOT_SETTINGS
from dovecotpy.config.values import (
    Auth,
    AuthSocket,
    Configuration,
    Protocol,
    Server,
    Settings,
    SocketPath,
    Value,
)

HIDDEN = "# hidden"
"""Shown in place of a secret: people send these dumps around."""


def dump(configuration: Configuration, everything: bool) -> str:
    """All settings, or those that are not as by default. What is no UTF-8 in the file is shown as question marks."""
    system = os.uname()
    lines = [
        f"# {dovecotpy.__version__}: {configuration.path}",
        f"# OS: {system.sysname} {system.release} {system.machine}",
    ]
    for server in configuration.servers:
        if server.name != "default":
            lines.append(f"server {server.name}:")
        lines.extend(_server(server, everything))
    return "\n".join([*lines, ""]).encode("utf-8", "replace").decode("utf-8")


def _server(server: Server, everything: bool) -> Iterator[str]:
    for name in ROOT_SETTINGS:
        yield from _root(server, name, everything)
    yield from _by_protocol(server, _namespaces)
    for auth in server.auths:
        yield from _auth(server, auth, everything)
    yield from _by_protocol(server, _plugin)
    yield from _block("dict", server.dicts)
    yield from _lda(server, everything)


def _served(server: Server) -> list[str]:
    """The protocols whose values are of interest: IMAP's where none is served."""
    return [name for name in ("imap", "pop3") if server.serves(name)] or ["imap"]


def _root(server: Server, name: str, everything: bool) -> Iterator[str]:
    """One line; three where IMAP and POP3 differ. A default that is not the same for both is always shown."""
    setting = ROOT_SETTINGS[name]
    settings = {protocol: server.protocol(protocol).settings for protocol in _served(server)}
    shown = {protocol: _show(setting, values.value(name)) for protocol, values in settings.items()}
    as_default = all(_is_default(setting, values, protocol) for protocol, values in settings.items())
    if as_default and not everything and not setting.per_protocol:
        return
    first = next(iter(shown.values()))
    if all(text == first for text in shown.values()):
        yield f"{name}: {first}"
        return
    yield f"{name}(default): {first}"
    yield from (f"{name}({protocol}): {text}" for protocol, text in shown.items())


def _show(setting: Setting, value: Value) -> str:
    return HIDDEN if setting.secret and value else setting.show(value)


def _is_default(setting: Setting, settings: Settings, protocol: str) -> bool:
    default = setting.resolve(setting.default_value(protocol), settings.text("base_dir"))
    return settings.value(setting.name) == default


def _by_protocol(server: Server, show: Callable[[Protocol, str], list[str]]) -> Iterator[str]:
    """Blocks once where they are the same for all protocols, else for each."""
    served = _served(server)
    first = show(server.protocol(served[0]), "")
    if all(show(server.protocol(name), "") == first for name in served):
        yield from first
        return
    for name in served:
        yield from show(server.protocol(name), f"({name})")


def _namespaces(protocol: Protocol, suffix: str) -> list[str]:
    lines: list[str] = []
    for namespace in protocol.namespaces:
        lines += [f"namespace{suffix}:", f"  type: {namespace.type}"]
        for name, setting in NAMESPACE_SETTINGS.items():
            value = getattr(namespace, name)
            if value is not None:
                lines.append(f"  {name}: {setting.show(value)}")
    return lines


def _plugin(protocol: Protocol, suffix: str) -> list[str]:
    return list(_block(f"plugin{suffix}", protocol.plugin))


def _block(head: str, values: Mapping[str, str], indent: str = "") -> Iterator[str]:
    if values:
        yield f"{indent}{head}:"
        yield from (f"{indent}  {name}: {value}" for name, value in values.items())


def _auth(server: Server, auth: Auth, everything: bool) -> Iterator[str]:
    yield f"auth {auth.name}:"
    base_dir = server.general.text("base_dir")
    for name, setting in AUTH_SETTINGS.items():
        value = auth.settings.value(name)
        if everything or value != setting.resolve(setting.default_value(), base_dir):
            yield f"  {name}: {setting.show(value)}"
    for passdb in auth.passdbs:
        flags = {"deny": passdb.deny, "pass": passdb.pass_, "master": passdb.master}
        given = {name: "yes" if flag else "no" for name, flag in flags.items() if flag or everything}
        yield from _block("passdb", {"driver": passdb.driver, "args": passdb.args, **given}, "  ")
    for userdb in auth.userdbs:
        yield from _block("userdb", {"driver": userdb.driver, "args": userdb.args}, "  ")
    for socket in auth.sockets:
        yield from _socket(socket)


def _socket(socket: AuthSocket) -> Iterable[str]:
    yield "  socket:"
    yield f"    type: {socket.type}"
    for name, where in (("client", socket.client), ("master", socket.master)):
        if where is not None:
            yield from _block(name, _socket_path(where), "    ")


def _socket_path(where: SocketPath) -> dict[str, str]:
    return {"path": where.path, "mode": f"{where.mode:04o}", "user": where.user, "group": where.group}


def _lda(server: Server, everything: bool) -> Iterator[str]:
    """What is set for deliver alone, and what deliver uses and has in another way than the first protocol that is served."""
    settings = server.lda.settings
    shown = {name: _show_lda(name, settings) for name in settings if _of_lda(name, server, everything)}
    yield from _block("lda", shown)
    if server.lda.plugin != server.protocol(_served(server)[0]).plugin:
        yield from _block("plugin(lda)", server.lda.plugin)


def _of_lda(name: str, server: Server, everything: bool) -> bool:
    settings = server.lda.settings
    if name in LDA_SETTINGS:
        return everything or not _is_default(LDA_SETTINGS[name], settings, "lda")
    if name not in ROOT_SETTINGS:
        return True
    setting = ROOT_SETTINGS[name]
    if setting.per_protocol:
        return not _is_default(setting, settings, "lda")
    return "D" in setting.used_by and settings.value(name) != server.general.value(name)


def _show_lda(name: str, settings: Settings) -> str:
    setting = LDA_SETTINGS.get(name) or ROOT_SETTINGS.get(name)
    return _show(setting, settings.value(name)) if setting else settings.text(name)
