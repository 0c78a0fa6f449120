"""ID (RFC 2971)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import dovecotpy
from dovecotpy.imap.arguments import Arguments
from dovecotpy.imap.errors import Mistaken
from dovecotpy.imap.registry import command
from dovecotpy.imap.wire.response import string, text_of
from dovecotpy.imap.wire.tokens import Atom, String, Token
from dovecotpy.ipc.record import Level

if TYPE_CHECKING:
    from dovecotpy.imap.session import ImapSession

MAX_PAIRS = 30
"""RFC 2971 section 3.3: a client sends no more; beyond: BAD."""
MAX_FIELD = 30
MAX_VALUE = 1024
"""Octets of a field's name and value, by the same section."""

_SYSTEM = os.uname()
DEFAULTS: Mapping[str, str] = {
    "name": "Dovecotpy",
    "version": dovecotpy.__version__,
    "os": _SYSTEM.sysname,
    "os-version": _SYSTEM.release,
}
"""What `*` stands for in imap_id_send, by field."""


@command("ID", capabilities=("ID",))
def identify(session: "ImapSession", arguments: Arguments) -> Iterator[bytes]:
    """Tell imap_id_send, log what imap_id_log names."""
    fields = _fields(arguments)
    arguments.end()
    _log(session, fields)
    yield b"* ID " + answer(session.settings.words("imap_id_send")) + b"\r\n"
    yield from session.complete("ID completed.")


def _fields(arguments: Arguments) -> dict[str, str]:
    token = arguments.next()
    if isinstance(token, Atom) and token.upper() == b"NIL":
        return {}
    if not isinstance(token, list) or len(token) % 2:
        raise arguments.wrong()
    if len(token) > 2 * MAX_PAIRS:
        raise Mistaken("Error in IMAP command ID: Too many fields.")
    pairs = zip(token[::2], token[1::2], strict=True)
    return {
        _text(arguments, name, MAX_FIELD).lower(): _text(arguments, value, MAX_VALUE) for name, value in pairs
    }


def _text(arguments: Arguments, token: Token, limit: int) -> str:
    if isinstance(token, Atom) and token.upper() == b"NIL":
        return "NIL"
    if not isinstance(token, String):
        raise arguments.wrong()
    if len(token) > limit:
        raise arguments.wrong("Too long argument.")
    return text_of(token.decode("utf-8", "replace")).decode("ascii")


def _log(session: "ImapSession", fields: Mapping[str, str]) -> None:
    """One line with the client's fields that imap_id_log names; `*` names all."""
    names = {name.lower() for name in session.settings.words("imap_id_log")}
    told = [f"{name}={value}" for name, value in fields.items() if name in names or "*" in names]
    if told:
        session.log(Level.INFO, "ID sent: " + ", ".join(told))


def answer(words: tuple[str, ...]) -> bytes:
    """The list that imap_id_send asks for: fields each with a value, where `*` is ours; `*` alone is all of
    ours.
    """
    if words == ("*",):
        pairs = list(DEFAULTS.items())
    else:
        named = zip(words[::2], words[1::2], strict=False)
        pairs = [(name, DEFAULTS.get(name, "") if value == "*" else value) for name, value in named]
    if not pairs:
        return b"NIL"
    encoded = [string(part.encode("utf-8")) for pair in pairs[:MAX_PAIRS] for part in pair]
    return b"(" + b" ".join(encoded) + b")"
