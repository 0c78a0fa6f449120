"""neomutt, driven by keys on a terminal: finds mail by search, flags, moves, deletes, answers from a mailbox of real mail."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.client_world import contents, fill, on_a_terminal, plain, sample
from tests.server import Server, program

pytestmark = pytest.mark.skipif(not program("neomutt"), reason="neomutt is not installed")

CONFIGURATION = """
set folder = imap://joe@127.0.0.1:{port}/
set imap_user = joe
set imap_pass = secret
set quit = yes
set spoolfile = +INBOX
set ssl_starttls = no
set ssl_force_tls = no
set imap_check_subscribed = no
set header_cache = ""
set message_cachedir = ""
set record = ""
set confirmcreate = no
set confirmappend = no
set delete = yes
set move = no
set mark_old = no
set sort = mailbox-order
set wait_key = no
set pager_stop
set sleep_time = 0
"""


def keys(server: Server, home: Path, pressed: str) -> str:
    (home / "muttrc").write_text(CONFIGURATION.format(port=server.port) + f'push "{pressed}"\n')
    return on_a_terminal(["neomutt", "-n", "-F", str(home / "muttrc")], home)


def test_mail_is_found_flagged_moved_and_deleted(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mail = sample()
    own = [
        b"Subject: needle %d\nMessage-ID: <needle%d@example.org>\n\nhay and a thorn%d\n" % (n, n, n)
        for n in range(4)
    ]
    with Server(tmp_path) as server:
        fill(server, "joe", "", mail + own)
        with server.logged_in() as client:
            client.command("CREATE Found")
        keys(
            server,
            home,
            "<limit>~s needle<enter><first-entry><flag-message><next-entry>"
            "<tag-pattern>~s 'needle 1'<enter><tag-prefix><save-message>=Found<enter><sync-mailbox>"
            "<limit>=b thorn2<enter><delete-message><limit>all<enter><sync-mailbox><quit>",
        )
        with server.logged_in() as client:
            inbox, found = contents(client, "INBOX"), contents(client, "Found")
        assert set(found) == {own[1]}
        assert set(inbox) == {plain(message) for message in mail} | {own[0], own[3]}
        assert b"\\Flagged" in inbox[own[0]]
        assert "Traceback" not in server.log()


def test_the_text_of_a_real_message_is_written_to_a_file(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    mail = sample(5)
    with Server(tmp_path) as server:
        fill(server, "joe", "", mail)
        keys(
            server,
            home,
            "<tag-pattern>.<enter><tag-prefix><copy-message>" + str(home / "box") + "<enter><quit>",
        )
        box = (home / "box").read_bytes()
        for message in mail:
            assert plain(message).partition(b"\n\n")[2].strip() in box
