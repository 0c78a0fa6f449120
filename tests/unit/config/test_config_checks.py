"""What speaks against running a configuration on this machine."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from dovecotpy import config
from dovecotpy.config import Finding, nfs

AUTH = "auth default {\n  mechanisms = plain\n  passdb static {\n  }\n}\n"
QUIET = "login_user = nobody\nmax_mail_processes = 10\nlogin_max_processes_count = 10\n"


def findings(directory: Path, text: str, *, root: bool = True, tls: bool = False) -> list[Finding]:
    path = directory / "dovecot.conf"
    path.write_text(("" if tls else "ssl = no\ndisable_plaintext_auth = no\n") + QUIET + text)
    path.chmod(0o600)
    return config.check(config.load(str(path)), root)


def errors(directory: Path, text: str, *, root: bool = True, tls: bool = False) -> list[str]:
    return [finding.text for finding in findings(directory, text, root=root, tls=tls) if finding.fatal]


def warnings(directory: Path, text: str) -> list[str]:
    return [finding.text for finding in findings(directory, text) if not finding.fatal]


def test_nothing_to_find(tmp_path: Path) -> None:
    assert findings(tmp_path, AUTH) == []


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("protocols =", "No protocols given in configuration file"),
        ("protocols = smtp", "Invalid protocols given in configuration file"),
        ("protocols = imap smtp", "Unknown protocol in configuration file: smtp"),
        ("login_user = nosuchuser", "Login user doesn't exist: nosuchuser"),
        ("login_user = root", "login_user root must not be root"),
        ("mail_uid = nosuchuser", "Non-existing mail_uid: nosuchuser"),
        ("mail_gid = nosuchgroup", "Non-existing mail_gid: nosuchgroup"),
        ("mail_privileged_group = nosuchgroup", "Non-existing mail_privileged_group: nosuchgroup"),
        ("mail_executable = /no/such", "Can't use mail executable /no/such: No such file or directory"),
        ("mail_executable = /no/such -x y", "Can't use mail executable /no/such: No such file or directory"),
        ("login_executable = /etc/passwd", "Can't use login executable /etc/passwd: Permission denied"),
        ("log_path = /no/such/log", "Can't write to log directory /no/such: No such file or directory"),
        (
            "info_log_path = /no/such/log",
            "Can't write to info log directory /no/such: No such file or directory",
        ),
        ("max_mail_processes = 0", "max_mail_processes must be at least 1"),
        ("login_processes_count = 0", "login_processes_count must be at least 1"),
        ("login_max_connections = 0", "login_max_connections must be at least 1"),
        ("first_valid_uid = 9\nlast_valid_uid = 8", "first_valid_uid can't be larger than last_valid_uid"),
        ("first_valid_gid = 9\nlast_valid_gid = 8", "first_valid_gid can't be larger than last_valid_gid"),
        (
            "mail_drop_priv_before_exec = yes\nmail_chroot = /x",
            "mail_drop_priv_before_exec=yes and mail_chroot don't work together",
        ),
        ("mail_nfs_index = yes", "mail_nfs_index=yes requires mmap_disable=yes"),
        (
            "mail_nfs_index = yes\nmmap_disable = yes\nfsync_disable = yes",
            "mail_nfs_index=yes requires fsync_disable=no",
        ),
        ("imap_client_workarounds = delay-newmail be-nice", "Unknown client workaround: be-nice"),
        *(
            (
                f"mail_special_use = Sent=\\Sent, {wrong}",
                "mail_special_use: Not a NAME=\\Use with one of \\All, \\Archive, \\Drafts, \\Flagged, \\Junk, \\Sent, \\Trash: "
                + wrong,
            )
            for wrong in ("Mine=\\Mine", "Sent", "=\\Sent", "Sent=Sent")
        ),
        ("base_dir = /x\nlogin_dir = /x/", "login_dir can't be the same as base_dir"),
        (
            "mail_plugins = quota\nmail_plugin_dir = /no/such",
            "Can't access mail module directory: /no/such: No such file or directory",
        ),
        ("auth_user = nosuchuser", "Auth user doesn't exist: nosuchuser"),
        ("auth_executable = /no/such", "Can't use auth executable /no/such: No such file or directory"),
        ("auth_chroot = /no/such", "Can't access auth chroot directory /no/such: No such file or directory"),
        ("auth_count = 0", "auth count must be at least 1"),
        (
            "namespace private {\nseparator = ..\ninbox = yes\n}",
            "Namespace '': Hierarchy separator must be only one character long",
        ),
        (
            "namespace private {\ninbox = yes\n}\nnamespace private {\nprefix = a.\ninbox = yes\n}",
            "namespace configuration error: There can be only one namespace with inbox=yes",
        ),
        (
            "namespace private {\n}\nnamespace private {\nprefix = a.\n}",
            "namespace configuration error: inbox=yes namespace missing",
        ),
        (
            "namespace private {\nseparator = /\nprefix = a\n}",
            "namespace configuration error: list=yes requires prefix=a to end with separator",
        ),
        (
            "namespace private {\nseparator = /\n}\nnamespace public {\nseparator = .\nprefix = p.\n}",
            "namespace configuration error: All list=yes namespaces must use the same separator",
        ),
        (
            "namespace private {\n}\nnamespace public {\nprefix = p/\nalias_for = x/\n}",
            "Namespace 'p/': alias_for points to unknown namespace: x/",
        ),
        (
            "namespace private {\nprefix = a/\n}\nnamespace public {\nprefix = b/\nalias_for = a/\n}\n"
            "namespace public {\nprefix = c/\nalias_for = b/\n}",
            "Namespace 'c/': alias_for chaining isn't allowed: b/ -> a/",
        ),
    ],
)
def test_an_error(tmp_path: Path, text: str, error: str) -> None:
    assert error in errors(tmp_path, f"{text}\n{AUTH}")


MOUNTS = r"""22 1 0:1 / / rw - ext4 /dev/sda1 rw
23 22 0:2 / /srv/mail\040box rw,relatime shared:1 - nfs4 host:/mail rw
24 23 0:3 / /srv/mail\040box/local rw - ext4 /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("mail_location = maildir:/srv/mail box/%d/%n", ["/srv/mail box"]),
        ("mail_location = maildir:/srv/mail box/a%n", ["/srv/mail box"]),
        ("mail_location = maildir:~/Maildir:INDEX=/srv/mail box/index", ["/srv/mail box/index"]),
        ("mail_location = maildir:/srv/mail box/local/%n", []),
        ("mail_location = maildir:/srv/%n", []),
        ("mail_location = maildir:~/Maildir", []),
        ("mail_location = maildir:/srv/mail box/%n\nmmap_disable = yes", []),
        ("mail_location = maildir:/srv/mail box/%n\nnfs_check = no", []),
        (
            "namespace private {\nprefix = a.\nseparator = .\nlocation = maildir:/srv/mail box\n}",
            ["/srv/mail box"],
        ),
    ],
)
def test_mail_on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: list[str]) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    monkeypatch.setattr(nfs, "MOUNTS", str(tmp_path / "mounts"))
    told = [each for each in warnings(tmp_path, AUTH + text) if "NFS" in each]
    assert [each.partition(" is on NFS")[0] for each in told] == found


