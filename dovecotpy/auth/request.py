"""One authentication or user look-up: what is known of it, and what %-variables see."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from dovecotpy.config.variables import for_user

CLIENT_ONLY = frozenset({"password", "password_noscheme"})


@dataclass(slots=True)
class Request:
    """The facts of a request. `user` is what the databases are asked for; a passdb may change it."""

    service: str
    user: str = ""
    mechanism: str = ""
    local_address: str = ""
    remote_address: str = ""
    local_port: int = 0
    remote_port: int = 0
    secured: bool = False
    valid_certificate: bool = False
    certificate_user: str = ""
    nologin: bool = False
    session: str = ""
    password: str = ""
    """plain text, as long as it is compared"""
    login_user: str = ""
    """whom a master user wants to be, while the master user himself is asked for"""
    master_user: str = ""
    """the master user once he is let in"""
    original_user: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    """passdb fields for the client"""
    userdb_fields: dict[str, str] | None = None
    """what the passdb said for the userdb (`userdb_…`), without the prefix; None: nothing"""

    @property
    def label(self) -> str:
        """The subsystem's brackets in log lines: `user,ip`."""
        user = self.user[:64] or "?"
        address = f",{self.remote_address}" if self.remote_address else ""
        return f"{user}{address},master" if self.login_user else f"{user}{address}"

    def variables(self) -> dict[str, str]:
        """Values of %-variables, by letter."""
        return {
            **for_user(self.user),
            "s": self.service,
            "l": self.local_address,
            "r": self.remote_address,
            "a": str(self.local_port) if self.local_port else "",
            "b": str(self.remote_port) if self.remote_port else "",
            "p": str(os.getpid()),
            "w": self.password,
            "m": self.mechanism,
            "c": "secured" if self.secured else "",
            "k": "valid" if self.valid_certificate else "",
        }

    def forget_fields(self) -> None:
        """What a database said that did not let the user in does not count."""
        self.fields.clear()
        self.userdb_fields = None

    def encode(self) -> list[str]:
        """For a worker: `name=value` parts, empty ones left out."""
        values: list[tuple[str, str]] = [(name, getattr(self, attribute)) for name, attribute in _TEXTS]
        values += [(name, str(getattr(self, attribute) or "")) for name, attribute in _PORTS]
        values += [(name, "1" if getattr(self, attribute) else "") for name, attribute in _FLAGS]
        return [f"{name}={value}" for name, value in values if value]

    @classmethod
    def decode(cls, named: Mapping[str, str]) -> Request:
        """What `encode` made of another request."""
        request = cls(service=named.get("service", ""))
        for name, attribute in _TEXTS:
            setattr(request, attribute, named.get(name, ""))
        for name, attribute in _PORTS:
            setattr(request, attribute, int(named.get(name, "0")))
        for name, attribute in _FLAGS:
            setattr(request, attribute, name in named)
        return request


_TEXTS = (
    ("service", "service"),
    ("user", "user"),
    ("mech", "mechanism"),
    ("lip", "local_address"),
    ("rip", "remote_address"),
    ("session", "session"),
    ("pass", "password"),
    ("login_user", "login_user"),
    ("original_user", "original_user"),
)
_PORTS = (("lport", "local_port"), ("rport", "remote_port"))
_FLAGS = (("secured", "secured"), ("cert", "valid_certificate"))
