"""Settings as plain values: what every process holds of the configuration, and how it travels.

Imported by every long-lived child, so it imports next to nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from dovecotpy.ipc import fields

Value = str | int | bool | tuple[str, ...]
"""What a setting can hold: text, number, yes or no, words."""

_LETTERS: Mapping[type, bytes] = {str: b"s", bool: b"b", int: b"n", tuple: b"w"}


class Settings:
    """An immutable mapping of setting names to typed values.

    A name that was not given raises KeyError, a name of another type TypeError: both are faults of the program text, never of the
    configuration.
    """

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)

    def text(self, name: str) -> str:
        """A string, path, choice, user or group."""
        value = self._values[name]
        if isinstance(value, str):
            return value
        raise _mistyped(name, value)

    def number(self, name: str) -> int:
        """A number, in the unit that its declaration names."""
        value = self._values[name]
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise _mistyped(name, value)

    def flag(self, name: str) -> bool:
        """A yes or no."""
        value = self._values[name]
        if isinstance(value, bool):
            return value
        raise _mistyped(name, value)

    def words(self, name: str) -> tuple[str, ...]:
        """A list, in the administrator's order."""
        value = self._values[name]
        if isinstance(value, tuple):
            return value
        raise _mistyped(name, value)

    def value(self, name: str) -> Value:
        """The value, of whatever type it is."""
        return self._values[name]

    def names(self) -> Iterable[str]:
        """Every name given, in the order of the table."""
        return self._values.keys()

    def only(self, names: Iterable[str]) -> Settings:
        """Those of these names that are given."""
        wanted = frozenset(names)
        return Settings({name: value for name, value in self._values.items() if name in wanted})

    def changed(self, changes: Mapping[str, Value]) -> Settings:
        """These settings with some replaced or added."""
        return Settings({**self._values, **changes})

    def dump(self) -> bytes:
        """Lines `name TAB type-letter TAB value`, escaped as in `ipc.fields`; words have a field each.

        Letters: s text, n number in decimal, b flag as yes or no, w words.
        """
        return b"".join(_dump_line(name, value) for name, value in self._values.items())

    @classmethod
    def load(cls, data: bytes) -> Settings:
        """What `dump` wrote. Raises ValueError when it is anything else."""
        values: dict[str, Value] = {}
        for line in data.split(b"\n"):
            if line:
                name, value = _load_line(line)
                values[name] = value
        return cls(values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Settings) and self._values == other._values

    def __hash__(self) -> int:
        return hash(frozenset(self._values.items()))

    def __repr__(self) -> str:
        """Names alone: values may be secrets, and a repr may end in a log."""
        return f"Settings({', '.join(self._values)})"


def _mistyped(name: str, value: Value) -> TypeError:
    return TypeError(f"setting {name} is {type(value).__name__}")


def _dump_line(name: str, value: Value) -> bytes:
    letter = _LETTERS[type(value)]
    parts: list[str]
    if isinstance(value, tuple):
        parts = list(value)
    elif isinstance(value, bool):
        parts = ["yes" if value else "no"]
    else:
        parts = [str(value)]
    line = [_encode(name), letter, *map(_encode, parts)]
    return fields.join(line) + b"\n"


def _load_line(line: bytes) -> tuple[str, Value]:
    name, letter, *parts = fields.split(line)
    texts = [part.decode("utf-8", "surrogateescape") for part in parts]
    if letter == b"w":
        return _decode(name), tuple(texts)
    if len(texts) != 1:
        raise ValueError("a setting needs one value")
    return _decode(name), _load_value(letter, texts[0])


