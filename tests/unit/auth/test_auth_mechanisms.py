"""PLAIN and LOGIN."""

from __future__ import annotations

import pytest

from dovecotpy.auth.mechanisms import MECHANISMS
from dovecotpy.auth.mechanisms.base import Challenge, Credentials, Refused


@pytest.mark.parametrize(
    ("data", "step"),
    [
        (b"\0joe\0secret", Credentials("joe", "secret")),
        (b"joe\0joe\0secret", Credentials("joe", "secret")),
        (b"ann\0joe\0secret", Credentials("joe", "secret", "ann")),
        (b"\0joe\0", Credentials("joe", "")),
        (b"\0j\xc3\xb6\0\xff", Credentials("jö", "\udcff")),
        (b"joe\0secret", Refused("invalid input")),
        (b"\0joe\0secret\0", Refused("invalid input")),
        (b"joe", Refused("invalid input")),
    ],
)
def test_plain(data: bytes, step: object) -> None:
    assert MECHANISMS["PLAIN"]().start(data) == step
    later = MECHANISMS["PLAIN"]()
    assert later.start(b"") == Challenge(b"")
    assert later.step(data) == step


def test_login() -> None:
    asked = MECHANISMS["LOGIN"]()
    assert asked.start(b"") == Challenge(b"Username:")
    assert asked.step(b"joe") == Challenge(b"Password:")
    assert asked.step(b"secret") == Credentials("joe", "secret")


def test_login_with_an_initial_response() -> None:
    asked = MECHANISMS["LOGIN"]()
    assert asked.start(b"joe") == Challenge(b"Password:")
    assert asked.step(b"") == Credentials("joe", "")


def test_both_are_plaintext() -> None:
    assert all("plaintext" in each.FLAGS for each in MECHANISMS.values())
