"""mbsync keeps a mailbox of real mail and a Maildir alike, both ways."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.integration.client_world import contents, file_of, fill, flagged, maildir, plain, run, sample
from tests.server import Server, program

pytestmark = pytest.mark.skipif(not program("mbsync"), reason="mbsync is not installed")

CONFIGURATION = """
IMAPAccount far
Host 127.0.0.1
Port {port}
User joe
Pass secret
SSLType None
AuthMechs {mechanism}

IMAPStore far
Account far

MaildirStore near
Path {local}/
Inbox {local}/INBOX
SubFolders Verbatim

Channel both
Far :far:
Near :near:
Patterns INBOX Work
Create Both
Sync All
Expunge Both
SyncState *
CopyArrivalDate yes
"""


def configure(server: Server, home: Path, mechanism: str = "*") -> list[str]:
    (home / "local").mkdir()
    file = home / "mbsyncrc"
    file.write_text(CONFIGURATION.format(port=server.port, local=home / "local", mechanism=mechanism))
    return ["mbsync", "-c", str(file), "both"]


def test_both_sides_are_alike_after_changes_on_both(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mail = sample()
    originals = {plain(message) for message in mail}
    with Server(tmp_path) as server:
        fill(server, "joe", "", mail)
        fill(server, "joe", ".Work", mail[:5])
        command = configure(server, home)
        near = home / "local" / "INBOX"
        run(command, home)
        assert maildir(near).keys() == originals
        assert len(maildir(home / "local" / "Work")) == 5

        first, second, third, fourth = (plain(message) for message in mail[:4])
        flagged(file_of(near, first), "FS")
        file_of(near, second).unlink()
        (near / "new" / "1800000000.1.here").write_bytes(b"Subject: from here\n\nup\n")
        with server.logged_in() as client:
            client.command("SELECT INBOX")
            client.command("STORE 3 +FLAGS (\\Answered)")
            client.command("STORE 4 +FLAGS (\\Deleted)")
            client.command("EXPUNGE")
        server.deliver("joe", b"Subject: from there\n\ndown\n")
        time.sleep(0.1)
        run(command, home)
        with server.logged_in() as client:
            there = contents(client, "INBOX")
        here = maildir(near)
        assert there.keys() == here.keys()
        added = {b"Subject: from here\n\nup\n", b"Subject: from there\n\ndown\n"}
        assert there.keys() == originals - {second, fourth} | added
        assert there[first] == {b"\\Flagged", b"\\Seen"}
        assert there[third] == {b"\\Answered"} and "R" in here[third]
        assert "Traceback" not in server.log()


def test_a_folder_made_here_is_made_there(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with Server(tmp_path) as server:
        command = configure(server, home, "PLAIN")
        for part in ("cur", "new", "tmp"):
            (home / "local" / "Work" / part).mkdir(parents=True)
        (home / "local" / "Work" / "cur" / "1800000000.1.here:2,S").write_bytes(b"Subject: work\n\nto do\n")
        run(command, home)
        with server.logged_in() as client:
            assert contents(client, "Work") == {b"Subject: work\n\nto do\n": {b"\\Seen"}}
