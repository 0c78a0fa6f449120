"""Every fuzz target for PROOF_FUZZ_SECONDS (600) each."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECONDS = float(os.environ.get("PROOF_FUZZ_SECONDS", "600"))


@pytest.mark.parametrize(
    "target", sorted((ROOT / "tests" / "fuzz").glob("fuzz_*.py")), ids=lambda path: path.stem
)
def test_nothing_is_found(target: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(target), str(SECONDS)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 300,
    )
    findings = {path.name: path.read_bytes()[:2000] for path in tmp_path.glob("crash-*")}
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:], findings)
    print(f"{target.stem}: {done.stdout.strip().splitlines()[-1]}")
