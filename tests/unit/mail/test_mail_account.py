"""Who may have a mail process: the checks of the reference, in its order, with its texts."""

from __future__ import annotations

import grp
import os
import pwd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.config.values import Settings
from dovecotpy.mail.account import MAX_KEY, AccountError, resolve
from dovecotpy.mail.rules import Rules, RulesError, rules

RULES = Rules(
    login_uid=97,
    server_uid=0,
    default_uid=None,
    default_gid=None,
    first_uid=500,
    last_uid=0,
    first_gid=1,
    last_gid=0,
    chroots=(),
    default_chroot="",
    access_groups=(),
    privileged_group=None,
    drop_before_exec=False,
    data_limit=0,
    umask=0o077,
)
GOOD = {"uid": "1000", "gid": "1000", "home": "/home/joe"}

REFUSED = [
    ({"gid": "1"}, {}, "User joe is missing UID (set mail_uid)"),
    ({"uid": "1000"}, {}, "User joe is missing GID (set mail_gid)"),
    ({"uid": "0"}, {}, "user joe: Logins with UID 0 not permitted"),
    ({"uid": "0"}, {"first_uid": 0}, "user joe: Logins with UID 0 not permitted"),
    (
        {"uid": "97"},
        {"first_uid": 1},
        "user joe: Logins with login_user's UID 97 not permitted (see http://wiki.dovecot.org/UserIds).",
    ),
    (
        {"uid": "499"},
        {},
        "user joe: Logins with UID 499 not permitted (see first_valid_uid in config file).",
    ),
    (
        {"uid": "1001"},
        {"last_uid": 1000},
        "user joe: Logins with UID 1001 not permitted (see first_valid_uid in config file).",
    ),
    (
        {"gid": "0"},
        {},
        "user joe: Logins for users with primary group ID 0 not permitted (see first_valid_gid in config file).",
    ),
    (
        {"gid": "51"},
        {"last_gid": 50},
        "user joe: Logins for users with primary group ID 51 not permitted (see first_valid_gid in config file).",
    ),
    (
        {"chroot": "/srv/joe"},
        {},
        "Invalid chroot directory '/srv/joe' (user joe) (see valid_chroot_dirs in config file)",
    ),
    (
        {"chroot": "/srv/../etc"},
        {"chroots": ("/srv",)},
        "Invalid chroot directory '/srv/../etc' (user joe) (see valid_chroot_dirs in config file)",
    ),
    (
        {"chroot": "srv"},
        {"chroots": ("srv",)},
        "Invalid chroot directory 'srv' (user joe) (see valid_chroot_dirs in config file)",
    ),
    (
        {"chroot": "/srv/joe"},
        {"chroots": ("/srv",), "drop_before_exec": True},
        "Can't chroot to directory '/srv/joe' (user joe) with mail_drop_priv_before_exec=yes",
    ),
    ({"uid": "-1"}, {}, "user joe: Invalid uid '-1' from the userdb"),
    ({"uid": "4294967295"}, {}, "user joe: Invalid uid '4294967295' from the userdb"),
    ({"gid": "mail"}, {}, "user joe: Invalid gid 'mail' from the userdb"),
    ({"nice": "1e9"}, {}, "user joe: Invalid nice '1e9' from the userdb"),
]


@pytest.mark.parametrize(("fields", "changes", "text"), REFUSED)
def test_refused(fields: dict[str, str], changes: dict[str, object], text: str) -> None:
    given_fields = {**GOOD, **fields}
    if "missing UID" in text:
        del given_fields["uid"]
    if "missing GID" in text:
        del given_fields["gid"]
    with pytest.raises(AccountError) as caught:
        resolve("joe", given_fields, RULES._replace(**changes))
    assert str(caught.value) == text


def test_the_first_check_that_fails_is_the_one_that_is_told() -> None:
    with pytest.raises(AccountError, match="UID 0 not permitted"):
        resolve("joe", {"uid": "0", "gid": "0", "chroot": "/x"}, RULES)


def test_an_ordinary_account() -> None:
    account = resolve("joe", {**GOOD, "mail": "maildir:~/M", "quota_rule": "*:bytes=1"}, RULES)
    assert (account.uid, account.gid, account.groups) == (1000, 1000, (1000,))
    assert (account.home, account.mail, account.chroot) == ("/home/joe", "maildir:~/M", "")
    assert account.fields == {"quota_rule": "*:bytes=1"}
    assert account.identity().saved_gid is None


def test_mail_uid_and_mail_gid_stand_in() -> None:
    account = resolve("joe", {"home": "/x"}, RULES._replace(default_uid=5000, default_gid=5001))
    assert (account.uid, account.gid) == (5000, 5001)


def test_the_server_of_an_ordinary_user_may_serve_itself() -> None:
    own = RULES._replace(login_uid=1000, server_uid=1000)
    assert resolve("joe", GOOD, own).uid == 1000


