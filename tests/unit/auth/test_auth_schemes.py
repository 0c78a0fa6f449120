"""Password schemes: our own round trips, known values, and the peer's opinion both ways."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dovecotpy.auth import digests, libcrypt, schemes
from dovecotpy.auth.schemes import SchemeError

USER = "joe@example.org"
PASSWORD = "päss word"

DOVEADM = shutil.which("doveadm")
requires_doveadm = pytest.mark.skipif(
    DOVEADM is None, reason="no doveadm to compare with (Debian: dovecot-core)"
)


def doveadm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(DOVEADM), "pw", *arguments], capture_output=True, text=True, timeout=20)


def peer_schemes() -> list[str]:
    return sorted(set(doveadm("-l").stdout.split()) & set(schemes.names())) if DOVEADM else []


@pytest.mark.parametrize("name", schemes.names())
def test_made_is_matched_and_another_is_not(name: str) -> None:
    made = schemes.generate(PASSWORD, name, USER)
    assert made.startswith("{" + name + "}")
    assert schemes.verify(PASSWORD, made, "PLAIN", USER)
    assert not schemes.verify(PASSWORD[:4], made, "PLAIN", USER)
    assert not schemes.verify("Päss word"[:4], made, "PLAIN", USER)
    assert not schemes.verify("", made, "PLAIN", USER)


@requires_doveadm
@pytest.mark.parametrize("name", peer_schemes())
def test_the_peer_takes_ours(name: str) -> None:
    made = schemes.generate(PASSWORD, name, USER)
    assert doveadm("-t", made, "-p", PASSWORD, "-u", USER).returncode == 0
    assert doveadm("-t", made, "-p", "other", "-u", USER).returncode != 0


@requires_doveadm
@pytest.mark.parametrize("name", sorted(set(peer_schemes()) - {"PLAIN-TRUNC"}))
def test_we_take_the_peers(name: str) -> None:
    made = doveadm("-s", name, "-p", PASSWORD, "-u", USER).stdout.strip()
    assert made.startswith("{" + name + "}")
    assert schemes.verify(PASSWORD, made, "PLAIN", USER)
    assert not schemes.verify("other", made, "PLAIN", USER)


@pytest.mark.parametrize(
    ("stored", "default"),
    [
        ("{LANMAN}e52cac67419a9a224a3b108f3fa6cb6d", "PLAIN"),
        ("{NTLM}8846f7eaee8fb117ad06bdd830b7586c", "PLAIN"),
        ("{PLAIN-MD5}5f4dcc3b5aa765d61d8327deb882cf99", "PLAIN"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "PLAIN-MD5"),
        ("{plain-md5.b64}X03MO1qnZdYdgyfeuILPmQ==", "PLAIN"),
        ("{PLAIN-MD5}X03MO1qnZdYdgyfeuILPmQ==", "PLAIN"),
        ("{LDAP-MD5}X03MO1qnZdYdgyfeuILPmQ==", "PLAIN"),
        ("{PLAIN.HEX}70617373776f7264", "CRYPT"),
        ("{PLAIN.base64}cGFzc3dvcmQ=", "CRYPT"),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "PLAIN"),
        ("{SHA.hex}5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8", "PLAIN"),
        ("$1$zxcvbnml$FVHF.VPaGN0.9ZhFl/ZYX0", "PLAIN"),
        ("password", "cleartext"),
        ("{password", "PLAIN"),
    ],
)
def test_known_values(stored: str, default: str) -> None:
    if stored.startswith("$1$"):
        made = libcrypt.crypt(b"password", b"$1$zxcvbnml$")
        assert made is not None
        stored = made.decode()
    password = "{password" if stored == "{password" else "password"
    assert schemes.verify(password, stored, default, USER)
    assert not schemes.verify("passwore", stored, default, USER)


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (b"", "31d6cfe0d16ae931b73c59d7e0c089c0"),
        (b"abc", "a448017aaf21d8525fc10ae87aa6729d"),
        (b"1234567890" * 8, "e33b4ddc9c38f2199c3e7b164fcc0536"),
    ],
)
def test_md4_of_rfc_1320(data: bytes, digest: str) -> None:
    assert digests.md4(data).hex() == digest


@given(st.binary(max_size=200))
@settings(max_examples=50, deadline=None)
def test_md5_block_is_md5(data: bytes) -> None:
    import hashlib
    import struct

    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + struct.pack("<Q", len(data) * 8)
    state = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
    for start in range(0, len(padded), 64):
        state = digests.md5_block(state, padded[start : start + 64])
    assert struct.pack("<4I", *state) == hashlib.md5(data).digest()


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ("{NOPE}x", "Unknown scheme NOPE"),
        ("{NOPE.b64}x", "Unknown scheme NOPE"),
        ("{SHA.rot13}x", "Unknown scheme SHA.ROT13"),
        ("{SSHA}x", "Invalid password format for scheme SSHA"),
        ("{SSHA}QUJD", "Invalid password format for scheme SSHA"),
        ("{SHA}QUJD", "Invalid password format for scheme SHA"),
        ("{CRAM-MD5}zz", "Invalid password format for scheme CRAM-MD5"),
        ("{PLAIN.HEX}zz", "Invalid password format for scheme PLAIN"),
        ("{CRYPT}", "Invalid password format for scheme CRYPT"),
        ("{SHA512-CRYPT}*", "Invalid password format for scheme CRYPT"),
        ("{ARGON2ID}x", "Invalid password format for scheme ARGON2"),
        ("{PBKDF2}$1$salt$99999999999$00", "Invalid password format for scheme PBKDF2"),
        ("{PBKDF2}$1$salt$100000000$00", "Invalid password format for scheme PBKDF2"),
        ("{SCRAM-SHA-1}9999999999,QQ==,QQ==,QQ==", "Invalid password format for scheme SCRAM-SHA-1"),
        ("{SCRAM-SHA-1}4096,QQ==", "Invalid password format for scheme SCRAM-SHA-1"),
        ("{OTP}sha1 99999999 seed 00", "Invalid password format for scheme OTP"),
        ("{OTP}sha7 1 seed 00", "Invalid password format for scheme OTP"),
        ("{PLAIN-TRUNC}x", "Invalid password format for scheme PLAIN-TRUNC"),
    ],
)
def test_broken_ones_are_named(stored: str, text: str) -> None:
    with pytest.raises(SchemeError, match=f"^{text}$"):
        schemes.verify("x", stored, "PLAIN", USER)


def test_crypt_of_a_nul_matches_nothing() -> None:
    made = schemes.generate("pass", "SHA512-CRYPT")
    assert not schemes.verify("pass\0word", made, "PLAIN", USER)


def test_a_password_beyond_the_bound_matches_nothing() -> None:
    password = "x" * (schemes.MAX_PASSWORD + 1)
    assert not schemes.verify(password, password, "PLAIN", USER)


@pytest.mark.parametrize(
    ("stored", "dear"),
    [
        ("{PLAIN}x", False),
        ("{SSHA}x", False),
        ("{CRYPT}$1$salt$hash", False),
        ("{CRYPT}abcdefghijklm", False),
        ("{CRYPT}$6$salt$hash", True),
        ("{BLF-CRYPT}$2y$", True),
        ("{ARGON2ID}x", True),
        ("{NOPE}x", False),
    ],
)
def test_dear_ones_are_known(stored: str, dear: bool) -> None:
    assert schemes.is_dear(stored, "PLAIN") is dear


@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=40))
@settings(max_examples=100, deadline=None)
def test_any_stored_text_is_matched_or_named(stored: str) -> None:
    try:
        schemes.verify("password", stored, "PLAIN", USER)
    except SchemeError as error:
        assert str(error)


@given(
    st.text(alphabet=st.characters(codec="utf-8"), min_size=1, max_size=60),
    st.sampled_from(["SSHA256", "CRAM-MD5", "PLAIN.B64", "NTLM"]),
)
@settings(max_examples=80, deadline=None)
def test_round_trip(password: str, name: str) -> None:
    made = schemes.generate(password, name)
    assert schemes.verify(password, made, "CRYPT", USER)
    assert not schemes.verify(password + "x", made, "CRYPT", USER)
