"""A whole server for a test: real processes on loopback, in a directory of the test's, ended with the test.

    with Server(tmp_path) as server:
        with server.connect() as client:      # raw lines, see RawClient
            client.login("joe", "secret")

As root the server runs as it would in production: chrooted login processes of `nobody`, mail processes of uid MAIL_ID.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType

from dovecotpy.cli import mkcert

MAIL_ID = 61235
AS_ROOT = os.geteuid() == 0
START_SECONDS = 30.0


class RawClient:
    """An IMAP client of exact bytes. `command` sends one line with a fresh tag and gives every line of the answer."""

    def __init__(self, port: int, *, tls: bool = False, source: str = "", timeout: float = 20.0) -> None:
        sock = socket.create_connection(("127.0.0.1", port), timeout, (source, 0) if source else None)
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            sock = context.wrap_socket(sock)
        self.sock = sock
        self._buffer = b""
        self._count = 0
        self.greeting = self.line()

    def __enter__(self) -> RawClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def line(self) -> bytes:
        """The next line without CRLF, with the literals that it announces; b"" at the end of the connection."""
        whole = b""
        while True:
            part = self._until_newline()
            whole += part
            announced = re.search(rb"\{(\d+)\}\r\n$", part)
            if announced is None:
                return whole.removesuffix(b"\r\n")
            whole += self._exactly(int(announced.group(1)))

    def command(self, line: bytes | str) -> list[bytes]:
        """Untagged lines, then the tagged one last."""
        if isinstance(line, str):
            line = line.encode()
        self._count += 1
        tag = b"t%d" % self._count
        self.send(tag + b" " + line + b"\r\n")
        return self.answer(tag)

    def answer(self, tag: bytes) -> list[bytes]:
        lines = []
        while True:
            line = self.line()
            if not line:
                raise EOFError(f"connection ended after {lines!r}")
            lines.append(line)
            if line.startswith(tag + b" "):
                return lines

    def login(self, user: str, password: str) -> list[bytes]:
        return self.command(f'LOGIN "{user}" "{password}"')

    def at_end(self) -> bool:
        """Whether the server closes the connection (what it still says is thrown away)."""
        try:
            while self.sock.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            return True
        return True

    def _until_newline(self) -> bytes:
        while b"\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                rest, self._buffer = self._buffer, b""
                return rest
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return line + b"\n"

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("connection ended in a literal")
            self._buffer += data
        data, self._buffer = self._buffer[:size], self._buffer[size:]
        return data


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """One running server. `settings`: lines of the root of the configuration; `auth`: the inside of `auth default {}`."""

    def __init__(
        self,
        directory: Path,
        *,
        settings: Mapping[str, str] | None = None,
        auth: str | None = None,
        extra: str = "",
        users: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        interpreter: str = sys.executable,
    ) -> None:
        self.directory = directory
        self._interpreter = interpreter
        self.port = free_port()
        self.tls_port = free_port()
        self.configuration = directory / "dovecot.conf"
        self.log_path = directory / "dovecot.log"
        self.base = directory / "run"
        self.mail = directory / "mail"
        self._settings = dict(settings or {})
        self._auth = auth
        self._extra = extra
        self._users = dict(users if users is not None else {"joe": "secret", "ann": "secret2"})
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Server:
        self.prepare()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
        if error is not None:
            sys.stderr.write(f"--- log of the server ---\n{self.log()}")

    def prepare(self) -> None:
        """Write configuration, users, certificate; make homes."""
        for path in (self.directory, *self.directory.parents):
            if AS_ROOT and path.stat().st_uid == 0 and path != Path("/"):
                path.chmod(path.stat().st_mode | 0o011)
        self.mail.mkdir(exist_ok=True)
        self.mail.chmod(0o755)
        mkcert.create(
            str(self.directory / "cert.pem"), str(self.directory / "key.pem"), ["localhost", "127.0.0.1"]
        )
        for user in self._users:
            self.home(user)
        self.write_users()
        self.write_configuration()

    def write_users(self) -> None:
        uid, gid = (MAIL_ID, MAIL_ID) if AS_ROOT else (os.geteuid(), os.getegid())
        lines = [
            f"{user}:{{PLAIN}}{word}:{uid}:{gid}::{self.mail}/{user}::" for user, word in self._users.items()
        ]
        path = self.directory / "passwd"
        path.write_text("\n".join(lines) + "\n")
        path.chmod(0o600)

    def home(self, user: str) -> Path:
        """The user's home directory, made if it is missing."""
        path = self.mail / user
        if not path.exists():
            path.mkdir(mode=0o700)
            self.give(path)
        return path

    def give(self, path: Path) -> None:
        """To the owner of the mail, with everything below."""
        if AS_ROOT:
            for entry in (path, *path.rglob("*")):
                os.lchown(entry, MAIL_ID, MAIL_ID)

    def deliver(self, user: str, message: bytes, name: str = "", folder: str = "") -> Path:
        """As an MTA does: through tmp/ into new/ of the Maildir."""
        root = self.home(user) / "Maildir"
        box = root / folder if folder else root
        for part in ("tmp", "new", "cur"):
            (box / part).mkdir(parents=True, exist_ok=True, mode=0o700)
        if AS_ROOT:
            for path in (root, box, *(box / part for part in ("tmp", "new", "cur"))):
                os.chown(path, MAIL_ID, MAIL_ID)
        name = name or f"{int(time.time())}.M{time.perf_counter_ns()}P{os.getpid()}.test"
        (box / "tmp" / name).write_bytes(message)
        self.give(box / "tmp" / name)
        os.rename(box / "tmp" / name, box / "new" / name)
        return box / "new" / name

    def write_configuration(self, **changes: str) -> None:
        """Write the file; `changes` are settings that replace earlier ones."""
        self._settings.update(changes)
        me = pwd.getpwuid(os.geteuid()).pw_name
        settings = {
            "base_dir": str(self.base),
            "protocols": "imap imaps",
            "log_path": str(self.log_path),
            "ssl_cert_file": str(self.directory / "cert.pem"),
            "ssl_key_file": str(self.directory / "key.pem"),
            "login_user": "nobody" if AS_ROOT else me,
            "login_chroot": "yes" if AS_ROOT else "no",
            "first_valid_uid": "1",
            "mail_location": "maildir:~/Maildir",
            "verbose_proctitle": "yes",
            "auth_verbose": "yes",
            **self._settings,
        }
        auth = self._auth if self._auth is not None else self._passwd_file_auth()
        lines = [f"{name} = {value}" for name, value in settings.items()]
        listeners = f"protocol imap {{\n  listen = 127.0.0.1:{self.port}\n  ssl_listen = 127.0.0.1:{self.tls_port}\n}}"
        text = "\n".join([*lines, listeners, self._extra, f"auth default {{\n{auth}\n}}", ""])
        self.configuration.write_text(text)
        self.configuration.chmod(0o600)

    def _passwd_file_auth(self) -> str:
        me = pwd.getpwuid(os.geteuid()).pw_name
        path = self.directory / "passwd"
        return (
            f"mechanisms = plain login\nuser = {'root' if AS_ROOT else me}\nfailure_delay = 0\n"
            f"passdb passwd-file {{\n  args = {path}\n}}\nuserdb passwd-file {{\n  args = {path}\n}}"
        )

    def start(self) -> None:
        """Start in the foreground and wait for the greeting. Raises RuntimeError with what the server said."""
        output = open(self.directory / "stderr", "ab")  # noqa: SIM115 (the child has it for as long as it runs)
        environment = {"PATH": os.environ["PATH"], **self._environment}
        self._process = subprocess.Popen(
            [self._interpreter, "-m", "dovecotpy.cli.main", "-F", "-c", str(self.configuration)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            start_new_session=True,
        )
        output.close()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(
                    f"the server ended with {self._process.returncode}: {self.said()}\n{self.log()}"
                )
            if self._greets():
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(f"the server does not greet: {self.said()}\n{self.log()}")

    def _greets(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 2) as probe:
                probe.settimeout(2)
                return probe.recv(100).startswith(b"* OK")
        except OSError:
            return False

    def stop(self, number: int = signal.SIGTERM) -> int | None:
        """End the server and everything it started; its exit status."""
        if self._process is None:
            return None
        if self._process.poll() is None:
            self._process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(15)
        status = self._process.poll()
        left = self.processes()
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if status is None:
            self._process.wait(5)
        self._process = None
        return status

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def processes(self) -> dict[int, str]:
        """pid → title of the server and of every process below it (the session's members)."""
        assert self._process is not None
        found = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                title = (
                    (entry / "cmdline")
                    .read_bytes()
                    .rstrip(b"\0")
                    .replace(b"\0", b" ")
                    .decode(errors="replace")
                )
            except OSError:
                continue
            if int(fields[3]) == self._process.pid and fields[0] != "Z":
                found[int(entry.name)] = title
        return found

    def titled(self, beginning: str) -> list[int]:
        """pids of the processes whose title begins so."""
        return sorted(pid for pid, title in self.processes().items() if title.startswith(beginning))

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def said(self) -> str:
        path = self.directory / "stderr"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_for_log(self, text: str, seconds: float = 10.0, *, count: int = 1) -> str:
        """The log once it holds the text so often. Raises AssertionError with the log."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            log = self.log()
            if log.count(text) >= count:
                return log
            time.sleep(0.02)
        raise AssertionError(f"{text!r} is not in the log:\n{self.log()}")

    def connect(self, *, tls: bool = False, source: str = "", timeout: float = 20.0) -> RawClient:
        return RawClient(self.tls_port if tls else self.port, tls=tls, source=source, timeout=timeout)

    def logged_in(self, user: str = "joe", *, tls: bool = False) -> RawClient:
        """A client that has logged in. Raises AssertionError."""
        client = self.connect(tls=tls)
        answer = client.login(user, self._users[user])
        assert b" OK " in answer[-1], answer
        return client


def usable_by(uid: int) -> bool:
    """Whether another user can run this interpreter and this checkout: not when they are below a directory closed to him."""
    command = [sys.executable, "-c", "import dovecotpy.cli.main"]
    root = Path(__file__).resolve().parents[1]
    try:
        done = subprocess.run(
            command,
            user=uid,
            group=uid,
            extra_groups=[],
            check=False,
            capture_output=True,
            cwd=root,
            timeout=60,
        )
    except PermissionError:
        return False
    return done.returncode == 0


def eventually(condition: object, seconds: float = 10.0) -> bool:
    """Whether a condition (a callable) becomes true in time."""
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())


def messages(count: int) -> Iterator[bytes]:
    """Small messages that differ."""
    for number in range(count):
        yield (
            b"From: a%d@example.org\nTo: joe@example.org\nSubject: message %d\nMessage-ID: <m%d@example.org>\n\nbody %d\n"
            % (number, number, number, number)
        )


def program(name: str) -> str:
    """The path of a program of the system, or empty."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin:/usr/lib/dovecot") or ""
