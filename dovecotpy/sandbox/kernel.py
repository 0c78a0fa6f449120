"""prctl and capabilities by ctypes: thin, one call each (prctl(2), capabilities(7))."""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Callable

_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAPBSET_READ = 23

_CAPABILITY_VERSION_3 = 0x20080522
_LAST_CAPABILITY = 63

CAPABILITIES: dict[str, int] = {
    "chown": 0,
    "dac_override": 1,
    "dac_read_search": 2,
    "fowner": 3,
    "fsetid": 4,
    "kill": 5,
    "setgid": 6,
    "setuid": 7,
    "setpcap": 8,
    "net_bind_service": 10,
    "sys_chroot": 18,
    "sys_ptrace": 19,
    "sys_nice": 23,
    "sys_resource": 24,
    "lease": 28,
    "audit_write": 29,
}
"""The capabilities that some process of ours may keep, by their lower-case names without CAP_."""

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl
_prctl.restype = ctypes.c_int
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong]


_HEADER = struct.Struct("=Ii")
_DATA = struct.Struct("=6I")
"""effective, permitted, inheritable: low words, then high words"""


class _Capabilities:
    """The buffers and calls of capget(2) and capset(2), made once: a worker that was just forked makes as little as it can."""

    def __init__(self) -> None:
        self.header = ctypes.create_string_buffer(_HEADER.pack(_CAPABILITY_VERSION_3, 0), _HEADER.size)
        self.data = ctypes.create_string_buffer(_DATA.size)
        self.get = _libc.capget
        self.set = _libc.capset
        for function in (self.get, self.set):
            function.restype = ctypes.c_int
            function.argtypes = [ctypes.c_char_p, ctypes.c_char_p]

    def call(self, function: "Callable[..., int]") -> None:
        """Raises OSError."""
        if function(self.header, self.data) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"capabilities: {os.strerror(number)}")


_capabilities = _Capabilities() if sys.platform == "linux" else None


def _call(option: int, value: int) -> int:
    result = int(_prctl(option, value, 0, 0, 0))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
    return result


def no_new_privileges() -> None:
    """No exec of this process or its children gains rights from now on. Raises OSError."""
    _call(_PR_SET_NO_NEW_PRIVS, 1)


def not_dumpable() -> None:
    """No core dump, no attaching, no /proc/PID/mem for processes of the same user. Raises OSError."""
    _call(_PR_SET_DUMPABLE, 0)


def subreaper() -> None:
    """Orphans below this process become its children. Raises OSError."""
    _call(_PR_SET_CHILD_SUBREAPER, 1)


def limit_capabilities(keep: frozenset[str]) -> None:
    """Keep only the named capabilities, of those that the process has; for good, for its children too.

    Without effect in a process that has none. Raises OSError, KeyError for an unknown name.
    """
    mask = 0
    for name in keep:
        mask |= 1 << CAPABILITIES[name]
    if _capabilities is None:
        return
    _capabilities.call(_capabilities.get)
    effective, low, _, _, high, _ = _DATA.unpack(_capabilities.data)
    permitted = (low | high << 32) & mask
    if effective & 1 << CAPABILITIES["setpcap"]:
        _limit_bounding_set(mask)
    low, high = permitted & 0xFFFFFFFF, permitted >> 32
    _DATA.pack_into(_capabilities.data, 0, low, low, 0, high, high, 0)
    _capabilities.call(_capabilities.set)


def held_capabilities() -> frozenset[int]:
    """The numbers of the capabilities that this process may use now."""
    if _capabilities is None:
        return frozenset()
    _capabilities.call(_capabilities.get)
    _, low, _, _, high, _ = _DATA.unpack(_capabilities.data)
    mask = low | high << 32
    if not mask:
        return frozenset()
    return frozenset(number for number in range(_LAST_CAPABILITY + 1) if mask >> number & 1)


def _limit_bounding_set(mask: int) -> None:
    for number in range(_LAST_CAPABILITY + 1):
        if mask >> number & 1:
            continue
        try:
            if _call(_PR_CAPBSET_READ, number):
                _call(_PR_CAPBSET_DROP, number)
        except OSError:
            return  # the first number that this kernel does not know


def supported() -> bool:
    """Whether this is a kernel that these calls are for."""
    return sys.platform == "linux"
