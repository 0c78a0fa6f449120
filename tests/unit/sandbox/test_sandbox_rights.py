"""What a process gives up is really gone: each test forks a process, confines it and lets it try."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable

import pytest

from dovecotpy.sandbox import kernel, limits, privileges, seccomp

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="giving up root needs root")


def in_child(trial: Callable[[], bool]) -> bool:
    """Whether `trial`, run in a process of its own, came back true."""
    pid = os.fork()
    if pid == 0:
        status = 2
        try:
            status = 0 if trial() else 1
        except BaseException as error:
            print(repr(error), file=sys.stderr)
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status in (0, 1), f"the trial ended with {status}"
    return status == 0


def refused(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except PermissionError:
        return True
    return False


@as_root
def test_a_dropped_process_is_the_user_and_stays_it() -> None:
    def trial() -> bool:
        privileges.drop(privileges.Identity(NOBODY, NOBODY))
        return (
            os.getresuid() == (NOBODY,) * 3 and os.getgroups() == [NOBODY] and refused(lambda: os.setuid(0))
        )

    assert in_child(trial)


@as_root
def test_a_chroot_hides_everything_above(tmp_path: os.PathLike[str]) -> None:
    os.chmod(tmp_path, 0o755)

    def trial() -> bool:
        privileges.drop(privileges.Identity(NOBODY, NOBODY), chroot=os.fspath(tmp_path))
        return os.listdir("/") == [] and not os.path.exists("/etc")

    assert in_child(trial)


@as_root
def test_the_saved_group_is_the_only_one_within_reach() -> None:
    def trial() -> bool:
        privileges.drop(privileges.Identity(NOBODY, NOBODY, saved_gid=8))
        os.setegid(8)
        return os.getegid() == 8 and refused(lambda: os.setegid(5))

    assert in_child(trial)


def test_uid_0_is_no_identity() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root could become uid 0")
    with pytest.raises(privileges.PrivilegeError):
        privileges.drop(privileges.Identity(0, 0))


@as_root
def test_an_ordinary_user_can_only_become_himself() -> None:
    def trial() -> bool:
        os.setresuid(1234, 1234, 1234)
        privileges.drop(privileges.Identity(1234, os.getgid()))
        try:
            privileges.drop(privileges.Identity(1235, os.getgid()))
        except privileges.PrivilegeError:
            return True
        return False

    assert in_child(trial)


@as_root
def test_groups_outside_of_the_valid_range_are_left_out() -> None:
    groups = privileges.groups_of("root", 5000, (6000,), first=100, last=0)
    assert groups == (5000, 6000)


@as_root
def test_only_the_capabilities_that_are_kept_remain() -> None:
    keep = frozenset({"setuid", "setgid", "kill"})

    def trial() -> bool:
        kernel.limit_capabilities(keep)
        return kernel.held_capabilities() == {kernel.CAPABILITIES[name] for name in keep}

    assert in_child(trial)


def test_limits_are_hard() -> None:
    def trial() -> bool:
        limits.limit(descriptors=40, data=1 << 30)
        return (
            resource.getrlimit(resource.RLIMIT_NOFILE) == (40, 40)
            and resource.getrlimit(resource.RLIMIT_CORE)[1] == 0
        )

    assert in_child(trial)


@pytest.mark.skipif(
    not seccomp.available(), reason="this kernel or architecture has no seccomp filter of ours"
)
@pytest.mark.parametrize(
    "name", ["exec", "ptrace", "listen", "shutdown", "kill another", "limit another", "pidfd"]
)
def test_seccomp_refuses(name: str) -> None:
    parent = os.getpid()
    listener = socket.create_server(("127.0.0.1", 0))
    libc = ctypes.CDLL(None, use_errno=True)

    def raw(result: int) -> None:
        if result < 0:
            raise OSError(ctypes.get_errno(), "refused")

    attempts: dict[str, Callable[[], object]] = {
        "exec": lambda: os.execv("/bin/true", ["true"]),
        "ptrace": lambda: raw(libc.ptrace(16, parent, None, None)),
        "listen": lambda: listener.listen(5),
        "shutdown": lambda: listener.shutdown(socket.SHUT_RD),
        "kill another": lambda: os.kill(parent, 0),
        "limit another": lambda: resource.prlimit(parent, resource.RLIMIT_CORE),
        "pidfd": lambda: os.pidfd_open(parent),
    }

    def trial() -> bool:
        kernel.no_new_privileges()
        seccomp.confine(os.getpid())
        os.kill(os.getpid(), 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        return refused(attempts[name])

    assert in_child(trial)
    listener.close()


@pytest.mark.skipif(
    not seccomp.available(), reason="this kernel or architecture has no seccomp filter of ours"
)
def test_without_the_filter_the_same_calls_work() -> None:
    assert in_child(lambda: os.kill(os.getppid(), 0) is None)


@pytest.mark.parametrize("machine", sorted(seccomp.REFUSED))
def test_every_table_builds_whole_instructions(machine: str) -> None:
    program = seccomp.build(machine, 4711)
    assert len(program) % 8 == 0
    assert len(program) // 8 < 4096
    assert set(seccomp.ONLY_ITSELF[machine]) == {"kill", "tgkill", "prlimit64"}


def test_signals_of_the_process_itself_still_work() -> None:
    def trial() -> bool:
        kernel.no_new_privileges()
        if seccomp.available():
            seccomp.confine(os.getpid())
        seen: list[int] = []
        signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
        os.kill(os.getpid(), signal.SIGUSR1)
        return seen == [signal.SIGUSR1]

    assert in_child(trial)
