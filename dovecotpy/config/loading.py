"""From a file to a Configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dovecotpy.config import blocks
from dovecotpy.config.blocks import Block, Place
from dovecotpy.config.draft import (
    PROTOCOLS,
    AuthDraft,
    Draft,
    ProtocolDraft,
    ServerDraft,
    SocketDraft,
    Values,
)
from dovecotpy.config.errors import StatementError, at
from dovecotpy.config.grammar import Assignment, Closing, Opening, Statement
from dovecotpy.config.setting import Setting, Where
from dovecotpy.config.source import Placed, Source
from dovecotpy.config.table import AUTH_SETTINGS, LDA_SETTINGS, ROOT_SETTINGS, SOCKET_SETTINGS
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

DEFAULT_PATH = "/etc/dovecot/dovecot.conf"


def load(path: str = DEFAULT_PATH) -> Configuration:
    """Read a configuration file with all that it includes.

    Raises ConfigurationError at the first line that cannot be understood. Whether what it says can be run is not looked at: see `check`.
    """
    source = Source(path)
    draft = read(source.statements())
    return configuration_of(path, draft, source.files)


def configuration_of(path: str, draft: Draft, files: Sequence[str]) -> Configuration:
    """What was read, with defaults for the rest. files: those that were read."""
    servers = tuple(_server(server) for server in draft.servers or [draft.root])
    return Configuration(path, servers, (*draft.warnings, *not_acted_on(draft)), tuple(files))


class Open(NamedTuple):
    """A block that waits for its closing brace."""

    block: Block
    path: str
    opening: Opening

    def where(self, path: str) -> str:
        """Its place, for a message about something in `path`."""
        line = self.opening.line
        return f"line {line}" if path == self.path else f"{self.path} line {line}"


class Reader:
    """Feeds statements to blocks, and says where it stands when one is wrong."""

    def __init__(self, draft: Draft) -> None:
        self._place = Place(draft)
        self._root = blocks.RootBlock(self._place, draft.root)
        self._open: list[Open] = []
        self._changed: tuple[str, int] = ("", 0)

    def take(self, placed: Placed) -> None:
        """The next statement. Raises ConfigurationError."""
        self._place.path = placed.path
        self._place.line = placed.statement.line
        try:
            self._obey(placed.path, placed.statement)
        except StatementError as error:
            text = f"{error}{self._context(placed)}"
            raise at(placed.path, placed.statement.line, text) from error

    def end(self) -> None:
        """There is nothing more. Raises ConfigurationError when a block is still open."""
        if not self._open:
            return
        last = self._open[-1]
        never = ", ".join(
            f'"{block.opening} {{" of {block.where(last.path)}' for block in reversed(self._open)
        )
        raise at(last.path, last.opening.line, f"Missing '}}': never closed is {never}")

    def _block(self) -> Block:
        return self._open[-1].block if self._open else self._root

    def _obey(self, path: str, statement: Statement) -> None:
        if isinstance(statement, Assignment):
            self._block().set(statement.key, statement.value)
        elif isinstance(statement, Opening):
            self._open.append(Open(self._block().open(statement), path, statement))
            self._changed = (path, statement.line)
        elif isinstance(statement, Closing):
            self._close()
            self._changed = (path, statement.line)

    def _close(self) -> None:
        if not self._open:
            raise StatementError("Unexpected '}'")
        self._block().close()
        self._open.pop()
        self._place.scope = self._scope_after_closing()

    def _scope_after_closing(self) -> tuple[str, ...]:
        """Any closing brace ends a protocol's own settings, even that of a block inside it; deliver alone knows better."""
        inside = self._open[0].block if self._open else self._root
        if isinstance(inside, blocks.LdaBlock):
            return ("lda",)
        if isinstance(inside, blocks.ProtocolBlock):
            return ("imap", "pop3")
        return PROTOCOLS

    def _context(self, placed: Placed) -> str:
        statement = placed.statement
        changed = ""
        if isinstance(statement, Opening) and self._changed[1]:
            path, line = self._changed
            where = f"at line {line}" if path == placed.path else f"in {path} at line {line}"
            changed = f" (section changed {where})"
        return changed + self._unclosed(placed)

    def _unclosed(self, placed: Placed) -> str:
        """A hint at the brace that is likely to be missing: what is wrong here would be right in a block around."""
        statement = placed.statement
        outer = [self._root, *(block.block for block in self._open)][:-1]
        if isinstance(statement, Assignment):
            inside = not self._knows(self._block(), statement.key)
            fits = inside and any(self._knows(block, statement.key) for block in outer)
        elif isinstance(statement, Opening):
            inside = statement.type not in self._block().opens
            fits = inside and any(statement.type in block.opens for block in outer)
        else:
            fits = False
        if not fits:
            return ""
        last = self._open[-1]
        return f" (is '}}' missing? \"{last.opening} {{\" of {last.where(placed.path)} is still open)"

    @staticmethod
    def _knows(block: Block, key: str) -> bool:
        return key in block.names()


