"""Tables of single-octet charsets from the C library's iconv, for charsets that Python has no codec for.

Its converters never see a stranger's octets: some of them crash on what is not of their charset (glibc 2.36: ISO-2022-CN-EXT), and
each one that stays open is a library more in the memory that every fork copies.
"""

from __future__ import annotations

import ctypes

UNDEFINED = "\ufffe"
"""Stands in a table for an octet without a meaning, as codecs.charmap_decode has it."""
_ROOM = 64


def _library() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL(None)
        library.iconv_open.restype = ctypes.c_void_p
        library.iconv_open.argtypes = (ctypes.c_char_p, ctypes.c_char_p)
        library.iconv.restype = ctypes.c_size_t
        library.iconv.argtypes = (ctypes.c_void_p,) + (ctypes.c_void_p,) * 4
        library.iconv_close.argtypes = (ctypes.c_void_p,)
    except (OSError, AttributeError):
        return None
    return library


_libc = _library()
_FAILED = ctypes.c_size_t(-1).value
_NO_CONVERTER = ctypes.c_void_p(-1).value


def table(name: str) -> str | None:
    """The characters of the octets 0-255 in a charset by iconv's name; None where the C library does not know it."""
    if _libc is None:
        return None
    handle = _libc.iconv_open(b"UTF-8", name.encode("ascii"))
    if handle is None or handle == _NO_CONVERTER:
        return None
    try:
        return "".join([_character(_libc, handle, octet) for octet in range(256)])
    finally:
        _libc.iconv_close(handle)


def _character(library: ctypes.CDLL, handle: int, octet: int) -> str:
    """What one octet means by itself."""
    source = ctypes.create_string_buffer(bytes((octet,)), 1)
    room = ctypes.create_string_buffer(_ROOM)
    at = ctypes.c_void_p(ctypes.addressof(source))
    left = ctypes.c_size_t(1)
    target = ctypes.c_void_p(ctypes.addressof(room))
    free = ctypes.c_size_t(_ROOM)
    result = library.iconv(
        handle, ctypes.byref(at), ctypes.byref(left), ctypes.byref(target), ctypes.byref(free)
    )
    # A converter that could still join a second octet to this one gives its character when it is told that nothing follows.
    library.iconv(handle, None, None, ctypes.byref(target), ctypes.byref(free))
    text = room.raw[: _ROOM - free.value].decode("utf-8", "replace")
    return text if result != _FAILED and len(text) == 1 else UNDEFINED
