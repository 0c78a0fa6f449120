"""offlineimap keeps mailboxes of real mail and Maildirs alike, both ways.

It writes messages anew by Python's email package, so only those are taken that the package leaves as they are but for white space.
"""

from __future__ import annotations

import email
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.integration.client_world import contents, file_of, fill, flagged, maildir, plain, run, sample
from tests.server import Server, program

pytestmark = pytest.mark.skipif(not program("offlineimap"), reason="offlineimap is not installed")

CONFIGURATION = """
[general]
accounts = joe
metadata = {home}/metadata
ui = basic

[Account joe]
localrepository = here
remoterepository = there

[Repository here]
type = Maildir
localfolders = {home}/local

[Repository there]
type = IMAP
remotehost = 127.0.0.1
remoteport = {port}
remoteuser = joe
remotepass = secret
ssl = no
starttls = no
maxconnections = 2
"""


def words(message: bytes) -> bytes:
    """A message without white space."""
    return b"".join(plain(message).split())


def all_words(found: Iterable[bytes]) -> set[bytes]:
    return {words(message) for message in found}


def survives(message: bytes) -> bool:
    return words(email.message_from_bytes(message).as_bytes()) == words(message)


def test_both_sides_are_alike_after_changes_on_both(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mail = [message for message in sample() if survives(message)]
    with Server(tmp_path) as server:
        fill(server, "joe", "", mail)
        fill(server, "joe", ".Work.Old", mail[:5])
        (home / "offlineimaprc").write_text(CONFIGURATION.format(home=home, port=server.port))
        command = ["offlineimap", "-o", "-c", str(home / "offlineimaprc")]
        run(command, home)
        near = home / "local" / "INBOX"
        assert all_words(maildir(near)) == all_words(mail)
        assert len(maildir(home / "local" / "Work.Old")) == 5

        first, second, third, fourth = (plain(message) for message in mail[:4])
        flagged(file_of(near, first, words), "FS")
        file_of(near, second, words).unlink()
        (near / "new" / "1800000000_1.1.here:2,").write_bytes(b"Subject: from here\n\nup\n")
        with server.logged_in() as client:
            client.command("SELECT INBOX")
            client.command("STORE 3 +FLAGS (\\Answered)")
            client.command("STORE 4 +FLAGS (\\Deleted)")
            client.command("EXPUNGE")
        server.deliver("joe", b"Subject: from there\n\ndown\n")
        run(command, home)
        with server.logged_in() as client:
            there = contents(client, "INBOX")
        here = maildir(near)
        added = {b"Subject:fromhereup", b"Subject:fromtheredown"}
        assert all_words(there) == all_words(here) == all_words(mail) - all_words([second, fourth]) | added
        assert there[first] == {b"\\Flagged", b"\\Seen"}
        assert there[third] == {b"\\Answered"}
        assert "Traceback" not in server.log()
