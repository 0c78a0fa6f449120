"""Debian's Dovecot as a peer: one logged-in session on a Maildir, and the same questions to it and to us, answers compared."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

from tests.integration.storage_processes import IMAP
from tests.server import AS_ROOT, MAIL_ID, RawClient
from tests.strict_imap import Malformed, parse_response_data

BATCH = 100
WHOLE = b"RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT]"
PARTIALS = (
    b"BODY.PEEK[]<0.64> BODY.PEEK[]<7.900> BODY.PEEK[TEXT]<3.77> BODY.PEEK[HEADER]<5.33> BODY.PEEK[]<100000000.5>"
    b" BODY.PEEK[HEADER.FIELDS (Subject FROM Received X-Mailer)] BODY.PEEK[HEADER.FIELDS.NOT (Received Date)]"
)


class _Pipes:
    """The pipes of a process as the part of a socket that a RawClient uses (the imap binary refuses sockets)."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None and process.stdout is not None
        self._input, self._output = process.stdin, process.stdout

    def sendall(self, data: bytes) -> None:
        self._input.write(data)
        self._input.flush()

    def recv(self, size: int) -> bytes:
        return os.read(self._output.fileno(), size)

    def close(self) -> None:
        self._input.close()
        self._output.close()


class Peer(RawClient):
    """A session of Debian's imap binary on a Maildir, logged in from the start, as the owner of the mail. What it logs: to `log`."""

    def __init__(self, maildir: Path, log: Path | None = None, **options: str) -> None:
        uid, gid = (MAIL_ID, MAIL_ID) if AS_ROOT else (os.getuid(), os.getgid())
        settings = {
            "mail_location": f"maildir:{maildir}",
            "mail_uid": str(uid),
            "mail_gid": str(gid),
            "first_valid_uid": "1",
            "log_path": "/dev/null",
            "info_log_path": "/dev/null",
            "mail_plugins": "",
            **options,
        }
        arguments = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        me = "joe" if AS_ROOT else pwd.getpwuid(os.getuid()).pw_name
        with open(log or "/dev/null", "ab") as said:
            self._process = subprocess.Popen(
                [IMAP, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                env={"HOME": str(maildir.parent), "USER": me, "PATH": os.environ["PATH"]},
                cwd="/",
            )
        self.sock = cast(socket.socket, _Pipes(self._process))
        self._buffer = b""
        self._count = 0
        self.greeting = self.line()
        assert self.greeting.startswith(b"* PREAUTH"), self.greeting

    def close(self) -> None:
        super().close()
        self._process.wait(10)


class Difference(NamedTuple):
    """What the two answered to one question about one message."""

    message: str
    item: str
    ours: Any
    theirs: Any


def lay_out(maildir: Path, mail: list[bytes]) -> None:
    """A Maildir of these messages, in order."""
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    for number, message in enumerate(mail):
        path = maildir / "cur" / f"{1700000000 + number}.M{number}P1.peer:2,"
        path.write_bytes(message)
        os.utime(path, (1700000000 + number, 1700000000 + number))
    if AS_ROOT:
        for entry in (maildir, *maildir.rglob("*")):
            os.chown(entry, MAIL_ID, MAIL_ID)


def differences(ours: RawClient, theirs: RawClient, names: list[str]) -> Iterator[Difference]:
    """Ask both all about every message of INBOX; `names` are those of the messages, in order."""
    for client in (ours, theirs):
        assert b" OK " in client.command("SELECT INBOX")[-1]
    for low in range(1, len(names) + 1, BATCH):
        high = min(low + BATCH - 1, len(names))
        command = b"FETCH %d:%d (%s)" % (low, high, WHOLE)
        mine, its = items(ours.command(command)), items(theirs.command(command))
        for number in range(low, high + 1):
            name = names[number - 1]
            answers = mine.get(number, {}), its.get(number, {})
            yield from _compared(name, *answers)
            wanted = PARTIALS + b"".join(b" " + part for part in sections(answers[1].get("BODYSTRUCTURE")))
            command = b"FETCH %d (%s)" % (number, wanted)
            yield from _compared(
                name,
                items(ours.command(command)).get(number, {}),
                items(theirs.command(command)).get(number, {}),
            )


def _compared(name: str, mine: dict[str, Any], its: dict[str, Any]) -> Iterator[Difference]:
    for item in dict.fromkeys([*mine, *its]):
        if mine.get(item, "nothing") != its.get(item, "nothing"):
            yield Difference(name, item, mine.get(item, "nothing"), its.get(item, "nothing"))


def items(lines: list[bytes]) -> dict[int, dict[str, Any]]:
    """Of each FETCH response its items by name (in capitals, as Dovecot sends the names of fields), values parsed; flags are left out.

    "refused" for a command that failed.
    """
    found: dict[int, dict[str, Any]] = {}
    for line in lines[:-1]:
        star, number, word, rest = (line.split(b" ", 3) + [b"", b"", b""])[:4]
        if star == b"*" and word == b"FETCH":
            try:
                [values] = parse_response_data(rest)
            except Malformed as error:
                values = ["malformed", str(error)]
            pairs = zip(values[::2], values[1::2], strict=True)
            found.setdefault(int(number), {}).update(
                {key.upper(): value for key, value in pairs if key != "FLAGS"}
            )
    if b" OK " not in lines[-1]:
        found = {number: {"refused": lines[-1]} for number in found} or {0: {"refused": lines[-1]}}
    return found


def sections(structure: Any, prefix: bytes = b"", depth: int = 0) -> Iterator[bytes]:
    """BODY.PEEK[…] of every part of a parsed BODYSTRUCTURE: contents, MIME, and HEADER and TEXT of messages inside."""
    if not isinstance(structure, list) or depth > 20:
        return
    parts = [part for part in structure if isinstance(part, list)]
    if structure and isinstance(structure[0], list):
        count = next(index for index, value in enumerate(structure) if not isinstance(value, list))
        parts = structure[:count]
    else:
        parts = [structure]
    for number, part in enumerate(parts, 1):
        path = prefix + b"%d" % number
        yield b"BODY.PEEK[%s]" % path
        yield b"BODY.PEEK[%s]<1.30>" % path
        yield b"BODY.PEEK[%s.MIME]" % path
        if isinstance(part[0], list):
            yield from sections(part, path + b".", depth + 1)
        elif (
            (part[0] or b"").lower() == b"message" and (part[1] or b"").lower() == b"rfc822" and len(part) > 9
        ):
            yield b"BODY.PEEK[%s.HEADER]" % path
            yield b"BODY.PEEK[%s.TEXT]" % path
            yield from sections(part[8], path + b".", depth + 1)
