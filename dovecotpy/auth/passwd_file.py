"""passwd-files: `user:password:uid:gid:gecos:home:shell:extra`, a line each user, read again when the file changes."""

from __future__ import annotations

import os
import shlex
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from dovecotpy.auth.request import Request
from dovecotpy.auth.setup import SetupError
from dovecotpy.config import variables

MAX_OPEN_FILES = 128
"""Files with variables in their path that are kept in memory."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One user. Empty texts: not given."""

    user: str
    password: str
    uid: str
    gid: str
    home: str
    extra: tuple[str, ...]
    """`key` or `key=value`, not yet expanded"""


@dataclass(frozen=True, slots=True)
class Arguments:
    """The args of a passwd-file section."""

    scheme: str
    username_format: str
    path: str


class Unreadable(Exception):
    """The file is there no more or cannot be read. Log: this text, an error (`no passwd file` is knowledge, see PasswdFiles)."""


def arguments(args: str, default_scheme: str = "CRYPT") -> Arguments:
    """`[scheme=CRYPT] [username_format=%u] /path` taken apart. Raises SetupError."""
    scheme, username_format, path = default_scheme, "%u", ""
    for word in args.split():
        if word.startswith("scheme="):
            scheme = word[len("scheme=") :]
        elif word.startswith("username_format="):
            username_format = word[len("username_format=") :]
        else:
            path = word
    if not path:
        raise SetupError("passwd-file: Missing args")
    return Arguments(scheme, username_format, path)


def parse(text: str, complain: Callable[[str], None], path: str) -> dict[str, Entry]:
    """Users by name. complain: is told of lines that cannot be used."""
    users: dict[str, Entry] = {}
    for line in text.split("\n"):
        entry = _entry(line.rstrip("\r"))
        if entry is None:
            continue
        fault = _fault(entry)
        if entry.user in users:
            complain(f"passwd-file {path}: User {entry.user} exists more than once")
        elif fault:
            complain(f"passwd-file {path}: User {entry.user} has {fault}")
        else:
            users[entry.user] = entry
    return users


def _entry(line: str) -> Entry | None:
    if not line.strip() or line[0] in ":#":
        return None
    parts = line.split(":", 7)
    parts += [""] * (8 - len(parts))
    user, password, uid, gid, _, home, _, extra = parts
    return Entry(user, _password(password), uid, gid, home, tuple(_words(extra)))


def _words(extra: str) -> list[str]:
    """The last field's words; before there were words the field was empty and a mail location stood behind it."""
    if extra.startswith(":"):
        return [f"userdb_mail={extra[1:]}"] if extra[1:].strip() else []
    try:
        return shlex.split(extra)
    except ValueError:
        return extra.split()


_BRACKETS = {"34": "PLAIN-MD5", "56": "DIGEST-MD5"}


def _password(stored: str) -> str:
    """`hash[NN]` is a hash of the kind NN."""
    if stored.startswith("{") or not stored.endswith("]") or "[" not in stored:
        return stored
    value, _, number = stored[:-1].rpartition("[")
    return "{" + _BRACKETS.get(number, "CRYPT") + "}" + value


def _fault(entry: Entry) -> str:
    for name, value in (("UID", entry.uid), ("GID", entry.gid)):
        if value and (not value.isascii() or not value.isdigit() or int(value) == 0):
            return f"invalid {name} '{value}'"
    return ""


@dataclass(frozen=True, slots=True)
class _Read:
    stamp: tuple[int, int, int]
    users: dict[str, Entry]


class PasswdFiles:
    """The files that one section's path names, each read when it is first asked for and whenever it changed."""

    def __init__(self, args: Arguments, complain: Callable[[str], None]) -> None:
        self._args = args
        self._complain = complain
        self._read: OrderedDict[str, _Read] = OrderedDict()
        if "%" not in args.path:
            self._start(args.path)

    def _start(self, path: str) -> None:
        try:
            self._users(path)
        except OSError as error:
            raise SetupError(f"passwd-file {path}: Can't open file: {error.strerror}") from error

    def find(self, request: Request) -> Entry | None:
        """The user's line. Raises Unreadable."""
        path = self._path(request)
        if path is None:
            return None
        try:
            users = self._users(path)
        except FileNotFoundError as error:
            if "%" in self._args.path:
                return None
            raise Unreadable(f"passwd-file {path}: Can't open file: {error.strerror}") from error
        except OSError as error:
            raise Unreadable(f"passwd-file {path}: Can't open file: {error.strerror}") from error
        return users.get(self._name(request))

    def _name(self, request: Request) -> str:
        if self._args.username_format == "%u":
            return request.user
        return variables.expand(self._args.username_format, request.variables())

    def _path(self, request: Request) -> str | None:
        """The file for this request; None where a value would lead elsewhere."""
        if "%" not in self._args.path:
            return self._args.path
        values = request.variables()
        for piece in variables.parse(self._args.path):
            if isinstance(piece, variables.Variable):
                value = piece.evaluate(values)
                if "/" in value or "\0" in value or value in (".", ".."):
                    return None
        return variables.expand(self._args.path, values)

    def _users(self, path: str) -> dict[str, Entry]:
        held = self._read.get(path)
        status = os.stat(path)
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if held is None or held.stamp != stamp:
            with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                held = _Read(stamp, parse(file.read(), self._complain, path))
            self._read[path] = held
            if len(self._read) > MAX_OPEN_FILES:
                self._read.popitem(last=False)
        self._read.move_to_end(path)
        return held.users
