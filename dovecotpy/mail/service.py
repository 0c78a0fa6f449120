"""What a protocol brings to the mail process: how a session is opened and how it says that the server failed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dovecotpy.config.values import Namespace, Settings
from dovecotpy.ipc.record import Level
from dovecotpy.mail.session import Session
from dovecotpy.storage.store import StoreUser


class Visit(NamedTuple):
    """What a session is opened with."""

    who: StoreUser
    settings: Settings
    namespaces: Sequence[Namespace]
    tag: str
    """of the login command, to be answered; empty: the session greets (PREAUTH)"""
    client_input: bytes
    """what the client sent behind its login command"""
    log: Callable[[Level, str], None]


class Opened(NamedTuple):
    """A session with its store open."""

    session: Session
    close: Callable[[], None]
    """gives back what the store holds; never raises"""


class Service(NamedTuple):
    """One protocol."""

    name: str
    """as in `protocol NAME {}` and %s"""
    open: Callable[[Visit], Opened]
    """Raises StoreError, OSError."""
    internal_error: Callable[[str], bytes]
    """what a client is told when its session broke; given the local time as text"""
    refusal: bytes
    """what a client is told when the program of its session cannot be run"""
    inetd: bytes
    """what a client is told when the program was started by inetd, where anybody would be logged in"""
    summary: Callable[[Settings, Session, int, int], str]
    """the end of the log line, from octets received and sent"""