def test_without_a_table_of_mounts_nothing_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nfs, "MOUNTS", str(tmp_path / "none"))
    assert not warnings(tmp_path, AUTH + "mail_location = maildir:/srv/%n")


def test_all_errors_are_told(tmp_path: Path) -> None:
    text = f"login_user = nosuchuser\nmail_uid = nosuchuser\nmax_mail_processes = 0\n{AUTH}"
    assert len(errors(tmp_path, text)) == 3


def test_no_auth_block(tmp_path: Path) -> None:
    assert errors(tmp_path, "") == ["Missing auth section for server default"]


def test_each_server_needs_its_auth(tmp_path: Path) -> None:
    assert errors(tmp_path, f"server a {{\n{AUTH}}}\nserver b {{\n}}\n") == [
        "Missing auth section for server b"
    ]


def test_auth_without_a_passdb(tmp_path: Path) -> None:
    assert errors(tmp_path, "auth a {\n}\n") == ["No passdbs specified for auth a"]
    assert errors(tmp_path, "auth a {\nsocket connect {\nmaster {\n}\n}\n}\n") == []


def test_login_and_auth_may_not_be_one_user(tmp_path: Path) -> None:
    (error,) = errors(tmp_path, f"auth_user = nobody\n{AUTH}")
    assert error.startswith("login_user nobody (uid ")
    assert error.endswith(") must not be same as auth_user")


