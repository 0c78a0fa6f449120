"""The C library's iconv, for charsets that Python has no codec for. Without it (or without the charset) there is none."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from errno import E2BIG

CHUNK = 16384
"""Octets of room for one call's result."""

_REPLACEMENT = "\ufffd".encode()

_converters: dict[str, Callable[[bytes, str], tuple[str, int]] | None] = {}


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None, use_errno=True)
        library.iconv_open.restype = ctypes.c_void_p
        library.iconv_open.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        library.iconv.restype = ctypes.c_size_t
        library.iconv.argtypes = (ctypes.c_void_p,) + (ctypes.c_void_p,) * 4
    except (OSError, AttributeError):
        return None
    return library


_libc = _library()
_FAILED = ctypes.c_size_t(-1).value
_NO_CONVERTER = ctypes.c_void_p(-1).value


def converter(name: str) -> Callable[[bytes, str], tuple[str, int]] | None:
    """A decoder for a charset by iconv's name, called as those of codecs are, or None. Opened once for each process."""
    if name not in _converters:
        _converters[name] = _open(name)
    return _converters[name]


def _open(name: str) -> Callable[[bytes, str], tuple[str, int]] | None:
    if _libc is None:
        return None
    handle = _libc.iconv_open(b"UTF-8", name.encode("ascii"))
    if handle is None or handle == _NO_CONVERTER:
        return None

    def decode(data: bytes, errors: str) -> tuple[str, int]:
        return _convert(handle, name, data, errors).decode("utf-8", "replace"), len(data)

    return decode


def _convert(handle: int, name: str, data: bytes, errors: str) -> bytes:
    """data as UTF-8. errors: strict raises UnicodeDecodeError, anything else puts U+FFFD for each octet not understood."""
    assert _libc is not None
    source = ctypes.create_string_buffer(data, len(data))
    room = ctypes.create_string_buffer(CHUNK)
    start = ctypes.addressof(source)
    at = ctypes.c_void_p(start)
    left = ctypes.c_size_t(len(data))
    pieces: list[bytes] = []
    _libc.iconv(handle, None, None, None, None)
    while left.value:
        target = ctypes.c_void_p(ctypes.addressof(room))
        free = ctypes.c_size_t(CHUNK)
        result = _libc.iconv(
            handle, ctypes.byref(at), ctypes.byref(left), ctypes.byref(target), ctypes.byref(free)
        )
        pieces.append(room.raw[: CHUNK - free.value])
        if result != _FAILED or ctypes.get_errno() == E2BIG:
            continue
        place = (at.value or start) - start
        if errors == "strict":
            raise UnicodeDecodeError(name, data, place, place + 1, "not of this charset")
        pieces.append(_REPLACEMENT)
        at = ctypes.c_void_p(start + place + 1)
        left = ctypes.c_size_t(len(data) - place - 1)
    return b"".join(pieces)