def _load_value(letter: bytes, text: str) -> Value:
    if letter == b"s":
        return text
    if letter == b"n":
        return int(text)
    if letter == b"b" and text in ("yes", "no"):
        return text == "yes"
    raise ValueError("unknown type of a setting")


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _decode(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


class SocketPath(NamedTuple):
    """Where a socket stands and whose it is. Empty user or group: as the process that makes it."""

    path: str
    mode: int
    user: str
    group: str


class AuthSocket(NamedTuple):
    """`socket listen {}`: sockets more that auth serves. `socket connect {}`: an auth process that somebody else runs."""

    type: str
    """listen or connect"""
    master: SocketPath | None
    client: SocketPath | None


class Passdb(NamedTuple):
    """One `passdb DRIVER {}`, tried in the order of the file."""

    driver: str
    args: str
    deny: bool = False
    pass_: bool = False
    master: bool = False

    def settings(self) -> Settings:
        """Itself, ready to travel; `Passdb.of` reads it."""
        return Settings(self._asdict())

    @classmethod
    def of(cls, settings: Settings) -> Passdb:
        """What `settings` made."""
        return cls(
            driver=settings.text("driver"),
            args=settings.text("args"),
            deny=settings.flag("deny"),
            pass_=settings.flag("pass_"),
            master=settings.flag("master"),
        )


class Userdb(NamedTuple):
    """One `userdb DRIVER {}`, tried in the order of the file."""

    driver: str
    args: str

    def settings(self) -> Settings:
        """Itself, ready to travel; `Userdb.of` reads it."""
        return Settings(self._asdict())

    @classmethod
    def of(cls, settings: Settings) -> Userdb:
        """What `settings` made."""
        return cls(settings.text("driver"), settings.text("args"))


class Auth(NamedTuple):
    """One `auth NAME {}`: a kind of auth process with sockets of its own."""

    name: str
    settings: Settings
    """names without `auth_`"""
    passdbs: tuple[Passdb, ...]
    userdbs: tuple[Userdb, ...]
    sockets: tuple[AuthSocket, ...]


class Namespace(NamedTuple):
    """One `namespace TYPE {}`."""

    type: str
    """private, shared or public"""
    separator: str
    """one character; empty: the format's own"""
    prefix: str
    location: str
    """empty: mail_location"""
    inbox: bool
    hidden: bool
    list: str
    """yes, no or children"""
    subscriptions: bool
    alias_for: str | None
    """the prefix of the namespace that this one shows once more; None: none"""

    def settings(self) -> Settings:
        """Itself, ready to travel; `Namespace.of` reads it."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        return Settings(given)

    @classmethod
    def of(cls, settings: Settings) -> Namespace:
        """What `settings` made."""
        return cls(
            type=settings.text("type"),
            separator=settings.text("separator"),
            prefix=settings.text("prefix"),
            location=settings.text("location"),
            inbox=settings.flag("inbox"),
            hidden=settings.flag("hidden"),
            list=settings.text("list"),
            subscriptions=settings.flag("subscriptions"),
            alias_for=settings.text("alias_for") if "alias_for" in settings else None,
        )


class Protocol(NamedTuple):
    """What holds for one protocol: root settings with those of its `protocol` blocks, in the order of the file."""

    settings: Settings
    """every root setting, with defaults filled in"""
    namespaces: tuple[Namespace, ...]
    """empty: one private namespace made from mail_location"""
    plugin: Mapping[str, str]


class Server(NamedTuple):
    """One server: the whole file, or each `server NAME {}` of it."""

    name: str
    protocols: tuple[str, ...]
    """of imap imaps pop3 pop3s none"""
    imap: Protocol
    pop3: Protocol
    lda: Protocol
    auths: tuple[Auth, ...]
    dicts: Mapping[str, str]

    def serves(self, protocol: str) -> bool:
        """Whether imap or pop3 is among `protocols`, with or without TLS ports."""
        return any(word.startswith(protocol) for word in self.protocols)

    def protocol(self, name: str) -> Protocol:
        """imap, pop3 or lda. Raises KeyError for any other name."""
        return {"imap": self.imap, "pop3": self.pop3, "lda": self.lda}[name]

    @property
    def general(self) -> Settings:
        """The settings of the first protocol that is served: those that hold for the server as a whole are read here."""
        if self.serves("pop3") and not self.serves("imap"):
            return self.pop3.settings
        return self.imap.settings


class Configuration(NamedTuple):
    """A configuration file that could be read; whether it can be run says `config.check`."""

    path: str
    servers: tuple[Server, ...]
    """one, named `default`, unless `server NAME {}` is used"""
    warnings: tuple[str, ...]
    """ready to log"""
    files: tuple[str, ...] = ()
    """`path` and every file that it includes"""
