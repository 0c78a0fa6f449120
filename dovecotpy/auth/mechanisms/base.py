"""What a SASL mechanism is: octets of the client in, the next step out. It asks no database itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Challenge:
    """The client is to answer this."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Credentials:
    """The client has said who he is; the caller compares the password."""

    user: str
    """the authentication identity"""
    password: str
    login_user: str = ""
    """the authorization identity where it is another one: a master login"""


@dataclass(frozen=True, slots=True)
class Refused:
    """The client's octets make no sense to the mechanism. `text`: for the log, with auth_verbose."""

    text: str


Step = Challenge | Credentials | Refused


class Mechanism(ABC):
    """One exchange."""

    NAME: ClassVar[str]
    FLAGS: ClassVar[frozenset[str]]
    """as in the MECH line: plaintext, private, …"""

    @abstractmethod
    def start(self, initial: bytes) -> Step:
        """The first step. initial: the client's initial response; none and an empty one are the same."""

    @abstractmethod
    def step(self, data: bytes) -> Step:
        """The client's answer to the last challenge."""


def text_of(data: bytes) -> str:
    """A client's octets as text; what is not UTF-8 survives and is refused later, where names and passwords are looked at."""
    return data.decode("utf-8", "surrogateescape")
