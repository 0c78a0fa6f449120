"""What the clients of one process share, and whom they tell what becomes of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from dovecotpy.log.client import Log
from dovecotpy.login.authlink import AuthLinks
from dovecotpy.login.logline import LogFormat
from dovecotpy.login.mailqueue import MailQueue
from dovecotpy.login.policy import Offer, Policy
from dovecotpy.login.poller import Poller
from dovecotpy.login.session import LoginSession, Peer

if TYPE_CHECKING:
    from dovecotpy.login.client import Client
    from dovecotpy.login.tls import Contexts


class Keeper(ABC):
    """What the clients of one process share, and whom they tell what becomes of them."""

    policy: Policy
    offer: Offer
    contexts: Contexts | None
    auths: AuthLinks
    queue: MailQueue
    poller: Poller
    log: Log
    format: LogFormat
    certificate_field: str
    """ssl_cert_username_field where ssl_username_from_cert is set, else empty"""
    pid: int
    make_session: Callable[[Policy, Offer, Peer], LoginSession]

    @abstractmethod
    def now(self) -> float:
        """Monotonic seconds."""

    @abstractmethod
    def next_session(self) -> str:
        """An id that no other session of the server has."""

    @abstractmethod
    def client_secured(self, client: Client) -> None:
        """A client that came in plaintext begins TLS."""

    @abstractmethod
    def client_logged_in(self, client: Client, *, tls: bool) -> None:
        """A mail process has it; under TLS it stays here."""

    @abstractmethod
    def client_ended(self, client: Client, *, tls: bool) -> None:
        """It is gone without having been logged in."""

    @abstractmethod
    def proxy_ended(self, client: Client) -> None:
        """It was logged in, and is gone."""
