"""A query's %-variables become bound parameters: what a user calls himself never is SQL.

A quoted literal with variables in it (`'%u'`, `'%n@%d'`) becomes one parameter that holds its expansion, a bare variable one parameter. A
variable anywhere else (in an identifier, a comment, next to a letter) is an error of the configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dovecotpy.config import variables
from dovecotpy.config.variables import Literal, Variable

_NEIGHBOURS = frozenset(" \t\r\n(),=<>+-*/;!|")
"""What may stand beside a bare variable."""


class BindingError(Exception):
    """The query cannot be bound; the caller adds file and line."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a database writes literals."""

    name: str
    backslash_escapes: bool
    """inside quotes a backslash protects the next character"""
    hash_comments: bool
    double_quoted_literals: bool
    """`"…"` is a literal, not an identifier"""
    marker: str
    """what stands for a parameter in a statement for the driver"""

    def escaped(self, text: str) -> str:
        """SQL text as the driver wants it: with markers of the form `%s` a percent sign is doubled."""
        return text.replace("%", "%%") if self.marker == "%s" else text


MYSQL = Dialect("mysql", backslash_escapes=True, hash_comments=True, double_quoted_literals=True, marker="%s")
SQLITE = Dialect(
    "sqlite", backslash_escapes=False, hash_comments=False, double_quoted_literals=True, marker="?"
)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement for the database's driver, and for each of its markers the template of a value."""

    text: str
    parameters: tuple[tuple[Literal | Variable, ...], ...]
    template: str
    """as the administrator wrote it"""

    def shown(self, given: Mapping[str, str]) -> str:
        """What people read of it in the log; it is never sent to a database."""
        return variables.expand(self.template, given)

    def values(self, given: Mapping[str, str]) -> tuple[str, ...]:
        """The parameters' values, in order. given: %-variables by letter."""
        return tuple("".join(piece.evaluate(given) for piece in template) for template in self.parameters)

    def variables(self) -> frozenset[str]:
        """The variables that the query depends on."""
        return frozenset(
            piece.name for template in self.parameters for piece in template if isinstance(piece, Variable)
        )


def bind(template: str, dialect: Dialect) -> Query:
    """A query as the administrator wrote it, with its variables bound. Raises BindingError."""
    text, parameters = _Binder(_tokens(template), dialect).bound()
    return Query(text, parameters, template)


Token = str | Variable
"""One character, or one variable."""


def _tokens(template: str) -> list[Token]:
    tokens: list[Token] = []
    for piece in variables.parse(template):
        if isinstance(piece, Variable):
            tokens.append(piece._replace(modifiers=piece.modifiers.replace("E", "")))
        else:
            tokens.extend(piece.text)
    return tokens


class _Binder:
    """One pass over the tokens."""

    def __init__(self, tokens: list[Token], dialect: Dialect) -> None:
        self._tokens = tokens
        self._dialect = dialect
        self._position = 0
        self._out: list[str] = []
        self._parameters: list[tuple[Literal | Variable, ...]] = []

    def bound(self) -> tuple[str, tuple[tuple[Literal | Variable, ...], ...]]:
        """The statement and its parameters. Raises BindingError."""
        while self._position < len(self._tokens):
            self._outside()
        return "".join(self._out), tuple(self._parameters)

    def _peek(self, ahead: int = 0) -> Token:
        position = self._position + ahead
        return self._tokens[position] if 0 <= position < len(self._tokens) else ""

    def _outside(self) -> None:
        token = self._peek()
        if isinstance(token, Variable):
            self._bare(token)
        elif token == "'" or (token == '"' and self._dialect.double_quoted_literals):
            self._literal(token)
        elif token in ('"', "`"):
            self._verbatim(token, token, "an identifier")
        elif token == "/" and self._peek(1) == "*":
            self._verbatim("/*", "*/", "a comment")
        elif token == "-" and self._peek(1) == "-":
            self._verbatim("--", "\n", "a comment")
        elif token == "#" and self._dialect.hash_comments:
            self._verbatim("#", "\n", "a comment")
        else:
            self._out.append(self._dialect.escaped(token))
            self._position += 1

    def _bare(self, variable: Variable) -> None:
        for neighbour in (self._peek(-1), self._peek(1)):
            if neighbour != "" and neighbour not in _NEIGHBOURS:
                raise BindingError(
                    f"Variable %{variable.name} is part of a name; only values can be variables"
                )
        self._parameter((variable,))
        self._position += 1

    def _parameter(self, template: tuple[Literal | Variable, ...]) -> None:
        self._out.append(self._dialect.marker)
        self._parameters.append(template)

    def _literal(self, quote: str) -> None:
        """A quoted literal: as it stands when it has no variable, else one parameter."""
        raw: list[str] = [quote]
        value: list[Literal | Variable] = []
        self._position += 1
        while True:
            token = self._peek()
            if token == "":
                raise BindingError(f"Missing closing {quote}")
            if isinstance(token, Variable):
                value.append(token)
                self._position += 1
                continue
            if token == quote and self._peek(1) != quote:
                break
            taken = 2 if token == quote or self._is_escape(token) else 1
            raw.extend(str(self._peek(ahead)) for ahead in range(taken))
            value.append(Literal(self._character(taken)))
            self._position += taken
        self._position += 1
        if any(isinstance(piece, Variable) for piece in value):
            self._parameter(tuple(value))
        else:
            self._out.append(self._dialect.escaped("".join(raw) + quote))

    def _is_escape(self, token: str) -> bool:
        following = self._peek(1)
        return (
            token == "\\"
            and self._dialect.backslash_escapes
            and isinstance(following, str)
            and following != ""
        )

    def _character(self, taken: int) -> str:
        last = str(self._peek(taken - 1))
        if taken == 2 and self._peek() == "\\":
            return _BACKSLASHED.get(last, last)
        return last

    def _verbatim(self, opening: str, closing: str, place: str) -> None:
        """An identifier or comment: as it stands, without variables."""
        text = opening
        self._position += len(opening)
        while not (text.endswith(closing) and len(text) >= len(opening) + len(closing)):
            token = self._peek()
            if isinstance(token, Variable):
                raise BindingError(f"Variable %{token.name} in {place}; only values can be variables")
            if token == "":
                if closing == "\n":
                    break
                raise BindingError(f"Missing closing {closing}")
            text += token
            self._position += 1
        self._out.append(self._dialect.escaped(text))


_BACKSLASHED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a", "%": "\\%", "_": "\\_"}
