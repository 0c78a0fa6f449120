"""What the auth process asks of a worker, and what comes back.

Whatever may block is a generator that yields a job and is sent its reply; who runs the generator decides where the job is done.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TypeVar

from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found


@dataclass(frozen=True, slots=True)
class PassVerify:
    """Ask passdb `number` for the user and compare the request's password."""

    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class PassLookup:
    """Ask passdb `number` for the user, compare nothing."""

    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class UserLookup:
    """Ask userdb `number` for the user."""

    number: int
    request: Request


@dataclass(frozen=True, slots=True)
class HashVerify:
    """Compare a password with a stored one that takes long."""

    stored: str
    default_scheme: str
    request: Request


Job = PassVerify | PassLookup | UserLookup | HashVerify

Answer = TypeVar("Answer")
Work = Generator[Job, Found, Answer]
"""Work that ends in an Answer and may ask for jobs on its way."""
