"""The blocks of a configuration: what may stand in each, and what it does to the draft.

A block takes assignments and opens the blocks in it. The protocol for which a line at root counts is not the block's: it is the `Place`'s, as
closing any block inside `protocol imap { }` makes the lines after it count for both protocols (as ever; told by a warning).
"""

from __future__ import annotations

from collections.abc import Iterable

from dovecotpy.config import legacy
from dovecotpy.config.draft import PROTOCOLS, AuthDraft, Draft, ServerDraft, SocketDraft, Values
from dovecotpy.config.errors import StatementError, nearest
from dovecotpy.config.grammar import Opening
from dovecotpy.config.setting import Setting
from dovecotpy.config.table import (
    AUTH_SETTINGS,
    LDA_SETTINGS,
    NAMESPACE_SETTINGS,
    PASSDB_SETTINGS,
    ROOT_SETTINGS,
    SOCKET_SETTINGS,
    USERDB_SETTINGS,
)
from dovecotpy.config.values import Namespace, Passdb, Userdb

NEWER_BLOCKS = frozenset(
    {"service", "mailbox", "inet_listener", "unix_listener", "fifo_listener", "local", "remote"}
)
NEWER_SETTINGS = frozenset({"dovecot_config_version", "dovecot_storage_version", "mail_driver", "mail_path"})
NEWER = " (this looks like a configuration of Dovecot 2: the language here is that of 1.x)"

_CONFLICTS = {
    change: old.conflict for old in legacy.ROOT_LEGACY.values() if old.conflict for change in [old.instead]
}


