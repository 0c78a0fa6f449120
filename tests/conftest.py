"""What all tests share: temporary directories that processes of other users can enter."""

from __future__ import annotations

import shutil
import tempfile

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """A base of this run's own: the usual one is closed to other users again whenever another run begins."""
    if hasattr(config, "workerinput") or config.option.basetemp is not None:
        return
    base = tempfile.mkdtemp(prefix="dovecotpy-tests-")
    config.option.basetemp = f"{base}/run"
    config.stash[_BASE] = base


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """What a failed run leaves can be looked at; what a good one leaves goes."""
    base = session.config.stash.get(_BASE, None)
    if base is not None and exitstatus == pytest.ExitCode.OK:
        shutil.rmtree(base, ignore_errors=True)


_BASE = pytest.StashKey[str]()
