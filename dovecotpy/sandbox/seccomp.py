"""A seccomp filter for login processes (seccomp(2), bpf of linux/filter.h): what they never need answers EPERM.

The filter is a list of system calls that are refused, and of some that are refused but on the process itself. It is checked on the
architecture word first, so a call by another ABI's numbers is refused as a whole.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2
_RETURN_ERRNO = 0x00050000
_RETURN_ALLOW = 0x7FFF0000
_LOAD_WORD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_RETURN = 0x06
_OFFSET_NUMBER = 0
_OFFSET_ARCHITECTURE = 4
_OFFSET_FIRST_ARGUMENT = 16
_X32_BIT = 0x40000000

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

REFUSED: dict[str, dict[str, int]] = {
    "x86_64": {
        "execve": 59, "execveat": 322, "ptrace": 101, "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438,
        "listen": 50, "shutdown": 48, "bind": 49, "process_vm_readv": 310, "process_vm_writev": 311, "unshare": 272, "setns": 308,
        "mount": 165, "bpf": 321, "perf_event_open": 298, "userfaultfd": 323, "io_uring_setup": 425, "keyctl": 250, "add_key": 248,
        "request_key": 249, "init_module": 175, "finit_module": 313, "kexec_load": 246, "tkill": 200, "rt_sigqueueinfo": 129,
        "rt_tgsigqueueinfo": 297, "kcmp": 312, "fork": 57, "vfork": 58,
    },
    "aarch64": {
        "execve": 221, "execveat": 281, "ptrace": 117, "pidfd_open": 434, "pidfd_send_signal": 424, "pidfd_getfd": 438,
        "listen": 201, "shutdown": 210, "bind": 200, "process_vm_readv": 270, "process_vm_writev": 271, "unshare": 97, "setns": 268,
        "mount": 40, "bpf": 280, "perf_event_open": 241, "userfaultfd": 282, "io_uring_setup": 425, "keyctl": 219, "add_key": 217,
        "request_key": 218, "init_module": 105, "finit_module": 273, "kexec_load": 104, "tkill": 130, "rt_sigqueueinfo": 138,
        "rt_tgsigqueueinfo": 240, "kcmp": 272,
    },
}  # fmt: skip
"""System calls that answer EPERM, by architecture."""

ONLY_ITSELF: dict[str, dict[str, int]] = {
    "x86_64": {"kill": 62, "tgkill": 234, "prlimit64": 302},
    "aarch64": {"kill": 129, "tgkill": 131, "prlimit64": 261},
}
"""System calls whose first argument must be the process's own pid (prlimit64: or 0, which means the same)."""


_PID = struct.Struct("=I")
_ANY_PID = 0x7EADBEEF
"""Stands in a prepared filter where the pid of its process will; above any pid that Linux gives."""

_libc = ctypes.CDLL(None, use_errno=True)
_prctl = _libc.prctl
_prctl.restype = ctypes.c_int
_prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]


class _Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


class Filter:
    """The filter made ahead, by a fork server: a worker fills in its pid and installs it. Raises KeyError as `build`."""

    __slots__ = ("_code", "_header", "_places")

    def __init__(self) -> None:
        code = build(os.uname().machine, _ANY_PID)
        self._code = ctypes.create_string_buffer(code, len(code))
        self._header = _Program(len(code) // 8, ctypes.addressof(self._code))
        starts = range(4, len(code), 8)
        self._places = [start for start in starts if _PID.unpack_from(code, start)[0] == _ANY_PID]

    def install(self, pid: int) -> None:
        """Confine this process, whose pid is `pid`, for good. Needs no_new_privs or root. Raises OSError."""
        for place in self._places:
            _PID.pack_into(self._code, place, pid)
        if _prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(self._header), 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"seccomp: {os.strerror(number)}")


def available() -> bool:
    """Whether this machine's architecture has a table and its kernel has seccomp filters."""
    return os.uname().machine in _ARCHITECTURES and os.path.exists("/proc/sys/kernel/seccomp/actions_avail")


def confine(pid: int) -> None:
    """Make and install the filter in this process, whose pid is `pid`, for good. Needs no_new_privs or root. Raises OSError."""
    Filter().install(pid)


def build(machine: str, pid: int) -> bytes:
    """The filter's instructions, 8 octets each. Raises KeyError for an architecture without a table."""
    refuse = _RETURN_ERRNO | errno.EPERM
    code = [
        _instruction(_LOAD_WORD, _OFFSET_ARCHITECTURE),
        _instruction(_JUMP_EQUAL, _ARCHITECTURES[machine], 1, 0),
        _instruction(_RETURN, refuse),
        _instruction(_LOAD_WORD, _OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        code += [_instruction(_JUMP_AT_LEAST, _X32_BIT, 0, 1), _instruction(_RETURN, refuse)]
    for number in REFUSED[machine].values():
        code += [_instruction(_JUMP_EQUAL, number, 0, 1), _instruction(_RETURN, refuse)]
    for number in ONLY_ITSELF[machine].values():
        code += [
            _instruction(_JUMP_EQUAL, number, 0, 5),
            _instruction(_LOAD_WORD, _OFFSET_FIRST_ARGUMENT),
            _instruction(_JUMP_EQUAL, pid, 2, 0),
            _instruction(_JUMP_EQUAL, 0 if number == ONLY_ITSELF[machine]["prlimit64"] else pid, 1, 0),
            _instruction(_RETURN, refuse),
            _instruction(_RETURN, _RETURN_ALLOW),
        ]
    code.append(_instruction(_RETURN, _RETURN_ALLOW))
    return b"".join(code)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)
