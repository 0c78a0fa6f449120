"""Mail processes import message and search: they must stay small."""

from __future__ import annotations

import subprocess
import sys

import pytest

FORBIDDEN = {
    "asyncio",
    "dataclasses",
    "email",
    "hashlib",
    "inspect",
    "json",
    "logging",
    "pathlib",
    "random",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
}

CODE = """
import sys
sys.path[:0] = [{root!r}]
import importlib, os
before = set(sys.modules)
for package in ("message", "search"):
    for name in os.listdir(os.path.join(sys.path[0], "dovecotpy", package)):
        if name.endswith(".py") and name != "__init__.py":
            importlib.import_module("dovecotpy." + package + "." + name[:-3])
print(*(set(sys.modules) - before))
"""


def test_nothing_heavy_and_nothing_above_is_imported(pytestconfig: pytest.Config) -> None:
    code = CODE.format(root=str(pytestconfig.rootpath))
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], check=True, timeout=60, capture_output=True, text=True
    )
    loaded = set(done.stdout.split())
    assert "dovecotpy.search.evaluate" in loaded
    assert not FORBIDDEN & {name.partition(".")[0] for name in loaded}
    ours = {name.split(".")[1] for name in loaded if name.startswith("dovecotpy.")}
    assert ours <= {"message", "search", "clock"}
