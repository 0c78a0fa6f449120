"""prctl and capabilities by ctypes: thin, one call each (prctl(2), capabilities(7))."""

from __future__ import annotations

import ctypes
import os
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


class _Header(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _Data(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


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
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    _capability_call(_libc.capget, header, data)
    permitted = (data[0].permitted | data[1].permitted << 32) & mask
    if data[0].effective & 1 << CAPABILITIES["setpcap"]:
        _limit_bounding_set(mask)
    for index in (0, 1):
        word = permitted >> 32 * index & 0xFFFFFFFF
        data[index].effective = word
        data[index].permitted = word
        data[index].inheritable = 0
    _capability_call(_libc.capset, header, data)


def held_capabilities() -> frozenset[int]:
    """The numbers of the capabilities that this process may use now."""
    header = _Header(_CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    _capability_call(_libc.capget, header, data)
    mask = data[0].permitted | data[1].permitted << 32
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


def _capability_call(function: "Callable[..., int]", header: _Header, data: "ctypes.Array[_Data]") -> None:
    if function(ctypes.byref(header), data) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"capabilities: {os.strerror(number)}")


def supported() -> bool:
    """Whether this is a kernel that these calls are for."""
    return sys.platform == "linux"