PLACES = [
    ({"home": "/srv/./joe"}, {}, ("", "/srv/./joe")),
    ({"home": "/srv/./joe"}, {"chroots": ("/srv",)}, ("/srv", "/joe")),
    ({"home": "/srv/joe/./"}, {"chroots": ("/srv/",)}, ("/srv/joe", "/")),
    ({"home": "joe", "chroot": "/srv"}, {"chroots": ("/srv",)}, ("/srv", "/joe")),
    ({"home": "", "chroot": "/srv"}, {"chroots": ("/srv",)}, ("/srv", "/")),
    ({"home": "/srv/a/joe", "chroot": "/srv/a/."}, {"chroots": ("/srv",)}, ("/srv/a", "/joe")),
    ({"home": "/joe", "chroot": "/srv/a/."}, {"chroots": ("/srv",)}, ("/srv/a", "/joe")),
    ({"home": "/joe"}, {"default_chroot": "/var/mail"}, ("/var/mail", "/joe")),
    ({"home": "/joe", "chroot": "/srv"}, {"default_chroot": "/m", "chroots": ("/srv",)}, ("/srv", "/joe")),
    ({"home": ""}, {}, ("", "")),
]


@pytest.mark.parametrize(("fields", "changes", "place"), PLACES)
def test_chroot_and_home(fields: dict[str, str], changes: dict[str, object], place: tuple[str, str]) -> None:
    account = resolve("joe", {**GOOD, **fields}, RULES._replace(**changes))
    assert (account.chroot, account.home) == place


def test_groups_are_the_valid_ones_of_the_system_user_and_those_of_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "getgrouplist", lambda user, gid: [gid, 0, 6, 100, 200])
    limited = RULES._replace(first_gid=50, last_gid=150, access_groups=(7, 0))
    account = resolve("joe", {**GOOD, "gid": "60", "system_user": "joe"}, limited)
    assert account.groups == (7, 60, 100)


def test_the_privileged_group_is_the_saved_gid() -> None:
    assert resolve("joe", GOOD, RULES._replace(privileged_group=8)).identity().saved_gid == 8


def test_keys_are_equal_only_for_equal_credentials() -> None:
    base = resolve("joe", GOOD, RULES)
    assert base.key("imap", "1") == resolve("jim", {**GOOD, "home": "/home/jim"}, RULES).key("imap", "1")
    others = [
        base._replace(uid=1001),
        base._replace(gid=1001),
        base._replace(groups=(1000, 1001)),
        base._replace(saved_gid=8),
        base._replace(chroot="/srv"),
        base._replace(nice=5),
    ]
    keys = {account.key("imap", "1") for account in (base, *others)}
    keys |= {base.key("pop3", "1"), base.key("imap", "2")}
    assert len(keys) == len(others) + 3


def test_an_account_with_too_many_groups_shares_with_nobody() -> None:
    many = resolve("joe", GOOD, RULES)._replace(groups=tuple(range(MAX_KEY)))
    assert many.key("imap", "1") == ""


@given(st.dictionaries(st.sampled_from(["uid", "gid", "home", "chroot", "nice", "system_user"]), st.text()))
def test_whatever_the_userdb_says_is_an_account_or_a_line(fields: dict[str, str]) -> None:
    fields.pop("system_user", None)
    try:
        account = resolve("joe", fields, RULES)
    except AccountError as error:
        assert "joe" in str(error)
    else:
        assert account.uid >= 500
        assert account.gid >= 1
        assert not account.chroot


SETTINGS = Settings(
    {
        "login_user": "nobody",
        "mail_uid": "",
        "mail_gid": "",
        "first_valid_uid": 500,
        "last_valid_uid": 0,
        "first_valid_gid": 1,
        "last_valid_gid": 0,
        "valid_chroot_dirs": ("/srv", "/home"),
        "mail_chroot": "",
        "mail_access_groups": (),
        "mail_privileged_group": "",
        "mail_drop_priv_before_exec": False,
        "mail_process_size": 256,
        "umask": 0o077,
    }
)


def test_names_become_numbers() -> None:
    group = grp.getgrgid(pwd.getpwnam("nobody").pw_gid)
    found = rules(
        SETTINGS.changed(
            {
                "mail_uid": "nobody",
                "mail_gid": "77",
                "mail_access_groups": (group.gr_name, "12"),
                "mail_privileged_group": group.gr_name,
            }
        )
    )
    assert found.login_uid == (pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid())
    assert (found.default_uid, found.default_gid) == (pwd.getpwnam("nobody").pw_uid, 77)
    assert found.access_groups == (group.gr_gid, 12)
    assert found.privileged_group == group.gr_gid
    assert found.data_limit == 256 * 1024 * 1024


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("mail_uid", "nosuchuser", "Non-existing mail_uid: nosuchuser"),
        ("mail_privileged_group", "nosuch", "Non-existing mail_privileged_group: nosuch"),
        ("mail_access_groups", ("nosuch",), "unknown group name in extra_groups: nosuch"),
    ],
)
def test_a_name_that_nobody_has_is_told(setting: str, value: str | tuple[str, ...], text: str) -> None:
    with pytest.raises(RulesError) as caught:
        rules(SETTINGS.changed({setting: value}))
    assert str(caught.value) == text
