"""SQL queries: variables become bound parameters, whatever users call themselves."""

from __future__ import annotations

import sqlite3

import pytest
import sqlalchemy
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.auth.sql import binding
from dovecotpy.auth.sql.binding import MYSQL, SQLITE, BindingError, Dialect, Query
from dovecotpy.config.variables import for_user


def given_user(user: str) -> dict[str, str]:
    return {**for_user(user), "w": "pass'word", "s": "imap"}


def shown(query: Query, dialect: Dialect) -> str:
    """The statement with `:p` for each marker."""
    marked = query.text.replace(dialect.marker, ":p")
    return marked.replace("%%", "%") if dialect is MYSQL else marked


@pytest.mark.parametrize(
    ("template", "text", "values"),
    [
        ("SELECT a FROM t WHERE u = '%u'", "SELECT a FROM t WHERE u = :p", ["joe@a.b"]),
        (
            "SELECT a FROM t WHERE u = '%n@%d' AND s='%s'",
            "SELECT a FROM t WHERE u = :p AND s=:p",
            ["joe@a.b", "imap"],
        ),
        ("SELECT a FROM t WHERE u = %u", "SELECT a FROM t WHERE u = :p", ["joe@a.b"]),
        ("SELECT f(%n,%d)", "SELECT f(:p,:p)", ["joe", "a.b"]),
        ("SELECT '%Lu', \"%n\"", "SELECT :p, :p", ["joe@a.b", "joe"]),
        ("SELECT 'it''s %n'", "SELECT :p", ["it's joe"]),
        ("SELECT 'a%%b', 'c'", "SELECT 'a%b', 'c'", []),
        ("SELECT '%n%%'", "SELECT :p", ["joe%"]),
        ("SELECT `a`, `b``c` FROM t -- done", "SELECT `a`, `b``c` FROM t -- done", []),
        ("SELECT /* it's */ 1", "SELECT /* it's */ 1", []),
        ("SELECT 'maildir:/x/' || '%d'", "SELECT 'maildir:/x/' || :p", ["a.b"]),
        ("SELECT '%Eu'", "SELECT :p", ["joe@a.b"]),
        ("SELECT '%1n'", "SELECT :p", ["j"]),
        ("SELECT ''", "SELECT ''", []),
        ("SELECT '%{user}'", "SELECT :p", ["joe@a.b"]),
    ],
)
@pytest.mark.parametrize("dialect", [MYSQL, SQLITE])
def test_binding(template: str, text: str, values: list[str], dialect: Dialect) -> None:
    query = binding.bind(template, dialect)
    assert shown(query, dialect) == text
    assert list(query.values(given_user("joe@a.b"))) == values


def test_backslashes_in_literals() -> None:
    assert list(binding.bind(r"SELECT 'a\'%n\\'", MYSQL).values(given_user("joe"))) == [r"a'joe" + "\\"]
    assert list(binding.bind(r"SELECT 'a\%n'", SQLITE).values(given_user("joe"))) == ["a\\joe"]
    assert list(binding.bind(r"SELECT 'a\n%n'", MYSQL).values(given_user("joe"))) == ["a\njoe"]
    assert shown(binding.bind(r"SELECT 'a\'b', %u", MYSQL), MYSQL) == r"SELECT 'a\'b', :p"


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("SELECT a FROM mail_%d", "Variable %d is part of a name"),
        ("SELECT a FROM %d_mail", "Variable %d is part of a name"),
        ("SELECT a FROM %d.users", "Variable %d is part of a name"),
        ("SELECT a FROM x.%d", "Variable %d is part of a name"),
        ("SELECT a FROM t WHERE u = %n@%d", "Variable %n is part of a name"),
        ("SELECT a FROM t WHERE u = %n%d", "Variable %n is part of a name"),
        ("SELECT a FROM t WHERE u = N%u", "Variable %u is part of a name"),
        ("SELECT a FROM t WHERE u = 'a'%u", "Variable %u is part of a name"),
        ("SELECT a FROM `mail_%d`", "Variable %d in an identifier"),
        ("SELECT a FROM t -- %u", "Variable %u in a comment"),
        ("SELECT a FROM t /* %u */", "Variable %u in a comment"),
        ("SELECT a FROM t WHERE u = '%u", "Missing closing '"),
        ("SELECT a FROM t WHERE u = `u", "Missing closing `"),
        ("SELECT a FROM t /* x", r"Missing closing \*/"),
    ],
)
def test_what_cannot_be_bound(template: str, text: str) -> None:
    with pytest.raises(BindingError, match=text):
        binding.bind(template, MYSQL)


def run(query: Query, user: str) -> list[tuple[object, ...]]:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(query.text, query.values(given_user(user))).fetchall()
    engine.dispose()
    return [tuple(row) for row in rows]


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=60))
@settings(max_examples=150, deadline=None)
def test_a_user_name_is_a_value_and_nothing_else(user: str) -> None:
    query = binding.bind("SELECT '%u', %n, 'a:b %d', 'x:p0' WHERE '%u' = '%u'", SQLITE)
    name, _, domain = user.partition("@")
    assert run(query, user) == [(user, name, f"a:b {domain}", "x:p0")]


@given(st.text(alphabet="ab:\\ .,()=p0$%", max_size=40))
@settings(max_examples=300, deadline=None)
def test_text_without_variables_is_sent_as_it_stands(text: str) -> None:
    """What stands in a literal reaches the database: nothing in it is taken for a marker."""
    template = "SELECT '" + text.replace("%", "%%") + "', '%u'"
    assert run(binding.bind(template, SQLITE), "joe") == [(text, "joe")]


@given(st.text(alphabet="'\"\\`-/*# ab%u@;", max_size=30))
@settings(max_examples=300, deadline=None)
def test_a_template_is_bound_or_refused(template: str) -> None:
    for dialect in (MYSQL, SQLITE):
        try:
            query = binding.bind(template, dialect)
        except BindingError as error:
            assert str(error)
            continue
        assert "'joe" not in query.text


INJECTIONS = [
    "' OR '1'='1",
    "\\' OR 1=1 -- ",
    "x'; DROP TABLE users; --",
    '" OR ""="',
    "joe' /*",
    "%u",
    ":p0",
    "\\",
    "\\\\'",
    "%(p0)s",
    "joe%",
    "_oe",
]


@pytest.mark.parametrize("user", INJECTIONS)
def test_injections_find_nobody(user: str) -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE users (name, password)")
    database.execute("INSERT INTO users VALUES ('joe', 'secret')")
    query = binding.bind("SELECT password FROM users WHERE name = '%u'", SQLITE)
    found = database.execute(query.text, query.values(given_user(user))).fetchall()
    assert found == []
    assert database.execute("SELECT count(*) FROM users").fetchone() == (1,)


def test_the_variables_of_a_query_are_known() -> None:
    assert binding.bind("SELECT 1 WHERE a='%n' AND b='%d' AND c=%s", MYSQL).variables() == {"n", "d", "s"}
