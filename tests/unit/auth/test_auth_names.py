"""User names: from what a client says to what databases are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.auth.names import MAX_NAME, NameRefused, NameRules

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@"


@pytest.mark.parametrize(
    ("rules", "name", "result"),
    [
        (NameRules(), "joe", "joe"),
        (NameRules(default_realm="example.org"), "joe", "joe@example.org"),
        (NameRules(default_realm="example.org"), "joe@a.b", "joe@a.b"),
        (NameRules(translation="#@/@", characters=LETTERS), "joe#a.b", "joe@a.b"),
        (NameRules(format="%Lu"), "Joe@Example.ORG", "joe@example.org"),
        (NameRules(format="%n"), "joe@a.b", "joe"),
        (NameRules(format="%n-AT-%d"), "joe@a.b", "joe-AT-a.b"),
        (NameRules(characters=LETTERS), "joe@a.b", "joe@a.b"),
        (NameRules(translation="AaB"), "AB", "aB"),
    ],
)
def test_rules(rules: NameRules, name: str, result: str) -> None:
    assert rules.apply(name) == result


@pytest.mark.parametrize(
    ("rules", "name", "text"),
    [
        (NameRules(), "", "Empty username"),
        (NameRules(format="%d"), "joe", "Empty username"),
        (NameRules(characters=LETTERS), "joe'", "Username contains disallowed character: 0x27"),
        (NameRules(characters=LETTERS), "joé", "Username contains disallowed character: 0xc3"),
        (NameRules(), "joe\n", "Username contains disallowed character: 0x0a"),
        (NameRules(), "joe\0", "Username contains disallowed character: 0x00"),
        (NameRules(), "j" * (MAX_NAME + 1), "Too long username"),
    ],
)
def test_refused(rules: NameRules, name: str, text: str) -> None:
    with pytest.raises(NameRefused, match=text):
        rules.apply(name)


def test_master_separator() -> None:
    rules = NameRules(master_separator="*")
    assert rules.split_master("joe*admin") == ("joe", "admin")
    assert rules.split_master("joe") == ("joe", "")
    assert NameRules().split_master("joe*admin") == ("joe*admin", "")


@given(st.text())
def test_allowed_names_hold_allowed_characters(name: str) -> None:
    try:
        result = NameRules(characters=LETTERS).apply(name)
    except NameRefused:
        return
    assert result and set(result) <= set(LETTERS)
