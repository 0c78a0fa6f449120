"""passdb passwd-file: `[scheme=CRYPT] [username_format=%u] /path`."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth import passwd_file
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result, failed, unknown
from dovecotpy.config import variables


class PasswdFilePassdb:
    """Passwords from a passwd-file. Raises SetupError when made of args that cannot be used."""

    def __init__(self, args: str, complain: Callable[[str], None]) -> None:
        self._args = passwd_file.arguments(args)
        self._files = passwd_file.PasswdFiles(self._args, complain)

    def lookup(self, request: Request) -> Found:
        """The user's password and the extra fields of his line, expanded."""
        try:
            entry = self._files.find(request)
        except passwd_file.Unreadable as error:
            return failed(str(error))
        if entry is None:
            return unknown()
        values = request.variables() if entry.extra else {}
        fields = {}
        for word in entry.extra:
            name, _, value = word.partition("=")
            fields[name] = variables.expand(value, values)
        return Found(Result.OK, entry.password or None, fields, self._args.scheme)
