"""passwd-files: the format, rereading, and what paths may not do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.auth import passwd_file
from dovecotpy.auth.passdb.passwd_file import PasswdFilePassdb
from dovecotpy.auth.request import Request
from dovecotpy.auth.results import Result
from dovecotpy.auth.setup import SetupError
from dovecotpy.auth.userdb.passwd_file import PasswdFileUserdb

TEXT = """# comment
:not a user
joe:{PLAIN}secret:1000:1000:Joe:/home/joe:/bin/sh:userdb_mail=maildir:~/Maildir nologin allow_nets=192.0.2.0/24 userdb_quota_rule='*:storage=1G'
ann:secret::::::
md5:abcdef[34]:1000:1000
dig:abcdef[56]
des:abcdef[13]
old:x:1000:1000::/home/old:/bin/sh::mbox:~/mail
root:x:0:0::/root
odd:x:abc:1
joe:other:1:1
short
"""


def parse(text: str) -> tuple[dict[str, passwd_file.Entry], list[str]]:
    complaints: list[str] = []
    return passwd_file.parse(text, complaints.append, "/p"), complaints


def test_format() -> None:
    users, complaints = parse(TEXT)
    assert set(users) == {"joe", "ann", "md5", "dig", "des", "old", "short"}
    assert users["joe"].password == "{PLAIN}secret"
    assert users["joe"].extra == (
        "userdb_mail=maildir:~/Maildir",
        "nologin",
        "allow_nets=192.0.2.0/24",
        "userdb_quota_rule=*:storage=1G",
    )
    assert users["md5"].password == "{PLAIN-MD5}abcdef"
    assert users["dig"].password == "{DIGEST-MD5}abcdef"
    assert users["des"].password == "{CRYPT}abcdef"
    assert users["old"].extra == ("userdb_mail=mbox:~/mail",)
    assert users["short"].password == ""
    assert complaints == [
        "passwd-file /p: User root has invalid UID '0'",
        "passwd-file /p: User odd has invalid UID 'abc'",
        "passwd-file /p: User joe exists more than once",
    ]


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    users, _ = parse(text)
    assert "" not in users


def test_passdb_and_userdb(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text(TEXT)
    found = PasswdFilePassdb(f"scheme=PLAIN {path}", print).lookup(Request("imap", "joe"))
    assert found.result is Result.OK and found.password == "{PLAIN}secret" and found.default_scheme == "PLAIN"
    assert found.fields["nologin"] == "" and found.fields["userdb_mail"] == "maildir:~/Maildir"
    user = PasswdFileUserdb(str(path), print).lookup(Request("imap", "joe"))
    assert user.fields == {
        "uid": "1000",
        "gid": "1000",
        "home": "/home/joe",
        "mail": "maildir:~/Maildir",
        "quota_rule": "*:storage=1G",
    }
    assert PasswdFileUserdb(str(path), print).lookup(Request("imap", "nobody")).result is Result.UNKNOWN
    assert PasswdFileUserdb(str(path), print).lookup(Request("imap", "ann")).fields == {}


def test_username_format_and_scheme_default(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text(TEXT)
    found = PasswdFilePassdb(f"username_format=%n {path}", print).lookup(Request("imap", "joe@example.org"))
    assert found.result is Result.OK and found.default_scheme == "CRYPT"


def test_reread_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text("joe:one\n")
    database = PasswdFilePassdb(f"scheme=PLAIN {path}", print)
    assert database.lookup(Request("imap", "joe")).password == "one"
    path.write_text("joe:two\n")
    os.utime(path, ns=(1, 1))
    assert database.lookup(Request("imap", "joe")).password == "two"
    replacement = tmp_path / "new"
    replacement.write_text("joe:six\n")
    os.utime(replacement, ns=(1, 1))
    replacement.rename(path)
    assert database.lookup(Request("imap", "joe")).password == "six"
    path.write_text("ann:one\n")
    assert database.lookup(Request("imap", "joe")).result is Result.UNKNOWN


def test_a_file_that_vanishes_is_no_wrong_password(tmp_path: Path) -> None:
    path = tmp_path / "passwd"
    path.write_text("joe:one\n")
    database = PasswdFilePassdb(str(path), print)
    path.unlink()
    found = database.lookup(Request("imap", "joe"))
    assert found.result is Result.INTERNAL and found.error and "No such file" in found.text


def test_missing_at_start(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="Can't open file: No such file or directory"):
        PasswdFilePassdb(str(tmp_path / "none"), print)
    with pytest.raises(SetupError, match="Missing args"):
        PasswdFilePassdb("scheme=PLAIN", print)


def test_variables_in_the_path(tmp_path: Path) -> None:
    (tmp_path / "example.org").write_text("joe:one\n")
    (tmp_path / "secret").write_text("joe:stolen\n")
    inside = tmp_path / "domains"
    inside.mkdir()
    (inside / "a.b").write_text("joe:two\n")
    database = PasswdFilePassdb(f"scheme=PLAIN username_format=%n {inside}/%d", print)
    assert database.lookup(Request("imap", "joe@a.b")).password == "two"
    for name in ("joe@../secret", "joe@..", "joe@.", "joe@none", "joe@a\0b", "joe"):
        assert database.lookup(Request("imap", name)).result in (Result.UNKNOWN, Result.INTERNAL)
        assert database.lookup(Request("imap", name)).password is None


def test_files_kept_are_bounded(tmp_path: Path) -> None:
    database = PasswdFilePassdb(f"scheme=PLAIN username_format=%n {tmp_path}/%d", print)
    for number in range(passwd_file.MAX_OPEN_FILES + 20):
        (tmp_path / f"d{number}").write_text("joe:x\n")
        assert database.lookup(Request("imap", f"joe@d{number}")).result is Result.OK
    assert len(database._files._read) == passwd_file.MAX_OPEN_FILES
