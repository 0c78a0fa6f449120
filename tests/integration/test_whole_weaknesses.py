"""The classes of weaknesses that were published of mail stores, each tried on this one where it could apply.

Bad input before login, STARTTLS, SQL and hand-over have tests of their own (test_whole_hostile, test_login_process, test_auth_*,
test_whole_hijacked); here are messages as weapons, expressions that backtrack, links out of the mail, and what may never be loaded.
"""

from __future__ import annotations

import ast
import importlib
import os
import pkgutil
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import dovecotpy
from tests.server import MAIL_ID, RawClient, Server

SECONDS = 10.0
"""For everything that a client asks of one hostile message, on a busy machine."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("weaknesses")) as server:
        yield server
        assert "Traceback" not in server.log()


def nested(depth: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (number, number)
        for number in range(depth)
    )
    return b"Subject: nested\n" + head + b"\ntext\n"


BOMBS = {
    "multiparts in multiparts": nested(5000),
    "messages in messages": b"Content-Type: message/rfc822\n\n" * 20_000,
    "a hundred thousand parts": b"Content-Type: multipart/mixed; boundary=x\n\n" + b"--x\n\nt\n" * 100_000,
    "a hundred thousand fields": b"X: y\n" * 100_000 + b"\nbody\n",
    "one field of megabytes": b"Subject: " + b"word " * 400_000 + b"\n\nbody\n",
    "folded without an end": b"To: a@b,\n" + b" c@d,\n" * 200_000 + b"\nbody\n",
    "addresses in nested comments": b"From: " + b"(" * 100_000 + b"x@y\n\nbody\n",
    "a hundred thousand references": b"References: " + b"<a@b> " * 100_000 + b"\n\nbody\n",
    "parameters without an end": b"Content-Type: text/plain" + b"; a*0*=utf-8''%41" * 50_000 + b"\n\nbody\n",
    "encoded words without an end": b"Subject: " + b"=?utf-8?q?=41?= " * 60_000 + b"\n\nbody\n",
    "a boundary of megabytes": b"Content-Type: multipart/mixed; boundary="
    + b"b" * 2_000_000
    + b"\n\n--"
    + b"b" * 2_000_000
    + b"\n",
    "boundaries that begin alike": b"Content-Type: multipart/mixed; boundary=a\n\n"
    + b"".join(b"--a%d\n" % number for number in range(100_000)),
    "base64 that is none": b"Content-Type: text/plain; charset=utf-7\nContent-Transfer-Encoding: base64\n\n"
    + b"=" * 1_000_000,
    "no lines at all": b"x" * 3_000_000,
    "NULs": b"Subject: \0\0\0\n" + b"\0" * 1_000_000,
}


def ask_everything(client: RawClient) -> None:
    for items in (
        "ENVELOPE",
        "BODYSTRUCTURE",
        "(FLAGS RFC822.SIZE BODY BODY.PEEK[HEADER.FIELDS (SUBJECT TO)])",
    ):
        answer = client.command(f"FETCH 1 {items}")
        assert b" OK " in answer[-1], answer[-1][:200]
        assert any(line.startswith(b"* 1 FETCH") for line in answer)
    for keys in ("TEXT needle", "HEADER X z", "FROM nobody", "SENTSINCE 1-Jan-2020"):
        assert b" OK " in client.command(f"SEARCH {keys}")[-1]


@pytest.mark.parametrize("name", BOMBS)
def test_no_message_is_a_weapon(server: Server, name: str) -> None:
    number = list(BOMBS).index(name)
    server.deliver("joe", BOMBS[name], folder=f".bomb{number}")
    with server.logged_in() as client:
        assert b" OK " in client.command(f"SELECT bomb{number}")[-1]
        began = time.monotonic()
        ask_everything(client)
        assert time.monotonic() - began < SECONDS
    with server.logged_in("ann") as other:
        assert b" OK " in other.command("SELECT INBOX")[-1]


def expressions() -> list[tuple[str, "re.Pattern[str] | re.Pattern[bytes]"]]:
    """Every compiled expression of the package, by the module that holds it."""
    found = []
    for module in pkgutil.walk_packages(dovecotpy.__path__, "dovecotpy."):
        if module.name.endswith("__main__"):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern):
                found.append((f"{module.name}.{name}", value))
    return found


@pytest.mark.parametrize(("name", "expression"), expressions(), ids=lambda value: str(value)[:60])
def test_no_expression_backtracks_without_bound(
    name: str, expression: "re.Pattern[str] | re.Pattern[bytes]"
) -> None:
    """Twice the input takes about twice the time, whatever is repeated."""
    pieces = [
        " ",
        "a",
        "0",
        "%41",
        "\\",
        '"',
        "(",
        ")",
        "<",
        "a@",
        "a.",
        ";",
        "=",
        ", ",
        "\t\n",
        "*0",
        "a=b;",
        "\0",
    ]
    for piece in pieces:
        for end in ("", "!", "\n", '"'):
            small, large = (
                _seconds(expression, piece * 5_000 + end),
                _seconds(expression, piece * 40_000 + end),
            )
            assert large < 0.2 or large < 40 * max(small, 1e-4), f"{name}: {piece!r} {small:.4f} {large:.4f}"


def _seconds(expression: "re.Pattern[str] | re.Pattern[bytes]", text: str) -> float:
    began = time.process_time()
    if isinstance(expression.pattern, bytes):
        octets = text.encode()
        expression.match(octets)  # type: ignore[arg-type]
        expression.match(octets, len(octets) // 2)  # type: ignore[arg-type]
    else:
        expression.match(text)  # type: ignore[arg-type]
    return time.process_time() - began


def test_nothing_reads_objects_or_programs_from_data() -> None:
    """No pickle, marshal, shelve, eval or exec anywhere: data stays data."""
    root = Path(dovecotpy.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in ("eval", "exec", "__import__"), f"{path}:{node.lineno}"
            assert not {"pickle", "marshal", "shelve", "_pickle"} & set(names), f"{path}:{node.lineno}"


def test_links_lead_nowhere(server: Server, tmp_path: Path) -> None:
    """What a user links into his mail from outside is neither a message nor a mailbox."""
    secret = tmp_path / "secret"
    (secret / "cur").mkdir(parents=True)
    (secret / "cur" / "1.x:2,").write_bytes(b"Subject: stolen\n\n")
    root = server.home("ann") / "Maildir"
    server.deliver("ann", b"Subject: own\n\n")
    os.symlink(secret / "cur" / "1.x:2,", root / "cur" / "2.link:2,")
    os.symlink(secret, root / ".Stolen")
    if os.geteuid() == 0:
        os.lchown(root / ".Stolen", MAIL_ID, MAIL_ID)
    with server.logged_in("ann") as client:
        client.command("SELECT INBOX")
        assert not any(b"stolen" in line for line in client.command("UID FETCH 1:* BODY.PEEK[]"))
        assert b"stolen" not in b"".join(
            [*client.command("SELECT Stolen"), *client.command("UID FETCH 1:* BODY[]")]
        )
        assert b" NO " in client.command("SELECT ../ann/Maildir/.Stolen")[-1]
        assert b" OK " in client.command("SELECT INBOX")[-1]
