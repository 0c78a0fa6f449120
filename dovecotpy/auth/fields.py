"""What passdb and userdb fields mean."""

from __future__ import annotations

import grp
import ipaddress
import os
import pwd

from dovecotpy.auth.request import Request

USERDB_PREFIX = "userdb_"
MAX_NETS = 1000
"""Networks in one allow_nets."""


class FieldError(Exception):
    """A field has a value that it cannot have. Log: this text, an error; the look-up fails internally."""


def take_passdb_fields(request: Request, found: dict[str, str]) -> None:
    """Sort what a passdb said: the user's name, the userdb's fields, the client's fields."""
    for name, value in found.items():
        if name.startswith(USERDB_PREFIX):
            request.userdb_fields = request.userdb_fields if request.userdb_fields is not None else {}
            request.userdb_fields[name[len(USERDB_PREFIX) :]] = value or "1"
        elif name in ("user", "username", "domain"):
            _rename(request, name, value)
        elif name not in ("password", "password_noscheme", "nopassword"):
            request.fields[name] = value


def _rename(request: Request, field: str, value: str) -> None:
    name, at, domain = request.user.partition("@")
    if not value:
        return
    if field == "user":
        request.user = value
    elif field == "username":
        request.user = value if "@" in value else value + at + domain
    else:
        request.user = f"{name}@{value}"


def is_allowed(remote_address: str, allow_nets: str) -> bool:
    """Whether the address is in one of the networks `IP[/bits]`, separated by commas or blanks. A broken one allows nobody."""
    try:
        address = ipaddress.ip_address(remote_address)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return any(_is_in(mapped or address, net) for net in allow_nets.replace(",", " ").split()[:MAX_NETS])


def _is_in(address: ipaddress.IPv4Address | ipaddress.IPv6Address, net: str) -> bool:
    try:
        return address in ipaddress.ip_network(net, strict=False)
    except ValueError:
        return False


def resolved(found: dict[str, str]) -> dict[str, str]:
    """A userdb's fields with uid and gid as numbers, `uidgid_file` taken in. Raises FieldError."""
    fields = dict(found)
    path = fields.pop("uidgid_file", "")
    if path:
        try:
            status = os.stat(path)
        except OSError as error:
            raise FieldError(f"stat({path}) failed: {error.strerror}") from error
        fields["uid"], fields["gid"] = str(status.st_uid), str(status.st_gid)
    if "uid" in fields:
        fields["uid"] = _number(fields["uid"], "UID")
    if "gid" in fields:
        fields["gid"] = _number(fields["gid"], "GID")
    return fields


def _number(value: str, what: str) -> str:
    if value.isascii() and value.isdigit() and len(value) <= 10:
        return str(int(value))
    try:
        return str(pwd.getpwnam(value).pw_uid if what == "UID" else grp.getgrnam(value).gr_gid)
    except (KeyError, ValueError) as error:
        raise FieldError(f"Invalid {what} value '{value}'") from error
