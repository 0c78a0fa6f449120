"""Settings as values, and how they travel."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dovecotpy.config.values import Namespace, Passdb, Settings, Userdb, Value
from tests import lean

TEXTS = st.text(max_size=20)
VALUES = st.one_of(TEXTS, st.integers(0, 2**63), st.booleans(), st.lists(TEXTS, max_size=4).map(tuple))
NAMES = st.text("abc_[é\t\n", min_size=1, max_size=8).filter(lambda name: not name.startswith("["))


@given(st.dictionaries(NAMES, VALUES, max_size=8))
def test_what_is_dumped_is_loaded(values: dict[str, Value]) -> None:
    settings = Settings(values)
    loaded = Settings.load(settings.dump())
    assert loaded == settings
    assert list(loaded.names()) == list(values)
    assert all(type(loaded.value(name)) is type(values[name]) for name in values)


def test_octets_that_are_no_utf8_survive() -> None:
    settings = Settings({"a": b"\xff\xfe".decode("utf-8", "surrogateescape")})
    assert Settings.load(settings.dump()) == settings


def test_the_lines() -> None:
    settings = Settings({"a": "x\ty", "b": 7, "c": True, "d": ("p", "q"), "e": ()})
    assert settings.dump() == b"a\ts\tx\x01ty\nb\tn\t7\nc\tb\tyes\nd\tw\tp\tq\ne\tw\n"


@pytest.mark.parametrize(
    "line", [b"a\n", b"a\ts\n", b"a\tz\tx\n", b"a\tn\tx\n", b"a\tb\tmaybe\n", b"a\ts\tx\ty\n"]
)
def test_what_nobody_dumped_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError):
        Settings.load(line)


def test_each_type_has_its_question() -> None:
    settings = Settings({"a": "x", "b": 7, "c": True, "d": ("p",)})
    assert (settings.text("a"), settings.number("b"), settings.flag("c"), settings.words("d")) == (
        "x",
        7,
        True,
        ("p",),
    )
    for question in (settings.text, settings.number, settings.flag, settings.words):
        with pytest.raises(KeyError):
            question("other")
    for question, name in (
        (settings.text, "b"),
        (settings.number, "c"),
        (settings.flag, "b"),
        (settings.words, "a"),
    ):
        with pytest.raises(TypeError):
            question(name)


def test_only_and_changed_leave_the_original_alone() -> None:
    settings = Settings({"a": "x", "b": 7})
    assert list(settings.only(["b", "other"]).names()) == ["b"]
    assert settings.changed({"b": 8, "c": True}).number("b") == 8
    assert settings == Settings({"a": "x", "b": 7})


def test_a_repr_holds_no_value() -> None:
    assert "secret" not in repr(Settings({"ssl_key_password": "secret"}))


def test_blocks_travel() -> None:
    passdb = Passdb("sql", "/etc/x", deny=True, master=True)
    userdb = Userdb("static", "uid=1 gid=2")
    namespace = Namespace("private", "/", "a/", "", True, False, "children", True, None)
    alias = namespace._replace(alias_for="b/")
    assert Passdb.of(Settings.load(passdb.settings().dump())) == passdb
    assert Userdb.of(Settings.load(userdb.settings().dump())) == userdb
    assert Namespace.of(Settings.load(namespace.settings().dump())) == namespace
    assert Namespace.of(Settings.load(alias.settings().dump())) == alias


HEAVY = sorted(lean.HEAVY - {"pathlib"})


def test_mail_processes_load_none_of_the_table() -> None:
    program = (
        "import sys, dovecotpy.config.values, dovecotpy.config.variables\n"
        f"heavy = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "ours = [name for name in sys.modules if name.startswith('dovecotpy.config.')]\n"
        "print(heavy, sorted(ours))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[] ['dovecotpy.config.values', 'dovecotpy.config.variables']\n"
