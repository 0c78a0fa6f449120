"""dovecotpy-pw."""

from __future__ import annotations

import pytest

from dovecotpy.auth import schemes
from dovecotpy.cli import pw


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert pw.main(["-l"]) == 0
    assert set(capsys.readouterr().out.split()) == set(schemes.names())


def test_default_scheme_is_that_of_1_x(capsys: pytest.CaptureFixture[str]) -> None:
    assert pw.main(["-p", "secret"]) == 0
    out = capsys.readouterr().out.strip()
    assert out.startswith("{HMAC-MD5}")
    assert schemes.verify("secret", out, "PLAIN", "")


def test_verify_and_user(capsys: pytest.CaptureFixture[str]) -> None:
    assert pw.main(["-s", "digest-md5", "-p", "secret", "-u", "joe@example.org", "-V"]) == 0
    made, verified = capsys.readouterr().out.split()
    assert verified == "(verified)"
    assert schemes.verify("secret", made, "PLAIN", "joe@example.org")
    assert not schemes.verify("secret", made, "PLAIN", "ann@example.org")


def test_asks_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answers = iter(["one", "two", "one", "one"])
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    assert pw.main(["-s", "PLAIN"]) == 89
    assert "don't match" in capsys.readouterr().err
    assert pw.main(["-s", "PLAIN"]) == 0
    assert capsys.readouterr().out == "{PLAIN}one\n"


def test_unknown_scheme(capsys: pytest.CaptureFixture[str]) -> None:
    assert pw.main(["-s", "ROT13", "-p", "x"]) == 89
    assert capsys.readouterr().err.startswith("Fatal: Unknown scheme ROT13")
