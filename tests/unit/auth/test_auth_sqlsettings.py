"""The SQL settings file and MySQL connect strings."""

from __future__ import annotations

from pathlib import Path

import pytest

from dovecotpy.auth.setup import SetupError
from dovecotpy.auth.sql import mysql, settings
from dovecotpy.auth.sql.mysql import Place

GOOD = "driver = mysql\nconnect = host=localhost user=mail password=secret dbname=mail\n"


def test_a_file_as_people_have_it() -> None:
    text = """# a comment
driver = mysql
connect = dbname=postfix user=postfix host=localhost password=se#cret
default_pass_scheme = PLAIN

password_query = SELECT email as user, password FROM users \\
  WHERE email = '%u'
user_query = SELECT 97 AS uid, 97 AS gid, maildir FROM users WHERE email = '%u'
"""
    found = settings.parse("/x", text.replace("se#cret", "secret"))
    assert found.driver == "mysql"
    assert found.default_pass_scheme == "PLAIN"
    assert found.password_query.values({"u": "joe"}) == ("joe",)
    assert "secret" not in repr(found)


def test_defaults_of_1_x() -> None:
    found = settings.parse("/x", GOOD)
    assert found.default_pass_scheme == "PLAIN-MD5"
    assert found.password_query.values({"n": "joe", "d": "a.b"}) == ("joe", "a.b")
    assert "SELECT home, uid, gid FROM users" in found.user_query.text


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("connect = x\n", "sql: driver not set in configuration file /x"),
        ("driver = mysql\n", "sql: connect string not set in configuration file /x"),
        (
            "driver = mysqll\nconnect=x",
            "Error in configuration file /x line 1: Unknown database driver 'mysqll' (did you mean mysql?)",
        ),
        (
            GOOD + "\npasword_query = x",
            "Error in configuration file /x line 4: Unknown setting: pasword_query (did you mean password_query?)",
        ),
        (GOOD + "nonsense", "Error in configuration file /x line 3: Expecting '='"),
        (GOOD + "section {\n}\n", "Error in configuration file /x line 3: Expecting '='"),
        (
            GOOD + "# x\nuser_query = SELECT a FROM mail_%d",
            "Error in configuration file /x line 4: Variable %d is part of a name; only values can be variables",
        ),
    ],
)
def test_errors_name_file_and_line(text: str, error: str) -> None:
    with pytest.raises(SetupError) as raised:
        settings.parse("/x", text)
    assert str(raised.value) == error


def test_a_missing_file() -> None:
    with pytest.raises(
        SetupError, match="sql: Can't open configuration file /nonexistent: No such file or directory"
    ):
        settings.load("/nonexistent")


def test_connect_string() -> None:
    found = mysql.parse(
        "host=a host=/run/b.sock port=3307 user=u password='p w' dbname=d ssl_ca=/ca client_flags=2", "/x"
    )
    assert found.hosts == ("a", "/run/b.sock")
    assert (found.port, found.user, found.password, found.dbname) == (3307, "u", "p w", "d")
    assert found.tls == {"ssl_ca": "/ca"} and found.client_flags == 2
    assert "p w" not in repr(found)
    assert found.places("a") == (Place(host="a", port=3307),)
    assert found.places("/run/b.sock") == (Place(socket="/run/b.sock"),)


def test_passwords_with_signs() -> None:
    assert mysql.parse(r"dbname=d password=a\b#c=d", "/x").password == r"a\b#c=d"


def test_localhost_is_the_socket_and_then_tcp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    socket = tmp_path / "mysqld.sock"
    socket.touch()
    found = mysql.parse("dbname=d", "/x")
    assert found.hosts == ("localhost",)
    monkeypatch.setenv("MYSQL_UNIX_PORT", str(socket))
    assert found.places("localhost") == (Place(socket=str(socket)), Place(host="localhost", port=3306))
    monkeypatch.setenv("MYSQL_UNIX_PORT", str(tmp_path / "none"))
    assert found.places("localhost") == (Place(host="localhost", port=3306),)
    monkeypatch.delenv("MYSQL_UNIX_PORT")
    monkeypatch.setattr(mysql, "SOCKETS", (str(tmp_path / "none"), str(socket)))
    assert found.places("localhost")[0] == Place(socket=str(socket))


@pytest.mark.parametrize(
    ("connect", "text"),
    [
        ("host=a user=b", "mysql: No dbname given in connect string of /x"),
        ("dbname=a foo=b", "mysql: Unknown connect string: foo"),
        ("dbname=a port=x", "mysql: Invalid port 'x'"),
        ("dbname=a password='x", "A quote in the connect string of /x is not closed"),
        ("dbname", "mysql: Unknown connect string: dbname"),
    ],
)
def test_bad_connect_strings(connect: str, text: str) -> None:
    with pytest.raises(SetupError, match=text):
        mysql.parse(connect, "/x")
