"""The environment that wrappers and plugins know: processes' reference, section 6."""

from __future__ import annotations

import base64

import dovecotpy
from dovecotpy.config.values import Namespace, Settings
from dovecotpy.ipc.handover import HandOver
from dovecotpy.mail import environment
from dovecotpy.mail.account import Account
from dovecotpy.mail.rules import Rules

ACCOUNT = Account(
    user="joe@example.com",
    uid=1000,
    gid=1001,
    groups=(1001, 8),
    saved_gid=12,
    chroot="/srv",
    home="/joe",
    mail="",
    nice=0,
    system_user="joe",
    fields={"quota_rule": "*:bytes=10", "acl": "1", "": "lost", "a=b": "lost", "nul": "a\0b"},
)
MESSAGE = HandOver(
    "imap", "default", 1, 2, "10.0.0.1", "192.0.2.7", 143, 5000, "", False, "sess", "a1", b"b NOOP\r\n"
)
SETTINGS = Settings(
    {
        "mail_location": "maildir:/var/mail/%d/%n/%r",
        "shutdown_clients": True,
        "mail_debug": True,
        "mail_full_filesystem_access": False,
        "fsync_disable": True,
        "mmap_disable": False,
        "lock_method": "fcntl",
        "maildir_stat_dirs": True,
        "mbox_lock_timeout": 300,
        "mbox_write_locks": ("dotlock", "fcntl"),
        "imap_max_line_length": 65536,
        "imap_client_workarounds": ("delay-newmail",),
        "pop3_uidl_format": "%08Xu%08Xv",
        "pop3_no_flag_updates": True,
        "syslog_facility": "local3",
        "first_valid_uid": 500,
        "mail_plugins": ("quota", "acl"),
        "mailbox_idle_check_interval": 30,
    }
)
PLUGIN = Settings({"quota": "maildir:%u", "trash": "/etc/trash", "quota_rule": "*:bytes=1"})
SPACES = (
    Namespace("private", "/", "", "", True, False, "yes", True, None),
    Namespace("public", "", "Public/", "maildir:/pub/%u", False, True, "children", False, None),
)
RULES = Rules(97, 0, None, None, 500, 0, 1, 99, (), "", (), None, False, 0, 0o77)


def made(**changes: object) -> dict[str, str]:
    account = ACCOUNT._replace(**changes)
    return environment.of_session(account, MESSAGE, SETTINGS, SPACES, PLUGIN, service="imap")


def test_who_and_where() -> None:
    given = made()
    assert given["USER"] == "joe@example.com"
    assert given["HOME"] == "/joe"
    assert given["IP"] == "192.0.2.7"
    assert given["LOGGED_IN"] == "1"
    assert given["LOG_TO_MASTER"] == "1"
    assert given["MAIL"] == "maildir:/var/mail/example.com/joe/192.0.2.7"
    assert given["DOVECOT_VERSION"] == dovecotpy.__version__
    assert given["IMAPLOGINTAG"] == "a1"
    assert base64.b64decode(given["CLIENT_INPUT"]) == b"b NOOP\r\n"


def test_the_userdbs_mail_goes_before_mail_location() -> None:
    assert made(mail="mbox:~/%n")["MAIL"] == "mbox:~/joe"


def test_settings_by_their_names_in_upper_case() -> None:
    given = made()
    assert given["FSYNC_DISABLE"] == "1"
    assert "MMAP_DISABLE" not in given
    assert given["LOCK_METHOD"] == "fcntl"
    assert given["MAILDIR_STAT_DIRS"] == "1"
    assert given["MBOX_LOCK_TIMEOUT"] == "300"
    assert given["MBOX_WRITE_LOCKS"] == "dotlock fcntl"
    assert given["IMAP_MAX_LINE_LENGTH"] == "65536"
    assert given["IMAP_CLIENT_WORKAROUNDS"] == "delay-newmail"
    assert given["POP3_UIDL_FORMAT"] == "%08Xu%08Xv"
    assert "POP3_NO_FLAG_UPDATES" not in given, "the other protocol's settings do not travel"
    assert "FIRST_VALID_UID" not in given
    assert given["MAIL_PLUGINS"] == "quota acl"
    assert given["STDERR_CLOSE_SHUTDOWN"] == "1"
    assert given["DEBUG"] == "1"
    assert "FULL_FILESYSTEM_ACCESS" not in given
    assert given["SYSLOG_FACILITY"] == str(19 << 3)


def test_namespaces_count_from_one() -> None:
    given = made()
    assert given["NAMESPACE_1"] == ""
    assert given["NAMESPACE_1_SEP"] == "/"
    assert given["NAMESPACE_1_INBOX"] == given["NAMESPACE_1_SUBSCRIPTIONS"] == "1"
    assert "NAMESPACE_1_HIDDEN" not in given
    assert given["NAMESPACE_2"] == "maildir:/pub/joe@example.com"
    assert given["NAMESPACE_2_PREFIX"] == "Public/"
    assert given["NAMESPACE_2_TYPE"] == "public"
    assert given["NAMESPACE_2_LIST"] == "children"
    assert given["NAMESPACE_2_HIDDEN"] == "1"
    assert "NAMESPACE_2_SEP" not in given


def test_plugin_settings_are_expanded_and_the_userdb_overrides_them() -> None:
    given = made()
    assert given["QUOTA"] == "maildir:joe@example.com"
    assert given["TRASH"] == "/etc/trash"
    assert given["QUOTA_RULE"] == "*:bytes=10"
    assert given["ACL"] == "1"


def test_what_cannot_stand_in_an_environment_is_left_out() -> None:
    given = made()
    assert "" not in given
    assert not any("=" in name or "\0" in name + value for name, value in given.items())
    assert "NUL" not in given


def test_a_field_of_the_userdb_is_no_way_to_be_somebody_else() -> None:
    given = made(fields={"user": "root", "mail": "x", "logged_in": "0", "restrict_setuid": "0"})
    assert given["USER"] == "joe@example.com"
    assert given["LOGGED_IN"] == "1"
    merged = given | environment.restrictions(ACCOUNT, RULES)
    assert merged["RESTRICT_SETUID"] == "1000"


def test_whom_to_become() -> None:
    assert environment.restrictions(ACCOUNT, RULES) == {
        "RESTRICT_SETUID": "1000",
        "RESTRICT_SETGID": "1001",
        "RESTRICT_GID_FIRST": "1",
        "RESTRICT_GID_LAST": "99",
        "RESTRICT_SETEXTRAGROUPS": "1001,8",
        "RESTRICT_USER": "joe",
        "RESTRICT_SETGID_PRIV": "12",
        "RESTRICT_CHROOT": "/srv",
    }
    plain = ACCOUNT._replace(saved_gid=None, chroot="", system_user="")
    assert not {"RESTRICT_USER", "RESTRICT_SETGID_PRIV", "RESTRICT_CHROOT"} & set(
        environment.restrictions(plain, RULES)
    )


def test_facilities_are_those_of_syslog() -> None:
    import syslog

    for name, number in environment.FACILITIES.items():
        symbol = f"LOG_{name.upper()}"
        if hasattr(syslog, symbol):
            assert getattr(syslog, symbol) == number, name
    assert len(environment.FACILITIES) == 20
