"""%-variables: every rule with the examples that administrators know."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.config.variables import (
    MAX_WIDTH,
    NAMES,
    Literal,
    Variable,
    expand,
    for_user,
    hashed,
    parse,
    unknown,
    used,
)

VALUES = {**for_user("user@dom.ain"), "i": "26", "h": "/home/user", "w": "a\"b'c\\d", "s": "trailing \t"}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("%u", "user@dom.ain"),
        ("%n", "user"),
        ("%d", "dom.ain"),
        ("maildir:/var/mail/%d/%n/Maildir", "maildir:/var/mail/dom.ain/user/Maildir"),
        ("%%u", "%u"),
        ("100%%", "100%"),
        ("%Q", ""),
        ("a% b", "ab"),
        ("a%", "a"),
        ("a%1", "a"),
        ("%1u", "u"),
        ("%1.1u", "s"),
        ("%-2.2u", "in"),
        ("%2.3n", "er"),
        ("%-1.2n", "r"),
        ("%-30.2u", "us"),
        ("%30.2u", ""),
        ("%2.n", "er"),
        ("%99n", "user"),
        ("%06n", "00user"),
        ("%02n", "user"),
        ("%08Xi", "0000001a"),
        ("%Xi", "1a"),
        ("%Xn", "0"),
        ("%Ld", "dom.ain"),
        ("%Uu", "USER@DOM.AIN"),
        ("%Rn", "resu"),
        ("%RUn", "RESU"),
        ("%1Rn", "r"),
        ("%Dd", "dom,dc=ain"),
        ("%Ew", "a\\\"b\\'c\\\\d"),
        ("<%Ts>", "<trailing>"),
        ("%{user}", "user@dom.ain"),
        ("%{username}-%{domain}", "user-dom.ain"),
        ("%U{username}", "USER"),
        ("%1.2{username}", "se"),
        ("%{nothing}", ""),
        ("%{user", "user"),
        ("%LLLLLLLLLLUn", "n"),
        ("", ""),
        ("no variables", "no variables"),
    ],
)
def test_expansion(template: str, expected: str) -> None:
    assert expand(template, VALUES) == expected


def test_md5() -> None:
    assert expand("%Mu", VALUES) == hashlib.md5(b"user@dom.ain").hexdigest()
    assert expand("%2Mu", VALUES) == hashlib.md5(b"user@dom.ain").hexdigest()[:2]


def test_no_domain_is_empty_and_no_error() -> None:
    assert expand("%d/%n/%u", for_user("user")) == "/user/user"


def test_the_hash_takes_the_numbers() -> None:
    value = hashed("user@dom.ain")
    assert expand("%Hu", VALUES) == f"{value:x}"
    assert expand("%256Hu", VALUES) == f"{value % 256:x}"
    assert expand("%2.256Hu", VALUES) == f"{value % 256:02x}"
    assert expand("%2.26Hn", VALUES) == f"{hashed('user') % 26:02x}"


@pytest.mark.parametrize(("text", "value"), [("", 0), ("a", 0x61), ("ab", 0x672)])
def test_the_hash_of_little(text: str, value: int) -> None:
    assert hashed(text) == value


def reference_hash(octets: bytes) -> int:
    """The classic PJW hash, written down a second time."""
    value = 0
    for octet in octets:
        value = (value * 16 + octet) % 2**32
        top = value & (15 << 28)
        if top:
            value = (value ^ (top >> 24)) ^ top
    return value


@given(st.text(max_size=40))
def test_the_hash_of_anything(text: str) -> None:
    assert hashed(text) == reference_hash(text.encode())


def test_huge_numbers_do_not_fill_the_memory() -> None:
    assert len(expand("%099999999999999999999u", VALUES)) == MAX_WIDTH
    assert expand("%99999999999999999999.u", VALUES) == ""
    assert expand("%9999999999999999999999999999999Hu", VALUES)
    assert expand("%X" + "{user}", {"u": "9" * 100_000}) != ""


def test_the_pieces() -> None:
    assert parse("a%%b%2.3Lu-%{domain}") == (
        Literal("a%b"),
        Variable("u", 2, 3, False, "L"),
        Literal("-"),
        Variable("d"),
    )


def test_a_piece_can_be_evaluated_by_either_name() -> None:
    assert Variable("u").evaluate({"user": "x"}) == "x"
    assert Variable("u").evaluate({"u": "x", "user": "y"}) == "x"
    assert Variable("session").evaluate({"session": "z"}) == "z"


def test_what_a_template_uses() -> None:
    assert used("%u %Ld %{user} %1.2n %% %{session}") == ("u", "d", "n", "session")
    assert used("nothing") == ()
    assert unknown("%u%Q%{user}%d", "ud") == ("Q",)


def test_no_letter_is_a_modifier_and_a_name() -> None:
    assert not set(NAMES) & set("LUEXRHMDT")


@given(st.text("%-.0123456789{}LUEXRHMDTunduser ", max_size=30), st.text(max_size=10))
def test_any_template_expands(template: str, user: str) -> None:
    result = expand(template, for_user(user))
    assert len(result) <= len(template) * (MAX_WIDTH + 40 * (len(user) + 1))


@given(st.text(max_size=20).filter(lambda text: "%" not in text))
def test_text_stays(text: str) -> None:
    assert expand(text, {}) == text
    assert expand(text.replace("x", "%%"), {}) == text.replace("x", "%")


@given(st.text(max_size=20))
def test_values_are_never_templates(user: str) -> None:
    assert expand("<%u>", {"u": user}) == f"<{user}>"
