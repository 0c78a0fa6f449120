"""A configuration while it is read: what has been set so far, for which protocol, under which name."""

from __future__ import annotations

from dataclasses import dataclass, field

from dovecotpy.config.errors import StatementError
from dovecotpy.config.setting import Setting
from dovecotpy.config.values import Namespace, Passdb, Userdb, Value

PROTOCOLS = ("imap", "pop3", "lda")

TAKEN_NAMES = frozenset({"", ".", "..", "mail", "ssl-parameters.dat"})
"""An auth process has a socket of its name in login_dir, where these are something else."""


@dataclass(slots=True)
class Values:
    """Settings that were set: value, and the name that was written for it."""

    values: dict[str, Value] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)

    protocol: str = "imap"
    """for which they are, where that matters"""

    def set(self, setting: Setting, text: str, written: str, conflict: str = "") -> None:
        """Set one. conflict: the error when it was set under another name before. Raises StatementError."""
        before = self.written.get(setting.name, written)
        if conflict and before != written:
            raise StatementError(conflict)
        self.values[setting.name] = setting.parse(text, self.protocol)
        self.written[setting.name] = written

    def copy(self) -> Values:
        """Another one of the same content."""
        return Values(dict(self.values), dict(self.written), self.protocol)


@dataclass(slots=True)
class ProtocolDraft:
    """What was set for one protocol."""

    root: Values = field(default_factory=Values)
    other: dict[str, str] = field(default_factory=dict)
    """keys of `protocol lda` that nobody here knows"""
    namespaces: list[Namespace] = field(default_factory=list)
    plugin: dict[str, str] = field(default_factory=dict)

    def copy(self) -> ProtocolDraft:
        """Another one of the same content."""
        return ProtocolDraft(self.root.copy(), dict(self.other), list(self.namespaces), dict(self.plugin))


@dataclass(slots=True)
class SocketDraft:
    """A `socket` block; master and client are what stands in them, or None."""

    type: str
    master: Values | None = None
    client: Values | None = None


@dataclass(slots=True)
class AuthDraft:
    """An `auth` block, or what later ones begin with."""

    name: str = ""
    values: Values = field(default_factory=Values)
    passdbs: list[Passdb] = field(default_factory=list)
    userdbs: list[Userdb] = field(default_factory=list)
    sockets: list[SocketDraft] = field(default_factory=list)

    def named(self, name: str) -> AuthDraft:
        """A new block that begins with what this one has."""
        return AuthDraft(name, self.values.copy(), list(self.passdbs), list(self.userdbs))


@dataclass(slots=True)
class ServerDraft:
    """The root of the file, or a `server` block."""

    name: str = "default"
    protocols: dict[str, ProtocolDraft] = field(
        default_factory=lambda: {name: ProtocolDraft(Values(protocol=name)) for name in PROTOCOLS}
    )
    defaults: AuthDraft = field(default_factory=AuthDraft)
    auths: list[AuthDraft] = field(default_factory=list)
    dicts: dict[str, str] = field(default_factory=dict)

    @property
    def auth(self) -> AuthDraft:
        """What `auth_…` at root is set in: the last auth block, or the defaults of those to come."""
        return self.auths[-1] if self.auths else self.defaults

    def named(self, name: str) -> ServerDraft:
        """A `server` block: it begins with what the root has so far, but for its auth blocks."""
        protocols = {protocol: draft.copy() for protocol, draft in self.protocols.items()}
        return ServerDraft(name, protocols, self.defaults.named(""), [], dict(self.dicts))

    def open_auth(self, name: str) -> AuthDraft:
        """Begin an auth block. Raises StatementError."""
        if "/" in name:
            raise StatementError("Authentication process name must not contain '/'")
        if name in TAKEN_NAMES:
            raise StatementError(f"Authentication process name can't be '{name}'")
        if any(auth.name == name for auth in self.auths):
            raise StatementError("Authentication process already exists with the same name")
        self.auths.append(self.defaults.named(name))
        return self.auths[-1]


@dataclass(slots=True)
class Draft:
    """The whole configuration."""

    root: ServerDraft = field(default_factory=ServerDraft)
    servers: list[ServerDraft] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    _told: set[str] = field(default_factory=set)

    def warn_once(self, about: str, text: str) -> None:
        """Keep a warning, unless one about the same was kept before."""
        if about not in self._told:
            self._told.add(about)
            self.warnings.append(text)
