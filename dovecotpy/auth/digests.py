"""The digests that hashlib does not have: MD4, the middle state of MD5, and DES as LAN Manager used it."""

from __future__ import annotations

import struct
from collections.abc import Callable

from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher, modes

_MASK = 0xFFFFFFFF
_START = (0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476)
_WORDS = struct.Struct("<16I")
_STATE = struct.Struct("<4I")

_MD4_ORDER = (
    tuple(range(16)),
    (0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15),
    (0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15),
)
_MD4_SHIFTS = ((3, 7, 11, 19), (3, 5, 9, 13), (3, 9, 11, 15))
_MD4_CONSTANTS = (0, 0x5A827999, 0x6ED9EBA1)

_MD5_SHIFTS = ((7, 12, 17, 22), (5, 9, 14, 20), (4, 11, 16, 23), (6, 10, 15, 21))
_MD5_STEPS = ((1, 0), (5, 1), (3, 5), (7, 0))

State = tuple[int, int, int, int]


def _sines() -> tuple[int, ...]:
    """The 64 constants of RFC 1321 section 3.4, floor(2^32 * abs(sin(i)))."""
    from math import sin

    return tuple(int(abs(sin(index)) * 4294967296) & _MASK for index in range(1, 65))


_MD5_SINES = _sines()


def _choose(x: int, y: int, z: int) -> int:
    return (x & y) | (~x & z)


def _majority(x: int, y: int, z: int) -> int:
    return (x & y) | (x & z) | (y & z)


def _parity(x: int, y: int, z: int) -> int:
    return x ^ y ^ z


def _rotated(value: int, count: int) -> int:
    value &= _MASK
    return ((value << count) | (value >> (32 - count))) & _MASK


def _md4_block(state: State, block: bytes) -> State:
    words = _WORDS.unpack(block)
    a, b, c, d = state
    functions: tuple[Callable[[int, int, int], int], ...] = (_choose, _majority, _parity)
    for order, shifts, constant, function in zip(
        _MD4_ORDER, _MD4_SHIFTS, _MD4_CONSTANTS, functions, strict=True
    ):
        for step, index in enumerate(order):
            mixed = _rotated(a + function(b, c, d) + words[index] + constant, shifts[step % 4])
            a, b, c, d = d, mixed, b, c
    return _added(state, (a, b, c, d))


def _md5_function(stage: int, x: int, y: int, z: int) -> int:
    if stage == 0:
        return _choose(x, y, z)
    if stage == 1:
        return _choose(z, x, y)
    if stage == 2:
        return x ^ y ^ z
    return y ^ (x | (~z & _MASK))


def md5_block(state: State, block: bytes) -> State:
    """One 64-octet block into an MD5 state (RFC 1321 section 3.4)."""
    words = _WORDS.unpack(block)
    a, b, c, d = state
    for step in range(64):
        stage, (factor, offset) = step // 16, _MD5_STEPS[step // 16]
        mixed = a + _md5_function(stage, b, c, d) + words[(factor * step + offset) % 16] + _MD5_SINES[step]
        a, b, c, d = d, (b + _rotated(mixed, _MD5_SHIFTS[stage][step % 4])) & _MASK, b, c
    return _added(state, (a, b, c, d))


def _added(left: State, right: State) -> State:
    a, b, c, d = ((x + y) & _MASK for x, y in zip(left, right, strict=True))
    return a, b, c, d


def md4(data: bytes) -> bytes:
    """The MD4 digest (RFC 1320)."""
    padded = data + b"\x80" + bytes(-(len(data) + 9) % 64) + struct.pack("<Q", len(data) * 8 & (2**64 - 1))
    state = _START
    for start in range(0, len(padded), 64):
        state = _md4_block(state, padded[start : start + 64])
    return _STATE.pack(*state)


def md5_state_of_key(block: bytes) -> bytes:
    """The MD5 state after one whole block, as 16 octets: half of a CRAM-MD5 context."""
    return _STATE.pack(*md5_block(_START, block))


def des(key: bytes, block: bytes) -> bytes:
    """DES of 8 octets with a key of 7 octets (56 bits), as LAN Manager uses it."""
    bits = int.from_bytes(key, "big")
    spread = bytes((bits >> (49 - 7 * index) & 0x7F) << 1 for index in range(8))
    encryptor = Cipher(TripleDES(spread * 3), modes.ECB()).encryptor()  # noqa: S305 - LAN Manager's own format
    return encryptor.update(block) + encryptor.finalize()
