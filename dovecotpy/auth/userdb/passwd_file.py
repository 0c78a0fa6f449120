"""userdb passwd-file: `[username_format=%u] /path`."""

from __future__ import annotations

from collections.abc import Callable

from dovecotpy.auth import passwd_file
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Found, Result, failed, unknown
from dovecotpy.config import variables

PREFIX = "userdb_"


class PasswdFileUserdb:
    """Uid, gid, home and `userdb_…` fields from a passwd-file. Raises SetupError when made of args that cannot be used."""

    def __init__(self, args: str, complain: Callable[[str], None]) -> None:
        self._files = passwd_file.PasswdFiles(passwd_file.arguments(args), complain)

    def lookup(self, request: Request) -> Found:
        """The fields of the user's line; a word without a value is a field of `1`."""
        try:
            entry = self._files.find(request)
        except passwd_file.Unreadable as error:
            return failed(str(error))
        if entry is None:
            return unknown()
        values = request.variables() if entry.extra else {}
        given = (("uid", entry.uid), ("gid", entry.gid), ("home", entry.home))
        fields = {name: value for name, value in given if value}
        for word in entry.extra:
            if word.startswith(PREFIX):
                name, equals, value = word[len(PREFIX) :].partition("=")
                fields[name] = variables.expand(value, values) if equals else "1"
        return Found(Result.OK, fields=fields)
