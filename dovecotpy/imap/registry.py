"""The table of commands: the dispatcher, and the source of CAPABILITY.

A module in `commands/` declares each of its commands with `@command`; nothing else has to know of it. What a
command takes by name stands in a `Table` beside it, one small unit each:

| what | table |
|---|---|
| items of FETCH | `fetch_items.FETCH_ITEMS` |
| modifiers of FETCH, of STORE | `commands.fetch.MODIFIERS`, `commands.store.MODIFIERS` |
| items of STATUS | `status_items.STATUS_ITEMS` |
| keys of SEARCH | `keys.KEYS` |
| return options of SEARCH | `returns.RETURN_OPTIONS` |
| parameters of SELECT | `select_parameters.SELECT_PARAMETERS` |
| what ENABLE switches on | `dialect.ENABLES` |
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from dovecotpy.config.values import Settings
    from dovecotpy.imap.arguments import Arguments
    from dovecotpy.imap.errors import CommandFailed
    from dovecotpy.imap.session import ImapSession
    from dovecotpy.imap.wire.command import LiteralStart


class State(enum.IntEnum):
    """What a session must be in for a command (RFC 3501 section 3, as far as it concerns a mail process)."""

    AUTHENTICATED = 1
    SELECTED = 2


Run = Callable[["ImapSession", "Arguments"], Iterator[bytes]]
"""A command at work: yields octets for the client, whole responses but for streamed literals. `b""` means a
moment's pause: the session may be looked at. Its last act is `yield from session.complete(…)`, or it raises
CommandFailed or StoreError.
"""


class Entry(NamedTuple):
    """One command."""

    name: bytes
    state: State
    run: Run
    expunges: bool
    """whether EXPUNGE may be told in its answer (RFC 3501 section 7.4.1: not in FETCH, STORE, SEARCH by
    number)
    """
    by_uid: bool
    capabilities: tuple[bytes, ...]


class Upload(Protocol):
    """Takes the literals of a command that come in pieces, before the command itself is complete."""

    def begin(self, session: "ImapSession", literal: "LiteralStart") -> None:
        """A literal is announced, one in a list or not. Raises CommandFailed or StoreError to do without it."""

    def write(self, data: bytes) -> None:
        """Its next octets. Raises nothing: an error is kept for the command's answer."""

    def abandon(self) -> None:
        """The command will not come."""


COMMANDS: dict[bytes, Entry] = {}
BINARY = b"BINARY"
TAKES_BINARY: set[bytes] = set()
"""Commands that may have a literal8 (RFC 3516 section 4.4)."""
UPLOADS: dict[bytes, tuple[int, Callable[[], Upload]]] = {}
"""For commands with streamed literals: after how many arguments these begin, and what takes them."""


class Large(NamedTuple):
    """Literals in the list of a command that have a bound of their own."""

    most: "Callable[[Settings], int]"
    """octets of one"""
    refusal: "Callable[[Settings, int], CommandFailed]"
    """the answer to one of so many octets, before it is sent where the client asks first"""


LARGE: dict[bytes, Large] = {}
"""By command."""


def command(
    name: str,
    *,
    state: State = State.AUTHENTICATED,
    expunges: bool = True,
    capabilities: tuple[str, ...] = (),
) -> Callable[[Run], Run]:
    """Declare a command. name: with `UID ` in front for the form by UID. capabilities: what having it
    announces.
    """

    def declare(run: Run) -> Run:
        key = name.encode("ascii")
        announced = tuple(capability.encode("ascii") for capability in capabilities)
        COMMANDS[key] = Entry(key, state, run, expunges, key.startswith(b"UID "), announced)
        return run

    return declare


def upload(name: str, after: int) -> Callable[[type[Upload]], type[Upload]]:
    """Declare what takes the streamed literals of a command: all but those among its first `after` arguments."""

    def declare(kind: type[Upload]) -> type[Upload]:
        UPLOADS[name.encode("ascii")] = (after, kind)
        TAKES_BINARY.add(name.encode("ascii"))
        return kind

    return declare


BASE_CAPABILITIES = (b"IMAP4rev1", b"LITERAL+", b"LITERAL-", b"CHILDREN")
"""What no single command brings: RFC 3501, 7888, 3348."""
_INSTEAD = {b"LITERAL-": b"LITERAL+"}
"""What is announced only where the other one is switched off (RFC 7888 section 5)."""
REQUIRES: dict[bytes, tuple[bytes, ...]] = {b"LANGUAGE": (b"NAMESPACE",)}
"""Extensions that go with others: without one of those they are not offered either."""
_EXTENSIONS: dict[bytes, None] = {}


def extension(name: str, *, requires: tuple[str, ...] = ()) -> bytes:
    """Announce an extension that is more than a command; its name. requires: those that it cannot be without."""
    key = name.encode("ascii")
    _EXTENSIONS[key] = None
    if requires:
        REQUIRES[key.upper()] = tuple(other.encode("ascii") for other in requires)
    return key


def switched_off(names: frozenset[bytes]) -> frozenset[bytes]:
    """Names in capitals of the extensions that are not offered where these are disabled."""
    off = set(names)
    for _ in range(len(REQUIRES) + 1):
        off.update(name for name, others in REQUIRES.items() if not off.isdisjoint(others))
    return frozenset(off)


Unit = TypeVar("Unit")


class Table(Generic[Unit]):
    """Units by name in capitals, in the order of their declaration."""

    __slots__ = ("_units",)

    def __init__(self) -> None:
        self._units: dict[bytes, tuple[Unit, bytes]] = {}

    def add(self, name: bytes, unit: Unit, capability: bytes = b"") -> None:
        """Declare one. capability: the extension that brings it and with which it is switched off."""
        self._units[name] = unit, capability

    def find(self, name: bytes, disabled: frozenset[bytes]) -> Unit | None:
        """The unit of a name in capitals; None if there is none, or if its extension is disabled."""
        unit, capability = self._units.get(name, (None, b""))
        return None if capability in disabled else unit

    def ordered(self, names: frozenset[bytes]) -> list[tuple[bytes, Unit]]:
        """Those of these names, in the order of their declaration."""
        return [(name, unit) for name, (unit, _) in self._units.items() if name in names]


_announced: dict[frozenset[bytes], tuple[bytes, ...]] = {}


def capabilities(disabled: frozenset[bytes]) -> tuple[bytes, ...]:
    """Everything announced, each once, in the order of declaration. disabled: names in capitals to leave out."""
    if disabled not in _announced:
        found = dict.fromkeys(BASE_CAPABILITIES)
        for entry in COMMANDS.values():
            found.update(dict.fromkeys(entry.capabilities))
        found.update(_EXTENSIONS)
        _announced[disabled] = tuple(
            name
            for name in found
            if name.upper() not in disabled and _INSTEAD.get(name, name) in disabled.union((name,))
        )
    return _announced[disabled]


def needs_numbers(name: bytes) -> bool:
    """Whether a command names or tells messages by number: it has a form by UID that does not, but for EXPUNGE."""
    return b"UID " + name in COMMANDS and name != b"EXPUNGE"


def find(name: bytes, disabled: frozenset[bytes]) -> Entry | None:
    """The command of this name, in capitals; None if there is none, or if all that announces it is disabled."""
    entry = COMMANDS.get(name)
    if entry is not None and entry.capabilities and disabled.issuperset(entry.capabilities):
        return None
    return entry
