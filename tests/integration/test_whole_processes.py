"""The process tree of a running server, read from /proc: who runs as whom, where, with which descriptors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server import MAIL_ID, RawClient, Server, eventually

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="identities and chroots need root")

NOBODY = 65534
SECRET = "Canary-7f3a-kept-by-auth-alone"


def identity(pid: int) -> tuple[set[int], set[int], set[int]]:
    """uids (real, effective, saved), gids and supplementary groups of a process."""
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    uids = {int(word) for word in fields["Uid"].split()[:3]}
    gids = {int(word) for word in fields["Gid"].split()[:3]}
    return uids, gids, {int(word) for word in fields["Groups"].split()}


def status_field(pid: int, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return line.split(":", 1)[1].strip()
    raise AssertionError(name)


def descriptors(pid: int) -> list[str]:
    found = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found.append(os.readlink(entry))
        except FileNotFoundError:
            continue
    return found


def listening_inodes() -> set[str]:
    """socket:[inode] of every listening TCP socket of this machine."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                found.add(f"socket:[{words[9]}]")
    return found


def memory(pid: int) -> Iterator[bytes]:
    """What a process has in its writable memory, map by map; nothing when it has ended meanwhile."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
        mem = open(f"/proc/{pid}/mem", "rb", buffering=0)  # noqa: SIM115 (closed below)
    except (FileNotFoundError, ProcessLookupError):
        return
    with mem:
        for line in maps.splitlines():
            span, rights, *_ = line.split()
            low, high = (int(word, 16) for word in span.split("-"))
            if not rights.startswith("rw"):
                continue
            try:
                mem.seek(low)
                yield mem.read(high - low)
            except (OSError, ValueError, OverflowError):
                continue


@pytest.fixture(scope="module", params=["yes", "no"], ids=["a-process-a-connection", "shared-login"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"login_process_per_connection": request.param, "login_processes_count": "2"}
    with Server(
        tmp_path_factory.mktemp("whole"), settings=settings, users={"joe": SECRET, "ann": "x"}
    ) as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[RawClient]:
    server.deliver("joe", b"Subject: one\n\nbody\n")
    with server.logged_in() as client:
        assert client.command("SELECT INBOX")[-1].startswith(b"t2 OK [READ-WRITE]")
        yield client


def session_of(server: Server, user: str) -> int:
    assert eventually(lambda: server.titled(f"imap [{user}"))
    return server.titled(f"imap [{user}")[-1]


def test_every_kind_of_process_is_there(server: Server, client: RawClient) -> None:
    titles = list(server.processes().values())
    assert any(title.startswith("dovecotpy") for title in titles)
    for beginning in ("dovecot-auth", "imap-login", "imap [joe 127.0.0.1]", "imap"):
        assert any(title.startswith(beginning) for title in titles), (beginning, titles)


@as_root
def test_login_workers_are_nobody_in_a_chroot(server: Server, client: RawClient) -> None:
    workers = server.titled("imap-login")
    assert len(workers) >= 2
    for pid in workers:
        uids, gids, groups = identity(pid)
        assert uids == {NOBODY}
        assert gids == {NOBODY} and groups <= {NOBODY}
        assert os.readlink(f"/proc/{pid}/root") == str(server.base / "login")
        assert status_field(pid, "CapPrm").strip("0") == ""
        assert status_field(pid, "NoNewPrivs") == "1"


@as_root
def test_a_session_is_its_user_and_has_neither_listener_nor_auth(server: Server, client: RawClient) -> None:
    pid = session_of(server, "joe")
    uids, gids, groups = identity(pid)
    assert (uids, gids) == ({MAIL_ID}, {MAIL_ID})
    assert groups == {MAIL_ID}
    assert status_field(pid, "CapPrm").strip("0") == ""
    open_now = descriptors(pid)
    assert not listening_inodes() & set(open_now)
    assert not [path for path in open_now if "dovecot.log" in path or "passwd" in path or "key.pem" in path]
    assert len(open_now) < 24, open_now


@as_root
def test_no_process_but_the_login_ones_has_a_listener(server: Server, client: RawClient) -> None:
    listening = listening_inodes()
    for pid, title in server.processes().items():
        has = bool(listening & set(descriptors(pid)))
        if title.startswith(("imap [", "imap", "dovecot-auth")) and not title.startswith("imap-login"):
            assert not has, title


@as_root
def test_the_master_keeps_few_capabilities(server: Server) -> None:
    assert 0 < bin(int(status_field(server.pid, "CapEff"), 16)).count("1") <= 16


@as_root
def test_a_users_password_is_in_no_mail_process(server: Server, client: RawClient) -> None:
    needle = SECRET.encode()
    for pid, title in server.processes().items():
        if title.startswith("imap") and not title.startswith("imap-login"):
            assert not any(needle in part for part in memory(pid)), title


def test_a_session_leaves_nothing_behind(server: Server) -> None:
    before = len(server.titled("imap ["))
    with server.logged_in("ann") as client:
        client.command("SELECT INBOX")
        assert eventually(lambda: server.titled("imap [ann"))
        client.command("LOGOUT")
    assert eventually(lambda: not server.titled("imap [ann"))
    assert eventually(lambda: len(server.titled("imap [")) <= before)
