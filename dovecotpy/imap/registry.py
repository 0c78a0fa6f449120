"""The table of commands: the dispatcher, and the source of CAPABILITY.

A module in `commands/` declares each of its commands with `@command`; nothing else has to know of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple, Protocol

from dovecotpy.imap.wire.tokens import Token

if TYPE_CHECKING:
    from dovecotpy.imap.arguments import Arguments
    from dovecotpy.imap.session import ImapSession


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

    def begin(self, session: "ImapSession", arguments: list[Token], size: int) -> None:
        """A literal is announced. Raises CommandFailed or StoreError to do without it."""

    def write(self, data: bytes) -> None:
        """Its next octets. Raises nothing: an error is kept for the command's answer."""

    def abandon(self) -> None:
        """The command will not come."""


COMMANDS: dict[bytes, Entry] = {}
UPLOADS: dict[bytes, tuple[int, Callable[[], Upload]]] = {}
"""For commands with streamed literals: after how many arguments these begin, and what takes them."""


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
        return kind

    return declare


BASE_CAPABILITIES = (b"IMAP4rev1", b"LITERAL+", b"CHILDREN")
"""What no single command brings: RFC 3501, 7888, 3348."""


_without_command: dict[bytes, None] = {}


def announce(*names: str) -> None:
    """Declare extensions that no single command brings; `ImapSession.serves` asks whether one is disabled."""
    _without_command.update(dict.fromkeys(name.encode("ascii") for name in names))


_announced: dict[frozenset[bytes], tuple[bytes, ...]] = {}


def capabilities(disabled: frozenset[bytes]) -> tuple[bytes, ...]:
    """Everything announced, each once, in the order of declaration. disabled: names in capitals to leave out."""
    if disabled not in _announced:
        found = dict.fromkeys(BASE_CAPABILITIES)
        for entry in COMMANDS.values():
            found.update(dict.fromkeys(entry.capabilities))
        found.update(_without_command)
        _announced[disabled] = tuple(name for name in found if name.upper() not in disabled)
    return _announced[disabled]


def find(name: bytes, disabled: frozenset[bytes]) -> Entry | None:
    """The command of this name, in capitals; None if there is none, or if all that announces it is disabled."""
    entry = COMMANDS.get(name)
    if entry is not None and entry.capabilities and disabled.issuperset(entry.capabilities):
        return None
    return entry
