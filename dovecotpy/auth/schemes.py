"""Password schemes: `{NAME}value` or `{NAME.ENC}value`, with ENC one of b64, base64, hex.

One table. A scheme says how a password becomes the stored octets, how stored octets are compared with a password, and
what they look like as text when the scheme names no encoding. Comparisons take the same time wherever the values differ.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from cryptography.exceptions import InvalidKey, UnsupportedAlgorithm
from cryptography.hazmat.primitives.kdf.argon2 import Argon2i, Argon2id

from dovecotpy.auth import digests, libcrypt

MAX_PASSWORD = 16384
"""Octets of a password that is hashed at all; a SASL response has no more."""
MAX_SCRAM_ITERATIONS = 1_000_000
MAX_PBKDF2_ROUNDS = 10_000_000
MAX_OTP_SEQUENCE = 9999
"""Bounds on the work that a stored value may ask for; beyond it the value is broken."""


class Encoding(Enum):
    """How the octets of a stored password are written."""

    TEXT = "text"
    HEX = "hex"
    BASE64 = "base64"


class SchemeError(Exception):
    """The stored password cannot be used. Log: this text, an error. Client: as a wrong password."""


@dataclass(frozen=True, slots=True)
class Scheme:
    """One row of the table."""

    name: str
    encoding: Encoding
    make: Callable[[bytes, str], bytes]
    """password and user name to the octets that are stored. Raises SchemeError"""
    matches: Callable[[bytes, bytes, str], bool]
    """password, stored octets, user name. Raises SchemeError for octets that are not of this scheme"""
    size: int = 0
    """octets stored, where they are always so many: then hex is told from base64 by its length"""
    dear: bool = False
    """a comparison takes more than a millisecond, so it belongs into a worker"""
    weak: bool = False
    """not listed among those that new passwords should use"""


class Stored(NamedTuple):
    """A stored password taken apart."""

    scheme: str
    """upper case, without the encoding"""
    encoding: Encoding | None
    value: str


_ENCODINGS = {"HEX": Encoding.HEX, "B64": Encoding.BASE64, "BASE64": Encoding.BASE64}
_SALT_CHARACTERS = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def split(stored: str, default_scheme: str) -> Stored:
    """`{SCHEME.ENC}value` taken apart; without a prefix `$1$…` is MD5-CRYPT and all else of the default scheme."""
    if stored.startswith("{") and "}" in stored:
        name, _, value = stored[1:].partition("}")
    elif stored.startswith("$1$"):
        name, value = "MD5-CRYPT", stored
    else:
        name, value = default_scheme, stored
    name, _, suffix = name.upper().partition(".")
    if suffix and suffix not in _ENCODINGS:
        return Stored(f"{name}.{suffix}", None, value)
    return Stored(name, _ENCODINGS.get(suffix), value)


def find(name: str) -> Scheme | None:
    """The scheme of that name, in any case; None when there is none."""
    return _TABLE.get(name.upper())


def names() -> tuple[str, ...]:
    """Every scheme, those fit for new passwords first."""
    return tuple(sorted(_TABLE, key=lambda name: (_TABLE[name].weak, name)))


def verify(password: str, stored: str, default_scheme: str, user: str) -> bool:
    """Whether the password is the stored one. Raises SchemeError (`Unknown scheme X`, `Invalid password format for scheme X`)."""
    parts = split(stored, default_scheme)
    scheme = _known(parts.scheme)
    plain = password.encode("utf-8", "surrogateescape")
    if len(plain) > MAX_PASSWORD:
        return False
    return scheme.matches(plain, _decoded(scheme, parts), user)


def explain(password: str, stored: str, default_scheme: str) -> str:
    """Why a password was not the stored one, for auth_debug_passwords alone: it tells both."""
    parts = split(stored, default_scheme)
    return f"{parts.scheme}({password}) != '{parts.value}'"


def is_dear(stored: str, default_scheme: str) -> bool:
    """Whether a comparison takes more than about a millisecond."""
    parts = split(stored, default_scheme)
    scheme = find(parts.scheme)
    if scheme is None:
        return False
    if scheme.name == "CRYPT":
        return not parts.value.startswith("$1$") and len(parts.value) != 13
    return scheme.dear


def generate(password: str, scheme_name: str, user: str = "") -> str:
    """A new stored password with its `{SCHEME}` prefix. Raises SchemeError."""
    name, _, suffix = scheme_name.upper().partition(".")
    scheme = _known(name)
    if suffix and suffix not in _ENCODINGS:
        raise SchemeError(f"Unknown encoding {suffix}")
    octets = scheme.make(password.encode("utf-8", "surrogateescape"), user)
    encoding = _ENCODINGS.get(suffix, scheme.encoding)
    return "{" + scheme_name.upper() + "}" + _encoded(octets, encoding)


def _known(name: str) -> Scheme:
    scheme = find(name)
    if scheme is None:
        raise SchemeError(f"Unknown scheme {name}")
    return scheme


def _encoded(octets: bytes, encoding: Encoding) -> str:
    if encoding is Encoding.HEX:
        return octets.hex()
    if encoding is Encoding.BASE64:
        return base64.b64encode(octets).decode("ascii")
    return octets.decode("utf-8", "surrogateescape")


def _decoded(scheme: Scheme, parts: Stored) -> bytes:
    encoding = parts.encoding or scheme.encoding
    if parts.encoding is None and scheme.size:
        encoding = Encoding.HEX if len(parts.value) == scheme.size * 2 else Encoding.BASE64
    try:
        octets = _octets(parts.value, encoding)
    except ValueError as error:
        raise _invalid(scheme.name) from error
    if scheme.size and len(octets) != scheme.size:
        raise _invalid(scheme.name)
    return octets


def _octets(value: str, encoding: Encoding) -> bytes:
    if encoding is Encoding.TEXT:
        return value.encode("utf-8", "surrogateescape")
    if encoding is Encoding.HEX:
        return binascii.unhexlify(value)
    return base64.b64decode(value.encode("ascii"), validate=True)


def _invalid(name: str) -> SchemeError:
    return SchemeError(f"Invalid password format for scheme {name}")


def _salt(length: int) -> str:
    return "".join(_SALT_CHARACTERS[octet & 63] for octet in os.urandom(length))


# ---- comparison by making the same again -------------------------------------------------------------------------------


def _by_making(make: Callable[[bytes, str], bytes]) -> Callable[[bytes, bytes, str], bool]:
    def matches(password: bytes, stored: bytes, user: str) -> bool:
        return hmac.compare_digest(make(password, user), stored)

    return matches


def _plain(password: bytes, user: str) -> bytes:
    return password


def _truncated_make(password: bytes, user: str) -> bytes:
    return b"%d-%s" % (len(password), password)


def _truncated_matches(password: bytes, stored: bytes, user: str) -> bool:
    length, dash, text = stored.partition(b"-")
    if not dash or not length.isdigit() or len(length) > 6:
        raise _invalid("PLAIN-TRUNC")
    return hmac.compare_digest(password[: int(length)], text)


def _digest(name: str) -> Callable[[bytes, str], bytes]:
    def make(password: bytes, user: str) -> bytes:
        return hashlib.new(name, password, usedforsecurity=False).digest()

    return make


def _md4(password: bytes, user: str) -> bytes:
    return digests.md4(password)


def _digest_md5(password: bytes, user: str) -> bytes:
    name, at, realm = user.partition("@")
    secret = b":".join(
        (name.encode("utf-8", "surrogateescape"), realm.encode("utf-8", "surrogateescape"), password)
    )
    return hashlib.md5(secret, usedforsecurity=False).digest()


def _cram_md5(password: bytes, user: str) -> bytes:
    """The two MD5 states of HMAC (RFC 2195 section 2 with RFC 2104), the outer first."""
    key = hashlib.md5(password, usedforsecurity=False).digest() if len(password) > 64 else password
    block = key.ljust(64, b"\0")
    outer, inner = (bytes(octet ^ pad for octet in block) for pad in (0x5C, 0x36))
    return digests.md5_state_of_key(outer) + digests.md5_state_of_key(inner)


def _ntlm(password: bytes, user: str) -> bytes:
    return digests.md4(_utf16(password, "utf-16-le"))


def _rpa(password: bytes, user: str) -> bytes:
    return hashlib.md5(_utf16(password, "utf-16-be"), usedforsecurity=False).digest()


def _utf16(password: bytes, codec: str) -> bytes:
    return password.decode("utf-8", "replace").encode(codec)


def _lanman(password: bytes, user: str) -> bytes:
    key = password.upper()[:14].ljust(14, b"\0")
    return b"".join(digests.des(key[start : start + 7], b"KGS!@#$%") for start in (0, 7))


# ---- digest, then salt --------------------------------------------------------------------------------------------------


def _salted(
    name: str, scheme: str, salt_size: int = 4
) -> tuple[Callable[[bytes, str], bytes], Callable[[bytes, bytes, str], bool]]:
    size = hashlib.new(name, usedforsecurity=False).digest_size

    def make(password: bytes, user: str) -> bytes:
        salt = os.urandom(salt_size)
        return hashlib.new(name, password + salt, usedforsecurity=False).digest() + salt

    def matches(password: bytes, stored: bytes, user: str) -> bool:
        if len(stored) <= size:
            raise _invalid(scheme)
        found = hashlib.new(name, password + stored[size:], usedforsecurity=False).digest()
        return hmac.compare_digest(found, stored[:size])

    return make, matches


# ---- crypt(3) -------------------------------------------------------------------------------------------------------------


def _crypt_matches(password: bytes, stored: bytes, user: str) -> bool:
    if b"\0" in password:
        return False
    found = libcrypt.crypt(password, stored)
    if found is None:
        raise _invalid("CRYPT")
    return hmac.compare_digest(found, stored)


def _crypt_maker(name: str, setting: Callable[[], str]) -> Callable[[bytes, str], bytes]:
    def make(password: bytes, user: str) -> bytes:
        made = libcrypt.crypt(password, setting().encode("ascii"))
        if made is None:
            raise SchemeError(f"{name} can't hash this password here")
        return made

    return make


def _blowfish_salt() -> str:
    return "$2y$10$" + _salt(21) + "."


def _sha512_setting() -> str:
    return f"$6${_salt(16)}"


# ---- argon2, PBKDF2, SCRAM, OTP ----------------------------------------------------------------------------------------


def _argon2_make(kind: type[Argon2i] | type[Argon2id]) -> Callable[[bytes, str], bytes]:
    def make(password: bytes, user: str) -> bytes:
        function = kind(salt=os.urandom(16), length=32, iterations=3, lanes=1, memory_cost=65536)
        return function.derive_phc_encoded(password).encode("ascii")

    return make


def _argon2_matches(password: bytes, stored: bytes, user: str) -> bool:
    kind = Argon2id if stored.startswith(b"$argon2id$") else Argon2i
    try:
        kind.verify_phc_encoded(password, stored.decode("ascii"))
    except InvalidKey as error:
        if b"$" not in stored[1:]:
            raise _invalid("ARGON2") from error
        return False
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _invalid("ARGON2") from error
    return True


def _pbkdf2(password: bytes, salt: bytes, rounds: int) -> bytes:
    return hashlib.pbkdf2_hmac("sha1", password, salt, rounds, 20)


def _pbkdf2_make(password: bytes, user: str) -> bytes:
    salt, rounds = _salt(16).encode("ascii"), 5000
    return b"$1$%s$%d$%s" % (salt, rounds, _pbkdf2(password, salt, rounds).hex().encode("ascii"))


def _pbkdf2_matches(password: bytes, stored: bytes, user: str) -> bool:
    parts = stored.split(b"$")
    if len(parts) != 5 or parts[:2] != [b"", b"1"]:
        raise _invalid("PBKDF2")
    rounds = _bounded(parts[3], MAX_PBKDF2_ROUNDS, "PBKDF2")
    found = _pbkdf2(password, parts[2], rounds).hex().encode("ascii")
    return hmac.compare_digest(found, parts[4].lower())


def _bounded(digits: bytes, most: int, scheme: str) -> int:
    number = int(digits) if digits.isdigit() and len(digits) <= 10 else 0
    if not 0 < number <= most:
        raise _invalid(scheme)
    return number


def _scram_keys(name: str, password: bytes, salt: bytes, iterations: int) -> tuple[bytes, bytes]:
    """StoredKey and ServerKey (RFC 5802 section 3)."""
    salted = hashlib.pbkdf2_hmac(name, password, salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", name)
    return hashlib.new(name, client_key).digest(), hmac.digest(salted, b"Server Key", name)


def _scram(
    name: str, scheme: str
) -> tuple[Callable[[bytes, str], bytes], Callable[[bytes, bytes, str], bool]]:
    def make(password: bytes, user: str) -> bytes:
        salt, iterations = os.urandom(16), 4096
        keys = _scram_keys(name, password, salt, iterations)
        return b"%d,%s" % (iterations, b",".join(base64.b64encode(part) for part in (salt, *keys)))

    def matches(password: bytes, stored: bytes, user: str) -> bool:
        iterations, *rest = stored.split(b",")
        try:
            salt, stored_key, _ = (base64.b64decode(part, validate=True) for part in rest)
        except ValueError as error:
            raise _invalid(scheme) from error
        count = _bounded(iterations, MAX_SCRAM_ITERATIONS, scheme)
        return hmac.compare_digest(_scram_keys(name, password, salt, count)[0], stored_key)

    return make, matches


def _otp_fold(name: str, data: bytes) -> bytes:
    """A digest folded to 64 bits (RFC 2289 appendix A)."""
    digest = digests.md4(data) if name == "md4" else hashlib.new(name, data, usedforsecurity=False).digest()
    if name == "sha1":
        words = [int.from_bytes(digest[start : start + 4], "big") for start in range(0, 20, 4)]
        left, right = words[0] ^ words[2] ^ words[4], words[1] ^ words[3]
        return left.to_bytes(4, "little") + right.to_bytes(4, "little")
    return bytes(one ^ other for one, other in zip(digest[:8], digest[8:], strict=True))


def _otp(name: str, seed: bytes, password: bytes, sequence: int) -> bytes:
    value = _otp_fold(name, seed.lower() + password)
    for _ in range(sequence):
        value = _otp_fold(name, value)
    return value


def _otp_make(name: str) -> Callable[[bytes, str], bytes]:
    def make(password: bytes, user: str) -> bytes:
        seed = os.urandom(8).hex().encode("ascii")
        value = _otp(name, seed, password, 1024)
        return b"%s 1024 %s %s" % (name.encode("ascii"), seed, value.hex().encode("ascii"))

    return make


def _otp_matches(password: bytes, stored: bytes, user: str) -> bool:
    parts = stored.split(b" ")
    if len(parts) != 4 or parts[0] not in (b"md4", b"md5", b"sha1"):
        raise _invalid("OTP")
    sequence = _bounded(parts[1], MAX_OTP_SEQUENCE, "OTP")
    value = _otp(parts[0].decode("ascii"), parts[2], password, sequence)
    return hmac.compare_digest(value.hex().encode("ascii"), parts[3].lower())


# ---- the table ------------------------------------------------------------------------------------------------------------


def _rows() -> list[Scheme]:
    text, hexadecimal, base = Encoding.TEXT, Encoding.HEX, Encoding.BASE64
    rows = [Scheme(name, text, _plain, _by_making(_plain), weak=True) for name in ("PLAIN", "CLEARTEXT")]
    rows.append(Scheme("PLAIN-TRUNC", text, _truncated_make, _truncated_matches, weak=True))
    settings: tuple[tuple[str, Callable[[], str], bool, bool], ...] = (
        ("CRYPT", _sha512_setting, True, False),
        ("DES-CRYPT", lambda: _salt(2), False, True),
        ("MD5", lambda: f"$1${_salt(8)}", False, True),
        ("MD5-CRYPT", lambda: f"$1${_salt(8)}", False, True),
        ("SHA256-CRYPT", lambda: f"$5${_salt(16)}", True, False),
        ("SHA512-CRYPT", _sha512_setting, True, False),
        ("BLF-CRYPT", _blowfish_salt, True, False),
    )
    for name, setting, dear, weak in settings:
        rows.append(Scheme(name, text, _crypt_maker(name, setting), _crypt_matches, dear=dear, weak=weak))
    rows.append(Scheme("ARGON2I", text, _argon2_make(Argon2i), _argon2_matches, dear=True))
    rows.append(Scheme("ARGON2ID", text, _argon2_make(Argon2id), _argon2_matches, dear=True))
    rows.append(Scheme("PBKDF2", text, _pbkdf2_make, _pbkdf2_matches, dear=True))
    for name, algorithm, size in (
        ("SHA", "sha1", 20),
        ("SHA1", "sha1", 20),
        ("SHA256", "sha256", 32),
        ("SHA512", "sha512", 64),
    ):
        rows.append(
            Scheme(name, base, _digest(algorithm), _by_making(_digest(algorithm)), size=size, weak=True)
        )
    for name, algorithm in (("SMD5", "md5"), ("SSHA", "sha1"), ("SSHA256", "sha256"), ("SSHA512", "sha512")):
        rows.append(Scheme(name, base, *_salted(algorithm, name), weak=True))
    fixed: tuple[tuple[str, Callable[[bytes, str], bytes], Encoding, int], ...] = (
        ("PLAIN-MD4", _md4, hexadecimal, 16),
        ("PLAIN-MD5", _digest("md5"), hexadecimal, 16),
        ("LDAP-MD5", _digest("md5"), base, 16),
        ("LANMAN", _lanman, hexadecimal, 16),
        ("NTLM", _ntlm, hexadecimal, 16),
        ("RPA", _rpa, hexadecimal, 16),
        ("CRAM-MD5", _cram_md5, hexadecimal, 32),
        ("HMAC-MD5", _cram_md5, hexadecimal, 32),
        ("DIGEST-MD5", _digest_md5, hexadecimal, 16),
    )
    for name, make, encoding, size in fixed:
        rows.append(Scheme(name, encoding, make, _by_making(make), size=size, weak=True))
    for name, algorithm in (("SCRAM-SHA-1", "sha1"), ("SCRAM-SHA-256", "sha256")):
        rows.append(Scheme(name, text, *_scram(algorithm, name), dear=True))
    rows.append(Scheme("OTP", text, _otp_make("sha1"), _otp_matches, dear=True, weak=True))
    rows.append(Scheme("SKEY", text, _otp_make("md4"), _otp_matches, dear=True, weak=True))
    return rows


_TABLE = {row.name: row for row in _rows()}
