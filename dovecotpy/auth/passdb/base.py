"""What a passdb driver is."""

from __future__ import annotations

from typing import Protocol

from dovecotpy.auth import schemes
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result


class PassDatabase(Protocol):
    """Passwords and fields of users. `lookup` may block in drivers that only workers ask."""

    def lookup(self, request: Request) -> Found:
        """The stored password and the fields of `request.user`. Raises nothing that a user or a database can cause."""


def match(found: Found, request: Request) -> Found:
    """The look-up's answer after the request's password was compared with the stored one; the stored one is left out."""
    if found.result is not Result.OK:
        return found
    if "nopassword" in found.fields:
        return _without_password(found)
    if found.password is None:
        return mismatch(found, "No password")
    if not found.password:
        return mismatch(found, "Empty password returned without no_password")
    try:
        same = schemes.verify(request.password, found.password, found.default_scheme, request.user)
    except schemes.SchemeError as error:
        return mismatch(found, str(error), error=True)
    return accepted(found) if same else mismatch(found, "Password mismatch")


def accepted(found: Found) -> Found:
    """The answer without the stored password."""
    return Found(Result.OK, "", found.fields, found.default_scheme)


def mismatch(found: Found, text: str, *, error: bool = False) -> Found:
    """The answer to a wrong password: of its fields only `nodelay` counts."""
    kept = {name: found.fields[name] for name in found.fields if name == "nodelay"}
    return Found(Result.MISMATCH, fields=kept, text=text, error=error)


def _without_password(found: Found) -> Found:
    if found.password:
        return Found(Result.INTERNAL, text="nopassword set but password is non-empty", error=True)
    return accepted(found)
