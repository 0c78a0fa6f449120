"""`dovecotpy-pw`: make a stored password from a plain one (dovecotpw of 1.x)."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence

from dovecotpy.auth import schemes

DEFAULT_SCHEME = "HMAC-MD5"
FAILURE = 89


class _Mismatch(Exception):
    """The password was typed differently the second time."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="dovecotpy-pw", description="Print the stored form of a password: {SCHEME}hash."
    )
    command.add_argument(
        "-l", action="store_true", dest="list", help="list the schemes, those for new passwords first"
    )
    command.add_argument(
        "-s", metavar="SCHEME", dest="scheme", default=DEFAULT_SCHEME, help=f"default {DEFAULT_SCHEME}"
    )
    command.add_argument(
        "-p", metavar="PASSWORD", dest="password", help="the plain password; asked for when not given"
    )
    command.add_argument("-u", metavar="USER", dest="user", default="", help="user name, for DIGEST-MD5")
    command.add_argument(
        "-V", action="store_true", dest="verify", help="compare the result with the password once more"
    )
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 89 with one line on stderr."""
    given = parser().parse_args(arguments)
    if given.list:
        print(" ".join(schemes.names()))
        return 0
    try:
        password = _asked() if given.password is None else given.password
        made = schemes.generate(password, given.scheme, given.user)
        verified = given.verify and schemes.verify(password, made, "PLAIN", given.user)
    except schemes.SchemeError as error:
        return _fatal(f"{error} (see {parser().prog} -l)")
    except _Mismatch:
        return _fatal("Passwords don't match!")
    except (EOFError, KeyboardInterrupt):
        return _fatal("no password given")
    if given.verify and not verified:
        return _fatal("the result does not match the password")
    print(f"{made} (verified)" if given.verify else made)
    return 0


def _asked() -> str:
    """The password, typed twice. Raises _Mismatch when the two differ, EOFError."""
    first = getpass.getpass("Enter new password: ")
    if getpass.getpass("Retype new password: ") != first:
        raise _Mismatch
    return first


def _fatal(text: str) -> int:
    print(f"Fatal: {text}", file=sys.stderr)
    return FAILURE


if __name__ == "__main__":
    sys.exit(main())
