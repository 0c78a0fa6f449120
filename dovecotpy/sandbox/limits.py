"""Resource limits of a process (setrlimit(2))."""

from __future__ import annotations

import resource


def limit(
    *,
    descriptors: int | None = None,
    processes: int | None = None,
    data: int | None = None,
    core: int | None = 0,
) -> None:
    """Set what is given, soft and hard, never above the hard limit that the process has.

    descriptors, processes: numbers; data: octets of private memory (RLIMIT_DATA); core: octets. 0 for data means no limit.
    """
    if descriptors is not None:
        _lower(resource.RLIMIT_NOFILE, descriptors)
    if processes is not None:
        _lower(resource.RLIMIT_NPROC, processes)
    if data:
        _lower(resource.RLIMIT_DATA, data)
    if core is not None:
        _lower(resource.RLIMIT_CORE, core)


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY and hard < value:
        value = hard
    resource.setrlimit(which, (value, value))