def read(statements: Iterable[Placed]) -> Draft:
    """Everything that the statements set. Raises ConfigurationError."""
    draft = Draft()
    reader = Reader(draft)
    for placed in statements:
        reader.take(placed)
    reader.end()
    return draft


def not_acted_on(draft: Draft) -> list[str]:
    """One warning for each setting that is known, set to something else than its default, and without effect yet."""
    names: dict[str, None] = {}
    for server in draft.servers or [draft.root]:
        for protocol, protocol_draft in server.protocols.items():
            table = {**ROOT_SETTINGS, **LDA_SETTINGS}
            names.update(_without_effect(table, protocol_draft.root, protocol, ""))
            if protocol_draft.plugin:
                names["plugin { }"] = None
        for auth in server.auths:
            names.update(_without_effect(AUTH_SETTINGS, auth.values, "imap", "auth_"))
        if server.dicts:
            names["dict { }"] = None
    return [f"Setting {name} is known but not acted on yet" for name in names]


def _without_effect(table: dict[str, Setting], values: Values, protocol: str, prefix: str) -> dict[str, None]:
    return {
        prefix + name: None
        for name, value in values.values.items()
        if not table[name].acted_on and value != table[name].default_value(protocol)
    }


def _server(draft: ServerDraft) -> Server:
    protocols = {name: _settings(name, protocol) for name, protocol in draft.protocols.items()}
    first = protocols[_first_served(protocols)]
    general = {name: first[name] for name, setting in ROOT_SETTINGS.items() if setting.where is Where.GENERAL}
    for name in ("imap", "pop3"):
        protocols[name].update(general)
    base = str(general["base_dir"])
    ready = {name: _protocol(protocols[name], draft.protocols[name]) for name in protocols}
    return Server(
        name=draft.name,
        protocols=_words(general, "protocols"),
        imap=ready["imap"],
        pop3=ready["pop3"],
        lda=ready["lda"],
        auths=tuple(_auth(auth, base) for auth in draft.auths),
        dicts=draft.dicts,
    )


def _first_served(protocols: dict[str, dict[str, Value]]) -> str:
    """The protocol whose values count for the server as a whole."""
    for name in ("imap", "pop3"):
        if any(word.startswith(name) for word in _words(protocols[name], "protocols")):
            return name
    return "imap"


def _words(values: dict[str, Value], name: str) -> tuple[str, ...]:
    value = values[name]
    return value if isinstance(value, tuple) else ()


def _settings(protocol: str, draft: ProtocolDraft) -> dict[str, Value]:
    """What was set, with defaults for the rest."""
    table = {**ROOT_SETTINGS, **LDA_SETTINGS} if protocol == "lda" else ROOT_SETTINGS
    filled = _filled(table, draft.root, protocol)
    return {**filled, **draft.other} if protocol == "lda" else filled


def _filled(table: dict[str, Setting], values: Values, protocol: str = "imap") -> dict[str, Value]:
    return {
        name: values.values[name] if name in values.values else setting.default_value(protocol)
        for name, setting in table.items()
    }


def _protocol(values: dict[str, Value], draft: ProtocolDraft) -> Protocol:
    settings = _resolved({**ROOT_SETTINGS, **LDA_SETTINGS}, values, str(values["base_dir"]))
    return Protocol(settings, tuple(draft.namespaces), draft.plugin)


def _resolved(table: dict[str, Setting], values: dict[str, Value], base: str) -> Settings:
    """Values with no relative path among them."""
    return Settings(
        {name: table[name].resolve(value, base) if name in table else value for name, value in values.items()}
    )


def _auth(draft: AuthDraft, base: str) -> Auth:
    settings = _resolved(AUTH_SETTINGS, _filled(AUTH_SETTINGS, draft.values), base)
    sockets = tuple(_socket(socket, base) for socket in draft.sockets)
    return Auth(draft.name, settings, tuple(draft.passdbs), tuple(draft.userdbs), sockets)


def _socket(draft: SocketDraft, base: str) -> AuthSocket:
    return AuthSocket(
        draft.type,
        master=_socket_path(draft.master, os.path.join(base, "auth-master"), base),
        client=_socket_path(draft.client, os.path.join(base, "auth-client"), base),
    )


def _socket_path(values: Values | None, default: str, base: str) -> SocketPath | None:
    if values is None:
        return None
    settings = Settings(_filled(SOCKET_SETTINGS, values))
    path = os.path.join(base, settings.text("path")) if settings.text("path") else default
    return SocketPath(path, settings.number("mode"), settings.text("user"), settings.text("group"))