class Place:
    """Where reading is: what all blocks share."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self.scope: tuple[str, ...] = PROTOCOLS
        self.path = ""
        self.line = 0

    def warn_once(self, about: str, text: str) -> None:
        """Keep a warning with this place."""
        self.draft.warn_once(about, f"Configuration file {self.path} line {self.line}: {text}")


class Block:
    """What every kind of block can do; by itself it takes nothing."""

    opens: frozenset[str] = frozenset()
    """the types of blocks that may stand in it"""

    def __init__(self, place: Place) -> None:
        self.place = place

    def names(self) -> Iterable[str]:
        """What can be set here, for hints."""
        return ()

    def set(self, key: str, text: str) -> None:
        """An assignment. Raises StatementError."""
        raise unknown(key, self.names())

    def open(self, opening: Opening) -> Block:
        """The block that begins here. Raises StatementError."""
        raise misplaced(opening)

    def close(self) -> None:
        """Its closing brace has come. Raises StatementError."""


def unknown(key: str, names: Iterable[str]) -> StatementError:
    """The error for a name that nobody knows."""
    hint = NEWER if key in NEWER_SETTINGS else nearest(key, names)
    return StatementError(f"Unknown setting: {key}{hint}")


def misplaced(opening: Opening) -> StatementError:
    """The error for a block that may not stand where it does."""
    if opening.type in ("server", "protocol", "auth", "namespace", "plugin"):
        return StatementError(f"{opening.type.capitalize()} section not allowed here")
    if opening.type == "dict":
        return StatementError("Plugin section not allowed here")
    if opening.type in ("passdb", "userdb", "socket", "master", "client"):
        return StatementError("Unknown section type")
    known = ("server", "protocol", "auth", "namespace", "plugin", "dict", "passdb", "userdb", "socket")
    hint = NEWER if opening.type in NEWER_BLOCKS else nearest(opening.type, known)
    return StatementError(f"Unknown section type{hint}")


class ServerBlock(Block):
    """The inside of `server NAME { }`, and what it has in common with the root."""

    opens = frozenset({"auth", "namespace", "plugin", "dict"})

    def __init__(self, place: Place, server: ServerDraft) -> None:
        super().__init__(place)
        self.server = server

    def names(self) -> Iterable[str]:
        return [
            *ROOT_SETTINGS,
            *(f"auth_{name}" for name in AUTH_SETTINGS),
            *legacy.ROOT_LEGACY,
            "auth",
            "login",
        ]

    def set(self, key: str, text: str) -> None:
        if key in ROOT_SETTINGS:
            self._set_root(ROOT_SETTINGS[key], text)
        elif key in legacy.ROOT_LEGACY:
            self._set_legacy(legacy.ROOT_LEGACY[key], text)
        elif key == "auth":
            self.server.open_auth(text)
        elif key == "login":
            self.place.warn_once(
                key, "login = NAME does nothing any more, write protocol imap { } and protocol pop3 { }"
            )
        elif key.startswith("auth_") and knows_auth(key):
            set_auth(self.place, self.server.auth, key, text)
        else:
            raise unknown(key, self.names())

    def open(self, opening: Opening) -> Block:
        if opening.type == "auth":
            return AuthBlock(self.place, self.server.open_auth(opening.name))
        if opening.type == "namespace":
            return NamespaceBlock(self.place, self.server, opening.name)
        if opening.type == "plugin":
            return FreeBlock(self.place, [self.server.protocols[name].plugin for name in self.place.scope])
        if opening.type == "dict":
            return FreeBlock(self.place, [self.server.dicts])
        raise misplaced(opening)

    def _set_root(self, setting: Setting, text: str) -> None:
        for protocol in self.place.scope:
            values = self.server.protocols[protocol].root
            values.set(setting, text, setting.name, _CONFLICTS.get(setting.name, ""))

    def _set_legacy(self, old: legacy.Legacy, text: str) -> None:
        changes = old.changes(text)
        if changes or not old.conflict:
            self.place.warn_once(old.name, old.warn())
        for change in changes:
            for protocol in (change.protocol,) if change.protocol else self.place.scope:
                values = self.server.protocols[protocol].root
                values.set(ROOT_SETTINGS[change.name], change.text, old.name, old.conflict)


class RootBlock(ServerBlock):
    """The file outside of all blocks."""

    opens = ServerBlock.opens | {"server", "protocol"}

    def open(self, opening: Opening) -> Block:
        if opening.type == "server":
            server = self.server.named(opening.name)
            self.place.draft.servers.append(server)
            return ServerBlock(self.place, server)
        if opening.type == "protocol":
            return self._open_protocol(opening.name)
        return super().open(opening)

    def _open_protocol(self, name: str) -> Block:
        if name not in PROTOCOLS:
            raise StatementError("Unknown protocol name")
        self.place.scope = (name,)
        if name == "lda":
            return LdaBlock(self.place, self.server)
        return ProtocolBlock(self.place, self.server, name)


class ProtocolBlock(ServerBlock):
    """The inside of `protocol imap { }` and `protocol pop3 { }`."""

    def __init__(self, place: Place, server: ServerDraft, name: str) -> None:
        super().__init__(place, server)
        self._name = name

    def set(self, key: str, text: str) -> None:
        if self.place.scope != (self._name,):
            self.place.warn_once(
                f"protocol {self._name}",
                f"Settings after a block inside protocol {self._name} {{ }} count for all protocols: move the block to the end",
            )
        super().set(key, text)


class LdaBlock(Block):
    """The inside of `protocol lda { }`, where any key may stand."""

    opens = frozenset({"plugin"})

    def __init__(self, place: Place, server: ServerDraft) -> None:
        super().__init__(place)
        self._lda = server.protocols["lda"]

    def set(self, key: str, text: str) -> None:
        setting = ROOT_SETTINGS.get(key) or LDA_SETTINGS.get(key)
        if setting:
            self._lda.root.set(setting, text, key)
        elif key.startswith("["):
            raise unknown(key, LDA_SETTINGS)
        else:
            self._lda.other[key] = text

    def open(self, opening: Opening) -> Block:
        if opening.type == "plugin":
            return FreeBlock(self.place, [self._lda.plugin])
        raise misplaced(opening)


class FreeBlock(Block):
    """The inside of `plugin { }` and `dict { }`: any key with any value, but none that could be taken for the head of a block of settings."""

    def __init__(self, place: Place, into: list[dict[str, str]]) -> None:
        super().__init__(place)
        self._into = into

    def set(self, key: str, text: str) -> None:
        if key.startswith("["):
            raise unknown(key, self.names())
        for mapping in self._into:
            mapping[key] = text


class TableBlock(Block):
    """A block with a table of its own; it is done with when it closes."""

    def __init__(self, place: Place, table: dict[str, Setting]) -> None:
        super().__init__(place)
        self.table = table
        self.values = Values()

    def names(self) -> Iterable[str]:
        return self.table

    def set(self, key: str, text: str) -> None:
        if key not in self.table:
            raise unknown(key, self.names())
        self.values.set(self.table[key], text, key)

    def text(self, name: str) -> str:
        """A text that was set here, else its default."""
        return str(self.values.values.get(name, self.table[name].default))

    def flag(self, name: str) -> bool:
        """A flag that was set here, else its default."""
        return self.values.values.get(name, self.table[name].default == "yes") is True


class NamespaceBlock(TableBlock):
    """The inside of `namespace TYPE { }`."""

    def __init__(self, place: Place, server: ServerDraft, kind: str) -> None:
        super().__init__(place, NAMESPACE_SETTINGS)
        if kind not in ("private", "shared", "public"):
            raise StatementError("Unknown namespace type")
        self._kind = kind
        self._into = [server.protocols[name].namespaces for name in place.scope]

    def close(self) -> None:
        namespace = Namespace(
            type=self._kind,
            separator=self.text("separator"),
            prefix=self.text("prefix"),
            location=self.text("location"),
            inbox=self.flag("inbox"),
            hidden=self.flag("hidden"),
            list=self.text("list"),
            subscriptions=self.flag("subscriptions"),
            alias_for=self.text("alias_for") or None,
        )
        for namespaces in self._into:
            namespaces.append(namespace)


class AuthBlock(Block):
    """The inside of `auth NAME { }`."""

    opens = frozenset({"passdb", "userdb", "socket"})

    def __init__(self, place: Place, auth: AuthDraft) -> None:
        super().__init__(place)
        self._auth = auth

    def names(self) -> Iterable[str]:
        return [*AUTH_SETTINGS, *(f"auth_{name}" for name in AUTH_SETTINGS), *legacy.AUTH_LEGACY]

    def set(self, key: str, text: str) -> None:
        if not knows_auth(key):
            raise unknown(key, self.names())
        set_auth(self.place, self._auth, key, text)

    def open(self, opening: Opening) -> Block:
        if opening.type == "passdb":
            return PassdbBlock(self.place, self._auth, opening.name)
        if opening.type == "userdb":
            return UserdbBlock(self.place, self._auth, opening.name)
        if opening.type == "socket":
            return SocketBlock(self.place, self._auth, opening.name)
        raise misplaced(opening)


class PassdbBlock(TableBlock):
    """The inside of `passdb DRIVER { }`."""

    def __init__(self, place: Place, auth: AuthDraft, driver: str) -> None:
        super().__init__(place, PASSDB_SETTINGS)
        self._auth = auth
        self._driver = driver

    def close(self) -> None:
        driver = (self.text("driver") or self._driver).lower()
        flags = (self.flag("deny"), self.flag("pass"), self.flag("master"))
        self._auth.passdbs.append(Passdb(driver, self.text("args"), *flags))


class UserdbBlock(TableBlock):
    """The inside of `userdb DRIVER { }`."""

    def __init__(self, place: Place, auth: AuthDraft, driver: str) -> None:
        super().__init__(place, USERDB_SETTINGS)
        self._auth = auth
        self._driver = driver

    def close(self) -> None:
        driver = (self.text("driver") or self._driver).lower()
        self._auth.userdbs.append(Userdb(driver, self.text("args")))


class SocketBlock(Block):
    """The inside of `socket listen { }` and `socket connect { }`."""

    opens = frozenset({"master", "client"})

    def __init__(self, place: Place, auth: AuthDraft, kind: str) -> None:
        super().__init__(place)
        if kind not in ("listen", "connect"):
            raise StatementError("Unknown auth socket type")
        if auth.sockets and "connect" in (kind, auth.sockets[-1].type):
            raise StatementError("With connect auth socket no other sockets can be used in same auth section")
        self._socket = SocketDraft(kind)
        auth.sockets.append(self._socket)

    def open(self, opening: Opening) -> Block:
        if opening.type not in self.opens:
            raise misplaced(opening)
        block = TableBlock(self.place, SOCKET_SETTINGS)
        if opening.type == "master":
            self._socket.master = block.values
        else:
            self._socket.client = block.values
        return block


def knows_auth(key: str) -> bool:
    """Whether an auth block takes it, with or without `auth_` in front."""
    name = key.removeprefix("auth_")
    return name in AUTH_SETTINGS or name in legacy.AUTH_LEGACY or name in ("passdb", "userdb")


def set_auth(place: Place, auth: AuthDraft, key: str, text: str) -> None:
    """An assignment in an auth block, or of an `auth_…` at root. Raises StatementError."""
    name = key.removeprefix("auth_")
    if name in AUTH_SETTINGS:
        auth.values.set(AUTH_SETTINGS[name], text, name)
    elif name in legacy.AUTH_LEGACY:
        old = legacy.AUTH_LEGACY[name]
        place.warn_once(name, old.warn())
        for change in old.changes(text):
            auth.values.set(AUTH_SETTINGS[change.name], change.text, name)
    else:
        _one_line_database(place, auth, name, text)


def _one_line_database(place: Place, auth: AuthDraft, name: str, text: str) -> None:
    """`auth_passdb = DRIVER ARGS` and `auth_userdb = DRIVER ARGS`, as 0.99 had it."""
    place.warn_once(
        name, f"auth_{name} = DRIVER ARGS is of 0.99, write {name} DRIVER {{ args = ARGS }} in an auth block"
    )
    driver, _, args = text.partition(" ")
    if name == "passdb":
        auth.passdbs.append(Passdb(driver.lower(), args.strip()))
    else:
        auth.userdbs.append(Userdb(driver.lower(), args.strip()))
