"""The lines that a login process logs of a client: login_log_format and login_log_format_elements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dovecotpy.config.variables import Literal, Variable, parse, used
from dovecotpy.login.session import LoginSession, Peer

if TYPE_CHECKING:
    from dovecotpy.login.tlsstream import TlsStream

MAX_USER = 80
"""Characters of a user name in a line; of a longer one the beginning and `...`."""
MAX_MECHANISM = 64


class LogFormat:
    """How a message and what is known of the client become one line.

    elements: separated by blanks; each is there if its first variable is not empty, or if it has none. line: `%$` stands for the message,
    `%s` for the elements, joined by `, `.
    """

    __slots__ = ("_elements", "_line", "_used")

    def __init__(self, elements: str, line: str) -> None:
        self._elements = [(_first_variable(parse(word)), _Text(word)) for word in elements.split()]
        self._line = _Text(line)
        self._used = frozenset(used(elements))

    def uses(self, letter: str) -> bool:
        """Whether an element uses a variable: some are dear to make."""
        return letter in self._used

    def line(self, message: str, values: Mapping[str, str]) -> str:
        """The text of the line. values: by letter."""
        told = [text.filled(values) for first, text in self._elements if not first or values.get(first)]
        return self._line.filled({"$": message, "s": ", ".join(told)})


class _Text:
    """A template for many lines: one without modifiers and widths, as nearly all are, is filled in by a single call."""

    __slots__ = ("_pieces", "_names", "_pattern")

    def __init__(self, template: str) -> None:
        self._pieces = parse(template)
        self._names: tuple[str, ...] = ()
        self._pattern = ""
        plain = [isinstance(piece, Literal) or piece == Variable(piece.name) for piece in self._pieces]
        if all(plain):
            self._names = tuple([piece.name for piece in self._pieces if isinstance(piece, Variable)])
            self._pattern = "".join(
                [
                    piece.text.replace("%", "%%") if isinstance(piece, Literal) else "%s"
                    for piece in self._pieces
                ]
            )

    def filled(self, values: Mapping[str, str]) -> str:
        """The text. values: by letter; what is missing is empty."""
        if self._pattern:
            return self._pattern % tuple([values.get(name, "") for name in self._names])
        return "".join([piece.evaluate(values) for piece in self._pieces])


def line_values(service: str, user: str, mechanism: str, peer: Peer) -> dict[str, str]:
    """What a line may tell of a client, by letter; what a stranger chose is sanitised."""
    user = sanitised(user, MAX_USER)
    name, _, domain = user.partition("@")
    return {
        "u": user,
        "n": name,
        "d": domain,
        "s": service,
        "l": peer.local_address,
        "r": peer.remote_address,
        "a": str(peer.local_port),
        "b": str(peer.remote_port),
        "m": sanitised(mechanism, MAX_MECHANISM),
    }


def transport_of(
    session: LoginSession, tls: TlsStream | None, tls_error: str, format: LogFormat
) -> tuple[str, str]:
    """%c and %k of a client: how its connection is secured, and by which cipher."""
    if tls is None:
        return "secured" if session.local else "", ""
    secured = "TLS" if tls.established else "TLS handshaking" + tls_error
    return secured, tls.cipher() if format.uses("k") else ""


def sanitised(text: str, size: int) -> str:
    """What a stranger sent, for a log line: bounded, no control characters, and no `<` or `>`.

    Log watchers take what stands behind `user=<…>, ` for the client's address: a name must not be able to end there.
    """
    if len(text) > size:
        text = text[: size - 3] + "..."
    if text.isalnum() and text.isascii():
        return text
    return "".join(letter if letter.isprintable() and letter not in "<>" else "?" for letter in text)


def _first_variable(pieces: tuple[Literal | Variable, ...]) -> str:
    for piece in pieces:
        if isinstance(piece, Variable):
            return piece.name
    return ""
