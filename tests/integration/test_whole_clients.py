"""Real clients log in and read: curl, imaplib, imapclient, mbsync."""

from __future__ import annotations

import imaplib
import os
import re
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import imapclient
import pytest

from tests.server import Server, messages, program


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("clients")) as server:
        for message in messages(20):
            server.deliver("joe", message)
        yield server


def unverified() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.mark.skipif(not program("curl"), reason="curl is not installed")
def test_curl_reads_a_message_over_imaps(server: Server) -> None:
    url = f"imaps://127.0.0.1:{server.tls_port}/INBOX;MAILINDEX=1"
    done = subprocess.run(
        ["curl", "-sS", "--insecure", "--user", "joe:secret", url],
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"Subject: message" in done.stdout and b"\r\nbody " in done.stdout


@pytest.mark.skipif(not program("curl"), reason="curl is not installed")
def test_curl_appends_and_finds(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "new.eml"
    file.write_bytes(b"Subject: from curl\r\n\r\nuploaded\r\n")
    base = ["curl", "-sS", "--insecure", "--user", "ann:secret2"]
    url = f"imaps://127.0.0.1:{server.tls_port}/INBOX"
    put = subprocess.run([*base, url, "-T", str(file)], capture_output=True, timeout=30, check=False)
    assert put.returncode == 0, put.stderr
    found = subprocess.run([*base, url + "?SUBJECT%20curl"], capture_output=True, timeout=30, check=False)
    assert re.search(rb"\* SEARCH \d+", found.stdout), found


def test_imaplib_reads_by_starttls(server: Server) -> None:
    client = imaplib.IMAP4("127.0.0.1", server.port)
    client.starttls(unverified())
    client.login("joe", "secret")
    kind, data = client.select("INBOX", readonly=True)
    assert kind == "OK" and int(data[0] or 0) == 20
    kind, parts = client.fetch("1", "(RFC822)")
    assert kind == "OK"
    assert isinstance(parts[0], tuple) and parts[0][1].startswith(b"From: a")
    client.logout()


def test_imapclient_files_flags_and_moves_mail(server: Server) -> None:
    with imapclient.IMAPClient("127.0.0.1", server.tls_port, ssl=True, ssl_context=unverified()) as client:
        client.login("ann", "secret2")
        client.create_folder("Täglich")
        client.append("INBOX", b"Subject: filed\r\n\r\ntext\r\n", flags=[b"\\Flagged", b"$Work"])
        client.select_folder("INBOX")
        found = client.search(["KEYWORD", "$Work"])
        assert len(found) == 1
        client.copy(found, "Täglich")
        client.delete_messages(found)
        client.expunge()
        assert client.search(["KEYWORD", "$Work"]) == []
        client.select_folder("Täglich")
        moved = client.search("FLAGGED")
        assert client.fetch(moved, ["ENVELOPE"])[moved[0]][b"ENVELOPE"].subject == b"filed"
        assert "Täglich" in [name for _, _, name in client.list_folders()]


def test_idle_tells_of_new_mail_at_once(server: Server) -> None:
    with imapclient.IMAPClient("127.0.0.1", server.tls_port, ssl=True, ssl_context=unverified()) as client:
        client.login("joe", "secret")
        before = client.select_folder("INBOX", readonly=True)[b"EXISTS"]
        client.idle()
        server.deliver("joe", b"Subject: while waiting\n\nhere\n")
        told = client.idle_check(timeout=5)
        client.idle_done()
        assert (before + 1, b"EXISTS") in told


@pytest.mark.skipif(not program("mbsync"), reason="mbsync is not installed")
def test_mbsync_brings_a_mailbox_both_ways(server: Server, tmp_path: Path) -> None:
    for message in messages(7):
        server.deliver("ann", message, folder=".Sync")
    local = tmp_path / "local"
    local.mkdir()
    (tmp_path / "mbsyncrc").write_text(
        f"""
IMAPAccount a
Host 127.0.0.1
Port {server.port}
User ann
Pass secret2
SSLType None
AuthMechs LOGIN

IMAPStore far
Account a

MaildirStore near
Path {local}/
Inbox {local}/INBOX

Channel c
Far :far:
Near :near:
Patterns Sync
Create Near
Sync All
Expunge Both
SyncState *
"""
    )
    command = ["mbsync", "-c", str(tmp_path / "mbsyncrc"), "c"]
    environment = {**os.environ, "HOME": str(tmp_path)}

    def sync() -> None:
        done = subprocess.run(command, capture_output=True, timeout=60, env=environment, check=False)
        assert done.returncode == 0, done.stderr

    sync()
    here = [path for part in ("cur", "new") for path in (local / "Sync" / part).iterdir()]
    assert len(here) == 7
    (local / "Sync" / "new" / "1700000000.1.local").write_bytes(b"Subject: from here\n\nup\n")
    sync()
    with server.logged_in("ann") as client:
        client.command("SELECT Sync")
        assert client.command("SEARCH SUBJECT {4+}\r\nhere")[0].startswith(b"* SEARCH ")
        assert client.command("STATUS Sync (MESSAGES)")[0].endswith(b"(MESSAGES 8)")
