"""The system's crypt(3) through ctypes: whatever kinds of hash the C library knows.

crypt_r keeps its state in the caller's memory and lets other threads run meanwhile.
"""

from __future__ import annotations

import ctypes
import ctypes.util

_ROOM = 131072 + 256
"""Older glibc declares 131,232 octets; what is too large harms nobody."""


def _library() -> ctypes.CDLL:
    for name in ("libcrypt.so.1", "libcrypt.so.2", ctypes.util.find_library("crypt"), None):
        try:
            library = ctypes.CDLL(name)
            library.crypt_r.restype = ctypes.c_char_p
        except (OSError, AttributeError):
            continue
        library.crypt_r.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p]
        return library
    raise ImportError("no crypt_r in libcrypt or the C library")


_LIBRARY = _library()


def crypt(password: bytes, setting: bytes) -> bytes | None:
    """The hash of `password` by `setting` (a salt or a whole hash); None when the C library does not know that kind.

    A password with NUL in it has no hash: the C library would see only what stands before it.
    """
    if b"\0" in password or b"\0" in setting or not setting:
        return None
    room = ctypes.create_string_buffer(_ROOM)
    result: bytes | None = _LIBRARY.crypt_r(password, setting, room)
    if result is None or result.startswith(b"*"):
        return None
    return result


def supports(setting: bytes) -> bool:
    """True when the C library can hash by this setting."""
    return crypt(b"x", setting) is not None