def test_login_users_of_different_groups(tmp_path: Path) -> None:
    text = f"protocols = imap pop3\nprotocol pop3 {{\nlogin_user = daemon\n}}\n{AUTH}"
    assert errors(tmp_path, text) == ["All login process users must belong to same group (nobody vs daemon)"]


def test_without_root_users_do_not_matter(tmp_path: Path) -> None:
    assert errors(tmp_path, f"login_user = nosuchuser\nauth_user = nosuchuser\n{AUTH}", root=False) == []


def test_certificates(tmp_path: Path) -> None:
    certificate = tmp_path / "cert.pem"
    text = f"ssl_cert_file = {certificate}\nssl_key_file = {tmp_path}/key.pem\nssl_ca_file = {tmp_path}/ca.pem\n{AUTH}"
    missing = "No such file or directory"
    assert errors(tmp_path, text, tls=True) == [
        f"Can't use SSL CA file {tmp_path}/ca.pem: {missing}",
        f"Can't use SSL certificate {certificate}: {missing}",
        f"Can't use SSL key file {tmp_path}/key.pem: {missing}",
    ]
    for name in ("cert.pem", "key.pem", "ca.pem"):
        (tmp_path / name).touch()
    assert errors(tmp_path, text, tls=True) == []
    assert errors(tmp_path, text) == []


def test_a_protocol_that_is_not_served_is_not_looked_at(tmp_path: Path) -> None:
    text = f"protocols = imap\nprotocol pop3 {{\nmail_executable = /no/such\n}}\n{AUTH}"
    assert errors(tmp_path, text) == []


def test_nobody_could_log_in(tmp_path: Path) -> None:
    text = f"disable_plaintext_auth = yes\n{AUTH}"
    (warning,) = warnings(tmp_path, text)
    assert warning.startswith("There is no way to login to this server")


def test_too_few_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (50, 50))
    (warning,) = warnings(tmp_path, AUTH)
    assert warning.startswith(
        "fd limit 50 is lower than what Dovecot can use under full load (more than 52)."
    )


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("sql.conf", "driver = mysql\nconnect = host=h password=secret\n", "connect"),
        ("sql.conf", "connect = mysql://u:secret@h/db\n", "connect"),
        ("sql.conf", "connect = /var/lib/users.sqlite\n", ""),
        ("sql.conf", "connect = host=h user=u\n", ""),
        ("sql.conf", "# connect = password=x\n", ""),
        ("ldap.conf", "dnpass = secret\n", "dnpass"),
    ],
)
def test_a_database_file_that_everyone_may_read(tmp_path: Path, name: str, content: str, told: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    path.chmod(0o644)
    text = f"auth a {{\npassdb {name.partition('.')[0]} {{\nargs = {path}\n}}\n}}\n"
    expected = (
        [f"{path} holds a password ({told}) and may be read by everyone: chmod 0600 it"] if told else []
    )
    assert warnings(tmp_path, text) == expected
    path.chmod(0o640)
    assert warnings(tmp_path, text) == []


def test_a_configuration_with_a_key_password_that_everyone_may_read(tmp_path: Path) -> None:
    path = tmp_path / "dovecot.conf"
    path.write_text(f"ssl = no\ndisable_plaintext_auth = no\n{QUIET}ssl_key_password = x\n{AUTH}")
    path.chmod(0o644)
    told = f"{path} holds a password (ssl_key_password) and may be read by everyone: chmod 0600 it"
    assert config.check(config.load(str(path)), True) == [Finding(False, told)]


def test_a_fifo_is_not_opened(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o644)
    path.chmod(0o644)
    assert warnings(tmp_path, f"auth a {{\npassdb sql {{\nargs = {path}\n}}\n}}\n") == []
