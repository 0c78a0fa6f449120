"""The line grammar: what a line is, where it ends, what it says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.config.grammar import Assignment, Closing, Faulty, Inclusion, Opening, statements, unescaped


def only(text: str) -> object:
    (statement,) = statements(text)
    return statement


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("a=b", "a", "b"),
        ("a = b", "a", "b"),
        (" \t a\t=\tb \t", "a", "b"),
        ("a = b c  d", "a", "b c  d"),
        ("a =", "a", ""),
        ("a = ", "a", ""),
        ("a = b # comment", "a", "b"),
        ("a = b#c", "a", "b"),
        ("a = #c", "a", ""),
        ('a = "b # c"', "a", "b # c"),
        ("a = 'b # c' # d", "a", "b # c"),
        ('a = "b "', "a", "b "),
        ("a = ' b'", "a", " b"),
        ('a = "b\\"c\\\\d"', "a", 'b"c\\d'),
        ("a = 'it\\'s'", "a", "it's"),
        ('a = "b" c', "a", '"b" c'),
        ("a = \"b'", "a", "\"b'"),
        ('a = "', "a", '"'),
        ('a = ""', "a", ""),
        ("a = it's # here", "a", "it's # here"),
        ("a = b\\c", "a", "b\\c"),
        ("a == b", "a", "= b"),
        ("a = b {", "a", "b {"),
        ("a = }", "a", "}"),
        ("a = b\r", "a", "b"),
        ("\ufeffa = b", "a", "b"),
        ("a.b-c/d = e", "a.b-c/d", "e"),
    ],
)
def test_an_assignment(line: str, key: str, value: str) -> None:
    assert only(line) == Assignment(1, key, value)


@pytest.mark.parametrize(
    ("line", "kind", "name"),
    [("a {", "a", ""), ("a b {", "a", "b"), ("  a\tb\t{  # c", "a", "b"), ("a b/c {", "a", "b/c")],
)
def test_an_opening(line: str, kind: str, name: str) -> None:
    assert only(line) == Opening(1, kind, name)


@pytest.mark.parametrize("line", ["}", "  }  ", "} # end", "}# end"])
def test_a_closing(line: str) -> None:
    assert only(line) == Closing(1)


@pytest.mark.parametrize(
    "line", ["a", "a b", "a{", "a b{", "a b c {", "a { b", "a { }", "} b", "}}", "{", "a; b", "\\"]
)
def test_a_line_that_is_nothing(line: str) -> None:
    assert only(line) == Faulty(1, "Expecting '='")


def test_an_assignment_without_a_key() -> None:
    assert only("= b") == Faulty(1, "Expecting a name before '='")


def test_nul_is_refused() -> None:
    assert only("a = b\0c") == Faulty(1, "Unexpected NUL character")


@pytest.mark.parametrize("text", ["", "\n\n", "# a = b", "   # a", "\t\n \n", "#\\\n"])
def test_nothing(text: str) -> None:
    assert list(statements(text)) == []


def test_inclusions() -> None:
    text = '!include /a\n!include_try b*.conf # c\n!include "d e"\n!include'
    assert list(statements(text)) == [
        Inclusion(1, "/a", optional=False),
        Inclusion(2, "b*.conf", optional=True),
        Inclusion(3, "d e", optional=False),
        Faulty(4, "Expecting a file name after !include"),
    ]


def test_a_continued_line_is_one_and_counts_from_its_first() -> None:
    text = "a = b \\\n   c \\ # with a comment\n\n# and another\n\td\ne = f"
    assert list(statements(text)) == [Assignment(1, "a", "b c d"), Assignment(6, "e", "f")]


def test_a_continuation_at_the_end_of_the_file() -> None:
    assert list(statements("a = b \\")) == [Assignment(1, "a", "b")]


def test_a_missing_last_line_end() -> None:
    assert list(statements("a {\nb = c\n}")) == [Opening(1, "a", ""), Assignment(2, "b", "c"), Closing(3)]


VALUES = st.text(st.characters(blacklist_characters="\n\r\0", blacklist_categories=["Cs"]), max_size=30)


@given(VALUES, st.sampled_from("\"'"))
def test_what_is_quoted_comes_back(value: str, quote: str) -> None:
    escaped = value.replace("\\", "\\\\").replace(quote, "\\" + quote)
    assert only(f"key = {quote}{escaped}{quote} # comment") == Assignment(1, "key", value)


@given(st.text(max_size=200))
def test_any_text_is_read(text: str) -> None:
    lines = text.count("\n") + 1
    numbers = [statement.line for statement in statements(text)]
    assert numbers == sorted(set(numbers))
    assert all(1 <= number <= lines for number in numbers)


@given(st.text("ab\\", max_size=20))
def test_unescaping(text: str) -> None:
    assert unescaped(text.replace("\\", "\\\\")) == text
