"""What the settings allow a client before login, worked out once a process."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dovecotpy.config.values import Settings
from dovecotpy.imap.wire.revision import NEEDS
from dovecotpy.ipc.authclient import Mechanism

CAPABILITIES = b"IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID LANGUAGE"
"""What is announced before login; everything else is told with the OK of the login."""

NAME = "Dovecotpy"


class Network(NamedTuple):
    """A range of addresses of one family; `size` is 4 or 16 octets."""

    size: int
    first: int
    bits: int


class PolicyError(Exception):
    """A setting has no meaning. Log: its text; the process ends with it."""


class Policy(NamedTuple):
    """What sessions need to know of the settings."""

    service: str
    greeting: str
    greeting_capability: bool
    capability: bytes
    """announced before login, without what depends on TLS and mechanisms"""
    plaintext_disabled: bool
    tls_available: bool
    tls_required: bool
    verbose: bool
    identification: bytes
    """the parameters of an ID response (RFC 2971), or NIL"""
    identification_logged: frozenset[bytes]
    """what of a client's ID goes to the log, in lower case; `*` for everything"""
    trusted_networks: tuple[Network, ...]
    disabled: frozenset[bytes] = frozenset()
    """extensions that are switched off, in capitals"""

    def trusts(self, address: str) -> bool:
        """Whether an address is in login_trusted_networks."""
        if not self.trusted_networks:
            return False
        octets = packed(address)
        if octets is None:
            return False
        number = int.from_bytes(octets, "big")
        return any(
            size == len(octets) and number >> size * 8 - bits == first >> size * 8 - bits
            for size, first, bits in self.trusted_networks
        )


class Offer:
    """The mechanisms that the auth processes offer now, as every session sees them."""

    __slots__ = ("_mechanisms", "_lines")

    def __init__(self) -> None:
        self._mechanisms: dict[str, Mechanism] = {}
        self._lines: dict[tuple[bool, bool], bytes] = {}

    def update(self, mechanisms: Iterable[Mechanism]) -> None:
        """Replace what is offered; of two with one name the first counts."""
        found: dict[str, Mechanism] = {}
        for mechanism in mechanisms:
            found.setdefault(mechanism.name.upper(), mechanism)
        self._mechanisms = found
        self._lines.clear()

    def find(self, name: str) -> Mechanism | None:
        """A mechanism by its name in capitals."""
        return self._mechanisms.get(name)

    def capability(self, policy: Policy, *, tls: bool, secured: bool) -> bytes:
        """The words of CAPABILITY for a client in this state."""
        line = self._lines.get((tls, secured))
        if line is None:
            line = self._lines[tls, secured] = b" ".join(self._words(policy, tls, secured))
        return line

    def _words(self, policy: Policy, tls: bool, secured: bool) -> list[bytes]:
        words = [policy.capability]
        if policy.tls_available and not tls:
            words.append(b"STARTTLS")
        if policy.tls_required and not tls:
            return [*words, b"LOGINDISABLED"]
        plaintext = secured or not policy.plaintext_disabled
        if not plaintext:
            words.append(b"LOGINDISABLED")
        for mechanism in self._mechanisms.values():
            if "private" not in mechanism.flags and (plaintext or "plaintext" not in mechanism.flags):
                words.append(b"AUTH=" + mechanism.name.encode("ascii", "replace"))
        return words


def _capabilities(disabled: frozenset[bytes]) -> bytes:
    """What is announced before login but for extensions that are switched off."""
    if not disabled.isdisjoint(name.encode("ascii") for name in NEEDS):
        disabled |= {b"IMAP4REV2"}
    words = [word for word in CAPABILITIES.split() if word.upper() not in disabled]
    if b"LITERAL+" in disabled and b"LITERAL-" not in disabled:
        words.append(b"LITERAL-")
    return b" ".join(words)


def from_settings(settings: Settings, *, verbose: bool) -> Policy:
    """The policy of an IMAP login process. verbose: an auth section has `verbose`. Raises PolicyError."""
    tls = settings.text("ssl")
    disabled = frozenset(
        word.upper().encode("ascii", "replace") for word in settings.words("imap_disabled_extensions")
    )
    return Policy(
        service="imap",
        greeting=settings.text("login_greeting"),
        greeting_capability=settings.flag("login_greeting_capability"),
        capability=settings.text("imap_capability").encode("ascii", "replace") or _capabilities(disabled),
        disabled=disabled,
        plaintext_disabled=settings.flag("disable_plaintext_auth"),
        tls_available=tls != "no",
        tls_required=tls == "required",
        verbose=verbose,
        identification=identification(settings.words("imap_id_send")),
        identification_logged=frozenset(
            word.lower().encode("utf-8", "surrogateescape") for word in settings.words("imap_id_log")
        ),
        trusted_networks=tuple(network(word) for word in settings.words("login_trusted_networks")),
    )


def network(text: str) -> Network:
    """An address, or a network as address/bits. Raises PolicyError."""
    address, slash, bits = text.partition("/")
    octets = packed(address)
    if octets is None or (slash and not (bits.isascii() and bits.isdigit() and len(bits) <= 3)):
        raise PolicyError(f"login_trusted_networks: Invalid network: {text}")
    length = int(bits) if slash else len(octets) * 8
    if length > len(octets) * 8:
        raise PolicyError(f"login_trusted_networks: Invalid network: {text}")
    return Network(len(octets), int.from_bytes(octets, "big"), length)


def packed(address: str) -> bytes | None:
    """An address as octets; None when it is none."""
    try:
        return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
    except (OSError, ValueError):
        return None


def identification(words: Sequence[str]) -> bytes:
    """The answer to ID from imap_id_send: pairs of name and value; the value `*` stands for ours."""
    ours = {"name": NAME}
    pairs = []
    for name, value in zip(words[::2], words[1::2], strict=False):
        told = ours.get(name.lower(), "") if value == "*" else value
        if told:
            pairs += [quoted(name), quoted(told)]
    return b"(" + b" ".join(pairs) + b")" if pairs else b"NIL"


def quoted(text: str) -> bytes:
    """Text as an IMAP quoted string; what cannot stand in one becomes `?`."""
    plain = "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in text)
    return b'"' + plain.replace("\\", "\\\\").replace('"', '\\"').encode("ascii") + b'"'
