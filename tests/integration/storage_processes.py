"""Processes for tests of the store: children that do one thing, Debian's Dovecot as a neighbour."""

from __future__ import annotations

import os
import pickle
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

IMAP = "/usr/lib/dovecot/imap"
UID = 12345
requires_dovecot = pytest.mark.skipif(
    not os.path.exists(IMAP), reason="Debian's dovecot-imapd is not installed"
)


class Child:
    """A forked child that runs a function and sends what it returns."""

    def __init__(self, work: Callable[..., Any], *arguments: Any) -> None:
        self._reader, writer = os.pipe()
        self.pid = os.fork()
        if self.pid:
            os.close(writer)
            return
        status = 1
        try:
            os.close(self._reader)
            result = work(*arguments)
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(result, pipe)
            status = 0
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            os._exit(status)

    def result(self, timeout: float = 60) -> Any:
        """What the function returned. Raises AssertionError when it died or took too long."""
        data = b""
        deadline = time.monotonic() + timeout
        while True:
            poll = select.poll()
            poll.register(self._reader, select.POLLIN)
            if not poll.poll(1000 * max(0.0, deadline - time.monotonic())):
                os.kill(self.pid, signal.SIGKILL)
            piece = os.read(self._reader, 65536)
            if not piece:
                break
            data += piece
        os.close(self._reader)
        _, status = os.waitpid(self.pid, 0)
        assert status == 0, f"child ended with {status}"
        return pickle.loads(data)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._reader)


@contextmanager
def mail_directory() -> Iterator[Path]:
    """A directory that the mail user owns and may reach; when root, everything inside runs as that user."""
    path = Path("/tmp") / f"dovecotpy-store-{os.getpid()}-{os.urandom(4).hex()}"
    path.mkdir(mode=0o755)
    root = os.geteuid() == 0
    if root:
        os.chown(path, UID, UID)
        os.setegid(UID)
        os.seteuid(UID)
    try:
        yield path
    finally:
        if root:
            os.seteuid(0)
            os.setegid(0)
        shutil.rmtree(path)


class Dovecot:
    """One session of Debian's imap binary on a Maildir, logged in from the start."""

    def __init__(self, maildir: Path) -> None:
        uid = UID if os.getuid() == 0 else os.getuid()
        gid = UID if os.getuid() == 0 else os.getgid()
        options = {
            "mail_location": f"maildir:{maildir}",
            "mail_uid": str(uid),
            "mail_gid": str(gid),
            "first_valid_uid": "1",
            "log_path": str(maildir.parent / "dovecot.log"),
            "mail_plugins": "",
        }
        arguments = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
        saved = os.geteuid(), os.getegid()
        if os.getuid() == 0:
            os.seteuid(0)
            os.setegid(0)
        try:
            self.process = subprocess.Popen(
                [IMAP, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={"HOME": str(maildir.parent), "USER": "joe", "PATH": os.environ["PATH"]},
                cwd="/",
            )
        finally:
            if os.getuid() == 0:
                os.setegid(saved[1])
                os.seteuid(saved[0])
        self._tag = 0
        assert self._line().startswith(b"* PREAUTH")

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, "dovecot closed the connection"
        return line

    def command(self, text: str, literal: bytes | None = None) -> list[bytes]:
        """The untagged lines of an answer and its tagged one, which must be OK."""
        assert self.process.stdin is not None
        self._tag += 1
        tag = f"d{self._tag}".encode()
        data = tag + b" " + text.encode()
        if literal is not None:
            data += b" {%d+}\r\n" % len(literal) + literal
        self.process.stdin.write(data + b"\r\n")
        self.process.stdin.flush()
        lines = []
        while True:
            line = self._line()
            lines.append(line.rstrip())
            if line.startswith(tag + b" "):
                assert line.startswith(tag + b" OK"), line
                return lines

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()

    def flags(self) -> dict[int, tuple[frozenset[str], bytes]]:
        """Flags (without \\Recent) and subject of every message of the selected mailbox, by UID."""
        import re

        found = {}
        for line in self.command("UID FETCH 1:* (FLAGS BODY.PEEK[HEADER.FIELDS (SUBJECT)])"):
            match = re.match(rb"\* \d+ FETCH \(UID (\d+) FLAGS \((.*?)\)", line)
            if match:
                uid = int(match[1])
                found[uid] = (frozenset(match[2].decode().split()) - {"\\Recent"}, b"")
            elif line.startswith(b"Subject: "):
                found[uid] = (found[uid][0], line[9:])
        return found
