"""A login process in an attacker's hands gets no mailbox and stops nobody else.

The server runs with an interpreter of the test's whose start-up puts the attacker's code into login processes, so the attacks come from
where an attacker would sit: a real login worker, with its real rights.
"""

from __future__ import annotations

import os
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from dovecotpy.sandbox import seccomp
from tests.server import RawClient, Server, eventually

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not seccomp.available(),
    reason="login processes are confined only with root and seccomp",
)

ROOT = Path(__file__).resolve().parents[2]
HOOK = """
import sys
if "dovecotpy.login" in sys.orig_argv:
    sys.path.insert(0, {hijack!r})
    import hijacked_login
"""


def interpreter(directory: Path) -> Path:
    """An interpreter that runs what this one runs, and the attacker's code in login processes."""
    venv.create(directory, with_pip=False, symlinks=True)
    packages = next((directory / "lib").glob("python3.*")) / "site-packages"
    ours = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "attacker_hook.py").write_text(HOOK.format(hijack=str(ROOT / "tests" / "hijack")))
    (packages / "as_the_tests.pth").write_text("\n".join([str(ROOT), *ours, "import attacker_hook"]) + "\n")
    return directory / "bin" / "python"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("hijacked")
    settings = {"login_process_per_connection": "no", "login_processes_count": "2"}
    server = Server(directory, settings=settings, interpreter=str(interpreter(directory / "interpreter")))
    with server:
        server.deliver("joe", b"Subject: private\n\nnobody else's business\n")
        yield server


@pytest.fixture(autouse=True)
def everybody_else_is_served(server: Server) -> Iterator[None]:
    """Sessions from before go on, and new ones begin."""
    with server.logged_in() as before:
        before.command("SELECT INBOX")
        yield
        assert b"nobody else's business" in before.command("FETCH 1 BODY.PEEK[TEXT]")[0]

    def serves() -> bool:
        try:
            with server.logged_in() as later:
                return b" OK " in later.command("SELECT INBOX")[-1]
        except (OSError, AssertionError, EOFError):
            return False

    assert eventually(serves, 15)


def attack(server: Server, name: str) -> list[str]:
    """What the attacker's process reports; nothing when it did not survive."""
    with server.connect(timeout=60) as client:
        try:
            answer = client.command(f"XATTACK {name}")
        except (EOFError, ConnectionError):
            return []
        assert answer[-1].endswith(b"OK done"), "the attacker's code is not there"
        return [line.decode()[5:] for line in answer[:-1]]


def test_a_forged_hand_over_gets_no_mailbox(server: Server) -> None:
    assert attack(server, "FORGE") in (["no mailbox"], [])
    assert "user=<joe>" not in [line for line in server.log().splitlines() if "forged" in line]


def test_garbage_in_the_queue_ends_its_sender(server: Server) -> None:
    attack(server, "GARBAGE")
    server.wait_for_log("Refused a forged hand-over")


def test_queue_and_listeners_cannot_be_taken_away(server: Server) -> None:
    said = attack(server, "SHUTDOWN")
    assert len(said) >= 4
    assert not [line for line in said if "worked" in line], said


def test_a_full_log_holds_nobody_up(server: Server) -> None:
    attack(server, "LOG")
    with server.logged_in("ann") as client:
        client.command("LOGOUT")
    server.wait_for_log("Login: user=<ann>", 30)
    forged = [line for line in server.log().splitlines() if "forged" in line and "imap(joe)" in line]
    assert all("imap-login: " in line for line in forged), "a line of another kind was forged"


def test_neighbours_cannot_be_touched(server: Server) -> None:
    said = attack(server, "NEIGHBOURS")
    assert len(said) == 11
    assert not [line for line in said if "worked" in line], said


def test_a_hostile_client_of_the_attacker_learns_nothing_of_others(server: Server) -> None:
    with RawClient(server.port) as client:
        answer = client.command("SELECT INBOX")[-1]
    assert b" BAD " in answer or b" NO " in answer
