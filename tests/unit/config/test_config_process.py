"""Which process is given which settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovecotpy import config
from dovecotpy.config import Server
from dovecotpy.config.process import LETTERS

TEXT = """
ssl_key_password = secret
protocol imap {
  login_greeting = imap
}
protocol lda {
  postmaster_address = p@x
  odd = y
}
auth one {
}
auth two {
  verbose = yes
}
"""


@pytest.fixture
def server(tmp_path: Path) -> Server:
    path = tmp_path / "dovecot.conf"
    path.write_text(TEXT)
    return config.load(str(path)).servers[0]


def test_the_password_of_the_key_goes_to_login_alone(server: Server) -> None:
    holders = [kind for kind in LETTERS if "ssl_key_password" in config.for_process(server, kind, "imap")]
    assert holders == ["login"]


def test_a_mail_process_has_its_own_protocol(server: Server) -> None:
    imap = config.for_process(server, "mail", "imap")
    pop3 = config.for_process(server, "mail", "pop3")
    assert "imap_logout_format" in imap
    assert "pop3_no_flag_updates" not in imap
    assert "pop3_no_flag_updates" in pop3
    assert "imap_logout_format" not in pop3
    assert imap.text("mail_location") == ""
    assert "listen" not in imap


def test_login_has_its_protocols_values_and_the_flags_of_auth(server: Server) -> None:
    login = config.for_process(server, "login", "imap")
    assert login.text("login_greeting") == "imap"
    assert config.for_process(server, "login", "pop3").text("login_greeting") == "Dovecot ready."
    assert login.flag("auth_verbose")
    assert not login.flag("auth_ssl_require_client_cert")


def test_deliver_has_what_nobody_knows(server: Server) -> None:
    settings = config.for_process(server, "deliver", "imap")
    assert (settings.text("postmaster_address"), settings.text("odd")) == ("p@x", "y")


def test_auth_is_told_where_its_sockets_are(server: Server) -> None:
    auth = config.for_process(server, "auth", "imap")
    assert auth.text("login_dir") == "/var/run/dovecot/login"
    assert "mail_location" not in auth


def test_every_kind_has_something_and_no_other_kind_exists(server: Server) -> None:
    for kind in LETTERS:
        assert len(config.for_process(server, kind, "imap")) > 0
    with pytest.raises(KeyError):
        config.for_process(server, "janitor", "imap")
    with pytest.raises(KeyError):
        config.for_process(server, "login", "smtp")
